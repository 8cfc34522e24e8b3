"""Problems with numbers: means and medians, quantiles, and targets with a scale in each row. Shapes as in `task`."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from dlrun.config.metrics import MEDIAN, QUANTILE_LOSS, REGRESSION, bands, quantile_metrics
from dlrun.data.base import Dataset, Preprocessing, Spec
from dlrun.data.loaders import Split
from dlrun.training.losses.base import Loss
from dlrun.training.losses.quantities import Quantile
from dlrun.training.scores import sorted_quantiles
from dlrun.training.task import NO_VARIANCE, Task, exact


class Regression(Task):
    """One output a target (B, D), trained on standardised targets, reported in their own units."""

    name = "regression"
    declared = REGRESSION
    meaning = "values are scores * target_std + target_mean"

    @staticmethod
    def asked(spec: Spec) -> str:
        return "numbers to predict"

    def loss_unit(self, part: str) -> tuple[object, ...]:
        scale = tuple(f"{std:.6g}" for std in self.target_std.tolist())
        return (*super().loss_unit(part), *scale)

    def variance(self, part: Split) -> Tensor:
        """Of the values themselves, also where the targets are changes of them; over each target's own mean."""
        values = part.targets.cpu().double() * self.target_std
        if part.bases is not None:
            values = values + part.bases
        if not len(values):
            return NO_VARIANCE.expand(len(self.targets)) if self.targets else NO_VARIANCE
        squares = (values - values.mean(0)) ** 2
        return squares.mean(0) if self.targets else squares.mean()

    def scores(
        self, outputs: Tensor, targets: Tensor, target_std: Tensor, variance: Tensor
    ) -> dict[str, Tensor]:
        error = exact(self.criterion.points(outputs) - targets) * target_std
        losses = self.criterion.function(outputs, targets, "none") if self.targets else None
        return self._scores(error, losses, variance)

    def _scores(self, error: Tensor, losses: Tensor | None, variance: Tensor) -> dict[str, Tensor]:
        """From errors (N, D) in the targets' own units; of several targets with their losses (N, D)."""
        if losses is not None and self.targets:
            return self._scores_by_target(error, losses.mean(0), variance)
        mse = (error**2).mean()
        return {
            "mse": mse,
            "rmse": mse.sqrt(),
            "mae": error.abs().mean(),
            "r2": torch.where(variance > 0, 1 - mse / variance, float("nan")),
        }

    def _scores_by_target(
        self, error: Tensor, losses: Tensor, variance: Tensor
    ) -> dict[str, Tensor]:
        """Those of each target, and their means, from errors (N, D) in the targets' own units and losses (D,)."""
        mse, mae = (error**2).mean(0), error.abs().mean(0)
        rmse, r2 = mse.sqrt(), torch.where(variance > 0, 1 - mse / variance, float("nan"))
        means = {"mse": mse.mean(), "rmse": rmse.mean(), "mae": mae.mean(), "r2": r2.nanmean()}
        return {**means, **self.by_target(loss=losses, rmse=rmse, mae=mae, r2=r2)}


class QuantileRegression(Regression):
    """Q quantiles of each target (B, D * Q), those of the first target first: pinball loss (Koenker and Bassett, 1978).

    Each score learns its own quantile. Where scores of one target cross, they are sorted for metrics and
    predictions: that never makes the loss greater (Chernozhukov et al., 2010), and asks nothing of the model.
    """

    def __init__(
        self, criterion: Loss, preprocessing: Preprocessing, targets: tuple[str, ...] = ()
    ) -> None:
        assert isinstance(criterion, Quantile)
        self.quantiles = criterion.quantiles
        self.declared = quantile_metrics(self.quantiles)
        super().__init__(criterion, preprocessing, targets)

    def plain_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        in_order = sorted_quantiles(outputs, len(self.quantiles)).flatten(-2)
        return super().plain_loss(in_order, targets)

    def scores(
        self, outputs: Tensor, targets: Tensor, target_std: Tensor, variance: Tensor
    ) -> dict[str, Tensor]:
        predicted = exact(sorted_quantiles(outputs, len(self.quantiles)))
        targets = exact(targets)
        error = (predicted[..., self.quantiles.index(MEDIAN)] - targets) * target_std
        losses = self.criterion.function(predicted.flatten(-2), targets, "none")
        own = {QUANTILE_LOSS: losses * target_std}
        for band in bands(self.quantiles):
            lower, upper = predicted[..., band.lower], predicted[..., band.upper]
            inside = (lower <= targets) & (targets <= upper)
            own[f"coverage_{band.percent}"] = inside.double()
            own[f"width_{band.percent}"] = (upper - lower) * target_std
        found = self._scores(error, losses, variance)
        found |= {name: values.mean() for name, values in own.items()}
        found |= self.by_target(**{name: values.mean(0) for name, values in own.items()})
        return {name: found[name] for name in self.declared.always if name in found}

    def with_baselines(self, data: Dataset) -> Dataset:
        """The same data with what the quantiles of the training targets reach, where other baselines are known."""
        if not data.baselines:
            return data
        part, trained = data.split(data.tested), data.train.targets[:, : data.spec.num_targets]
        usual = np.quantile(trained.cpu().double().numpy(), self.quantiles, axis=0)  # (Q, D)
        outputs = torch.from_numpy(usual).T.reshape(1, -1).expand(len(part), -1)
        scores = self.scores_of(outputs, part.targets.cpu(), self.variance(part))
        reached = {name: value.item() for name, value in scores.items() if not math.isnan(value)}
        del reached["mse"]  # as of other baselines: rmse says the same
        return replace(data, baselines={**data.baselines, "training quantiles": reached})


class RegressionByRow(Regression):
    """The same where each sample has a scale of its own: targets (B, 2 D) are scaled ones, and what divided them."""

    def fit_for_loss(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return outputs, targets.chunk(2, -1)[0]

    def variance(self, part: Split) -> Tensor:
        values = in_own_units(part)
        return ((values - values.mean(0)) ** 2).mean() if len(values) else NO_VARIANCE

    def scores(
        self, outputs: Tensor, targets: Tensor, target_std: Tensor, variance: Tensor
    ) -> dict[str, Tensor]:
        standardised, std = targets.chunk(2, -1)
        return super().scores(outputs, standardised, exact(std), variance)


def in_own_units(part: Split) -> Tensor:
    """The true values (N, D) of a part whose targets have a scale in each row."""
    standardised, std = part.targets.cpu().double().chunk(2, -1)
    values = standardised * std
    return values if part.bases is None else values + part.bases


class QuantilesByRow(RegressionByRow, QuantileRegression):
    """Quantiles where each sample has a scale of its own."""
