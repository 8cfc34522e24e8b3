"""Runs looked back at: every one below a folder with its summary, and the one that a name means.

Standard library only, so that this starts at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from dlrun.config.metrics import Direction, direction
from dlrun.errors import ConfigError, command, listed
from dlrun.storage.run_directory import CONFIG, SUMMARY, RunDirectory, is_locked, is_run

OUTPUTS = Path("outputs")
LAST = "last"

_LATEST = 1e12  # seconds since 1970: beyond any time that a clock may show
_DEPTH = 4  # of outputs/sweeps/SWEEP/TRIAL/SEED below outputs/
_SEED = re.compile(r"seed\d+")
_DATE_AND_TIME = re.compile(r"\d[\d-]*_\d[\d-]*_")


@dataclass(frozen=True)
class RunSummary:
    """A run as its summary tells it. Fields that are missing or of the wrong kind read as empty."""

    path: Path
    status: str  # running, completed, stopped, failed, pruned; killed or unreadable, found out on reading
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
        declared = self.mapping("directions").get(metric.rpartition("/")[2]) or direction(metric)
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


def scan(root: Path = OUTPUTS) -> list[RunSummary]:
    """Every run at or below `root` (outputs/, a sweep, any folder of runs), newest first."""
    summaries = [read_run(path) for path in run_paths(root)]
    return sorted(summaries, key=lambda run: (run.begun, run.path), reverse=True)


def read_run(path: Path) -> RunSummary:
    """The summary of the run at `path`; that it is running is believed only if the lock is held."""
    data = RunDirectory(path).read_summary()
    status = data.get("status") if data else None
    if not isinstance(status, str):
        return RunSummary(path, "running" if is_locked(path) else "unreadable", data or {})
    if status == "running" and not is_locked(path):
        status = "killed"  # it had no chance to write its end
    return RunSummary(path, status, data or {})


def run_paths(root: Path, marks: Collection[str] = (CONFIG, SUMMARY)) -> Iterator[Path]:
    """The directories of the runs at or below `root`, in no order.

    Args:
        marks: the files of which a directory that is looked for has one; none is looked for within it.
    """
    return map(Path, _descend(os.fspath(root), _DEPTH, marks)) if root.is_dir() else iter(())


def find_run(text: str, root: Path = OUTPUTS) -> RunDirectory:
    """The run meant by `text`: its directory or a unique part of its name, of a trial `SWEEP/TRIAL`.

    Raises:
        ConfigError: there is none, there are several, or `text` is a directory that is not a run.
    """
    path = Path(text)
    if is_run(path):
        return RunDirectory(path)
    if path.exists() and path.name != text:
        raise ConfigError(_not_a_run(text))
    if not (paths := list(run_paths(root))):
        raise ConfigError(f"there are no runs in {root}/ yet: start one with `{command('train')}`")
    return RunDirectory(_only_match(text, {full_name(path): path for path in paths}, root))


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


def fits(text: str, full_name: str) -> bool:
    """Whether `text` is part of the name; `SWEEP/1` may have part of a sweep's name, but is not SWEEP/10."""
    part, slash, trial = text.rstrip("/").partition("/")
    sweep, _, rest = full_name.partition("/")
    return part in full_name if not slash else part in sweep and f"{rest}/".startswith(f"{trial}/")


def _descend(folder: str, depth: int, marks: Collection[str]) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            subfolders = []
            for entry in entries:
                if entry.name in marks:
                    yield folder
                    return
                if not entry.name.startswith(".") and entry.is_dir():
                    subfolders.append(entry.path)
    except FileNotFoundError:  # deleted while we looked
        return
    except PermissionError:  # shown as a run that cannot be read, rather than not at all
        yield folder
        return
    for subfolder in subfolders if depth else ():
        yield from _descend(subfolder, depth - 1, marks)


def _only_match(text: str, paths: Mapping[str, Path], root: Path) -> Path:
    text = text.rstrip("/")
    rules: tuple[Callable[[str], bool], ...] = (
        lambda name: name == text,
        lambda name: name.endswith(text),  # SWEEP/1 is not SWEEP/10
        lambda name: text in name and "/" not in name,  # a sweep's name alone means no trial
        lambda name: fits(text, name),
    )
    for rule in rules:
        if matches := sorted(filter(rule, paths), reverse=True):
            break
    if len(matches) == 1:
        return paths[matches[0]]
    raise ConfigError(_too_many(text, matches) if matches else _none(text, list(paths), root))


def _too_many(text: str, matches: list[str]) -> str:
    sweeps = {name.partition("/")[0] if "/" in name else "" for name in matches}
    if len(sweeps) == 1 and all(sweeps) and "/" not in text:
        return f"{text} is a sweep of {len(matches):,} runs: give one of them, as in {matches[-1]}"
    shown = listed(matches, most=5)
    return f"{text} fits {len(matches):,} runs: {shown}; give more of the name, or `{LAST}`"


def _not_a_run(text: str) -> str:
    lists = command("runs", text) if any(run_paths(Path(text))) else command("runs")
    return f"{text} is not a run: it has no {CONFIG}; `{lists}` lists the runs"


def _none(text: str, names: list[str], root: Path) -> str:
    from difflib import get_close_matches

    if len(Path(text).parts) > 2 and not Path(text).exists():
        return f"{text} does not exist; `{command('runs')}` lists the runs"
    parts = {part: name for name in sorted(names) for part in (*name.split("_"), name)}
    close = get_close_matches(Path(text).name, parts, n=1)
    hint = f"did you mean {parts[close[0]]}? " if close else ""
    count = "the only run" if len(names) == 1 else f"any of the {len(names)} runs"
    where = f"part of the name of {count} in {root}/"
    return f"{text} is not a directory or {where}; {hint}`{command('runs')}` lists them"


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
