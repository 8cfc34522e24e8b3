"""A run's model applied to a part of its data set, or to new inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dlrun.config.metrics import MEDIAN
from dlrun.config.settings import parse
from dlrun.data.kind import Labelled
from dlrun.data.kinds import kind_of, read_labelled
from dlrun.inference.load import Trained, load_trained
from dlrun.storage.run_directory import RunDirectory
from dlrun.storage.stored_run import reported_weights
from dlrun.training.build import prepared
from dlrun.training.forward import outputs_in_order
from dlrun.training.scores import class_confusion, probabilities, sorted_quantiles
from dlrun.training.tasks import make_task

_BATCH = 1024
_NUMBERS = 2**18  # of a batch of rows of few numbers: small batches cost more than their work


@dataclass(frozen=True)
class Evaluation:
    """What a run's weights reach on one part of its data, or on new rows.

    Attributes:
        which, epoch, step: the weights: best or last, and of when.
        rows, unit: how many samples, and what they are called.
        metrics: by name, as a run's own, `test/accuracy`.
        baselines: as of a `Dataset`; empty where none are known for this part.
        confusion: rows are true classes, columns predicted ones; None where there are no classes.
    """

    which: str
    epoch: int
    step: int
    rows: int
    unit: str
    metrics: dict[str, float]
    baselines: Mapping[str, Mapping[str, float]]
    confusion: list[list[int]] | None
    class_names: tuple[str, ...]


def evaluate(
    run: RunDirectory,
    plain: Mapping[str, Any],
    *,
    split: str,
    which: str | None,
    new: str | list[str] | None = None,
) -> Evaluation:
    """Measure a run's weights on one part of its data set, or on the rows that `new` names, on the CPU.

    Args:
        which: best or last; None for the weights that the run reported.

    Raises:
        ConfigError: there are no such weights or rows, or the data are not those of the run.
    """
    settings = parse(plain)
    trained = load_trained(run, plain, which=which or reported_weights(run, plain))
    spec = trained.spec
    task = make_task(spec, settings.loss, trained.preprocessing)
    if new is None:
        data = task.with_baselines(prepared(settings, trained.kept))
        part = data.split(split)
        baselines = data.baselines if split == data.tested else {}
        found = Labelled(part, baselines)
    else:
        found = read_labelled(new, trained.kept, settings.dataset)
    targets = found.part.targets
    with torch.inference_mode():
        outputs = outputs_in_order(
            trained.model,
            found.part,
            spec=spec,
            task=task,
            size=settings.trainer.eval_batch_size,
            dtype=torch.float32,
        )
    metrics = task.final_metrics(outputs, targets, variance=task.variance(found.part))
    return Evaluation(
        which=trained.which,
        epoch=trained.epoch,
        step=trained.step,
        rows=len(found.part),
        unit=kind_of(trained.preprocessing, spec).units[spec.kind],
        metrics={f"{split}/{name}": value for name, value in metrics.items()},
        baselines=found.baselines,
        confusion=class_confusion(outputs, targets, spec),
        class_names=spec.class_names,
    )


def forward(trained: Trained, inputs: torch.Tensor) -> torch.Tensor:
    """Raw scores (N, outputs) of normalised inputs; texts in batches that are cut to their longest."""
    size = _BATCH
    if trained.spec.kind == "features":
        size = max(size, _NUMBERS // trained.spec.num_features)
    batches = trained.preprocessing.part(inputs, inputs).in_order(size)
    with torch.inference_mode():
        return torch.cat([trained.model(batch) for batch, _ in batches])


def predict(trained: Trained, raw: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Predictions for raw inputs (N, *input_shape), scaled as in training.

    Returns:
        Class numbers (N,) and probabilities (N, C); of several targets of yes and no both (N, D), the probabilities
        those of yes; or predicted values (N, D) in their own units and, of a model that predicts them, Q ascending
        quantiles (N, D, Q), else None.
    """
    spec, preprocessing = trained.spec, trained.preprocessing
    outputs = forward(trained, preprocessing.inputs(raw)).double()
    if spec.labels:
        return (outputs > 0).long().numpy(), probabilities(outputs, spec).numpy()
    if spec.num_classes:
        chances = probabilities(outputs, spec)
        return chances.argmax(1).numpy(), chances.numpy()
    if not spec.quantiles:
        return preprocessing.values(outputs, raw).numpy(), None
    scores = sorted_quantiles(outputs, len(spec.quantiles)).unbind(-1)
    values = torch.stack([preprocessing.values(one, raw) for one in scores], -1).numpy()
    return values[..., spec.quantiles.index(MEDIAN)], values
