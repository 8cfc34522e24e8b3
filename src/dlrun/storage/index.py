"""The index of runs and sweeps: which there are, which is the newest, and which one a word means.

One rule holds in every command. A word means, in this order:

1. `last`: the run or sweep that was begun last; `last/3` is a trial of it.
2. The directory of a run or a sweep.
3. A run or a sweep by its whole name, else by the end of its name, else by any part of it.
4. A trial, or a seed of a trial, likewise: `SWEEP/3`, `SWEEP/3/seed0`, with any part of the sweep's name.

A command that takes only a run, or only a sweep, finds by the same rule and then refuses the other. One that takes any
folder of runs looks for that after 2, and once more where nothing else fits.
Standard library only, so that this starts at once.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path

from dlrun.errors import ConfigError, command, listed
from dlrun.storage.run_directory import CONFIG, SUMMARY, SWEEP, RunDirectory, from_here, is_run
from dlrun.storage.run_summary import RunSummary, full_name, glance, read_run
from dlrun.storage.sweep_directory import SweepDirectory, is_sweep

OUTPUTS, SWEEPS = Path("outputs"), Path("outputs/sweeps")
LAST = "last"

_TICK = 0.001  # seconds
_DEPTH = 4  # of outputs/sweeps/SWEEP/TRIAL/SEED below outputs/


def scan(root: Path = OUTPUTS) -> list[RunSummary]:
    """Every run at or below `root` (outputs/, a sweep, any folder of runs), newest first."""
    summaries = [read_run(path) for path in run_paths(root)]
    return sorted(summaries, key=lambda run: (run.begun, run.path), reverse=True)


def run_paths(root: Path = OUTPUTS) -> Iterator[Path]:
    """The directories of the runs at or below `root`, also of trials, in no order."""
    return _marked(root, (CONFIG, SUMMARY))


def sweep_paths() -> list[Path]:
    """The directories of the sweeps below outputs/, by name: the newest last."""
    return sorted(filter(is_sweep, _runs_and_sweeps()), key=lambda path: path.name)


def names() -> dict[str, Path]:
    """Every run, sweep and trial below outputs/ by its full name."""
    return {**_names(run_paths()), **_names(sweep_paths())}


def next_order() -> float:
    """The `order` of what begins now: the time, or just after the newest of outputs/ where the clock was set back.

    So `last` is what was begun last, also where the clock was set back; of two that begin at one moment, either.
    """
    newest = _newest(_runs_and_sweeps())
    return max(time.time(), (glance(newest).begun if newest else 0.0) + _TICK)


def find_run_or_sweep(text: str) -> RunDirectory | SweepDirectory:
    """The run or sweep that `text` means.

    Raises:
        ConfigError: there is none, or there are several.
    """
    return _find(text, _no_run)


def find_run(text: str) -> RunDirectory:
    """The run that `text` means, for a command that takes no sweep.

    Raises:
        ConfigError: it means none, several, or a sweep.
    """
    found = find_run_or_sweep(text)
    if isinstance(found, RunDirectory):
        return found
    trials = sorted(run_paths(found.path), key=lambda path: (len(str(path)), path))
    remedy = "it has no trials yet"
    if trials:
        remedy = f"give one of its trials, as in {full_name(trials[0])}"
    lone = (path for path in _runs_and_sweeps() if not is_sweep(path))
    newest = _newest(lone) if text == LAST else None
    remedy += f"; the newest run of its own is {newest}" if newest else ""
    raise ConfigError(
        f"{text} is {_the('sweep', found.path, text)}, but this command takes a run: {remedy}"
    )


def find_sweep(text: str) -> SweepDirectory:
    """The sweep that `text` means, for a command that takes no run.

    Raises:
        ConfigError: it means none, several, or a run.
    """
    sweep = None if is_sweep(Path(text)) else _sweep_of_trial(text)
    found = _find(text, _no_sweep) if sweep is None else None
    if isinstance(found, SweepDirectory):
        return found
    if found is not None and (sweep := sweep_of(found.path)) is None:
        newest = _newest(sweep_paths())
        remedy = f"the newest sweep is {newest}" if newest else "there are no sweeps yet"
        raise ConfigError(
            f"{text} is {_the('run', found.path, text)}, but this command takes a sweep: {remedy}"
        )
    assert sweep is not None
    raise ConfigError(f"{text} is a trial of a sweep, not a sweep: give {from_here(sweep)}")


def find_runs(text: str) -> tuple[list[Path], Path | None]:
    """The runs that `text` means, in the order of their numbers, and the sweep that they are the trials of, if any.

    It means one run, all of a sweep, or those of the seeds of a trial: `SWEEP/3`.

    Raises:
        ConfigError: it means none, or several runs or sweeps.
    """
    trial = _trial_with_seeds(text)
    found = trial or find_run_or_sweep(text).path
    if is_run(found):
        return [found], None
    runs = sorted(run_paths(found), key=lambda path: (len(str(path)), path))
    return runs, None if trial else found


def _trial_with_seeds(text: str) -> Path | None:
    """The folder of the trial that `text` names, where it holds a run for each of several seeds."""
    name, _, number = text.partition("/")
    if is_run(Path(text)) or is_sweep(Path(text)):
        return None
    if Path(text).is_dir():
        folder: Path | None = Path(text)
    elif name == LAST:
        newest = _newest(_runs_and_sweeps())
        folder = newest and newest / number
    else:
        sweep = _sweep_of_trial(text)
        folder = sweep and sweep / number
    has_seeds = folder is not None and not is_run(folder) and sweep_of(folder / "seed") is not None
    return folder if has_seeds and not is_sweep(folder or Path()) else None


def find_folder(text: str) -> Path:
    """The folder that `text` means, for a command that takes any folder of runs beside a run or a sweep.

    Raises:
        ConfigError: there is no such folder, and it means no run or sweep, or several.
    """
    path = Path(text)
    is_folder = path.parts[:1] != (LAST,) and path.is_dir()
    if is_folder and (path.name != text or any(run_paths(path))):
        return path
    try:
        return find_run_or_sweep(text).path
    except ConfigError:
        if is_folder:
            return path
        raise


def sweep_of(path: Path) -> Path | None:
    """The sweep that the run at `path` is a trial of, or a seed of a trial."""
    return next((folder for folder in path.parents[:2] if is_sweep(folder)), None)


def fits(text: str, full_name: str) -> bool:
    """Whether `text` is part of the name; `SWEEP/1` may have part of a sweep's name, but is not SWEEP/10."""
    part, slash, trial = text.rstrip("/").partition("/")
    sweep, _, rest = full_name.partition("/")
    return part in full_name if not slash else part in sweep and f"{rest}/".startswith(f"{trial}/")


