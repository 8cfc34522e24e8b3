"""The run directory: the names of its files, its lock, writing and reading what is in them.

Standard library only, so that looking back at runs starts at once. Other programs read these files
too: their names and fields are a contract.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from dlrun.errors import ConfigError
from dlrun.storage import claims
from dlrun.storage.disk import DiskFull, writing
from dlrun.storage.links import open_here, refuse_links

CONFIG, SUMMARY, LOCK = "config.yaml", "summary.json", ".lock"
PREPARED = "prepared"  # status of a run that is to begin when all its processes are there
ENSEMBLE = "ensemble.yaml"  # in place of a config, in the directory of an ensemble of runs
SWEEP, CLAIMS = (
    "sweep.yaml",
    ".claims",
)  # of a sweep, in which trials are runs: one file with all their locks

_RANK_SECONDS = 15.0  # in which ranks whose launcher was killed have ended
_TRIAL, _SEED = re.compile(r"[0-9]{1,9}"), re.compile(r"seed[0-9]+")
_DIGITS = 100  # of a whole number that a run may write: far within what a float can stand for


@dataclass(frozen=True)
class RunDirectory:
    """Where the files of one run are."""

    path: Path

    @property
    def config_file(self) -> Path:
        """The composed config, complete."""
        return self.path / CONFIG

    @property
    def overrides_file(self) -> Path:
        """What the command line changed, a YAML list."""
        return self.path / "overrides.yaml"

    @property
    def environment_file(self) -> Path:
        """Versions, device, git commit, command line."""
        return self.path / "environment.json"

    @property
    def metrics_file(self) -> Path:
        """One JSON object for each logged point."""
        return self.path / "metrics.jsonl"

    @property
    def summary_file(self) -> Path:
        """Status, best and final metrics, times; the error where it failed."""
        return self.path / SUMMARY

    @property
    def threshold_file(self) -> Path:
        """The decision thresholds that were chosen for the run, where they were."""
        return self.path / "threshold.json"

    @property
    def checkpoints(self) -> Path:
        """The folder of last.pt and best.pt."""
        return self.path / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard's event files."""
        return self.path / "tensorboard"

    @property
    def log(self) -> Path:
        """The messages of the run."""
        return self.path / "train.log"

    def look_anew(self) -> None:
        """Have this host see which files another has made and removed, of which NFS believes for a minute what it saw.

        To set what is set already asks the server, whose answer says whether the folder has changed.
        """
        for folder in (self.path.parent, self.path, self.checkpoints):
            with suppress(OSError):  # there is none, or it is somebody else's
                os.chmod(folder, folder.stat().st_mode)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Replace the summary; whoever reads meanwhile finds the old one or the new one, whole."""
        # NaN and infinity are no JSON, and a strict reader would refuse the whole file for one.
        text = json.dumps(finite(summary), indent=2, allow_nan=False)
        try:
            write_whole(self.summary_file, text + "\n")
        except DiskFull:
            if summary.get("status") != "stopped":
                raise
            self._say_stopped()

    def _say_stopped(self) -> None:
        """Change the status in place: the words are equally long, and no room is needed."""
        with suppress(OSError), self.summary_file.open("rb+") as file:
            if (place := file.read().find(b'"status": "running"')) >= 0:
                file.seek(place)
                file.write(b'"status": "stopped"')

    def read_summary(self) -> dict[str, Any] | None:
        """The summary, or None where there is none or it cannot be read."""
        return _read_json_object(self.summary_file)

    def read_threshold(self) -> dict[str, Any] | None:
        """The decision thresholds, empty where they cannot be read; None where there are none."""
        if not os.path.lexists(self.threshold_file):
            return None
        return _read_json_object(self.threshold_file) or {}

    def read_environment(self) -> dict[str, Any] | None:
        """What the run ran on, or None where that was not written or cannot be read."""
        return _read_json_object(self.environment_file)


def write_whole(file: Path, text: str) -> None:
    """Replace the file at once: a kill leaves the old text or the new, and nothing in between."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    with writing(file, temporary):
        with open_here(temporary, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(text)
        os.replace(temporary, file)


def from_here(path: Path) -> Path:
    """`path` as short as it can be said and typed."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def is_run(path: Path) -> bool:
    """Whether `path` is a run's directory: it holds a config or a summary."""
    return (path / CONFIG).is_file() or (path / SUMMARY).is_file()


def is_prepared(run: RunDirectory) -> bool:
    """Whether the run is prepared, and was not begun yet."""
    return (run.read_summary() or {}).get("status") == PREPARED


def is_ensemble(path: Path) -> bool:
    """Whether the run at `path` is an ensemble of several, whose weights it has copies of."""
    return (path / ENSEMBLE).is_file()


@contextmanager
def lock(run: RunDirectory, *, is_rank: bool = False) -> Iterator[None]:
    """Hold the run for this process: no other may train it meanwhile, and others see it is alive.

    A run of a trial is held by holding the trial, as a process that trains the sweep does already. Where that has
    started ranks, the first of them holds the run: it may outlive it for as long as it saves.

    Raises:
        ConfigError: another process holds it, or a symbolic link is in it.
    """
    refuse_links(run.path)
    trial = None if is_rank else _trial_of(run.path)
    place, number = trial or (run.path / LOCK, 0)
    seconds = _RANK_SECONDS if is_rank else None
    with claims.claim(place, number, reentrant=trial is not None, seconds=seconds) as held:
        if not held:
            raise ConfigError(
                f"{run.path} is being trained by another process: wait for it, or stop it first"
            )
        run.look_anew()
        yield


def is_locked(path: Path) -> bool:
    """Whether a process is training the run at `path` now, or the trial that it is of."""
    return claims.is_claimed(*(_trial_of(path) or (path / LOCK, 0)))


def _trial_of(path: Path) -> tuple[Path, int] | None:
    """The file of its sweep's claims and the number of its trial, of a run that is one of a trial."""
    path = path.resolve()  # whichever way it was reached
    trial = path.parent if _SEED.fullmatch(path.name) else path
    if not _TRIAL.fullmatch(trial.name) or not (trial.parent / SWEEP).is_file():
        return None
    return trial.parent / CLAIMS, int(trial.name)


def read_overrides(run: RunDirectory) -> list[str]:
    """What the command line changed, the last word for each key; nothing where that cannot be read."""
    import yaml

    from dlrun.config import plain_yaml

    if not run.overrides_file.is_file():
        return []
    try:
        words = plain_yaml.load(run.overrides_file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return []
    return latest_overrides(map(str, words)) if isinstance(words, list) else []


def latest_overrides(words: Iterable[str]) -> list[str]:
    """The words without those that a later one for the same key replaces."""
    last: dict[str, str] = {}
    for word in words:
        key = word.lstrip("+~").partition("=")[0]
        last.pop(key, None)  # the latest comes last
        last[key] = word
    return list(last.values())


def read_metrics(run: RunDirectory) -> list[dict[str, Any]]:
    """The logged points in order; a last line torn by a kill is left out.

    Raises:
        ConfigError: another line is not a JSON object.
    """
    if not run.metrics_file.exists():
        return []
    *lines, torn = run.metrics_file.read_bytes().split(b"\n")
    points = [_point(line, number, run) for number, line in enumerate(lines, 1) if line.strip()]
    last = _parse_object(torn)
    return [*points, last] if last is not None else points


def truncate_metrics(run: RunDirectory, size: int) -> str | None:
    """Cut the metrics back to their first `size` bytes: to the checkpoint a resume starts from.

    Returns:
        What is missing of them, in words, or None where they are whole. Damaged lines are taken out.
    """
    try:
        kept = run.metrics_file.read_bytes()[:size]
    except FileNotFoundError:
        kept = b""
    found = len(kept)
    # A file shorter than that may end in a torn line: the next point must not join it.
    lines = kept[: kept.rfind(b"\n") + 1].splitlines(keepends=True)
    damaged = [n for n, line in enumerate(lines, 1) if line.strip() and _parse_object(line) is None]
    if damaged:
        sound = [line for number, line in enumerate(lines, 1) if number not in damaged]
        write_whole(run.metrics_file, b"".join(sound).decode())
    elif run.metrics_file.exists():
        os.truncate(run.metrics_file, sum(map(len, lines)))
    lost = []
    if found < size:
        lost.append(f"it has {found:,} bytes of the {size:,} that its checkpoint knows")
    if damaged:
        numbers = ", ".join(map(str, damaged[:10])) + (", …" if len(damaged) > 10 else "")
        lost.append(f"line{'s' if len(damaged) > 1 else ''} {numbers} could not be read")
    return f"{run.metrics_file} lacks points: {' and '.join(lost)}" if lost else None


def finite(value: Any) -> Any:
    """The same plain value with None for each number that is not finite, which JSON cannot say."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


def _read_json_object(file: Path) -> dict[str, Any] | None:
    try:
        if not file.is_file():  # a pipe would be waited for, and a device read without end
            return None
        content = file.read_bytes()
        return _parse_object(content, parse_float=_finite_number, parse_constant=_refuse)
    except OSError:
        return None


def _parse_object(text: bytes, **numbers: Any) -> dict[str, Any] | None:
    try:
        value = json.loads(text, parse_int=_integer, **numbers)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _finite_number(text: str) -> float:
    return value if math.isfinite(value := float(text)) else _refuse(text)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is no finite number")


def _integer(digits: str) -> int:
    return int(digits) if len(digits) <= _DIGITS else _refuse(digits)


def _point(line: bytes, number: int, run: RunDirectory) -> dict[str, Any]:
    point = _parse_object(line)
    if point is None:
        raise ConfigError(f"{run.metrics_file}, line {number}, is not a JSON object; remove it")
    return point
