"""From a table to numbers and codes: what is fitted on the training part, and a data set made with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from dlrun.config.settings import DataSettings
from dlrun.data.base import (
    Dataset,
    Preprocessing,
    Spec,
    class_targets,
    class_task,
    without_constants,
)
from dlrun.data.fingerprint import Parts
from dlrun.data.kind import Kind
from dlrun.data.loaders import Split
from dlrun.data.splits import parted, split_rows
from dlrun.data.tables.table import Fill, Reading, Rows, Table, take_fold
from dlrun.errors import ConfigError

_RARE = ", or set dataset.task=regression where they are numbers"


@dataclass(frozen=True)
class TableEncoding(Preprocessing):
    """How the rows of a table become inputs (N, F): scaled numbers, then codes of categories.

    Attributes:
        reading: how the rows of a file are read, as `Reading`.
        fill, mean, std: of each column of numbers; a missing one becomes `fill` before it is scaled.
        levels: of each column of words, those of the training part in their order; missing is one of
            them where it occurs there. The code of a word is its place from 1, and 0 where it has none.
    """

    kind: ClassVar[str] = "table"
    reading: dict[str, Any]
    fill: list[float]
    mean: list[float]
    std: list[float]
    levels: list[list[str | None]]
    target_mean: list[float]
    target_std: list[float]

    def inputs(self, raw: Rows) -> Tensor:
        """(N, F) float32."""
        numbers = np.where(np.isnan(raw.numbers), np.asarray(self.fill), raw.numbers)
        scaled = (numbers - np.asarray(self.mean)) / np.asarray(self.std)
        codes = [_codes(raw.words[:, column], levels) for column, levels in enumerate(self.levels)]
        return torch.from_numpy(np.column_stack([scaled, *codes]).astype(np.float32))

    @property
    def traits(self) -> dict[str, list[str]]:
        """The columns that are read as words."""
        return {"columns of words": self.reading["words"]}

    @property
    def categories(self) -> tuple[int, ...]:
        """How many codes each column of words has, that of unknown words among them."""
        return tuple(len(levels) + 1 for levels in self.levels)


def split_table(table: Table, settings: DataSettings) -> Parts:
    """The rows of each part.

    Raises:
        ConfigError: a split that leaves a part with too few rows, or a test part asked for twice.
    """
    return parted(_rows(table, settings), table.own)


def prepare_table(
    table: Table, settings: DataSettings, parts: Parts, encoding: TableEncoding | None
) -> Dataset:
    """Fit the encoding on the training part alone, where there is none yet, and apply it to all parts."""
    if encoding is None:
        train = np.asarray(parts["train"])
        encoding = _fit(
            table.reading,
            table.rows.take(train),
            table.targets[train],
            fill=table.fill,
            normalize=settings.normalize == "standard",
            regression=not table.class_names,
        )

    def part(name: str) -> Split:
        rows = parts[name]
        if rows is None and table.test is not None and table.test_targets is not None:
            return encode_rows(encoding, table.test, table.test_targets, len(table.class_names))
        taken = table.rows.take(np.asarray(rows))
        return encode_rows(encoding, taken, table.targets[rows], len(table.class_names))

    return Dataset(_spec(table, encoding), encoding, part("train"), part("val"), part("test"))


def encode_rows(encoding: TableEncoding, rows: Rows, targets: np.ndarray, classes: int) -> Split:
    """Rows with their targets, class numbers where there are `classes`, as a model takes them."""
    inputs = encoding.inputs(rows)
    return Split(inputs, class_targets(targets, classes) if classes else encoding.targets(targets))


def _rows(table: Table, settings: DataSettings) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row numbers that train, validate and test."""
    strata = table.targets if table.class_names else None
    if table.folds is None:
        has_test = table.test is not None
        return split_rows(len(table.rows), strata, settings, has_test=has_test, rare=_RARE)
    if settings.test_fraction is not None:
        raise ConfigError(
            f"dataset.test_fraction is {settings.test_fraction}, but dataset.folds is {table.folds}, of which "
            "dataset.fold is the test part; set dataset.test_fraction=null"
        )
    rest, test = take_fold(
        len(table.rows), strata, folds=table.folds, fold=table.fold, seed=settings.split_seed
    )
    left = None if strata is None else strata[rest]
    train, val, _ = split_rows(len(rest), left, settings, has_test=True, rare=_RARE)
    return rest[train], rest[val], test


def _fit(
    reading: Reading,
    rows: Rows,
    targets: np.ndarray,
    *,
    fill: Fill,
    normalize: bool,
    regression: bool,
) -> TableEncoding:
    fills = [_filling(column, fill) for column in rows.numbers.T]
    filled = np.where(np.isnan(rows.numbers), np.asarray(fills), rows.numbers)
    mean, std = np.zeros(len(fills)), np.ones(len(fills))
    if normalize:
        mean, std = filled.mean(0), without_constants(filled.std(0), filled.mean(0))
    target = targets[:, None] if regression else np.empty((len(targets), 0))
    return TableEncoding(
        reading=dict(vars(reading)),
        fill=fills,
        mean=mean.tolist(),
        std=std.tolist(),
        levels=[_levels(column) for column in rows.words.T],
        target_mean=target.mean(0).tolist(),
        target_std=without_constants(target.std(0), target.mean(0)).tolist(),
    )


def _filling(column: np.ndarray, rule: Fill) -> float:
    known = column[~np.isnan(column)]
    if rule == "zero" or not len(known):
        return 0.0
    return float(np.median(known) if rule == "median" else known.mean())


def _levels(words: np.ndarray) -> list[str | None]:
    """The different words in order, missing last."""
    found: set[str | None] = {*words.tolist()}
    known = sorted(word for word in found if word is not None)
    return [*known, None] if None in found else [*known]


def _codes(words: np.ndarray, levels: Sequence[str | None]) -> np.ndarray:
    numbers: Mapping[str | None, int] = {level: code for code, level in enumerate(levels, 1)}
    return np.array([numbers.get(word, 0) for word in words.tolist()], np.float64)


def _spec(table: Table, encoding: TableEncoding) -> Spec:
    reading = table.reading
    task, outputs = class_task(len(table.class_names)) if table.class_names else ("regression", 1)
    names = (*reading.numbers, *reading.words)
    return Spec(
        task=task,
        kind="features",
        input_shape=(len(names),),
        num_outputs=outputs,
        class_names=table.class_names,
        feature_names=names,
        categories=encoding.categories,
    )


TABLES = Kind(
    raw=Table,
    split=split_table,
    encode=prepare_table,
    preprocessing=TableEncoding,
    units={"features": "rows"},
    reader="dlrun.data.tables.new_rows.NewRows",
)
