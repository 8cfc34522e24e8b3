"""Whether the trials of a sweep can be compared, and by what: found by looking at the data that they would train on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from dlrun.config.settings import DataSettings
from dlrun.data.loaders import Split
from dlrun.training.build import Experiment
from dlrun.training.regression import in_own_units

# Groups whose settings decide how something is learned, and never what.
_HOW = ("model", "optimizer", "schedule", "loss", "trainer", "checkpoint", "tracking")
_RECIPES = "dlrun.data.arrays.points."
# Settings under which other rows are measured, but by the same question.
_OTHER_ROWS = {
    "seed",
    *(f"dataset.{name}" for name in ("seed", "split_seed", "fold", "folds", "size")),
    *(f"dataset.{name}" for name in ("val_fraction", "test_fraction", "skip", "drop", "fill")),
    "dataset.drop_missing_target",
    "dataset.balance",  # of training alone
    *(
        f"dataset.{name}"
        for name in ("missing", "zero_is_missing", "numeric", "categorical", "dates", "infer")
    ),
    *(f"dataset.{name}" for name in ("window", "difference", "seasonal_difference")),
}


@dataclass
class Comparison:
    """What the settings of a sweep do to the meaning of a number.

    Attributes:
        part: train, val or test: where the objective is measured.
        questions: keys by which trials have other targets, so that no metric compares them.
        units: keys by which their losses have other units.
        metric: of the part, one that is in the target's own units.
    """

    part: str
    questions: list[str] = field(default_factory=list)
    units: list[str] = field(default_factory=list)
    metric: str = ""
    _first: _Meaning | None = None

    def look(self, name: str, keys: Collection[str], experiment: Experiment) -> None:
        """Take in what a trial would be: the first, or one in which `name`, which sets `keys`, differs from it."""
        meaning = _meaning(experiment, self.part)
        if self._first is None:
            self._first = meaning
            self.metric = f"{self.part}/{experiment.task.declared.comparable}"
        elif name in self.questions:
            pass
        elif not _same_question(self._first, meaning, keys):
            self.questions.append(name)
        elif meaning.unit != self._first.unit and name not in self.units:
            self.units.append(name)


@dataclass(frozen=True)
class _Meaning:
    """What is measured: the kind of problem, its targets in their own units, and the unit of the loss.

    Also of a classifier where its data come from. `tokens` are those of a text that its training part has: a block of
    the same text may lack a rare one.
    """

    kind: tuple[object, ...]
    tokens: tuple[str, ...]
    targets: Tensor
    unit: tuple[object, ...]


def _meaning(experiment: Experiment, name: str) -> _Meaning:
    data, task = experiment.data, experiment.task
    spec, preprocessing = data.spec, data.preprocessing
    names = (spec.target_names, spec.labels)
    kind: list[object] = [spec.task, *names]
    if spec.task == "regression":
        kind += [spec.num_targets]
    if spec.num_classes:
        # Labels alone do not tell the data: two clouds of points may have the same.
        kind += [spec.class_names, _source(experiment.config.dataset)]
    part: Split = getattr(data, name)
    targets = part.targets.cpu()
    if preprocessing.scaled_by_row:
        targets = in_own_units(part)
    elif spec.task == "regression":
        scale, mean = (
            torch.tensor(numbers, dtype=torch.float64)
            for numbers in (preprocessing.target_std, preprocessing.target_mean)
        )
        targets = targets.double() * scale + mean
        targets = targets if part.bases is None else targets + part.bases
    tokens = tuple(preprocessing.token_names)
    return _Meaning(tuple(kind), tokens, targets, task.loss_unit(name))


def _source(dataset: Mapping[str, Any]) -> object:
    """Where the data of a classifier come from: a file, a named set, or a recipe for points with its numbers."""
    target = str(dataset["_target_"])
    if target.startswith(_RECIPES):
        shared = {field.name for field in fields(DataSettings)}
        own = {key: value for key, value in dataset.items() if key not in shared}
        return repr([(k, v) for k, v in own.items() if f"dataset.{k}" not in _OTHER_ROWS])
    return dataset.get("path", target)


def _same_question(first: _Meaning, other: _Meaning, keys: Collection[str]) -> bool:
    """Whether a metric of both means the same: one target, of the same rows or of others among them."""
    if first.kind != other.kind:
        return False
    asked = {key for key in keys if key.partition(".")[0] not in _HOW}
    same_targets = first.tokens == other.tokens and _equal(first.targets, other.targets)
    return asked <= _OTHER_ROWS or same_targets


def _equal(first: Tensor, other: Tensor) -> bool:
    if first.shape != other.shape or not first.is_floating_point():
        return torch.equal(first, other)
    # Standardised to 32 bits by one scale and by another, and turned back.
    spread = (first - first.mean()).abs().max() if len(first) else 0.0
    return torch.allclose(first, other, rtol=1e-5, atol=float(1e-5 * spread))
