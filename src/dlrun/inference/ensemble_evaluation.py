"""An ensemble measured, and each of its members, on rows that no member was trained or validated on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlrun.config.settings import RunConfig, parse
from dlrun.data.base import Dataset
from dlrun.data.changed_data import same_content
from dlrun.data.fingerprint import PARTS, Origin, Rows
from dlrun.data.kind import Labelled
from dlrun.data.kinds import read_labelled
from dlrun.data.loaders import Split
from dlrun.data.series.scaling import SeriesScaling
from dlrun.data.tables.encoding import TableEncoding
from dlrun.errors import ConfigError, command, note
from dlrun.inference.averaging import MeanModel, Order, Units, mean_scores, mean_values
from dlrun.inference.ensemble import OF_MEMBERS, Predictor, Stored
from dlrun.inference.evaluate import Evaluation, evaluated, outputs_of, task_of
from dlrun.inference.load import Trained
from dlrun.inference.threshold import Thresholds, check_rule, choose, keep
from dlrun.storage.run_directory import RunDirectory
from dlrun.training.build import prepared
from dlrun.training.task import Task

_CHOOSE_COLUMNS = (TableEncoding, SeriesScaling)  # two runs may read one file differently
_CLOSE = (
    1e-4  # of a target's standard deviation, or of 1: values further apart are not those of one row
)


@dataclass(frozen=True)
class MemberScores:
    """What one member reaches by itself on the rows of the ensemble.

    Attributes:
        loss_unit: what losses must have in common to be compared.
    """

    name: str
    share: float
    metrics: dict[str, float]
    loss_unit: tuple[object, ...]


class NoCommonRows(ConfigError):
    """No row of a part is in this part of every member."""


def evaluate_ensemble(
    predictor: Predictor,
    *,
    split: str,
    new: str | list[str] | None = None,
    each: Callable[[MemberScores], None] = lambda scores: None,
) -> Evaluation:
    """Measure the mean of the members' predictions on the rows that the part `split` of all members has in common.

    So no member was trained or validated on a row of a test part. Or on the rows that `new` names.

    Args:
        each: is told what each member reaches by itself.

    Raises:
        NoCommonRows: there are none, as of the folds of one data set.
        ConfigError: members that were trained on different data, or data that are no longer theirs.
    """
    task, rows, scores = _scores(predictor, _Data(predictor, split, new), each)
    settings = parse(predictor.stored[0].plain)
    return evaluated(predictor.reference, task, rows, scores, settings, split=split)


def choose_ensemble_threshold(predictor: Predictor, ensemble: RunDirectory, rule: str) -> None:
    """As `choose_threshold`, on the rows that the validation part of all members has in common."""
    check_rule(rule, predictor.spec)
    _, rows, scores = _scores(predictor, _Data(predictor, "val", None), lambda scores: None)
    values = choose(rule, scores, rows.part.targets, predictor.spec)
    keep(ensemble, Thresholds(rule, values, OF_MEMBERS, 0))


def _scores(
    predictor: Predictor, data: _Data, each: Callable[[MemberScores], None]
) -> tuple[Task, Labelled, Tensor]:
    """What metrics need of the scores that mean the averages, in single precision, for the rows."""
    if predictor.spec.carries_state:
        return _scores_of_text(predictor, data, each)
    found = [*_outputs(predictor, data, each)]
    outputs = [one.outputs.double() for one in found]
    if predictor.spec.task == "regression":
        units = [one.units for one in found]
        scores = mean_values(outputs, predictor.shares, predictor.orders, units)
    else:
        scores = mean_scores(outputs, predictor.shares, predictor.orders, predictor.spec)
    return found[0].task, found[0].rows, scores.float()


@dataclass(frozen=True)
class _Found:
    """The outputs of one member for all rows."""

    rows: Labelled
    task: Task
    outputs: Tensor
    units: Units


def _outputs(
    predictor: Predictor, data: _Data, each: Callable[[MemberScores], None]
) -> Iterator[_Found]:
    """Those of each member in turn, of whose data nothing is kept but the targets.

    Raises:
        ConfigError: two members have different true values of a row.
    """
    first: Tensor | None = None
    for stored, member, order in zip(
        predictor.stored, predictor.members, predictor.orders, strict=True
    ):
        rows, settings = data.of(stored, member), parse(stored.plain)
        task = task_of(member, settings)
        outputs = outputs_of(member, rows.part, task, settings)
        units = Units.of(member.preprocessing, member.spec, rows.part)
        truth = _truth(rows.part, member, order)
        first = truth if first is None else first
        if not _same_values(first, truth, units.std):
            raise different_data(predictor.stored[0], stored)
        whole = evaluated(member, task, rows, outputs, settings, split=data.split)
        each(MemberScores(stored.name, stored.share, whole.metrics, task.loss_unit(data.split)))
        yield _Found(rows, task, outputs, units)


def _scores_of_text(
    predictor: Predictor, data: _Data, each: Callable[[MemberScores], None]
) -> tuple[Task, Labelled, Tensor]:
    """Of texts to be continued: all members read the same tokens side by side."""
    whole = predictor.as_one()
    rows, settings = data.of(predictor.stored[0], whole), parse(predictor.stored[0].plain)
    task = task_of(whole, settings)
    for stored, member, order in zip(
        predictor.stored, predictor.members, predictor.orders, strict=True
    ):
        alone = replace(whole, model=MeanModel([member.model], [1.0], [order], whole.spec).eval())
        outputs = outputs_of(alone, rows.part, task, settings)
        metrics = evaluated(alone, task, rows, outputs, settings, split=data.split).metrics
        each(MemberScores(stored.name, stored.share, metrics, ()))
    return task, rows, outputs_of(whole, rows.part, task, settings)


class _Data:
    """The rows to measure on, as each member takes them: of new files, or those that a part of all has in common."""

    def __init__(self, predictor: Predictor, split: str, new: str | list[str] | None) -> None:
        self.predictor, self.split, self.new = predictor, split, new
        self._before: tuple[Any, Dataset] | None = None
        if new is None:
            self.rows = common_rows(predictor, split)

    def of(self, stored: Stored, member: Trained) -> Labelled:
        """The rows as `member` takes them, which is `stored`."""
        if self.new is not None:
            return read_labelled(self.new, member.kept, stored.plain["dataset"])
        settings = parse(stored.plain)
        task = task_of(member, settings)
        data = task.with_baselines(self._prepared(settings, stored, member))
        baselines = data.baselines if self.split == data.tested else {}
        return Labelled(data.split(self.split), baselines)

    def _prepared(self, settings: RunConfig, stored: Stored, member: Trained) -> Dataset:
        asked = (settings.dataset, member.preprocessing, settings.trainer)
        if self._before is not None and self._before[0] == asked:
            return self._before[1]
        data = prepared_on(stored, member, {self.split: self.rows})
        if self._before is not None and not isinstance(member.preprocessing, _CHOOSE_COLUMNS):
            contents = [one.origin.content for one in (self._before[1], data) if one.origin]
            if not same_content(*(content[self.split] for content in contents)):
                raise different_data(self.predictor.stored[0], stored)
        self._before = asked, data
        return data


def prepared_on(stored: Stored, member: Trained, instead: dict[str, Rows]) -> Dataset:
    """The data of a member with other rows in some parts."""
    return prepared(parse(stored.plain), replace(member.kept, instead=instead))


def same_rows(predictor: Predictor) -> list[Split]:
    """The part that the first member is tested on, or the only run, as each way to prepare raw inputs takes it.

    For a check of what is computed, and for no measure: other members may have been trained on these rows.
    """
    reference = predictor.reference
    data = prepared(parse(predictor.stored[0].plain), reference.kept)
    parts = [data.split(data.tested)]
    distinct = [] if reference.spec.carries_state else predictor.prepared_alike()[0][1:]
    for at in distinct:
        stored, member = predictor.stored[at], predictor.members[at]
        assert data.origin is not None, "as of all data that were prepared"
        rows = {data.tested: data.origin.parts[data.tested]}
        parts.append(prepared_on(stored, member, rows).split(data.tested))
    return parts


def different_data(first: Stored, other: Stored) -> ConfigError:
    """For members whose rows are not the same ones."""
    return ConfigError(
        f"{first.name} and {other.name} were trained on different data, so their ensemble is measured on new rows "
        "only, of dataset.test_path=FILE; or leave one of them out"
    )


def common_rows(predictor: Predictor, split: str) -> Rows:
    """The rows that are in the part `split` of all members, None for all of a part that the data bring themselves.

    Raises:
        ConfigError: the rows of a member are unknown, or of other data.
        NoCommonRows: there are none.
    """
    pairs = zip(predictor.stored, predictor.members, strict=True)
    origins = [_origin(stored, member) for stored, member in pairs]
    for stored, origin in zip(predictor.stored, origins, strict=True):
        kinds = {part for part, rows in origin.parts.items() if rows is None}
        first = {part for part, rows in origins[0].parts.items() if rows is None}
        if origin.count != origins[0].count or kinds != first:
            raise different_data(predictor.stored[0], stored)
    parts = [origin.parts[split] for origin in origins]
    if any(rows is None for rows in parts):
        return None
    common = reduce(_both, parts)
    assert common is not None, "each has row numbers"
    if not len(common):
        raise NoCommonRows(
            f"no row is in the {PARTS[split]} part of all {len(parts)} members: each was trained or validated on by "
            f"one of them; measure on new rows, `{command('eval', 'ENSEMBLE', 'dataset.test_path=FILE')}`"
        )
    most = max(len(rows) for rows in parts if rows is not None)
    if len(common) < most:
        note(
            f"the members have different {PARTS[split]} parts: of up to {most:,} rows, {len(common):,} are in this "
            "part of all of them, and measured; with one dataset.split_seed all would be"
        )
    return common


def _origin(stored: Stored, member: Trained) -> Origin:
    if member.kept is None or member.kept.origin is None:
        raise ConfigError(
            f"{stored.name} is of a version of dlrun that did not keep which rows it was trained on: measure the "
            "ensemble on new rows, of dataset.test_path=FILE"
        )
    origin: Origin = member.kept.origin
    return origin


def _both(some: Rows, others: Rows) -> Rows:
    """The rows that are in both, in the order of the first."""
    assert some is not None and others is not None, "each has row numbers"
    if isinstance(some, range) and isinstance(others, range):
        start = max(some.start, others.start)
        return range(start, max(start, min(some.stop, others.stop)))
    rows = np.asarray(some)
    return rows[np.isin(rows, np.asarray(others))]


def _truth(part: Split, member: Trained, order: Order) -> Tensor:
    """The true values of each row in the order of the ensemble: numbers of classes, or values in their own units."""
    targets = part.targets.double()
    match member.spec.task:
        case "regression":
            own = Units.of(member.preprocessing, replace(member.spec, link="identity"), part)
            of_rows = targets[:, : member.spec.num_targets]
            return replace(own, quantiles=0).values(of_rows)[:, order.places]
        case "multiclass":
            return order.places.argsort()[part.targets.long()].double()
        case "binary":
            return targets if order.signs[0] > 0 else 1 - targets
    aligned = targets[:, order.places]
    return torch.where(order.signs > 0, aligned, 1 - aligned)


def _same_values(first: Tensor, other: Tensor, std: Tensor) -> bool:
    if first.shape != other.shape:
        return False
    scale = std.max() if std.numel() else 1.0  # classes have none
    return bool(((first - other).abs() <= _CLOSE * scale).all())
