"""Losses of numbers to predict, on targets that are standardised. Shapes as in `base`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt, Lt
from torch import Tensor
from torch.nn import functional as F

from dlrun.config.metrics import MEDIAN
from dlrun.config.schema import Positive
from dlrun.data.base import Preprocessing, Spec, TaskKind
from dlrun.data.loaders import Split
from dlrun.errors import ConfigError
from dlrun.training.losses.base import Loss, Reduction


class OfErrors(Loss):
    """A loss of numbers, the same in training and in evaluations."""

    tasks: ClassVar[tuple[TaskKind, ...]] = ("regression",)

    def rows(self, outputs: Tensor, targets: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
        return self.function(outputs, targets, "none")

    @property
    def training_unit(self) -> tuple[object, ...]:
        return (self.reduction,)


class MSE(OfErrors):
    """The squared error."""

    name = "mse"
    tasks = ("regression", "reconstruction")

    def function(self, outputs: Tensor, targets: Tensor, reduction: Reduction) -> Tensor:
        return F.mse_loss(outputs, targets, reduction=reduction)


class MAE(OfErrors):
    """The absolute error."""

    name = "mae"
    tasks = ("regression", "reconstruction")

    def function(self, outputs: Tensor, targets: Tensor, reduction: Reduction) -> Tensor:
        return F.l1_loss(outputs, targets, reduction=reduction)


class Huber(OfErrors):
    """e^2 / 2 of errors e up to delta, delta (|e| - delta / 2) beyond (Huber, 1964).

    Args:
        delta: in standard deviations of the training targets.
    """

    name = "huber"
    tasks = ("regression", "reconstruction")

    def __init__(self, *, delta: Positive) -> None:
        self.delta = delta

    def function(self, outputs: Tensor, targets: Tensor, reduction: Reduction) -> Tensor:
        return F.huber_loss(outputs, targets, reduction=reduction, delta=self.delta)

    def rows(self, outputs: Tensor, targets: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
        delta = numbers["delta"].unsqueeze(1)
        size = (outputs - targets).abs()
        return torch.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta))

    @property
    def numbers(self) -> Mapping[str, float | Tensor]:
        return {"delta": self.delta}

    @property
    def unit(self) -> tuple[object, ...]:
        return (self.name, self.delta)


class Quantile(OfErrors):
    """The pinball loss of quantiles to predict, a score for each (Koenker and Bassett, 1978).

    Args:
        quantiles: between 0 and 1, ascending, with the median.

    Raises:
        ConfigError: they do not ascend, or lack the median.
    """

    name = "quantile"

    def __init__(self, *, quantiles: list[Annotated[float, Gt(0), Lt(1)]]) -> None:
        said, mended = f"loss.quantiles is {quantiles}, but", sorted({*quantiles, MEDIAN})
        if any(later <= earlier for earlier, later in pairwise(quantiles)):
            raise ConfigError(f"{said} must ascend, each of them once; set it to {mended}")
        if MEDIAN not in quantiles:
            raise ConfigError(
                f"{said} must contain {MEDIAN}: the median is the prediction that mae and rmse measure; "
                f"set it to {mended}"
            )
        self.quantiles = quantiles

    def function(self, outputs: Tensor, targets: Tensor, reduction: Reduction) -> Tensor:
        return pinball_loss(outputs, targets, self.quantiles, reduction)

    def spec(self, spec: Spec) -> Spec:
        quantiles = tuple(self.quantiles)
        return replace(spec, num_outputs=spec.num_targets * len(quantiles), quantiles=quantiles)

    @property
    def unit(self) -> tuple[object, ...]:
        return (self.name, *self.quantiles)


class Poisson(OfErrors):
    """Half the deviance of counts y from rates r: r - y + y log(y / r), of a Poisson distribution.

    A score z is the logarithm of a rate, in means of the training targets: r = mean exp(z). The targets are taken in
    their own units.
    """

    name = "poisson"
    link = "log"

    def fit(self, spec: Spec, preprocessing: Preprocessing, train: Split | None) -> None:
        if preprocessing.kind == "series":
            raise ConfigError(
                "loss is poisson, but the targets of a series may be changes, or scaled one by one: "
                "choose loss=mse or loss=quantile"
            )
        mean, std = (
            torch.tensor(numbers, dtype=torch.float32)
            for numbers in (preprocessing.target_mean, preprocessing.target_std)
        )
        if train is not None:
            device = train.targets.device
            mean, std = mean.to(device), std.to(device)
            _refuse_no_counts(train.targets * std + mean, mean, std, spec)
        self.mean, self.std = mean, std

    def function(self, outputs: Tensor, targets: Tensor, reduction: Reduction) -> Tensor:
        losses = self._each(outputs, targets, self.mean, self.std)
        return losses if reduction == "none" else self.reduced(losses, reduction)

    def rows(self, outputs: Tensor, targets: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
        return self._each(outputs, targets, numbers["mean"], numbers["std"])

    @staticmethod
    def _each(outputs: Tensor, targets: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        counts = (targets * std + mean).clamp(min=0)  # as rounding may leave them below
        return mean * outputs.exp() - counts + torch.xlogy(counts, counts / mean) - counts * outputs

    def points(self, outputs: Tensor) -> Tensor:
        return outputs.expm1() * (self.mean / self.std)

    def spec(self, spec: Spec) -> Spec:
        return replace(spec, link=self.link)

    @property
    def numbers(self) -> Mapping[str, float | Tensor]:
        return {"mean": self.mean, "std": self.std}

    @property
    def unit(self) -> tuple[object, ...]:
        return (self.name, *self.mean.tolist(), *self.std.tolist())


def _refuse_no_counts(values: Tensor, mean: Tensor, std: Tensor, spec: Spec) -> None:
    """Refuse targets (N, D), in their own units, that are no counts."""
    names = spec.target_names or [""] * len(mean)
    rounding = 1e-6 * (mean.abs() + std)
    for name, column, of_rounding in zip(names, values.unbind(1), rounding, strict=True):
        said = f"loss is poisson, but the target {name}".rstrip()
        if bool((column < -of_rounding).any()):
            raise ConfigError(
                f"{said} has values below 0, as {column.min().item():.6g}; counts are 0 or more: choose loss=mse"
            )
        if not bool((column > of_rounding).any()):
            raise ConfigError(
                f"{said} is 0 in all training rows, which is no rate: choose loss=mse"
            )


def pinball_loss(
    outputs: Tensor, targets: Tensor, quantiles: Sequence[float], reduction: Reduction = "mean"
) -> Tensor:
    """max(q (y - f), (q - 1) (y - f)), its mean over the quantiles, for outputs (..., D * Q) and targets (..., D)."""
    errors = (targets.unsqueeze(-1) - outputs.unflatten(-1, (-1, len(quantiles)))).unbind(-1)
    # Numbers, and no tensor of them: a CUDA graph takes nothing from the memory of the CPU.
    pairs = zip(quantiles, errors, strict=True)
    each = [torch.maximum(q * error, (q - 1) * error) for q, error in pairs]
    losses = torch.stack(each).mean(0)
    match reduction:
        case "mean":
            return losses.mean()
        case "sum":
            return losses.sum()
    return losses
