"""The metrics that a run's setting `metrics` names: found for its task, and measured on whole parts of the data.

Shapes: K models of a stack, N samples, O raw scores a sample, C classes, D targets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from inspect import isclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlrun.config.chosen_metrics import Choice
from dlrun.config.instantiate import component, located
from dlrun.config.metrics import Metrics, of_quantiles, of_target, top_k
from dlrun.config.settings import RunConfig
from dlrun.data.base import Dataset, Preprocessing, Spec
from dlrun.data.loaders import Split
from dlrun.errors import ConfigError, RunFailed, first_line, note
from dlrun.training.metrics import classes, numbers
from dlrun.training.metrics.numbers import Predicted, Truth
from dlrun.training.scores import probabilities
from dlrun.training.task import Task

Values = dict[str, float]
Own = Callable[[Tensor, Tensor], Any]
_GIVEN = ("predictions", "targets")
_NUMBERS = (
    2**22
)  # scores that are looked at together: formulas make several copies of them in float64


@dataclass(frozen=True)
class OwnMetric:
    """A function of the user's own, of predictions and targets, both on the CPU.

    It is given probabilities (N, C) and class numbers (N,); of several targets of yes and no the probabilities of yes
    and 0 or 1, both (N, D); of a regression predicted and true values in their own units, both (N, D).
    """

    choice: Choice
    function: Own

    def __call__(self, predictions: Tensor, targets: Tensor) -> float:
        """Its value.

        Raises:
            RunFailed: it raised an error, or gave no number.
        """
        said = f"{self.choice.key}, {self.choice.name},"
        try:
            value = self.function(predictions, targets)
        except Exception as error:  # whatever the user's own code raises
            raise RunFailed(
                f"{said} raised {type(error).__name__} for {len(targets)} samples: {first_line(error)}"
            ) from error
        if isinstance(value, (Tensor, np.ndarray, np.generic)) and value.ndim == 0:
            value = value.item()
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise RunFailed(f"{said} gave {value!r:.80}, but must give one number")
        return float(value)


class ChosenMetrics:
    """What the setting `metrics` adds to the usual metrics of a task.

    Args:
        choices: what the setting names, all of it.
        own: what `own_metrics` makes of those of the user's own.

    Attributes:
        declared: all metrics of the task, these included.
    """

    def __init__(
        self,
        choices: Sequence[Choice],
        own: Sequence[OwnMetric],
        task: Task,
        spec: Spec,
        preprocessing: Preprocessing,
    ) -> None:
        self.own, self.spec, self.preprocessing = own, spec, preprocessing
        named = [choice for choice in choices if choice.node is None]
        for choice in named:
            _check_task(choice, task, spec)
        added = {c.name: c.direction for c in named if c.name not in task.declared.always}
        declared = replace(task.declared, chosen=added).of_targets(task.targets)
        directions = {one.choice.name: one.choice.direction for one in own}
        of_groups = {
            of_target(declared.comparable, group): declared.directions[declared.comparable]
            for group in spec.group_names
        }
        self.declared: Metrics = replace(
            declared,
            chosen={**declared.chosen, **directions},
            at_the_end={**declared.at_the_end, **of_groups},
        )
        self.names = tuple(added)
        if own and spec.task in ("language", "reconstruction"):
            what = "a text to continue" if spec.task == "language" else "a reconstruction"
            raise ConfigError(
                f"{self.own[0].choice.key} is of your own, but of {what} no predictions are kept: leave it out"
            )

    def __bool__(self) -> bool:
        return bool(self.names or self.own)

    def truth(self, part: Split) -> Truth | Tensor | None:
        """What outputs for a part are measured against; None where nothing is chosen or the part is empty."""
        if not self or not len(part):
            return None
        if self.spec.task != "regression":
            return part.targets
        return Truth.of(part, self.preprocessing)

    def metrics(
        self,
        task: Task,
        outputs: Tensor,
        part: Split,
        variance: Tensor,
        truth: Truth | Tensor | None,
    ) -> Values:
        """The usual metrics of a part and the chosen ones, for its `variance` and `truth`."""
        usual = task.metrics(outputs, part.targets, variance=variance)
        if not math.isfinite(usual["loss"]):  # what has diverged is not worth measuring
            return usual
        return usual | self.measure(outputs, truth)

    def final_metrics(self, task: Task, outputs: Tensor, part: Split) -> Values:
        """All metrics of a part at the end: the usual ones of the task, then the chosen ones."""
        usual = task.final_metrics(outputs, part.targets, variance=task.variance(part))
        truth = self.truth(part)
        if isinstance(truth, Truth) and "mape" in self.names and truth.has_zeros:
            note(
                "mape is nan: it divides by the true values, some of which are 0; use smape or mae"
            )
        chosen = self.measure(outputs, truth) | self._of_groups(task, outputs, part)
        return usual | {name: value for name, value in chosen.items() if name not in usual}

    def _of_groups(self, task: Task, outputs: Tensor, part: Split) -> Values:
        """The comparable metric of each group of samples that the data tells apart, as in `accuracy/rare`."""
        found: Values = {}
        if part.groups is None:
            return found
        metric, groups = task.declared.comparable, part.groups.to(outputs.device)
        for number, name in enumerate(self.spec.group_names):
            rows = groups.eq(number).nonzero().squeeze(1)
            if len(rows):
                values = task.metrics(
                    outputs[rows], part.targets[rows], variance=task.variance(part)
                )
                found[of_target(metric, name)] = values[metric]
        return found

    def measure(self, outputs: Tensor, truth: Truth | Tensor | None) -> Values:
        """The chosen metrics of one model from its outputs (N, O).

        Raises:
            RunFailed: one of the user's own failed.
        """
        found = self.measure_each(outputs.unsqueeze(0), [truth])[0]
        if isinstance(found, RunFailed):
            raise found
        return found

    def measure_each(
        self, outputs: Tensor, truths: Sequence[Truth | Tensor | None]
    ) -> list[Values | RunFailed]:
        """The same of K models from their outputs (K, N, O), or what a metric of the user's own raised.

        Args:
            truths: one for each, or one for all.
        """
        if not self or truths[0] is None:
            return [{} for _ in outputs]
        each = truths if len(truths) > 1 else [*truths] * len(outputs)
        size = max(1, _NUMBERS // outputs[0].numel())
        found: list[Values] = []
        for start in range(0, len(outputs), size):
            some = truths[start : start + size] if len(truths) > 1 else truths
            found += self._together(outputs[start : start + size], some)
        if not self.own:
            return list(found)
        return [
            self._with_own(values, *pair)
            for values, *pair in zip(found, outputs, each, strict=True)
        ]

    def check(self, data: Dataset) -> None:
        """Refuse what cannot be measured on a part, before anything is trained.

        Raises:
            ConfigError: naming the metric and the reason.
        """
        for name in dict.fromkeys(("val", data.tested)):
            part: Split = getattr(data, name)
            if (truth := self.truth(part)) is None:
                continue
            if isinstance(truth, Truth):
                _check_numbers(self.names, truth, name)
            zeros = torch.zeros(len(part), self.spec.num_outputs)
            if isinstance(found := self._with_own({}, zeros, truth), RunFailed):
                raise ConfigError(f"{found} (tried on the {name} part, all scores 0)") from found

    def _together(self, outputs: Tensor, truths: Sequence[Truth | Tensor | None]) -> list[Values]:
        """Of each model, those of dlrun's own; of each of several targets as well."""
        columns: dict[str, Tensor] = {}
        for name, values in self._values(outputs, truths).items():
            if values.ndim == 1:
                columns[name] = values
                continue
            columns[name] = values.nanmean(-1)
            for at, target in enumerate(self.spec.target_names):
                if (one := of_target(name, target)) in self.declared.chosen:
                    columns[one] = values[..., at]
        if not columns:
            return [{} for _ in outputs]
        rows = zip(*(values.tolist() for values in columns.values()), strict=True)
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def _values(
        self, outputs: Tensor, truths: Sequence[Truth | Tensor | None]
    ) -> dict[str, Tensor]:
        """By name (K,), or (K, D)."""
        if isinstance(truths[0], Truth):
            parts = zip(*(truth for truth in truths if truth is not None), strict=True)
            predicted = Predicted.of(outputs, Truth(*map(_stacked, parts)), self.spec)
            return {name: numbers.FORMULAS[name](predicted) for name in self.names}
        targets = _stacked(truths)
        targets = targets.expand(len(outputs), *targets.shape[1:])
        found = classes.Classified.of(outputs, targets, self.spec)
        return {name: classes.formula(name, self.spec)(found) for name in self.names}

    def _with_own(
        self, values: Values, outputs: Tensor, truth: Truth | Tensor
    ) -> Values | RunFailed:
        pair = self._plain(outputs, truth)
        try:
            return values | {own.choice.name: own(*pair) for own in self.own}
        except RunFailed as failure:
            return failure

    def _plain(self, outputs: Tensor, truth: Truth | Tensor) -> tuple[Tensor, Tensor]:
        """What a metric of the user's own is given."""
        if isinstance(truth, Truth):
            found = Predicted.of(outputs, truth, self.spec)
            return found.values, found.truth.clone()
        return probabilities(outputs.cpu().double(), self.spec), truth.cpu().long().clone()


