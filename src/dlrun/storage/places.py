"""Which run or sweep a word on the command line means: the same in every command.

A directory; `last`, the newest run or sweep; or a unique part of a name. `SWEEP/3` is a trial, `SWEEP/3/seed0` one of
its seeds. A command that takes only one of the two says so of the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from dlrun.errors import ConfigError, command, listed
from dlrun.storage import index, sweep_index
from dlrun.storage.index import LAST, OUTPUTS, full_name, run_paths
from dlrun.storage.run_directory import RunDirectory, is_run
from dlrun.storage.sweep_directory import SweepDirectory, is_sweep
from dlrun.storage.sweep_index import begun, runs_and_sweeps, sweep_paths


def find_place(text: str) -> RunDirectory | SweepDirectory:
    """The run or sweep that `text` means.

    Raises:
        ConfigError: there is none, or there are several.
    """
    path = Path(text)
    first, _, rest = text.partition("/")
    if first == LAST:
        newest = _newest()
        return find_place(str(newest.path / rest)) if rest else newest
    if is_run(path):
        return RunDirectory(path)
    if is_sweep(path):
        return SweepDirectory(path if path.name not in ("", "..") else path.resolve())
    name = text.rstrip("/")
    if not name:  # which is part of every name
        raise ConfigError(f"{text} is not a run or a sweep; `{command('runs')}` lists them")
    sweeps = [path for path in sweep_paths() if name in path.name]
    lone = [path for path in run_paths(OUTPUTS) if "/" not in full_name(path) and name in path.name]
    if not sweeps:
        return index.find_run(text)
    if not lone:
        return sweep_index.find_sweep(text)
    found = _best_match(name, {path.name: path for path in (*sweeps, *lone)})
    return SweepDirectory(found) if found in sweeps else RunDirectory(found)


def find_run(text: str) -> RunDirectory:
    """The run that `text` means, for a command that takes no sweep.

    Raises:
        ConfigError: it means none, several, or a sweep.
    """
    place = find_place(text)
    if isinstance(place, RunDirectory):
        return place
    trials = sorted(run_paths(place.path), key=lambda path: (len(str(path)), path))
    remedy = (
        f"give one of its trials, as in {full_name(trials[0])}"
        if trials
        else "it has no trials yet"
    )
    lone = (path for path in runs_and_sweeps() if not is_sweep(path))
    newest = _newest_of(lone) if text == LAST else None
    remedy += f"; the newest run of its own is {newest}" if newest else ""
    raise ConfigError(f"{text} is the sweep {place.path}, but this command takes a run: {remedy}")


def find_sweep(text: str) -> SweepDirectory:
    """The sweep that `text` means, for a command that takes no run.

    Raises:
        ConfigError: it means none, several, or a run.
    """
    is_last = text.partition("/")[0] == LAST and bool(runs_and_sweeps())
    if not is_last and not _may_be_run(text):
        return sweep_index.find_sweep(text)  # which says best what is wrong
    place = find_place(text)
    if isinstance(place, SweepDirectory):
        return place
    if (above := sweep_of(place.path)) is not None:
        raise ConfigError(f"{text} is a trial of a sweep, not a sweep: give {above}")
    newest = _newest_of(filter(is_sweep, runs_and_sweeps()))
    remedy = f"the newest sweep is {newest}" if newest else "there are no sweeps yet"
    raise ConfigError(f"{text} is the run {place.path}, but this command takes a sweep: {remedy}")


def sweep_of(path: Path) -> Path | None:
    """The sweep that the run at `path` is a trial of, or a seed of a trial."""
    above = path.parents[:2]
    return next((folder for folder in above if is_sweep(folder)), None)


def _newest() -> RunDirectory | SweepDirectory:
    """What was begun last; of a sweep its own beginning counts, and not that of a trial."""
    newest = _newest_of(runs_and_sweeps())
    if newest is None:
        return index.find_run(LAST)  # which says how to have a first one
    return SweepDirectory(newest) if is_sweep(newest) else RunDirectory(newest)


def _newest_of(paths: Iterable[Path]) -> Path | None:
    return max(paths, key=lambda path: (begun(path), is_sweep(path), path), default=None)


def _may_be_run(text: str) -> bool:
    name = text.rstrip("/")
    return is_run(Path(text)) or any(
        "/" not in full_name(path) and name in path.name for path in run_paths(OUTPUTS)
    )


def _best_match(text: str, paths: Mapping[str, Path]) -> Path:
    for matches in (
        [name for name in paths if name == text],
        [name for name in paths if name.endswith(text)],
        sorted(paths, reverse=True),
    ):
        if len(matches) == 1:
            return paths[matches[0]]
    shown = listed(matches, most=5)
    raise ConfigError(
        f"{text} fits {len(matches):,} runs and sweeps: {shown}; give more of the name"
    )
