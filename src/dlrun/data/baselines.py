"""What needs no model: the figures that every result is to be read against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from torch import Tensor

from dlrun.data.base import Dataset


def with_baselines(data: Dataset) -> Dataset:
    """The same data with what the most frequent class, or the mean, of the training part reaches."""
    part = data.split(data.tested)
    if data.spec.num_classes:
        found = _majority(data.train.targets, part.targets)
    elif data.spec.task == "regression":
        found = _mean(data.train.targets, part.targets, data.preprocessing.target_std)
    else:
        return data
    return replace(data, baselines={**found, **data.baselines})


def _majority(train: Tensor, tested: Tensor) -> Mapping[str, Mapping[str, float]]:
    most = train.long().bincount().argmax()
    return {"majority class": {"accuracy": (tested.long() == most).double().mean().item()}}


def _mean(
    train: Tensor, tested: Tensor, target_std: list[float]
) -> Mapping[str, Mapping[str, float]]:
    scale = np.array(target_std)
    truths, mean = tested.double().numpy() * scale, train.double().mean(0).numpy() * scale
    return {"training mean": forecast_errors(truths, mean)}


def forecast_errors(truths: np.ndarray, told: np.ndarray) -> Mapping[str, float]:
    """Metrics of what was told of the true values (N, ...), both in their own units, as a task names them."""
    errors = truths - told
    mse, variance = (errors**2).mean(), ((truths - truths.mean(0)) ** 2).mean()
    r2 = {"r2": float(1 - mse / variance)} if variance > 0 else {}
    return {"rmse": float(np.sqrt(mse)), "mae": float(np.abs(errors).mean()), **r2}