def _stacked(parts: Sequence[Any]) -> Any:
    """One tensor of those of the models, (1, ...) where there is one for all."""
    return None if parts[0] is None else torch.stack(list(parts))


def _check_task(choice: Choice, task: Task, spec: Spec) -> None:
    declared, said = task.declared, f"{choice.key} is {choice.name}"
    k = top_k(choice.name)
    if k and spec.task == "multiclass" and k >= spec.num_classes:
        raise ConfigError(
            f"{said}, but with {spec.num_classes} classes it is always 1; "
            f"use top_{max(2, spec.num_classes // 2)}_accuracy"
        )
    if declared.may_choose(choice.name):
        return
    if spec.task == "regression" and not spec.quantiles and of_quantiles(choice.name):
        raise ConfigError(
            f"{said}, which is of quantiles: set loss=quantile and loss.quantiles, as in [0.1,0.5,0.9]"
        )
    there = sorted({name.partition("/")[0] for name in (*declared.directions, *declared.optional)})
    raise ConfigError(
        f"{said}, but the data set has {task.asked(spec)}; choose from: {', '.join(there)}"
    )


def _check_numbers(names: Sequence[str], truth: Truth, part: str) -> None:
    if "mape" in names and truth.has_zeros:
        raise ConfigError(
            f"metrics has mape, which divides by the true values, but some of the {part} part are 0: use smape or mae"
        )
    if "mase" in names and truth.naive is None:
        raise ConfigError(
            "metrics has mase, which divides by the error of a naive forecast of a series in training: use smape or "
            "mae (for a run of a series by an earlier version, train a new one)"
        )


def chosen_metrics(
    config: RunConfig, task: Task, spec: Spec, preprocessing: Preprocessing
) -> ChosenMetrics:
    """What the setting `metrics` of a config adds to a task.

    Raises:
        ConfigError: one of them is not for this task, or cannot be had.
    """
    return ChosenMetrics(config.metrics, own_metrics(config.metrics), task, spec, preprocessing)


def own_metrics(choices: Sequence[Choice]) -> tuple[OwnMetric, ...]:
    """Those of the user's own: functions of (predictions, targets), or objects of a class that are called so.

    Raises:
        ConfigError: one that cannot be imported, or does not take its parameters.
    """
    return tuple(
        OwnMetric(choice, _function(choice.key, choice.node))
        for choice in choices
        if choice.node is not None
    )


def _function(key: str, node: Mapping[str, Any]) -> Own:
    is_class = isclass(located(key, node))
    built = component(key, node, given=() if is_class else _GIVEN)
    if not is_class:
        return partial(built.target, **built.arguments)
    made: Own = built()
    if not callable(made):
        raise ConfigError(
            f"{key}._target_ is {node['_target_']}, whose objects cannot be called: give it "
            "__call__(self, predictions, targets)"
        )
    return made
