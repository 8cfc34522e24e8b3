"""What needs no model: the figures that every result is to be read against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from dlrun.config.metrics import of_target
from dlrun.data.base import Dataset
from dlrun.data.fingerprint import Majority


def with_baselines(data: Dataset) -> Dataset:
    """The same data with what the most frequent class, or the mean, of the training part reaches."""
    part = data.split(data.tested)
    most, spec = majority_of(data), data.spec
    if most is not None:
        found = majority_class(most, part.targets, spec.target_names)
    elif spec.task == "regression" and not data.preprocessing.scaled_by_row:
        std = data.preprocessing.target_std
        found = training_mean(data.train.targets, part.targets, std, spec.target_names)
    else:
        return data
    return replace(data, baselines={**found, **data.baselines})


def majority_of(data: Dataset) -> Majority:
    """The class that the training part has most of, or that of each target; None where there are no classes."""
    targets = data.train.targets
    if data.spec.labels:
        return (2 * targets.sum(0) > len(targets)).long().tolist()
    return int(targets.long().bincount().argmax()) if data.spec.num_classes else None


def majority_class(
    most: int | list[int], tested: Tensor, targets: Sequence[str] = ()
) -> Mapping[str, Mapping[str, float]]:
    """What is right where all are said to be of the class `most`, of several `targets` one for each."""
    right = (tested.long() == tested.new_tensor(most).long()).double()
    found = {"accuracy": right.mean().item()}
    if targets:
        found["exact_match"] = right.prod(1).mean().item()
        each = zip(targets, right.mean(0).tolist(), strict=True)
        found |= {of_target("accuracy", target): share for target, share in each}
    return {"majority class": found}


def training_mean(
    train: Tensor, tested: Tensor, target_std: list[float], names: Sequence[str] = ()
) -> Mapping[str, Mapping[str, float]]:
    """The errors of the mean of `train`, both (N, D) as `Preprocessing.targets` gives them.

    Args:
        names: of the targets, where each has metrics of its own.
    """
    scale = np.array(target_std)
    targets, mean = tested.double().numpy() * scale, train.double().mean(0).numpy() * scale
    if not names:
        return {"training mean": forecast_errors(targets, mean)}
    each = [forecast_errors(targets[:, at], mean[at]) for at in range(len(names))]
    means = {
        metric: float(np.mean([found[metric] for found in each if metric in found]))
        for metric in max(each, key=len)
    }
    of_each = {
        of_target(metric, name): value
        for name, found in zip(names, each, strict=True)
        for metric, value in found.items()
    }
    return {"training mean": means | of_each}


def forecast_errors(targets: np.ndarray, predictions: np.ndarray) -> Mapping[str, float]:
    """Metrics of predictions of the targets (N, ...), both in their own units, as a task names them."""
    errors = targets - predictions
    mse, variance = (errors**2).mean(), ((targets - targets.mean(0)) ** 2).mean()
    r2 = {"r2": float(1 - mse / variance)} if variance > 0 else {}
    return {"rmse": float(np.sqrt(mse)), "mae": float(np.abs(errors).mean()), **r2}
