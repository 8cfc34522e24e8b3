"""Losses of problems with classes. Shapes as in `base`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from dlrun.config.schema import NonNegative, Positive, Probability
from dlrun.data.base import Preprocessing, Spec
from dlrun.data.loaders import Split
from dlrun.training.cross_entropy import row_cross_entropy
from dlrun.training.losses.base import Loss, Reduction
from dlrun.training.losses.class_weights import (
    ClassWeights,
    class_weights,
    of_classes,
    positive_weights,
)

_SMOOTHING, _WEIGHTS, _POSITIVE = "label_smoothing", "class_weights", "positive_weight"


class CrossEntropy(Loss):
    """-log softmax(scores)[target], of more than two classes, or of the next token of a text.

    Args:
        label_smoothing: the share of a target that is spread over all classes (Szegedy et al., 2016).
        class_weights: by which the loss of a training sample is multiplied, as `class_weights` says.
    """

    name = "cross_entropy"
    tasks = ("multiclass", "language")
    neutral = {_SMOOTHING: 0.0}

    def __init__(self, *, label_smoothing: Probability, class_weights: ClassWeights) -> None:
        self.label_smoothing, self.class_weights = label_smoothing, class_weights
        self.weights: Tensor | None = None  # (C,), once fitted

    def fit(self, spec: Spec, preprocessing: Preprocessing, train: Split | None) -> None:
        self.weights = class_weights(self.class_weights, spec, train)

    def function(self, outputs: Tensor, targets: Tensor, reduction: Reduction) -> Tensor:
        return F.cross_entropy(outputs, targets, reduction=reduction)

    def batch(self, outputs: Tensor, targets: Tensor) -> Tensor:
        reduction: Reduction = self.reduction if self.weights is None else "none"
        losses = F.cross_entropy(
            outputs, targets, label_smoothing=self.label_smoothing, reduction=reduction
        )
        if self.weights is None:
            return losses
        return self.reduced(losses * of_classes(self.weights, targets))

    def rows(self, outputs: Tensor, targets: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
        losses = row_cross_entropy(outputs, targets, numbers.get(_SMOOTHING))
        if _WEIGHTS in numbers:
            losses = losses * of_classes(numbers[_WEIGHTS], targets)
        return losses

    @property
    def is_balanced(self) -> bool:
        return self.class_weights == "balanced"

    @property
    def numbers(self) -> Mapping[str, float | Tensor]:
        weights = {} if self.weights is None else {_WEIGHTS: self.weights}
        return {_SMOOTHING: self.label_smoothing, **weights}

    @property
    def training_unit(self) -> tuple[object, ...]:
        return (self.label_smoothing, str(self.class_weights))


class BinaryCrossEntropy(Loss):
    """-log of the chance that a sigmoid of the score gives to the target, of questions of yes and no: 1.0 and 0.0.

    Args:
        label_smoothing: the share of a target that is spread over both classes.
        positive_weight: by which the loss of a training sample of the second class is multiplied; balanced: the rows of
            the first class to one of the second in the training part, of several targets for each of them.
    """

    name = "binary_cross_entropy"
    tasks = ("binary", "multilabel", "reconstruction")
    neutral = {_SMOOTHING: 0.0, _POSITIVE: 1.0}

    def __init__(
        self,
        *,
        label_smoothing: Probability,
        positive_weight: Positive | Literal["balanced"],
    ) -> None:
        self.label_smoothing, self.positive_weight = label_smoothing, positive_weight
        self.weight: float | Tensor = 1.0  # or, once fitted to be balanced, () or (D,)

    def fit(self, spec: Spec, preprocessing: Preprocessing, train: Split | None) -> None:
        if not isinstance(self.positive_weight, str):
            self.weight = self.positive_weight
        elif train is not None:
            self.weight = positive_weights(train)

    def function(self, outputs: Tensor, targets: Tensor, reduction: Reduction) -> Tensor:
        return F.binary_cross_entropy_with_logits(outputs, targets, reduction=reduction)

    def batch(self, outputs: Tensor, targets: Tensor) -> Tensor:
        smoothed = targets
        if self.label_smoothing:
            smoothed = _smoothed(targets, self.label_smoothing)
        if isinstance(self.weight, float) and self.weight == 1.0:
            return self.function(outputs, smoothed, self.reduction)
        losses = self.function(outputs, smoothed, "none")
        return self.reduced(losses * _weighted(targets, self.weight))

    def rows(self, outputs: Tensor, targets: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
        smoothed = targets
        if _SMOOTHING in numbers:
            smoothed = _smoothed(targets, _beside(numbers[_SMOOTHING], targets))
        losses = self.function(outputs, smoothed, "none")
        if _POSITIVE in numbers:
            losses = losses * _weighted(targets, _beside(numbers[_POSITIVE], targets))
        return losses

    @property
    def is_balanced(self) -> bool:
        return self.positive_weight == "balanced"

    @property
    def numbers(self) -> Mapping[str, float | Tensor]:
        return {_SMOOTHING: self.label_smoothing, _POSITIVE: self.weight}

    @property
    def training_unit(self) -> tuple[object, ...]:
        return (self.label_smoothing, self.positive_weight)


class Focal(Loss):
    """-(1 - p)^gamma log p, where p is the chance given to the target (Lin et al., 2017): what is sure counts less.

    Args:
        gamma: 0 makes it the cross-entropy; 2 is usual.
        class_weights: as of `CrossEntropy`, alpha in the paper.
    """

    name = "focal"
    tasks = ("multiclass", "binary", "multilabel")

    def __init__(self, *, gamma: NonNegative, class_weights: ClassWeights) -> None:
        self.gamma, self.class_weights = gamma, class_weights
        self.weights: Tensor | None = None  # (C,), of several targets (D, 2), once fitted

    def fit(self, spec: Spec, preprocessing: Preprocessing, train: Split | None) -> None:
        self.weights = class_weights(self.class_weights, spec, train)

    def function(self, outputs: Tensor, targets: Tensor, reduction: Reduction) -> Tensor:
        losses = self._each(outputs, targets, self.gamma)
        return losses if reduction == "none" else self.reduced(losses, reduction)

    def batch(self, outputs: Tensor, targets: Tensor) -> Tensor:
        losses = self._each(outputs, targets, self.gamma)
        if self.weights is not None:
            losses = losses * of_classes(self.weights, targets)
        return self.reduced(losses)

    def rows(self, outputs: Tensor, targets: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
        losses = self._each(outputs, targets, _beside(numbers["gamma"], targets))
        if _WEIGHTS in numbers:
            losses = losses * of_classes(numbers[_WEIGHTS], targets)
        return losses

    @staticmethod
    def _each(outputs: Tensor, targets: Tensor, gamma: Tensor | float) -> Tensor:
        """By the logarithms of p and 1 - p: of p itself the power has no gradient where p is rounded to 1."""
        if targets.is_floating_point():  # yes or no
            scores = torch.where(targets > 0.5, outputs, -outputs)
            return -(gamma * F.logsigmoid(-scores)).exp() * F.logsigmoid(scores)
        target = targets.unsqueeze(1)
        total = outputs.logsumexp(1)
        log_chance = outputs.gather(1, target).squeeze(1) - total
        others = outputs.scatter(1, target, float("-inf")).logsumexp(1) - total
        return -(gamma * others).exp() * log_chance

    @property
    def is_balanced(self) -> bool:
        return self.class_weights == "balanced"

    @property
    def numbers(self) -> Mapping[str, float | Tensor]:
        weights = {} if self.weights is None else {_WEIGHTS: self.weights}
        return {"gamma": self.gamma, **weights}

    @property
    def unit(self) -> tuple[object, ...]:
        return (self.name, self.gamma)

    @property
    def training_unit(self) -> tuple[object, ...]:
        return (str(self.class_weights),)


def _smoothed(targets: Tensor, smoothing: Tensor | float) -> Tensor:
    return targets * (1 - smoothing) + 0.5 * smoothing


def _weighted(targets: Tensor, weight: Tensor | float) -> Tensor:
    """What the loss of each target is multiplied by, where that of 1.0 has a `weight`."""
    return 1 + targets * (weight - 1)


def _beside(numbers: Tensor, targets: Tensor) -> Tensor:
    """Numbers of each sample, (N,) or (N, D), to be broadcast with targets."""
    return numbers.view(*numbers.shape, *[1] * (targets.ndim - numbers.ndim))
