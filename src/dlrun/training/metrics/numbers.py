"""Metrics of quantities, in their own units. As in `classes`, with any number of leading axes.

Shapes: N samples, D targets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from dlrun.data.base import Preprocessing, Spec
from dlrun.data.loaders import Split
from dlrun.training.scores import point_scores

_ROUNDING = 1e-6  # of targets, which are kept in 32 bits: what is smaller may as well be 0


class Truth(NamedTuple):
    """What scores for a part of the data are measured against, float64.

    Attributes:
        values: in their own units (N, D).
        std, mean: a score stands for score * std + mean, (1, D) or (N, D).
        naive: of a series, the mean error of a naive forecast in training (N, D).
    """

    values: Tensor
    std: Tensor
    mean: Tensor
    naive: Tensor | None

    @classmethod
    def of(cls, part: Split, preprocessing: Preprocessing) -> Truth:
        """Of the targets of a part."""
        targets = part.targets.cpu().double()
        if preprocessing.scaled_by_row:
            targets, std = targets.chunk(2, -1)
            mean = torch.zeros(1, 1, dtype=torch.float64)
        else:
            std, mean = (
                torch.tensor(numbers, dtype=torch.float64).unsqueeze(0)
                for numbers in (preprocessing.target_std, preprocessing.target_mean)
            )
        if part.bases is not None:
            mean = mean + part.bases.cpu()
        return cls(targets * std + mean, std, mean, part.naive)

    @property
    def has_zeros(self) -> bool:
        """Whether a value is 0, as far as 32 bits tell."""
        return bool(_zeros(self.values).any())


class Predicted(NamedTuple):
    """Predictions beside the true values, both in their own units (..., N, D).

    Attributes:
        naive: as of the truth.
        by_target: whether targets are looked at one by one; else they are steps of one.
    """

    values: Tensor
    truth: Tensor
    naive: Tensor | None
    by_target: bool

    @classmethod
    def of(cls, outputs: Tensor, truth: Truth, spec: Spec) -> Predicted:
        """From raw scores (..., N, D), or of quantiles (..., N, D * Q): then the median."""
        scores = point_scores(outputs.cpu().double(), spec, truth.mean, truth.std)
        values = scores * truth.std + truth.mean
        return cls(values, truth.values, truth.naive, bool(spec.target_names))

    @property
    def errors(self) -> Tensor:
        """Absolute ones (..., N, D)."""
        return (self.values - self.truth).abs()


def mape(found: Predicted) -> Tensor:
    """The mean of |y - f| / |y| (1 is 100 %); nan where a y is 0."""
    shares = found.errors / found.truth.abs()
    return torch.where(_zeros(found.truth).any(-2), float("nan"), shares.mean(-2))


def smape(found: Predicted) -> Tensor:
    """The mean of 2 |y - f| / (|y| + |f|), from 0 to 2; 0 where both are 0 (Makridakis, 1993)."""
    sizes = found.truth.abs() + found.values.abs()
    return torch.where(sizes > 0, 2 * found.errors / sizes, 0.0).mean(-2)


def mase(found: Predicted) -> Tensor:
    """The mean of |y - f|, divided by what a naive forecast errs by in training (Hyndman and Koehler, 2006).

    That forecast is the value of one step before, or of one season before where `dataset.season` is set. nan where it
    errs by nothing.
    """
    assert found.naive is not None, "checked before the training"
    naive = torch.where(found.naive > 0, found.naive, float("nan"))
    return (found.errors / naive).mean(-2)


def median_absolute_error(found: Predicted) -> Tensor:
    """The median of |y - f|; of an even number the mean of the two in the middle."""
    ascending, count = found.errors.sort(-2).values, found.errors.shape[-2]
    return (ascending[..., (count - 1) // 2, :] + ascending[..., count // 2, :]) / 2


def explained_variance(found: Predicted) -> Tensor:
    """1 - var(y - f) / var(y): as r2, but blind to a constant error; nan where y is constant."""
    left = (found.truth - found.values).var(-2, correction=0)
    whole = found.truth.var(-2, correction=0).expand(left.shape)
    if not found.by_target:
        left, whole = left.mean(-1, keepdim=True), whole.mean(-1, keepdim=True)
    return torch.where(whole > 0, 1 - left / whole, float("nan"))


def _zeros(values: Tensor) -> Tensor:
    largest = values.abs().amax(-2, keepdim=True)
    return values.abs() <= _ROUNDING * largest


FORMULAS: Mapping[str, Callable[[Predicted], Tensor]] = {
    "mape": mape,
    "smape": smape,
    "mase": mase,
    "median_absolute_error": median_absolute_error,
    "explained_variance": explained_variance,
}