def _find(text: str, none: Callable[[str], str]) -> RunDirectory | SweepDirectory:
    """The rule; `none` says what is wrong with a text that means nothing."""
    path, name = Path(text), text.rstrip("/")
    first, _, rest = text.partition("/")
    if first == LAST:
        newest = _newest(_runs_and_sweeps())
        if newest is None:
            raise ConfigError(none(text))
        return _find(str(newest / rest), none) if rest else _directory(newest)
    if is_run(path) or is_sweep(path):
        return _directory(path)
    if not name:  # which is part of every name
        raise ConfigError(f"{text} is not a run or a sweep; `{command('runs')}` lists them")
    if path.exists() and path.name != text:
        raise ConfigError(none(text))
    alone = {name: path for name, path in _names(_runs_and_sweeps()).items() if "/" not in name}
    for named in (alone, names()):
        if len(matches := _matches(name, named)) == 1:
            return _directory(named[matches[0]])
        if matches:
            raise ConfigError(_too_many(text, matches, named))
    raise ConfigError(none(text))


def _directory(path: Path) -> RunDirectory | SweepDirectory:
    if is_run(path):
        return RunDirectory(path)
    return SweepDirectory(path if path.name not in ("", "..") else path.resolve())


_OWN_NAME = re.compile(
    r"^[\d-]{10}_[\d-]{8}_|_[0-9a-f]{6}$"
)  # what stands around a name of one's own


def _matches(text: str, names: Iterable[str]) -> list[str]:
    """The names that fit best, those of later dates first."""
    rules: tuple[Callable[[str], bool], ...] = (
        lambda name: name == text,
        lambda name: _OWN_NAME.sub("", name) == text,  # before a short id that ends so by chance
        lambda name: name.endswith(text),  # SWEEP/1 is not SWEEP/10
        lambda name: fits(text, name),
    )
    found = (sorted(filter(rule, names), reverse=True) for rule in rules)
    return next(filter(None, found), [])


def _names(paths: Iterable[Path]) -> dict[str, Path]:
    return {path.name if is_sweep(path) else full_name(path): path for path in paths}


