"""A run's predictions for new inputs, some at a time: as columns of a table, and as records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dlrun.data.kind import Piece
from dlrun.data.kinds import read_pieces
from dlrun.errors import ConfigError
from dlrun.inference.averaging import Order, places_in
from dlrun.inference.ensemble import Predictor
from dlrun.inference.evaluate import predict
from dlrun.inference.load import Trained


class Cells(NamedTuple):
    """A column: N cells, None where there is none.

    Attributes:
        kind: str, int or float; object where an input file decides it.
    """

    kind: type
    cells: Sequence[Any]


@dataclass(frozen=True)
class Predictions:
    """The predictions for N inputs.

    Attributes:
        identity: the columns that name each input.
        values: (N, D) predicted numbers; or the numbers of classes (N,), -1 where an input is an empty text; or of
            several targets of yes and no (N, D) which of their labels.
        probabilities: (N, C) of the classes, or (N, D) of yes.
        targets: the names of D targets in columns of a table; () otherwise.
        labels: the words for no and yes of each target of yes and no.
        quantiles: (N, D, Q) of the predicted numbers, by the names that `quantile_names` gives.
    """

    identity: Mapping[str, Cells]
    values: np.ndarray
    class_names: Sequence[str] = ()
    probabilities: np.ndarray | None = None
    targets: Sequence[str] = ()
    labels: Sequence[tuple[str, ...]] = ()
    quantile_names: Sequence[str] = ()
    quantiles: np.ndarray | None = None

    def columns(self) -> dict[str, Cells]:
        """The columns of a table, by name.

        Raises:
            ConfigError: a column of the input is called like one of predictions.
        """
        return beside(self.identity, self._own_columns())

    def _own_columns(self) -> dict[str, Cells]:
        if self.class_names:
            columns = {"prediction": Cells(str, self._classes())}
        elif self.labels:
            columns = {name: Cells(str, words) for name, words in self._labelled().items()}
        else:
            columns = {name: Cells(float, values) for name, values in self._numbers().items()}
        if self.probabilities is not None:
            names = self.class_names or self.targets
            for name, chances in zip(names, self.probabilities.T, strict=True):
                known = chances if (self.values >= 0).all() else self._where_known(chances)
                columns[f"p({name})"] = Cells(float, known)
        return columns

    def _names(self) -> list[str]:
        if self.targets:
            return [f"prediction_{target}" for target in self.targets]
        width = self.values.shape[1]
        return ["prediction"] if width == 1 else [f"prediction_{at}" for at in range(width)]

    def _labelled(self) -> dict[str, list[str]]:
        """The label of each target, by the name of its column."""
        columns = zip(self._names(), self.labels, self.values.T.tolist(), strict=True)
        return {name: [labels[answer] for answer in answers] for name, labels, answers in columns}

    def _numbers(self) -> dict[str, Any]:
        names = self._names()
        found = dict(zip(names, self.values.T, strict=True))
        if self.quantiles is not None:
            for quantile, values in zip(self.quantile_names, self.quantiles.T, strict=True):
                found |= {f"{n}_q{quantile}": v for n, v in zip(names, values, strict=True)}
        return found

    def records(self) -> Iterator[dict[str, Any]]:
        """A record for each input."""
        for row, predicted in enumerate(self._predicted()):
            record = {name: column.cells[row] for name, column in self.identity.items()}
            record["prediction"] = predicted
            if self.probabilities is not None:
                names = self.class_names or self.targets
                chances = (
                    [None] * len(names) if predicted is None else self.probabilities[row].tolist()
                )
                record["probabilities"] = dict(zip(names, chances, strict=True))
            if self.quantiles is not None:
                columns = zip(self.quantile_names, self.quantiles[row].T.tolist(), strict=True)
                record["quantiles"] = {name: self._named(values) for name, values in columns}
            yield record

    def _predicted(self) -> list[Any]:
        """What is predicted for each input: a class, the value of each target, by its name where it has one."""
        if self.class_names:
            return self._classes()
        if self.labels:
            return [self._named(row) for row in zip(*self._labelled().values(), strict=True)]
        return [self._named(values) for values in self.values.tolist()]

    def _named(self, values: Sequence[Any]) -> Any:
        return dict(zip(self.targets, values, strict=True)) if self.targets else values

    def _classes(self) -> list[str | None]:
        names: list[str | None] = np.array([*self.class_names, None], object)[self.values].tolist()
        return names

    def _where_known(self, chances: np.ndarray) -> Sequence[Any]:
        found = chances.astype(object)
        found[self.values < 0] = None
        return found.tolist()


def identity_of(piece: Piece) -> dict[str, Cells]:
    """The columns that name each input: those that are kept, or else file and row."""
    return {name: Cells(object, cells) for name, cells in piece.kept.items()} or {
        "input": Cells(str, piece.files),
        "row": Cells(int, piece.rows),
    }


def beside(identity: Mapping[str, Cells], own: Mapping[str, Cells]) -> dict[str, Cells]:
    """The columns that name each input, and what is said of it.

    Raises:
        ConfigError: one of the first is called like one of the second.
    """
    for name in identity:
        if name in own:
            raise ConfigError(
                f"--keep names {name}, which is also a column of the predictions; rename it in the input"
            )
    return {**identity, **own}


def predictions_of(
    predictor: Predictor,
    files: Sequence[Path],
    keep: Sequence[str],
    *,
    with_probabilities: bool = True,
) -> Iterator[Predictions]:
    """The predictions for the inputs in files, piece by piece; of an ensemble the averages of its members'.

    Files are read once for each way in which members prepare raw inputs.
    """
    distinct, ways = predictor.prepared_alike()
    readers = [predictor.members[at] for at in distinct]
    streams = [read_pieces(files, one.spec, one.preprocessing, keep) for one in readers]
    for pieces in zip(*streams, strict=True):
        found = [
            next(predictions(member, [pieces[way]]))
            for member, way in zip(predictor.members, ways, strict=True)
        ]
        whole = _mean(found, predictor) if predictor.is_ensemble else found[0]
        yield whole if with_probabilities else replace(whole, probabilities=None)


def _mean(each: Sequence[Predictions], predictor: Predictor) -> Predictions:
    """The weighted averages of what the members predict for the same inputs."""
    first, shares = each[0], predictor.shares
    if first.probabilities is None:
        return _mean_numbers(each, predictor)
    chances = [
        _in_order(one, first, order) for one, order in zip(each, predictor.orders, strict=True)
    ]
    probabilities = np.average(chances, 0, shares)
    thresholds = predictor.reference.thresholds
    if first.labels:
        values = (probabilities > (thresholds.values if thresholds else 0.5)).astype(int)
    elif thresholds:
        values = (probabilities[:, 1] > thresholds.values[0]).astype(int)
    else:
        values = probabilities.argmax(1)
    values = np.where(first.values < 0, -1, values)
    return replace(first, values=values, probabilities=probabilities)


def _mean_numbers(each: Sequence[Predictions], predictor: Predictor) -> Predictions:
    """The same of numbers, each quantile by itself."""

    def mean(arrays: Sequence[np.ndarray]) -> np.ndarray:
        orders = (order.places.numpy() for order in predictor.orders)
        ordered = [array[:, at] for array, at in zip(arrays, orders, strict=True)]
        return np.average(ordered, 0, predictor.shares)

    quantiles = [one.quantiles for one in each if one.quantiles is not None]
    return replace(
        each[0],
        values=mean([one.values for one in each]),
        quantiles=mean(quantiles) if quantiles else None,
    )


def _in_order(one: Predictions, first: Predictions, order: Order) -> np.ndarray:
    """The probabilities of a member in the order of the first."""
    assert one.probabilities is not None, "of classes"
    if first.class_names:
        return one.probabilities[:, places_in(first.class_names, one.class_names)]
    chances = one.probabilities[:, order.places.numpy()]
    return np.where(order.signs.numpy() > 0, chances, 1 - chances)


def predictions(
    trained: Trained, pieces: Iterable[Piece], *, with_probabilities: bool = True
) -> Iterator[Predictions]:
    """The predictions for each piece, its inputs named by the columns that it keeps, or else by file and row."""
    spec = trained.spec
    targets = spec.target_names or trained.preprocessing.target_names
    for piece in pieces:
        identity = identity_of(piece)
        values, chances = _predict(trained, piece.raw)
        if spec.class_names or spec.labels:
            yield Predictions(
                identity,
                values,
                spec.class_names,
                chances if with_probabilities else None,
                targets=targets,
                labels=spec.classes if spec.labels else (),
            )
        else:
            names = [f"{quantile:g}" for quantile in spec.quantiles]
            yield Predictions(
                identity, values, targets=targets, quantile_names=names, quantiles=chances
            )


def _predict(trained: Trained, raw: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """As `predict`; class -1 of an empty text."""
    if not isinstance(raw, list) or all(raw):
        return predict(trained, raw)
    asked = [row for row, text in enumerate(raw) if text]
    values, chances = np.full(len(raw), -1), np.zeros((len(raw), trained.spec.num_classes))
    if asked:
        values[asked], chances[asked] = predict(trained, [raw[row] for row in asked])
    return values, chances
