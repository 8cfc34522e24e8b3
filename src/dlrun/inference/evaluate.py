"""A run's model applied to a part of its data set, or to new inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from dlrun.config.metrics import MEDIAN, follows_threshold
from dlrun.config.settings import RunConfig, parse
from dlrun.data.kind import Labelled
from dlrun.data.kinds import kind_of, read_labelled
from dlrun.data.loaders import Split
from dlrun.inference.load import Trained, load_trained
from dlrun.inference.threshold import (
    Thresholds,
    anomaly_threshold,
    check_rule,
    choose,
    keep,
    with_kept,
)
from dlrun.inference.views import on_views
from dlrun.storage.run_directory import RunDirectory
from dlrun.storage.stored_run import reported_weights
from dlrun.tracking.class_table import ClassRow
from dlrun.training.build import prepared
from dlrun.training.device import enough_memory
from dlrun.training.forward import outputs_in_order
from dlrun.training.losses.choice import loss_of
from dlrun.training.metrics.chosen import chosen_metrics
from dlrun.training.metrics.classes import class_rows
from dlrun.training.reconstruction import Reconstruction
from dlrun.training.scores import (
    class_confusion,
    classes,
    point_scores,
    probabilities,
    sorted_quantiles,
)
from dlrun.training.task import Task
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
        classes: precision, recall and F1 of each; of several targets of yes and no, of the yes of each.
        thresholds: what decisions were made by; None for 0.5.
        undecided: with thresholds, the metrics that differ at 0.5, as they are there.
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
    classes: Sequence[ClassRow] = ()
    thresholds: Thresholds | None = None
    undecided: Mapping[str, float] = field(default_factory=dict)


def evaluate(
    run: RunDirectory,
    plain: Mapping[str, Any],
    *,
    split: str,
    which: str | None,
    new: str | list[str] | None = None,
    views: int = 1,
) -> Evaluation:
    """Measure a run's weights on one part of its data set, or on the rows that `new` names, on the CPU.

    Args:
        which: best or last; None for the weights that the run reported.
        views: of each image, whose predictions are averaged.

    Raises:
        ConfigError: there are no such weights or rows, or the data are not those of the run.
    """
    settings = parse(plain)
    reported = which or reported_weights(run, plain)
    trained = with_kept(load_trained(run, plain, which=reported), run)
    trained = on_views(trained, plain, views)
    task = task_of(trained, settings)
    if new is None:
        data = task.with_baselines(prepared(settings, trained.kept))
        part = data.split(split)
        baselines = data.baselines if split == data.tested else {}
        found = Labelled(part, baselines)
    else:
        found = read_labelled(new, trained.kept, settings.dataset)
        if trained.spec.data is not None:
            found = Labelled(found.part)  # the baselines are of the targets, which are not learned
    outputs = outputs_of(trained, found.part, task, settings)
    return evaluated(trained, task, found, outputs, settings, split=split)


def evaluated(
    trained: Trained,
    task: Task,
    rows: Labelled,
    outputs: torch.Tensor,
    settings: RunConfig,
    *,
    split: str,
) -> Evaluation:
    """What the outputs of `trained` for these rows come to."""
    spec, targets = trained.spec, rows.part.targets
    chosen = chosen_metrics(settings, task, spec, trained.preprocessing)
    metrics = chosen.final_metrics(task, outputs, rows.part)
    undecided = {}
    if trained.thresholds and spec.classes:
        outputs = trained.thresholds.decisions(outputs)
        decided = chosen.final_metrics(task, outputs, rows.part)
        undecided = {name: value for name, value in metrics.items() if follows_threshold(name)}
        metrics |= {name: decided[name] for name in undecided}
    return Evaluation(
        which=trained.which,
        epoch=trained.epoch,
        step=trained.step,
        rows=len(rows.part),
        unit=kind_of(trained.preprocessing, spec).units[spec.kind],
        metrics={f"{split}/{name}": value for name, value in metrics.items()},
        baselines=rows.baselines,
        confusion=class_confusion(outputs, targets, spec),
        class_names=spec.class_names,
        classes=class_rows(outputs, targets, spec),
        thresholds=trained.thresholds,
        undecided={f"{split}/{name}": value for name, value in undecided.items()},
    )


def choose_threshold(
    run: RunDirectory, plain: Mapping[str, Any], rule: str, *, which: str | None
) -> None:
    """Choose by `rule` on the validation part from which probability on a sample is of the second class.

    Of a reconstruction, from which score on an input is an anomaly.

    It is kept with the run. `none` removes what is kept.

    Raises:
        ConfigError: there is no such rule, no such part, or nothing to decide.
    """
    if rule == "none":
        keep(run, None)
        return
    settings = parse(plain)
    trained = load_trained(run, plain, which=which or reported_weights(run, plain))
    spec = trained.spec
    check_rule(rule, spec)
    task = task_of(trained, settings)
    part = prepared(settings, trained.kept).split("val")
    outputs = outputs_of(trained, part, task, settings)
    values = (
        (anomaly_threshold(rule, task.anomaly_scores(outputs)),)
        if isinstance(task, Reconstruction)
        else choose(rule, outputs, part.targets, spec)
    )
    keep(run, Thresholds(rule, values, trained.which, trained.step))


def task_of(trained: Trained, settings: RunConfig) -> Task:
    """What the model of a run was trained for, and is measured by."""
    return make_task(trained.spec, loss_of(settings.loss), trained.preprocessing)


def outputs_of(trained: Trained, part: Split, task: Task, settings: RunConfig) -> torch.Tensor:
    """What metrics need of the model's outputs for all samples of a part."""
    with torch.inference_mode():
        return outputs_in_order(
            trained.model,
            part,
            spec=trained.spec,
            task=task,
            size=settings.trainer.eval_batch_size,
            dtype=torch.float32,
        )


def forward(trained: Trained, inputs: torch.Tensor) -> torch.Tensor:
    """Raw scores (N, outputs) of normalised inputs; texts in batches that are cut to their longest."""
    size = _BATCH
    if trained.spec.kind == "features":
        size = max(size, _NUMBERS // trained.spec.num_features)
    batches = trained.preprocessing.part(inputs, inputs).in_order(size)
    remedy = "give fewer of them at a time, or use a machine with more"
    with enough_memory("the model's answer to these inputs", remedy), torch.inference_mode():
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
    if spec.classes:
        decided = trained.thresholds.decisions(outputs) if trained.thresholds else outputs
        return classes(decided, spec).numpy(), probabilities(outputs, spec).numpy()
    if not spec.quantiles:
        points = point_scores(outputs, spec, preprocessing.target_mean, preprocessing.target_std)
        return preprocessing.values(points, raw).numpy(), None
    scores = sorted_quantiles(outputs, len(spec.quantiles)).unbind(-1)
    values = torch.stack([preprocessing.values(one, raw) for one in scores], -1).numpy()
    return values[..., spec.quantiles.index(MEDIAN)], values
