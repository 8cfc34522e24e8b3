"""What needs no model: the figures that every result is to be read against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
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
    errors = (tested.double() - train.double().mean(0)) * torch.tensor(
        target_std, dtype=torch.float64
    )
    rmse = (errors**2).mean().sqrt().item()
    return {"training mean": {"rmse": rmse, "mae": errors.abs().mean().item()}}