def _runs_and_sweeps() -> list[Path]:
    """The runs and sweeps below outputs/, without the trials of sweeps."""
    return list(_marked(OUTPUTS, (SWEEP, CONFIG, SUMMARY)))


def _newest(paths: Iterable[Path]) -> Path | None:
    """What was begun last; of a sweep its own beginning counts, and not that of a trial."""
    return max(paths, key=lambda path: (glance(path).begun, is_sweep(path), path), default=None)


def _marked(root: Path, marks: Collection[str]) -> Iterator[Path]:
    """The directories at or below `root` that hold one of the files `marks`; none is looked for within such a one."""
    return map(Path, _descend(os.fspath(root), _DEPTH, marks)) if root.is_dir() else iter(())


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


def _sweep_of_trial(text: str) -> Path | None:
    """The sweep of the trial or seed that `text` names or is the directory of, whether it has begun or not."""
    path = Path(text)
    if path.exists() and (sweep := sweep_of(path.absolute())):
        return sweep
    # A number says which trial was meant only with the name before it.
    name, _, trial = text.partition("/")
    if not name or not trial.partition("/")[0].isdigit():
        return None
    named = _names(sweep_paths())
    return next((named[found] for found in _matches(name, named)), None)


def _the(noun: str, path: Path, text: str) -> str:
    """`the run PATH`, or `a run` where that is what was typed."""
    return f"a {noun}" if Path(text) == path else f"the {noun} {path}"


def _too_many(text: str, matches: list[str], named: Mapping[str, Path]) -> str:
    sweeps = {name.partition("/")[0] if "/" in name else "" for name in matches}
    if len(sweeps) == 1 and all(sweeps) and "/" not in text:
        return f"{text} is a sweep of {len(matches):,} runs: give one of them, as in {matches[-1]}"
    kinds = {"sweeps" if is_sweep(named[name]) else "runs" for name in matches}
    fitting = f"{len(matches):,} {' and '.join(sorted(kinds))}"
    return f"{text} fits {fitting}: {listed(matches, most=5)}; give more of the name, or `{LAST}`"


def _no_run(text: str) -> str:
    """Why `text` means no run, and what to type."""
    path, lists = Path(text), f"`{command('runs')}` lists"
    if path.exists() and path.name != text:
        lists = f"`{command('runs', text)}` lists" if any(run_paths(path)) else lists
        return f"{text} is not a run: it has no {CONFIG}; {lists} the runs"
    if not (known := _names(run_paths())):
        return f"there are no runs in {OUTPUTS}/ yet: start one with `{command('train')}`"
    if not path.exists() and len(path.parts) > 2:
        return f"{text} does not exist; {lists} the runs"
    near = _nearest(text, known)
    hint = f"; did you mean {near}? " if near else "; "
    return f"{_no_part(text, known, 'run', OUTPUTS)}{hint}{lists} them"


def _no_sweep(text: str) -> str:
    """Why `text` means no sweep, and which there are."""
    path = Path(text)
    known = [sweep.name for sweep in reversed(sweep_paths())]
    there_are = f"; there are: {listed(known, most=5)}" if known else ""
    if path.exists() and path.name != text:
        return f"{text} is not a sweep: it has no {SWEEP}{there_are}"
    if not path.exists() and len(path.parts) > 2:
        return f"{text} does not exist{there_are}"
    if not known:
        first = command("train", "sweep=random", "optimizer.lr=interval(0.0001,0.1)")
        return f"there are no sweeps in {SWEEPS}/ yet: start one, as in `{first}`"
    near = _nearest(text, known)
    hint = f"; did you mean {near}?" if near else there_are
    return f"{_no_part(text, known, 'sweep', SWEEPS)}{hint}"


def _no_part(text: str, names: Collection[str], noun: str, root: Path) -> str:
    count = f"the only {noun}" if len(names) == 1 else f"any of the {len(names)} {noun}s"
    return f"{text} is not a directory or part of the name of {count} in {root}/"


def _nearest(text: str, names: Iterable[str]) -> str:
    """The name with a part that is written most like `text`; empty where none is."""
    from difflib import get_close_matches

    alone_last = sorted(names, key=lambda name: ("/" not in name, name))  # rather than a trial
    parts = {part: name for name in alone_last for part in (*name.split("_"), name)}
    close = get_close_matches(Path(text).name, parts, n=1)
    return parts[close[0]] if close else ""
