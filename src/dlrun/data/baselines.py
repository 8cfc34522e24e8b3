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
    most = majority_of(data)
    if most is not None:
        found = majority_class(most, part.targets)
    elif data.spec.task == "regression" and not data.preprocessing.scaled_by_row:
        found = training_mean(data.train.targets, part.targets, data.preprocessing.target_std)
    else:
        return data
    return replace(data, baselines={**found, **data.baselines})


def majority_of(data: Dataset) -> int | None:
    """The class that the training part has most of; None where there are no classes."""
    if not data.spec.num_classes:
        return None
    return int(data.train.targets.long().bincount().argmax())


def majority_class(most: int, tested: Tensor) -> Mapping[str, Mapping[str, float]]:
    """What is right where all are said to be of the class `most`."""
    return {"majority class": {"accuracy": (tested.long() == most).double().mean().item()}}


def training_mean(
    train: Tensor, tested: Tensor, target_std: list[float]
) -> Mapping[str, Mapping[str, float]]:
    """The errors of the mean of `train`, both (N, D) as `Preprocessing.targets` gives them."""
    scale = np.array(target_std)
    targets, mean = tested.double().numpy() * scale, train.double().mean(0).numpy() * scale
    return {"training mean": forecast_errors(targets, mean)}


def forecast_errors(targets: np.ndarray, predictions: np.ndarray) -> Mapping[str, float]:
    """Metrics of predictions of the targets (N, ...), both in their own units, as a task names them."""
    errors = targets - predictions
    mse, variance = (errors**2).mean(), ((targets - targets.mean(0)) ** 2).mean()
    r2 = {"r2": float(1 - mse / variance)} if variance > 0 else {}
    return {"rmse": float(np.sqrt(mse)), "mae": float(np.abs(errors).mean()), **r2}
