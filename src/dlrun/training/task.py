"""What every kind of problem is: a loss to descend and metrics to report.

Shapes: B batch, N samples, C classes, D targets; of language S streams, T steps of time, V tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from dlrun.config.metrics import Metrics, of_target
from dlrun.data.base import Dataset, Preprocessing, Spec, TaskKind
from dlrun.data.loaders import Split, sent
from dlrun.training.copied import Copied
from dlrun.training.losses.base import Loss

NO_VARIANCE = torch.zeros((), dtype=torch.float64)  # of targets that are no numbers


class Task(ABC):
    """One kind of problem: a loss to descend and metrics to report.

    Attributes:
        name: as in a spec.
        criterion: the loss of scores and targets in their shape.
        declared: what `metrics` and `final_metrics` return, and which way each improves.
        meaning: of the outputs, in words for a program without dlrun.
        targets: the names of several targets, each of which has metrics of its own; () otherwise.
    """

    name: ClassVar[TaskKind]
    declared: Metrics
    meaning: ClassVar[str]

    def __init__(
        self,
        criterion: Loss,
        preprocessing: Preprocessing,
        targets: tuple[str, ...] = (),
    ) -> None:
        self.targets = targets
        if targets:
            apart = [n for n in self.declared.by_target if n != "loss" or criterion.by_target]
            self.declared = replace(self.declared, by_target=tuple(apart)).of_targets(targets)
        self.criterion, self.reduction = criterion, criterion.reduction
        # On the CPU until it is asked for: not every device has float64.
        self.target_std = torch.tensor(preprocessing.target_std, dtype=torch.float64)

    @staticmethod
    def asked(spec: Spec) -> str:
        """What is to be found of the data, for an error."""
        return f"{spec.num_classes} classes"

    def fit_for_loss(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs and targets of a batch as the loss takes them."""
        return outputs, targets

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The training loss of a batch: a scalar, the mean or the sum over its samples."""
        return self.criterion.batch(*self.fit_for_loss(outputs, targets))

    def sample_losses(
        self, outputs: Tensor, targets: Tensor, numbers: Mapping[str, Tensor]
    ) -> Tensor:
        """What each sample adds to the training loss (N,), by `numbers` of the loss of its own (N, ...)."""
        return self.criterion.of_samples(*self.fit_for_loss(outputs, targets), numbers)

    def plain_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean loss without what is done to training samples alone, a scalar: what evaluations compare."""
        return self.criterion.function(*self.fit_for_loss(outputs, targets), "mean")

    def plain_losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """`plain_loss` of K models (K,), from their outputs and targets (K, N, ...)."""
        losses: Tensor = torch.vmap(self.plain_loss)(outputs, targets)
        return losses

    @abstractmethod
    def scores(
        self, outputs: Tensor, targets: Tensor, target_std: Tensor, variance: Tensor
    ) -> dict[str, Tensor]:
        """The metrics beside the loss, scalars; one of whole numbers counts samples. Fit for torch.vmap."""

    def scores_of(self, outputs: Tensor, targets: Tensor, variance: Tensor) -> dict[str, Tensor]:
        """`scores`, with what the task itself knows of the targets."""
        target_std, variance = (beside(outputs, one) for one in (self.target_std, variance))
        return self.scores(outputs, targets, target_std, variance)

    def by_target(self, **metrics: Tensor) -> dict[str, Tensor]:
        """Metrics (D,) by the names of the targets."""
        return {
            of_target(name, target): values[at]
            for name, values in metrics.items()
            if name in self.declared.by_target
            for at, target in enumerate(self.targets)
        }

    def variance(self, part: Split) -> Tensor:
        """What r2 sets errors against: the variance of a part's true values in their own units.

        A scalar, or (D,) where each target has metrics of its own.
        """
        return NO_VARIANCE

    def loss_unit(self, part: str) -> tuple[object, ...]:
        """What losses on a part must have in common to be compared."""
        training = self.criterion.training_unit if part == "train" else ()
        return (*self.criterion.unit, *training)

    def aims(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """What the outputs for a batch are to be: the targets of the data, unless the task has others."""
        return targets

    def kept(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What metrics need of the outputs of a batch, to be kept until they are asked for."""
        return outputs

    def kept_targets(self, targets: Tensor) -> Tensor:
        """The targets of a batch, a row for each row of `kept`."""
        return targets

    def size(self, targets: Tensor) -> int:
        """How many samples a batch is."""
        return len(targets)

    def metrics(
        self,
        outputs: Tensor,
        targets: Tensor,
        *,
        loss: float | None = None,
        variance: Tensor | None = None,
    ) -> dict[str, float]:
        """Loss, unless it is known, and the usual metrics over all N samples.

        Args:
            variance: of the part that the samples are of; None where they are all of it, and no changes.
        """
        if loss is None:
            loss = self.plain_loss(outputs, targets).item()
        if variance is None:
            variance = self.variance(Split(targets, targets))
        _, found = Scores(self.scores_of(outputs, targets, variance), len(targets)).read()
        return {"loss": loss, **{name: value.item() for name, value in found.items()}}

    def with_baselines(self, data: Dataset) -> Dataset:
        """The same data with the baselines that depend on the loss."""
        return data

    def final_metrics(
        self, outputs: Tensor, targets: Tensor, *, variance: Tensor | None = None
    ) -> dict[str, float]:
        """`metrics`, and those worth their cost only once, at the end."""
        return self.metrics(outputs, targets, variance=variance)

    def total(self, losses: Tensor, sizes: Tensor) -> Tensor:
        """Sums over samples from the training losses of several batches and their sizes."""
        return losses * sizes if self.reduction == "mean" else losses


def stacked_metrics(
    tasks: Sequence[Task], outputs: Tensor, targets: Tensor, variances: Sequence[Tensor]
) -> list[dict[str, float]]:
    """`metrics` of K models of one kind of task, from their outputs and targets (K, N, ...) and variances."""
    scores = StackedScores(tasks, outputs, targets, variances)
    if _measure_alike(tasks):
        losses = tasks[0].plain_losses(outputs, targets)
    else:
        each = zip(tasks, outputs, targets, strict=True)
        losses = torch.stack([task.plain_loss(o, t) for task, o, t in each])
    losses, *columns = Copied([losses, *scores.columns]).read()
    return scores.metrics(losses, columns)


class StackedScores:
    """The scores of K models of one kind of task, computed on their device.

    Attributes:
        columns: of each score, all models' (K,).
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        outputs: Tensor,
        targets: Tensor,
        variances: Sequence[Tensor],
    ) -> None:
        if _measure_alike(tasks):
            target_std = beside(outputs, torch.stack([task.target_std for task in tasks]))
            variance = beside(outputs, torch.stack(list(variances)))
            scores = torch.vmap(tasks[0].scores)(outputs, targets, target_std, variance)
        else:
            each = zip(tasks, outputs, targets, variances, strict=True)
            of_each = [task.scores_of(o, t, variance) for task, o, t, variance in each]
            scores = {name: torch.stack([own[name] for own in of_each]) for name in of_each[0]}
        self.columns = list(scores.values())
        # Of a count of samples the share, as `Scores` has it.
        self._parts = {
            n: 1 if v.is_floating_point() else targets.shape[1] for n, v in scores.items()
        }

    def metrics(self, losses: Tensor, columns: Sequence[Tensor]) -> list[dict[str, float]]:
        """Those of each model, from losses (K,) and the columns as they are on the CPU."""
        rows = zip(*(column.tolist() for column in (losses, *columns)), strict=True)
        return [
            {
                "loss": loss,
                **{n: v / by for (n, by), v in zip(self._parts.items(), row, strict=True)},
            }
            for loss, *row in rows
        ]


def _measure_alike(tasks: Sequence[Task]) -> bool:
    """Whether their losses are of one unit; else each measures by a loss of its own."""
    return len({task.criterion.unit for task in tasks}) == 1


class Scores:
    """Scores as numbers, once they are read: all by one copy from the device, with what `others` are to go with them.

    Args:
        scores: of one model scalars, or (K,); one of whole numbers counts some of the `samples`.
    """

    def __init__(
        self, scores: Mapping[str, Tensor], samples: int, others: Sequence[Tensor] = ()
    ) -> None:
        self._whole = {n: 1 if s.is_floating_point() else samples for n, s in scores.items()}
        self._others, self._copied = len(others), Copied([*others, *scores.values()])

    def read(self) -> tuple[list[Tensor], dict[str, Tensor]]:
        """The others, and the scores by name, of those that count the shares; float64, on the CPU."""
        found = self._copied.read()
        others, scores = found[: self._others], found[self._others :]
        pairs = zip(self._whole.items(), scores, strict=True)
        return others, {name: score / whole for (name, whole), score in pairs}


def exact(numbers: Tensor) -> Tensor:
    """In float64, on the CPU where the device has none."""
    return numbers.double() if numbers.device.type != "mps" else numbers.cpu().double()


def beside(outputs: Tensor, known: Tensor) -> Tensor:
    """What is `known` of the targets, in float64 on the CPU, where `exact` outputs are."""
    return known if outputs.device.type == "mps" else sent(known, outputs.device)
