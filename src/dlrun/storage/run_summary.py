"""A run looked back at: its names, and its summary as other commands read it. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from dlrun.config.metrics import Direction, direction, without_part
from dlrun.storage.run_directory import SWEEP, RunDirectory, is_locked
from dlrun.storage.sweep_directory import is_sweep

_LATEST = 1e12  # seconds since 1970: beyond any time that a clock may show
_SEED = re.compile(r"seed\d+")
_DATE_AND_TIME = re.compile(r"\d[\d-]*_\d[\d-]*_")
_ORDER = re.compile(r"^order: (\d+(?:\.\d*)?)$", re.MULTILINE)
_CREATED = re.compile(r"^created: ['\"]?([^'\"\n]*)", re.MULTILINE)


@dataclass(frozen=True)
class RunSummary:
    """A run as its summary tells it. Fields that are missing or of the wrong kind read as empty."""

    path: Path
    status: str  # prepared, running, completed, stopped, failed, pruned; killed or unreadable, found out on reading
    data: Mapping[str, Any]

    @property
    def short_name(self) -> str:
        """The directory's name without date and time, and for a trial with that of its sweep."""
        return short_name(self.path)

    @property
    def name(self) -> str:
        """What the config calls the run."""
        return self.text("name")

    @property
    def created(self) -> float:
        """Seconds since 1970."""
        try:
            return datetime.fromisoformat(self.text("created")).timestamp()
        except (ValueError, OverflowError):
            return _modified(self.path)

    @property
    def begun(self) -> float:
        """What orders runs: `created`, but after all runs that it was begun after, whatever the clock said."""
        order = self.number("order")
        return order if order is not None and 0 <= order <= _LATEST else self.created

    @property
    def choices(self) -> dict[str, str]:
        """The option chosen for each group."""
        return {str(group): str(option) for group, option in self.mapping("choices").items()}

    @property
    def swept(self) -> dict[str, str]:
        """Of a trial: the keys that its sweep varies, and the values here as typed."""
        return {str(key): str(value) for key, value in self.mapping("swept").items()}

    @property
    def monitor(self) -> str:
        """The metric that chose the best epoch."""
        return self.text("monitor")

    @property
    def best(self) -> Mapping[str, Any]:
        """`epoch`, `step` and `metrics` of the best evaluation."""
        return self.mapping("best")

    @property
    def best_metrics(self) -> dict[str, float]:
        """The metrics at the best epoch."""
        return _numbers(self.best.get("metrics"))

    @property
    def final_metrics(self) -> dict[str, float]:
        """The metrics at the end."""
        return _numbers(self.mapping("final"))

    @property
    def metrics(self) -> dict[str, float]:
        """One value a metric: of the best epoch where it was measured, else the final one.

        Of a run that was to keep its last weights, the final ones.
        """
        if self.text("tested") == "last":
            return {**self.best_metrics, **self.final_metrics}
        return {**self.final_metrics, **self.best_metrics}

    def direction(self, metric: str) -> Direction | None:
        """Which way the metric improves, as the run's task declared it or its `trainer.mode`; None if nobody says."""
        declared = self.mapping("directions").get(without_part(metric)) or direction(metric)
        asked = self.text("mode") if metric == self.monitor else None
        way = declared or asked
        return "min" if way == "min" else "max" if way == "max" else None

    def text(self, field: str) -> str:
        """The field as text; empty where it is none."""
        value = self.data.get(field)
        return value if isinstance(value, str) else ""

    def number(self, field: str) -> float | None:
        """The field as a number; None where it is none."""
        return _number(self.data.get(field))

    def mapping(self, field: str) -> Mapping[str, Any]:
        """The field as a mapping; empty where it is none."""
        value = self.data.get(field)
        return value if isinstance(value, Mapping) else {}


def read_run(path: Path) -> RunSummary:
    """The summary of the run at `path`; that it is running is believed only if the lock is held."""
    data = RunDirectory(path).read_summary()
    status = data.get("status") if data else None
    if not isinstance(status, str):
        return RunSummary(path, "running" if is_locked(path) else "unreadable", data or {})
    if status == "running" and not is_locked(path):
        status = "killed"  # it had no chance to write its end
    return RunSummary(path, status, data or {})


def glance(place: Path) -> RunSummary:
    """A run without its status, or of a sweep when it was begun and nothing else."""
    if not is_sweep(place):
        return RunSummary(place, "", RunDirectory(place).read_summary() or {})
    # Not the whole of it as YAML: that takes a tenth of a second, and there may be hundreds.
    try:
        text = (place / SWEEP).read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    created, order = _CREATED.search(text), _ORDER.search(text)
    data = {"created": created and created[1], "order": order and float(order[1])}
    return RunSummary(place, "", data)


def full_name(path: Path) -> str:
    """The directory's name, for a trial `SWEEP/TRIAL`, and for one of its seeds `SWEEP/TRIAL/SEED`."""
    path = path if path.name else path.resolve()
    if trial := trial_of_seed(path):
        return f"{trial}/{path.name}"
    # The trials of a sweep are numbered: only with the sweep does the number say anything.
    return f"{path.absolute().parent.name}/{path.name}" if path.name.isdigit() else path.name


def short_name(path: Path) -> str:
    """The full name without date and time."""
    return _DATE_AND_TIME.sub("", full_name(path), count=1)


def trial_of_seed(path: Path) -> str:
    """`SWEEP/TRIAL` where the run is one seed of a trial, else empty."""
    if not _SEED.fullmatch(path.name):
        return ""
    trial = path.absolute().parent
    return f"{trial.parent.name}/{trial.name}" if trial.name.isdigit() else ""


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _numbers(values: Any) -> dict[str, float]:
    if not isinstance(values, Mapping):
        return {}
    numbers = {str(name): _number(value) for name, value in values.items()}
    return {name: value for name, value in numbers.items() if value is not None}


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
