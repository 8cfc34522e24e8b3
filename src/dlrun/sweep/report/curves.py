"""Learning curves of a sweep's trials: the objective over the epochs, from the runs' metrics.jsonl."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from dlrun.config.chosen_metrics import own_directions
from dlrun.config.metrics import direction
from dlrun.errors import ConfigError
from dlrun.storage.run_directory import RunDirectory, is_run, read_metrics
from dlrun.sweep.leaderboard import setting_name
from dlrun.sweep.report.chart import NAMED, PLAIN, UNFINISHED, WINNER
from dlrun.sweep.snapshot import TRIALS, Snapshot

MOST_CURVES = 50  # more than that is a tangle
_MAGNITUDES = 10_000  # of the largest over the smallest loss that one figure shows
_MOST_POINTS = 200  # of one curve: about as many as its width has room for


@dataclass(frozen=True)
class Curve:
    """The metric of one trial, the mean where it ran with several seeds; not a number is a gap."""

    trial: int
    name: str  # its setting
    state: TrialState
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Look:
    """Curves that look alike and have one line in the legend."""

    name: str
    curves: tuple[Curve, ...]
    colour: str
    width: float
    opacity: float
    dashed: bool = False


@dataclass(frozen=True)
class Curves:
    """What there is to draw, and what is missing from it.

    Attributes:
        metric: what is drawn: the objective, or what the trials monitor where that is measured at the end alone.
        axis: what x counts, `epoch` or `evaluation`.
        left_out: trials beyond the most that are drawn.
        without: trials that ended and left nothing to draw.
        limits: the range of the metric to show; what lies beyond is too far off.
        log_axis: whether it is shown best on a logarithmic axis.
    """

    metric: str
    shown: tuple[Curve, ...]
    axis: str
    left_out: int
    without: int
    limits: tuple[float, float]
    log_axis: bool

    @property
    def are_named(self) -> bool:
        """Whether they are few enough for each to have a colour, solid or dashed, and its setting in the legend."""
        return 1 < len(self.shown) <= 2 * len(NAMED)

    def looks(self, winner: int | None) -> Iterator[Look]:
        """The curves as they are drawn, the lowest first."""
        if self.are_named:
            for place, curve in enumerate(self.shown):
                dashed, colour = divmod(place, len(NAMED))
                width = 2.6 if curve.trial == winner else 1.5
                yield Look(curve.name, (curve,), NAMED[colour], width, 0.95, bool(dashed))
            return
        others = [curve for curve in self.shown if curve.trial != winner]
        completed = tuple(curve for curve in others if curve.state is TrialState.COMPLETE)
        rest = tuple(curve for curve in others if curve not in completed)
        yield Look("not completed", rest, UNFINISHED, 1.2, 0.8)
        yield Look("completed", completed, PLAIN, 1.2, 0.6)
        first = tuple(curve for curve in self.shown if curve.trial == winner)
        yield Look(f"winner, trial {winner}", first, WINNER, 2.8, 1)


def learning_curves(snapshot: Snapshot) -> Curves:
    """The curves of the best trials and, as far as there is room, of those that did not complete."""
    begun = [trial for trial in snapshot.trials if trial.state is not TrialState.WAITING]
    ranks = {trial.number: rank for rank, trial in enumerate(snapshot.ranked)}
    order = sorted(begun, key=lambda trial: (ranks.get(trial.number, len(ranks)), trial.number))
    chosen = order[:MOST_CURVES]
    metric, axis = _metric(snapshot), "epoch"
    found = [c for trial in chosen if (c := _from_runs(snapshot, trial, metric)) is not None]
    if not found:  # the run directories are gone, but the study may remember
        found = [curve for trial in chosen if (curve := _from_study(snapshot, trial)) is not None]
        axis = "evaluation"
    ended = sum(trial.state.is_finished() for trial in chosen)
    drawn = sum(curve.state.is_finished() for curve in found)
    minimize = snapshot.minimize if metric == snapshot.objective else _falls(snapshot, metric)
    judging = replace(snapshot, minimize=minimize)
    limits = _limits(judging, found)
    return Curves(
        metric,
        tuple(found),
        axis,
        len(order) - len(chosen),
        ended - drawn,
        limits,
        judging.spans_magnitudes(limits),
    )


def _metric(snapshot: Snapshot) -> str:
    """What has a value at each evaluation: a metric of the test part is measured once."""
    if not snapshot.objective.startswith("test/"):
        return snapshot.objective
    return str(_trainer(snapshot).get("monitor", snapshot.objective))


def _falls(snapshot: Snapshot, metric: str) -> bool:
    """Whether the monitored metric improves by falling."""
    mode = _trainer(snapshot).get("mode")
    with suppress(ConfigError):  # what is stored may be damaged
        own = own_directions(_config(snapshot).get("metrics", []))
        return (direction(metric, own) if mode in (None, "auto") else mode) == "min"
    return False


def _trainer(snapshot: Snapshot) -> Mapping[str, Any]:
    trainer = _config(snapshot).get("trainer")
    return trainer if isinstance(trainer, Mapping) else {}


def _config(snapshot: Snapshot) -> Mapping[str, Any]:
    config = snapshot.description.get("config")
    return config if isinstance(config, Mapping) else {}


def run_directories(folder: Path) -> list[RunDirectory]:
    """The runs of a trial: its folder itself, or one folder a seed."""
    if is_run(folder):
        return [RunDirectory(folder)]
    return [RunDirectory(path) for path in sorted(folder.glob("seed*")) if is_run(path)]


def _limits(snapshot: Snapshot, curves: Sequence[Curve]) -> tuple[float, float]:
    finite = [[value for value in curve.y if math.isfinite(value)] for curve in curves]
    if not finite:
        return 0.0, 1.0
    low, high = min(map(min, finite)), max(map(max, finite))
    if snapshot.minimize and low > 0 and high < _MAGNITUDES * low:
        return low, high  # a logarithmic axis has room for them all
    worst = [max(values) if snapshot.minimize else min(values) for values in finite]
    if (far := snapshot.far(worst)) is not None:
        low, high = (low, far) if snapshot.minimize else (far, high)
    return low, high


def _from_runs(snapshot: Snapshot, trial: FrozenTrial, metric: str) -> Curve | None:
    numbers = trial.user_attrs.get(TRIALS, [trial.number])
    runs = [run for number in numbers for run in run_directories(snapshot.sweep.trial(number))]
    every_seed = [points for run in runs if (points := _points(run, metric))]
    return _curve(snapshot, trial, _mean(every_seed)) if every_seed else None


def _points(run: RunDirectory, metric: str) -> dict[float, float]:
    """The metric by epoch, nothing where the file is gone or damaged."""
    try:
        points = read_metrics(run)
    except (ConfigError, OSError):
        return {}
    return {
        point["epoch"]: math.nan if point[metric] is None else float(point[metric])
        for point in points
        if metric in point and isinstance(point.get("epoch"), int | float)
    }


def _mean(every_seed: Sequence[Mapping[float, float]]) -> dict[float, float]:
    """The mean over the seeds at the epochs that all of them reached."""
    shared = set.intersection(*(set(points) for points in every_seed))
    return {
        epoch: statistics.fmean(points[epoch] for points in every_seed) for epoch in sorted(shared)
    }


def _from_study(snapshot: Snapshot, trial: FrozenTrial) -> Curve | None:
    return _curve(snapshot, trial, dict(sorted(trial.intermediate_values.items())))


def _curve(snapshot: Snapshot, trial: FrozenTrial, points: Mapping[float, float]) -> Curve | None:
    finite = [value for value in points.values() if math.isfinite(value)]
    if not finite:
        return None
    x, y = list(points), [value if math.isfinite(value) else math.nan for value in points.values()]
    step = max(1, math.ceil(len(x) / _MOST_POINTS))
    kept = sorted({*range(0, len(x), step), len(x) - 1})  # the last point is where it ended
    name = setting_name(snapshot.texts(trial))
    drawn = (tuple(x[i] for i in kept), tuple(y[i] for i in kept))
    return Curve(trial.number, name, trial.state, *drawn)
