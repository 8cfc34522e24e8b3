"""What a word on the command line means where both runs and sweeps can be looked at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dlrun.errors import ConfigError
from dlrun.run_directory import RunDirectory, is_run
from dlrun.runs import LAST, OUTPUTS, find_run, full_name, run_paths
from dlrun.sweep.directory import SweepDirectory, is_sweep
from dlrun.sweep.finding import find_sweep, sweep_paths


def find_run_or_sweep(text: str) -> RunDirectory | SweepDirectory:
    """The run or sweep meant by `text`: its directory, a unique part of its name, or `last`, the newest run.

    A trial is named `SWEEP/TRIAL`.

    Raises:
        ConfigError: there is none, or there are several.
    """
    if text == LAST or is_run(Path(text)):
        return find_run(text)
    if is_sweep(Path(text)):
        return SweepDirectory(Path(text))
    name = text.rstrip("/")
    sweeps = [path for path in sweep_paths() if name in path.name]
    runs = [path for path in run_paths(OUTPUTS) if _is_lone(path) and name in path.name]
    if not sweeps:
        return find_run(text)
    if not runs:
        return find_sweep(text)
    found = _best_match(name, {path.name: path for path in (*sweeps, *runs)})
    return SweepDirectory(found) if found in sweeps else RunDirectory(found)


def sweep_of(path: Path) -> Path | None:
    """The sweep that the run at `path` is a trial of, or a seed of a trial."""
    above = path.parents[:2]
    return next((folder for folder in above if is_sweep(folder)), None)


def _is_lone(path: Path) -> bool:
    return "/" not in full_name(path)


def _best_match(text: str, paths: Mapping[str, Path]) -> Path:
    for matches in (
        [name for name in paths if name == text],
        [name for name in paths if name.endswith(text)],
        sorted(paths, reverse=True),
    ):
        if len(matches) == 1:
            return paths[matches[0]]
    more = f" and {len(matches) - 5:,} more" if len(matches) > 5 else ""
    raise ConfigError(
        f"{text} fits {len(matches):,} runs and sweeps: {', '.join(matches[:5])}{more}; give more of the name"
    )
