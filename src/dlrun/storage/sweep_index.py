"""The sweep that a name means, as dlrun.storage.index finds runs. Standard library only."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from dlrun.errors import ConfigError, command
from dlrun.storage.index import LAST, OUTPUTS, RunSummary, run_paths
from dlrun.storage.run_directory import CONFIG, SUMMARY, SWEEP, RunDirectory
from dlrun.storage.sweep_directory import SweepDirectory, is_sweep

SWEEPS = Path("outputs/sweeps")

_TICK = 0.001  # seconds
_ORDER = re.compile(r"^order: (\d+(?:\.\d*)?)$", re.MULTILINE)
_CREATED = re.compile(r"^created: ['\"]?([^'\"\n]*)", re.MULTILINE)


def find_sweep(text: str, root: Path = SWEEPS) -> SweepDirectory:
    """The sweep meant by `text`: its directory or a unique part of its name.

    Raises:
        ConfigError: there is none, there are several, or `text` is a directory that is not a sweep.
    """
    path = Path(text)
    if is_sweep(path):
        return SweepDirectory(path if path.name not in ("", "..") else path.resolve())
    if (trial_of := _sweep_above(path) or _sweep_named_before(text, root)) is not None:
        raise ConfigError(f"{text} is a trial of a sweep, not a sweep: give {trial_of}")
    if path.exists() and path.name != text:
        raise ConfigError(f"{text} is not a sweep: it has no {SWEEP}{_known(root)}")
    if not path.exists() and len(path.parts) > 2:
        raise ConfigError(f"{text} does not exist{_known(root)}")
    if not (paths := sweep_paths(root)):
        first = command("train", "sweep=random", "optimizer.lr=interval(0.0001,0.1)")
        raise ConfigError(f"there are no sweeps in {root}/ yet: start one, as in `{first}`")
    return SweepDirectory(_only_match(text, {path.name: path for path in paths}, root))


def sweep_paths(root: Path = SWEEPS) -> list[Path]:
    """The directories of the sweeps in `root`, by name: the newest last."""
    return sorted(path for path in root.iterdir() if is_sweep(path)) if root.is_dir() else []


def _sweep_above(path: Path) -> Path | None:
    """The sweep that the existing `path` lies in: above a trial, or above one seed of a trial."""
    if not path.exists():
        return None
    return next((above for above in list(path.absolute().parents)[:2] if is_sweep(above)), None)


def _sweep_named_before(text: str, root: Path) -> Path | None:
    """The sweep in `SWEEP/3` or `SWEEP/3/seed0`: a number says which was meant only with the name before it."""
    stem, _, trial = text.partition("/")
    if not stem or not trial.partition("/")[0].isdigit():
        return None
    return next((path for path in sweep_paths(root) if stem in path.name), None)


def _only_match(text: str, paths: Mapping[str, Path], root: Path) -> Path:
    text = text.rstrip("/")
    rules: tuple[Callable[[str], bool], ...] = (
        lambda name: name == text,
        lambda name: name.endswith(text),
        lambda name: text in name,
    )
    for rule in rules:
        matches = sorted((name for name in paths if rule(name)), reverse=True)
        if len(matches) == 1:
            return paths[matches[0]]
    raise ConfigError(_too_many(text, matches) if matches else _none(text, paths, root))


def _too_many(text: str, matches: list[str]) -> str:
    more = f" and {len(matches) - 5} more" if len(matches) > 5 else ""
    shown = ", ".join(matches[:5])
    return f"{text} fits {len(matches)} sweeps: {shown}{more}; give more of the name, or `{LAST}`"


def _none(text: str, names: Iterable[str], root: Path) -> str:
    from difflib import get_close_matches

    names = sorted(names)
    parts = {part: name for name in names for part in (*name.split("_"), name)}
    close = get_close_matches(Path(text).name, parts, n=1)
    hint = f"; did you mean {parts[close[0]]}?" if close else _known(root)
    count = "the only sweep" if len(names) == 1 else f"any of the {len(names)} sweeps"
    return f"{text} is not a directory or part of the name of {count} in {root}/{hint}"


def _known(root: Path) -> str:
    """The names there are, the newest first."""
    names = [path.name for path in reversed(sweep_paths(root))]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"; there are: {', '.join(names[:5])}{more}" if names else ""


def begun(place: Path) -> float:
    """What orders runs and sweeps, as `RunSummary.begun`."""
    return glance(place).begun


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


def runs_and_sweeps(root: Path = OUTPUTS) -> list[Path]:
    """The runs and sweeps at or below `root`, without trials."""
    return list(run_paths(root, (SWEEP, CONFIG, SUMMARY)))


def next_order() -> float:
    """The `order` of what begins now: the time, or just after the newest of outputs/ where the clock was set back.

    So `last` is what was begun last, though no clock is to be relied on; of what is begun at the same time, either.
    """
    return max(time.time(), max(map(begun, runs_and_sweeps()), default=0.0) + _TICK)
