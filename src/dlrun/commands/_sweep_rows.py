"""Sweeps among runs: the trials of each as one row, or those of one in the order of their merit."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dlrun.commands import _text
from dlrun.commands._places import sweep_of
from dlrun.errors import ConfigError
from dlrun.runs import RunSummary
from dlrun.sweep.directory import SWEEP, SweepDirectory

# Of two trials the one that comes further is better, whatever their numbers.
_BY_STATUS = ("completed", "pruned", "running", "stopped", "killed", "failed", "unreadable")
_ASKED = re.compile(r"^(objective|direction|comparable): (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Objective:
    """The metric that a sweep compares its trials by."""

    metric: str
    minimize: bool
    comparable: bool = True  # otherwise none of them is the best


def read_objective(sweep: SweepDirectory) -> Objective:
    """The objective of the sweep.

    Raises:
        ConfigError: its sweep.yaml is damaged.
    """
    description = sweep.read()
    metric, direction = description.get("objective"), description.get("direction")
    if not isinstance(metric, str) or direction not in ("minimize", "maximize"):
        raise ConfigError(f"{sweep.sweep_file} names no objective with its direction: mend {SWEEP}")
    return Objective(metric, direction == "minimize", description.get("comparable") is not False)


def best_first(runs: Sequence[RunSummary], objective: Objective) -> list[RunSummary]:
    """The runs of a sweep, the best trial first where there is one; seeds stay together, and their mean counts."""
    trials: dict[Path, list[RunSummary]] = {}
    for run in runs:
        trials.setdefault(_trial_folder(run.path), []).append(run)

    def merit(trial: Path) -> tuple[int, bool, float, int]:
        if not objective.comparable:
            return 0, False, 0.0, int(trial.name)
        seeds = trials[trial]
        place = max(map(_place, seeds))
        values = [run.metrics.get(objective.metric, math.nan) for run in seeds]
        mean = statistics.fmean(values) if place == 0 else values[0]
        value = mean if objective.minimize else -mean
        return place, math.isnan(value), 0.0 if math.isnan(value) else value, int(trial.name)

    return [
        run
        for trial in sorted(trials, key=merit)
        for run in sorted(trials[trial], key=lambda run: (len(run.path.name), run.path.name))
    ]


def collapsed(runs: Sequence[RunSummary], folder: Path) -> list[RunSummary]:
    """The runs with one row in place of the trials of each sweep below `folder`, the newest first."""
    sweeps: dict[Path, list[RunSummary]] = {}
    rows = []
    find = _cached_by_folder()
    for run in runs:
        sweep = find(run.path)
        if sweep is None or sweep == folder or sweep in folder.parents:
            rows.append(run)
        else:
            sweeps.setdefault(sweep, []).append(run)
    rows += [_one_row(sweep, trials) for sweep, trials in sweeps.items()]
    return sorted(rows, key=lambda run: (run.created, run.path), reverse=True)


def is_sweep_row(run: RunSummary) -> bool:
    """Whether the row stands for the trials of a sweep."""
    return "trials" in run.data


def count_trials(runs: Sequence[RunSummary]) -> int:
    """The trials that the runs of a sweep are of."""
    return len({_trial_folder(run.path) for run in runs})


def _one_row(sweep: Path, runs: Sequence[RunSummary]) -> RunSummary:
    objective = _glance(sweep)
    best, comparable = _best(runs, objective), objective is None or objective.comparable
    running = sum(run.status == "running" for run in runs)
    count = count_trials(runs)
    seconds = [run.number("seconds") or 0.0 for run in runs]
    data = {
        "trials": count,
        "name": best.name,
        "created": max(runs, key=lambda run: run.created).text("created"),
        "choices": _shared_choices(runs),
        "monitor": best.monitor,
        "best": best.best if comparable else {},
        "final": best.final_metrics if comparable else {},
        "seconds": sum(seconds),
    }
    status = _text.plural(count, "trial") + (f", {running} running" if running else "")
    return RunSummary(sweep, status, data)


def _glance(sweep: Path) -> Objective | None:
    """The objective of the sweep, without parsing its file: there may be many sweeps; None where it does not say."""
    try:
        text = (sweep / SWEEP).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    found = {key: value for key, value in _ASKED.findall(text)}
    if {"objective", "direction"} - set(found):
        return None
    minimize = found["direction"] == "minimize"
    return Objective(found["objective"], minimize, found.get("comparable") != "false")


def _best(runs: Sequence[RunSummary], objective: Objective | None) -> RunSummary:
    """The run that is best by the objective, or by what each of them monitors; seeds are compared one by one."""

    def merit(run: RunSummary) -> tuple[int, bool, float]:
        metric = objective.metric if objective else run.monitor
        rises = not objective.minimize if objective else run.text("mode") == "max"
        value = run.metrics.get(metric, math.nan)
        return (
            _place(run),
            math.isnan(value),
            0.0 if math.isnan(value) else (-value if rises else value),
        )

    return min(runs, key=merit)


def _shared_choices(runs: Sequence[RunSummary]) -> Mapping[str, str]:
    options: dict[str, set[str]] = {}
    for run in runs:
        for group, option in run.choices.items():
            options.setdefault(group, set()).add(option)
    return {
        group: next(iter(found)) if len(found) == 1 else _text.plural(len(found), group)
        for group, found in options.items()
    }


def _place(run: RunSummary) -> int:
    return _BY_STATUS.index(run.status) if run.status in _BY_STATUS else len(_BY_STATUS)


def _trial_folder(run: Path) -> Path:
    return run if run.name.isdigit() else run.parent


def _cached_by_folder() -> Callable[[Path], Path | None]:
    """`sweep_of`, asked once a folder rather than once a run."""

    @cache
    def of_folder(folder: Path) -> Any:
        return sweep_of(folder / "x")

    return lambda run: of_folder(run.parent)
