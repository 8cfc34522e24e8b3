"""Losses of problems with classes. Shapes as in `base`."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F

from dlrun.config.schema import Probability
from dlrun.training.cross_entropy import row_cross_entropy
from dlrun.training.losses.base import Loss, Reduction


class _Smoothed(Loss):
    """A loss whose targets may be smoothed in training: a share of each is spread over all classes.

    Args:
        label_smoothing: that share (Szegedy et al., 2016).
    """

    neutral = {"label_smoothing": 0.0}

    def __init__(self, *, label_smoothing: Probability) -> None:
        self.label_smoothing = label_smoothing

    @property
    def numbers(self) -> Mapping[str, float | Tensor]:
        return {"label_smoothing": self.label_smoothing}

    @property
    def training_unit(self) -> tuple[object, ...]:
        return (self.label_smoothing,)


class CrossEntropy(_Smoothed):
    """-log softmax(scores)[target], of more than two classes, or of the next token of a text."""

    name = "cross_entropy"
    tasks = ("multiclass", "language")

    def function(self, outputs: Tensor, targets: Tensor, reduction: Reduction) -> Tensor:
        return F.cross_entropy(outputs, targets, reduction=reduction)

    def batch(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(
            outputs, targets, label_smoothing=self.label_smoothing, reduction=self.reduction
        )

    def rows(self, outputs: Tensor, targets: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
        return row_cross_entropy(outputs, targets, numbers.get("label_smoothing"))


class BinaryCrossEntropy(_Smoothed):
    """-log of the chance that a sigmoid of the score gives to the target, of questions of yes and no: 1.0 and 0.0."""

    name = "binary_cross_entropy"
    tasks = ("binary", "multilabel")

    def function(self, outputs: Tensor, targets: Tensor, reduction: Reduction) -> Tensor:
        return F.binary_cross_entropy_with_logits(outputs, targets, reduction=reduction)

    def batch(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self.label_smoothing:
            targets = _smoothed(targets, self.label_smoothing)
        return self.function(outputs, targets, self.reduction)

    def rows(self, outputs: Tensor, targets: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
        if "label_smoothing" in numbers:
            smoothing = numbers["label_smoothing"].view(-1, *[1] * (targets.ndim - 1))
            targets = _smoothed(targets, smoothing)
        return self.function(outputs, targets, "none")


def _smoothed(targets: Tensor, smoothing: Tensor | float) -> Tensor:
    return targets * (1 - smoothing) + 0.5 * smoothing
