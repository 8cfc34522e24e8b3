"""What every loss is: a number to descend, of the outputs of a model and the targets of its data.

Shapes: B batch, N samples, C classes, D targets, K runs trained as one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from dlrun.data.base import Link, Preprocessing, Spec, TaskKind
from dlrun.data.loaders import Split

Reduction = Literal["mean", "sum", "none"]


class Loss(ABC):
    """A loss: keyword parameters of `__init__` are its settings.

    The task that calls it gives the scores in the shape of the targets: (N,) of two classes, (N, C) of more, of which
    targets are the numbers (N,), and (N, D) of several targets of yes and no, or of numbers.

    Attributes:
        name: of the option that it is.
        tasks: the kinds of problem that it fits; () for all.
        neutral: of `numbers`, the value at which one changes nothing.
        not_stacked: why runs with this loss cannot be trained as one; empty where they can.
        by_target: whether each of several targets has a loss of its own, of which the loss is the mean.
        link: how the scores of a regression become predictions, as in a spec.
        reduction: of the losses of a batch, the shared setting.
    """

    name: ClassVar[str]
    tasks: ClassVar[tuple[TaskKind, ...]]
    neutral: ClassVar[Mapping[str, float]] = {}
    not_stacked: ClassVar[str] = ""
    link: ClassVar[Link] = "identity"
    by_target: ClassVar[bool] = True
    reduction: Reduction = "mean"

    @abstractmethod
    def function(self, outputs: Tensor, targets: Tensor, reduction: Reduction) -> Tensor:
        """What evaluations compare: without what is done to training samples alone, such as smoothing and weights.

        A scalar, or with the reduction `none` the loss of each sample and target, in the shape of the targets.
        """

    @abstractmethod
    def rows(self, outputs: Tensor, targets: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
        """The training loss of each sample (and target), (N,) or (N, D), by `numbers` of its own (N, ...)."""

    def batch(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The training loss of a batch: a scalar, the mean or the sum over its samples."""
        return self.function(outputs, targets, self.reduction)

    def of_samples(self, outputs: Tensor, targets: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
        """What each sample adds to the training loss (N,), by `numbers` of its own."""
        losses = self.rows(outputs, targets, numbers)
        if losses.ndim == 1:
            return losses
        return losses.mean(1) if self.reduction == "mean" else losses.sum(1)

    @property
    def is_balanced(self) -> bool:
        """Whether its weights make all classes count alike."""
        return False

    @property
    def numbers(self) -> Mapping[str, float | Tensor]:
        """What may differ between runs that are trained as one: numbers, or tensors of one shape."""
        return {}

    @property
    def unit(self) -> tuple[object, ...]:
        """What evaluations by this loss must have in common to be compared."""
        return (self.name,)

    @property
    def training_unit(self) -> tuple[object, ...]:
        """The same of training losses, beside `unit`."""
        return ()

    def suited(self, spec: Spec) -> Loss:
        """The loss that this one is for the data of `spec`.

        Raises:
            ConfigError: one of its settings does not fit them.
        """
        return self

    def spec(self, spec: Spec) -> Spec:
        """The spec of the data for a model with this loss."""
        return spec

    def fit(  # noqa: B027  most losses need nothing
        self, spec: Spec, preprocessing: Preprocessing, train: Split | None
    ) -> None:
        """Take from the data what it needs; of the training part, None where nothing is trained.

        Raises:
            ConfigError: they do not fit.
        """

    def points(self, outputs: Tensor) -> Tensor:
        """The standardised numbers (N, D) that outputs predict, of numbers."""
        return outputs

    def reduced(self, losses: Tensor, reduction: Reduction | None = None) -> Tensor:
        """One loss of those of samples and targets, by the shared setting where no reduction is named."""
        return losses.sum() if (reduction or self.reduction) == "sum" else losses.mean()


def side_by_side(losses: Sequence[Loss], like: Tensor) -> dict[str, Tensor]:
    """The numbers of K losses of one kind (K, ...), without those that change nothing in any."""
    found = {}
    for name in losses[0].numbers:
        values: list[Any] = [loss.numbers[name] for loss in losses]
        neutral = losses[0].neutral.get(name, float("nan"))
        if any(bool((torch.as_tensor(value) != neutral).any()) for value in values):
            # Numbers of Python become one tensor of the CPU first, which a device is then given as a whole.
            column = torch.stack([torch.as_tensor(value, dtype=like.dtype) for value in values])
            found[name] = column.to(like.device)
    return found
