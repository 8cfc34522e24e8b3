"""A rolling backtest: forecasts of a series from successive origins, by a run's model or by models trained anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlrun.config.instantiate import split_component
from dlrun.config.metrics import MEDIAN, bands
from dlrun.config.settings import DataSettings, RunConfig, parse
from dlrun.data.base import Dataset
from dlrun.data.loaders import Split
from dlrun.data.series.dataset import prepare_series, simple_forecasts
from dlrun.data.series.rolling import Fold, folds
from dlrun.data.series.scaling import SeriesScaling
from dlrun.data.series.series import Series
from dlrun.errors import ConfigError
from dlrun.inference.load import Trained, load_trained
from dlrun.storage.run_directory import RunDirectory
from dlrun.storage.stored_run import reported_weights
from dlrun.system.signals import StopRequest
from dlrun.training.build import assemble, raw_and_prepared
from dlrun.training.device import Device
from dlrun.training.device_errors import memory_for_steps
from dlrun.training.engine_state import let_go
from dlrun.training.forward import outputs_in_order
from dlrun.training.losses.choice import loss_of
from dlrun.training.metrics.chosen import chosen_metrics
from dlrun.training.scores import sorted_quantiles
from dlrun.training.task import Task
from dlrun.training.tasks import make_task

Values = dict[str, float]
_LEFT_OUT = (
    "loss",
    "mse",
)  # in units of the scaling, which each origin may have of its own; and what rmse says


@dataclass(frozen=True)
class Forecasts:
    """What one model forecasts from an origin up to the next, in the series' own units.

    Attributes:
        targets: (N, H, D) what came.
        quantiles: of each, ascending, (N, H, D, Q); the forecast itself where none are predicted.
        series: (N,) of several series, the number of the one that each is of.
    """

    targets: np.ndarray
    quantiles: np.ndarray
    series: Tensor | None

    def of(self, number: int) -> Forecasts:
        """Those of one of several series."""
        assert self.series is not None, "several series"
        rows = (self.series == number).numpy()
        return Forecasts(self.targets[rows], self.quantiles[rows], None)


@dataclass(frozen=True)
class Origin:
    """What the forecasts from one origin up to the next come to.

    Attributes:
        trained: rows that the model was trained and validated on, of one series; None of several.
        rows: the first and the last row to be forecast, counted from 1, of one series; None of several.
        times: of the first and the last row to be forecast; None where they are unknown, or differ between series.
        metrics: by name, without a part.
        steps: of each step of the horizon, rmse, mae and how much each band covers.
        rules: of each rule that needs no model, rmse and mae.
        rule_steps: the same of each step.
    """

    trained: int | None
    rows: tuple[int, int] | None
    times: tuple[str, str] | None
    forecasts: int
    metrics: Values
    steps: list[Values]
    rules: dict[str, Values]
    rule_steps: dict[str, list[Values]]


@dataclass(frozen=True)
class Backtest:
    """A backtest, with all forecasts for pictures.

    Attributes:
        which, epoch: of the run's weights; `refit` and 0 where models were trained anew.
    """

    which: str
    epoch: int
    origins: list[Origin]
    forecasts: list[Forecasts]
    scaling: SeriesScaling
    quantiles: tuple[float, ...]


def mean_and_spread(every: Sequence[Mapping[str, float]]) -> tuple[Values, Values]:
    """By name, the mean over the origins and the sample standard deviation around it (0 of a single one).

    Both are NaN where a value is: a single forecast has no r2.
    """
    columns = {name: np.array([values[name] for values in every]) for name in every[0]}
    spreads = {
        name: float(column.std(ddof=1)) if len(column) > 1 else 0.0
        for name, column in columns.items()
    }
    return {name: float(column.mean()) for name, column in columns.items()}, spreads


def mean_errors(origins: Sequence[Origin]) -> dict[str, Values]:
    """Of each rule that needs no model, the means over the origins."""
    return {
        name: mean_and_spread([one.rules[name] for one in origins])[0] for name in origins[0].rules
    }


def backtest(
    run: RunDirectory,
    plain: Mapping[str, Any],
    *,
    count: int,
    split: str,
    which: str | None,
    refit: bool,
    report: Callable[[str], None],
) -> Backtest:
    """Measure a run's weights, or models trained as it was on what is before each origin, at `count` origins.

    The forecasts of one part of the series are cut into as many folds; the model that is trained or known at
    the start of a fold makes all of its forecasts, each from the rows up to its own origin.

    Args:
        refit: train a new model at each origin, on the CPU or the run's device.
        report: is told of each model that was trained.

    Raises:
        ConfigError: the data are no series, or too short for so many origins.
    """
    settings = parse(plain)
    trained = load_trained(run, plain, which=which or reported_weights(run, plain))
    if not isinstance(trained.preprocessing, SeriesScaling):
        raise ConfigError(
            f"--backtest follows a series in time, but this run was trained on {trained.spec.kind}; leave it out"
        )
    series, data = raw_and_prepared(settings, trained.kept)
    part = data.split(split)
    assert data.origin is not None, "as of all data that were prepared"
    every = folds(
        series, data.origin.parts[split], count, val_fraction=settings.dataset["val_fraction"]
    )
    made = (
        _refitted(settings, series, every, report)
        if refit
        else _fixed(settings, trained, part, every)
    )
    origins, forecasts = [], []
    for fold, (own_part, outputs, task, scaling) in zip(every, made, strict=True):
        values = _forecasts(own_part, outputs, scaling, trained.spec.quantiles)
        chosen = chosen_metrics(settings, task, trained.spec, scaling)
        metrics = chosen.final_metrics(task, outputs, own_part)
        rules = simple_forecasts(series, fold.parts, scaling)[1]
        origins.append(_origin(series, fold, metrics, values, trained.spec.quantiles, rules))
        forecasts.append(values)
    return Backtest(
        which="refit" if refit else trained.which,
        epoch=0 if refit else trained.epoch,
        origins=origins,
        forecasts=forecasts,
        scaling=trained.preprocessing,
        quantiles=trained.spec.quantiles,
    )


_Made = tuple[Split, Tensor, Task, SeriesScaling]  # the forecasts of a fold, from scores


def _fixed(
    settings: RunConfig, trained: Trained, part: Split, every: Sequence[Fold]
) -> list[_Made]:
    """The forecasts of each fold by the weights of the run."""
    task = make_task(trained.spec, loss_of(settings.loss), trained.preprocessing)
    with torch.inference_mode():
        outputs = outputs_in_order(
            trained.model,
            part,
            spec=trained.spec,
            task=task,
            size=settings.trainer.eval_batch_size,
            dtype=torch.float32,
        )
    chosen = [torch.from_numpy(fold.windows) for fold in every]
    return [(part.rows(rows), outputs[rows], task, trained.preprocessing) for rows in chosen]


def _refitted(
    settings: RunConfig, series: Series, every: Sequence[Fold], report: Callable[[str], None]
) -> list[_Made]:
    """The forecasts of each fold by a model trained on what is before it alone, scaling included."""
    _, shared = split_component("dataset", settings.dataset, DataSettings)
    made = []
    for number, fold in enumerate(every, 1):
        data = prepare_series(series, shared, fold.parts, None)
        engine_outputs, task = _train(settings, data)
        made.append((data.test, engine_outputs, task, _scaling_of(data)))
        report(f"origin {number} of {len(every)}: trained on {len(data.train):,} forecasts")
    return made


def _scaling_of(data: Dataset) -> SeriesScaling:
    assert isinstance(data.preprocessing, SeriesScaling), "of a series"
    return data.preprocessing


class _Unobserved:
    """An observer of a model that nobody follows."""

    def stepped(self, steps: int) -> None:
        pass

    def logged(self, step: int, values: dict[str, float]) -> None:
        pass

    def evaluated(self, values: dict[str, float]) -> None:
        pass


def _train(settings: RunConfig, data: Dataset) -> tuple[Tensor, Task]:
    """Scores of the test part by a model trained as the run was, and its task."""

    def load(config: RunConfig, device: Device, kept: Any = None, /) -> Dataset:
        layout = config.trainer.channels_last
        return data.to(device.torch_device, device.dtype, channels_last=layout)

    experiment = assemble(settings, load=load)
    engine = experiment.engine
    with memory_for_steps(settings.trainer, len(data.train), experiment.device.torch_device):
        engine.fit(save=lambda: None, observer=_Unobserved(), stop=StopRequest())
    if engine.reported == "best":
        engine.restore_best()
    outputs = engine.outputs(experiment.data.test).float().cpu()
    let_go(engine)
    return outputs, experiment.task


def _forecasts(
    part: Split, outputs: Tensor, scaling: SeriesScaling, quantiles: Sequence[float]
) -> Forecasts:
    scores = sorted_quantiles(outputs, len(quantiles) or 1).unbind(-1)
    targets, *values = scaling.in_own_units(part, scores)
    return Forecasts(targets, np.stack(values, -1), part.series)


def _origin(
    series: Series,
    fold: Fold,
    metrics: Values,
    values: Forecasts,
    quantiles: tuple[float, ...],
    rules: Mapping[str, np.ndarray],
) -> Origin:
    tested, alone = fold.parts["test"], not series.members
    assert tested is not None, "a series is cut where it stands"
    errors = {name: rule - values.targets for name, rule in rules.items()}
    return Origin(
        trained=int(tested[0]) if alone else None,
        rows=(int(tested[0]) + 1, int(tested[-1]) + 1) if alone else None,
        times=series.span(tested),
        forecasts=len(values.targets),
        metrics={name: value for name, value in metrics.items() if name not in _LEFT_OUT},
        steps=_steps(values, quantiles),
        rules={name: _errors(error) for name, error in errors.items()},
        rule_steps={
            name: [_errors(step) for step in np.moveaxis(error, 1, 0)]
            for name, error in errors.items()
        },
    )


def _steps(values: Forecasts, quantiles: tuple[float, ...]) -> list[Values]:
    """The metrics of each step of the horizon."""
    median = quantiles.index(MEDIAN) if quantiles else 0
    found = []
    for step in range(values.targets.shape[1]):
        targets, own = values.targets[:, step], values.quantiles[:, step]
        covered = {
            f"coverage_{band.percent}": float(
                ((own[..., band.lower] <= targets) & (targets <= own[..., band.upper])).mean()
            )
            for band in bands(quantiles)
        }
        found.append(_errors(own[..., median] - targets) | covered)
    return found


def _errors(errors: np.ndarray) -> Values:
    return {"rmse": float(np.sqrt((errors**2).mean())), "mae": float(np.abs(errors).mean())}
