"""A run's model applied again: to a part of its data set, or to new inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from dlrun import config
from dlrun.build import split_component
from dlrun.config import DataSettings
from dlrun.data.prepare import prepare
from dlrun.forward import outputs_in_order
from dlrun.restore import Trained, load_trained
from dlrun.run_directory import RunDirectory
from dlrun.tasks import class_confusion, make_task, probabilities

_BATCH = 1024


def evaluate(
    run: RunDirectory, plain: Mapping[str, Any], *, split: str, which: str
) -> tuple[dict[str, float], list[list[int]] | None, tuple[str, ...]]:
    """(metrics, confusion matrix, class names) of a run's weights on one part of its data set, on the CPU."""
    settings = config.parse(plain)
    trained = load_trained(run, plain, which=which)
    source, data_settings = split_component("dataset", settings.dataset, DataSettings)
    data = prepare(source(), data_settings)
    part = data.split(split)
    task = make_task(data.spec, settings.loss, data.preprocessing)
    with torch.inference_mode():
        outputs = outputs_in_order(
            trained.model, part, spec=data.spec, task=task, size=_BATCH, dtype=torch.float32
        )
    metrics = {
        f"{split}/{name}": value
        for name, value in task.final_metrics(
            outputs, part.targets, variance=task.variance(part)
        ).items()
    }
    return metrics, class_confusion(outputs, part.targets, data.spec), data.spec.class_names


def forward(trained: Trained, inputs: torch.Tensor) -> torch.Tensor:
    """Raw scores (N, outputs) of normalised inputs."""
    with torch.inference_mode():
        return torch.cat([trained.model(part) for part in inputs.split(_BATCH)])


def predict(trained: Trained, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Predictions for raw inputs (N, *input_shape), scaled as in training.

    Returns:
        Class numbers (N,) and probabilities (N, C); or predicted values (N, D) in their own units and None.
    """
    outputs = forward(trained, trained.preprocessing.inputs(raw)).double()
    if trained.spec.num_classes:
        chances = probabilities(outputs, trained.spec)
        return chances.argmax(1).numpy(), chances.numpy()
    return trained.preprocessing.values(outputs, raw).numpy(), None
