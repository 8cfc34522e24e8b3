"""Sweeps among runs: the trials of each as one row, or those of one in the order of their merit."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import nan
from pathlib import Path
from typing import Any

from dlrun.commands import _text
from dlrun.config.metrics import rank
from dlrun.errors import ConfigError
from dlrun.storage.index import sweep_of
from dlrun.storage.run_directory import SWEEP
from dlrun.storage.run_summary import RunSummary, glance
from dlrun.storage.sweep_directory import SweepDirectory, early_end, read_space
from dlrun.sweep.repetitions import Repetitions, mean_and_spread

SPREADS = "spreads"  # a field of the row of a sweep: the standard deviations of its `best` and `final` metrics

# Of two trials the one that comes further is better, whatever their numbers.
_BY_STATUS = (
    "completed",
    "pruned",
    "running",
    "prepared",
    "stopped",
    "killed",
    "failed",
    "unreadable",
)
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


@dataclass(frozen=True)
class Setting:
    """The runs of a sweep that repeat one setting, in the order of their numbers."""

    runs: Sequence[RunSummary]

    @property
    def counted(self) -> list[RunSummary]:
        """Those that count: completed."""
        return [run for run in self.runs if run.status == "completed"]

    @property
    def missing(self) -> Counter[str]:
        """How many do not, by their status."""
        return Counter(run.status for run in self.runs if run.status != "completed")

    def merit(
        self, metric: Callable[[RunSummary], float | None], *, minimize: bool
    ) -> tuple[int, int, bool, float]:
        """A key to sort settings by, the best first: whole ones before those with runs missing."""
        values = [nan if (v := metric(run)) is None else v for run in self.counted or self.runs]
        places = [_place(run) for run in self.runs]
        return min(places), max(places), *rank(mean_and_spread(values)[0], minimize=minimize)


def settings_of(
    runs: Sequence[RunSummary], space: Mapping[str, Any]
) -> tuple[list[Setting], Repetitions]:
    """The runs of a sweep over `space` by setting, those with the first trials first."""
    repetitions = Repetitions(space, max(Counter(_trial_folder(run.path) for run in runs).values()))
    found: dict[Any, list[RunSummary]] = {}
    for run in sorted(runs, key=_number):
        across = repetitions.across_trials and run.swept
        key = repetitions.setting(run.swept) if across else _trial_folder(run.path)
        found.setdefault(key, []).append(run)
    return [Setting(group) for group in found.values()], repetitions


def best_first(settings: Sequence[Setting], objective: Objective) -> list[Setting]:
    """The settings of a sweep, the best first where there is one; of repetitions the mean counts."""
    if not objective.comparable:
        return list(settings)

    def merit(setting: Setting) -> Any:
        return setting.merit(
            lambda run: run.metrics.get(objective.metric), minimize=objective.minimize
        )

    return sorted(settings, key=merit)


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
    return sorted(rows, key=lambda run: (run.begun, run.path), reverse=True)


def is_sweep_row(run: RunSummary) -> bool:
    """Whether the row stands for the trials of a sweep."""
    return "trials" in run.data


def count_trials(runs: Sequence[RunSummary]) -> int:
    """The trials that the runs of a sweep are of."""
    return len({_trial_folder(run.path) for run in runs})


def _one_row(sweep: Path, runs: Sequence[RunSummary]) -> RunSummary:
    objective = _glance(sweep)
    best = _best(settings_of(runs, read_space(sweep))[0], objective)
    comparable = objective is None or objective.comparable
    running = sum(run.status == "running" for run in runs)
    count = count_trials(runs)
    seconds = [run.number("seconds") or 0.0 for run in runs]
    data = {
        "trials": count,
        "name": best.runs[0].name,
        "created": max(runs, key=lambda run: run.created).text("created"),
        "order": max(glance(sweep).number("order") or 0.0, *(run.begun for run in runs)),
        "choices": _shared_choices(runs),
        "monitor": _aim(best, objective),
        **(_means(best) if comparable else {}),
        "seconds": sum(seconds),
    }
    status = _text.plural(count, "trial") + (f", {running} running" if running else "")
    end = SweepDirectory(sweep).read_end()
    if not running and end.get("ended_by"):
        status = early_end(end["ended_by"], end["ended"], end["total"])
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


def _best(settings: Sequence[Setting], objective: Objective | None) -> Setting:
    """The setting that is best by the objective, or by what its runs monitor."""
    if objective is not None:
        return best_first(settings, objective)[0]

    def merit(setting: Setting) -> Any:
        minimize = setting.runs[0].text("mode") != "max"
        return setting.merit(lambda run: run.metrics.get(run.monitor), minimize=minimize)

    return min(settings, key=merit)


def _aim(setting: Setting, objective: Objective | None) -> str:
    """The objective, or what the runs monitor where it was not measured at their best epochs."""
    run = setting.runs[0]
    return objective.metric if objective and objective.metric in run.best_metrics else run.monitor


def _means(setting: Setting) -> dict[str, Any]:
    """The fields of a summary that tell what was measured; of several runs means, with the spread around each."""
    runs = setting.counted or setting.runs[:1]
    if len(runs) == 1:
        return {"best": runs[0].best, "final": runs[0].final_metrics}
    best, final = [run.best_metrics for run in runs], [run.final_metrics for run in runs]
    return {
        "best": {"metrics": {name: mean for name, (mean, _) in _each(best)}},
        "final": {name: mean for name, (mean, _) in _each(final)},
        SPREADS: {
            "best": {name: spread for name, (_, spread) in _each(best)},
            "final": {name: spread for name, (_, spread) in _each(final)},
        },
    }


def _each(
    every: Sequence[Mapping[str, float]],
) -> Iterator[tuple[str, tuple[float, float | None]]]:
    """Mean and spread of each metric over the runs that have it."""
    for name in dict.fromkeys(name for metrics in every for name in metrics):
        yield name, mean_and_spread([metrics[name] for metrics in every if name in metrics])


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


def _number(run: RunSummary) -> tuple[int, int, str]:
    """Of the trial, then of the seed."""
    folder = _trial_folder(run.path)
    return int(folder.name) if folder.name.isdigit() else 0, len(run.path.name), run.path.name


def _trial_folder(run: Path) -> Path:
    return run if run.name.isdigit() else run.parent


def _cached_by_folder() -> Callable[[Path], Path | None]:
    """`sweep_of`, asked once a folder rather than once a run."""

    @cache
    def of_folder(folder: Path) -> Any:
        return sweep_of(folder / "x")

    return lambda run: of_folder(run.parent)
