"""One sweep in short, for people: what it asks, how far it is, what it found, and where to look on."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from optuna.trial import FrozenTrial, TrialState

from dlrun.commands import _text
from dlrun.config.option_files import read_option
from dlrun.config.search_path import config_folders, options
from dlrun.errors import command
from dlrun.storage.run_directory import is_locked, is_run
from dlrun.storage.run_summary import short_name
from dlrun.storage.shared_locks import count_at_work
from dlrun.storage.sweep_directory import SweepDirectory
from dlrun.sweep import ending
from dlrun.sweep.snapshot import Snapshot, take
from dlrun.sweep.summary import NO_BEST, answer_of, command_of, warning
from dlrun.tracking.numbers import bytes_text

_MOST_FAILED = 3
_SHARED_SETTINGS = ("seeds", "pruner")  # of the strategy, where they are not as usual
_USUAL = (None, "none", 1)
_FILES = {
    "sweep.yaml": "what is searched, complete",
    "study.journal": "Optuna's study",
    "leaderboard.csv": "every trial with its settings and metrics",
    "best.yaml": "the best setting, to copy into configs/experiment/",
    "report.html": "the report, one page",
    "report": "its figures as PNG",
}


def sweep_page(sweep: SweepDirectory) -> str:
    """Everything worth knowing about the sweep as it stands now.

    Raises:
        ConfigError: its sweep.yaml is missing or damaged.
    """
    snapshot = take(sweep)
    is_over = _count_ended(snapshot) >= _total(snapshot)
    is_running = is_locked(sweep.path) or count_at_work(sweep) > 0
    status = "running" if is_running else "completed" if is_over else "not finished"
    told = snapshot.early_end or f"{status}: {_counts(snapshot)}"
    sections = [
        f"{short_name(sweep.path)}  {told}",
        _text.pairs(_question(snapshot)),
        "\n".join(_answer(snapshot)),
        "\n".join(_failed(snapshot)),
        f"files in {sweep.path}\n{_text.pairs(_files(sweep))}",
        f"next\n{_text.pairs(_next(snapshot, resumable=not is_over and not is_running))}",
    ]
    return "\n\n".join(section for section in sections if section.strip())


def _total(snapshot: Snapshot) -> int:
    total = snapshot.settings.get("trials")
    return total if isinstance(total, int) else len(snapshot.trials)


def _count_ended(snapshot: Snapshot) -> int:
    return sum(trial.state.is_finished() for trial in snapshot.trials)


def _counts(snapshot: Snapshot) -> str:
    count = snapshot.count()
    more = [
        f"{count[state]} {word}"
        for state, word in ((TrialState.FAIL, "failed"), (TrialState.PRUNED, "pruned"))
        if count[state]
    ]
    done = f"{_count_ended(snapshot):,} of {_text.plural(_total(snapshot), 'trial')} done"
    return ", ".join([done, *more])


def _question(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    if snapshot.comparable:
        yield "objective", f"{'minimize' if snapshot.minimize else 'maximize'} {snapshot.objective}"
    yield "strategy", ", ".join(_strategy(snapshot))
    yield "searched", "\n".join(map(str, snapshot.space.parameters))
    if snapshot.fixed:
        yield "fixed", shlex.join(snapshot.fixed)
    peaks = (trial.user_attrs.get("peak_memory") for trial in snapshot.trials)
    if peak := max(filter(None, peaks), default=0):
        yield "memory", f"{bytes_text(peak)} of a GPU at most, for one trial or stack"
    if created := str(snapshot.description.get("created", ""))[:19].replace("T", " "):
        yield "started", created


def _strategy(snapshot: Snapshot) -> Iterator[str]:
    """The option of the group sweep, by its target where that has a name here."""
    target, folders = str(snapshot.settings.get("_target_", "unknown")), config_folders()
    found = (read_option("sweep", name, folders) for name in options("sweep", folders))
    named = next((option for option in found if option and option.target == target), None)
    yield named.name if named else target
    for key in _SHARED_SETTINGS:
        if (value := snapshot.settings.get(key)) not in _USUAL:
            yield f"{key} {value}"


def _answer(snapshot: Snapshot) -> Iterator[str]:
    answer = answer_of(snapshot)
    if not answer.comparable:
        yield NO_BEST
    elif answer.repeated is not None:
        yield answer.repetition_head()
        yield _text.pairs(answer.repetition_lines())
    elif (winner := answer.winner) is None:
        yield "No trial has completed."
    else:
        yield answer.headline()
        yield _text.wrapped(" ".join(answer.lead()), "  ")
        if others := answer.others(winner):
            yield _text.wrapped(", ".join(others), "  ")
        yield f"  {command_of(snapshot, winner)}"
    if found := warning(answer, snapshot.sweep):
        yield _text.wrapped(found, "  ")


def _failed(snapshot: Snapshot) -> Iterator[str]:
    failed = snapshot.of(TrialState.FAIL)
    for trial in failed[:_MOST_FAILED]:
        yield _text.wrapped(f"failed: trial {trial.number}{_error(snapshot, trial)}", "  ", "")
    if len(failed) > _MOST_FAILED:
        yield f"failed: {len(failed) - _MOST_FAILED:,} more"


def _error(snapshot: Snapshot, trial: FrozenTrial) -> str:
    settings = " ".join(f"{key}={text}" for key, text in snapshot.texts(trial).items())
    return f" ({settings}): {trial.user_attrs.get('error', 'no error was recorded')}"


def _files(sweep: SweepDirectory) -> Iterator[tuple[str, str]]:
    for name, meaning in _FILES.items():
        if (path := sweep.path / name).exists():
            yield name + ("/" if path.is_dir() else ""), meaning


def _next(snapshot: Snapshot, *, resumable: bool) -> Iterator[tuple[str, str]]:
    path = snapshot.sweep.path
    if resumable:
        reason = snapshot.ended_by
        more = ending.how_to_go_on(reason, snapshot.settings, path) if reason else ""
        yield "resume it", more or command("resume", path)
        if not reason:
            yield "help to train it", command("work", path)
    yield "see its trials", command("runs", path)
    if (winner := snapshot.winner) is not None and not snapshot.repetitions.across_trials:
        folder = snapshot.sweep.trial(winner.number)
        yield "see the best", command("show" if is_run(folder) else "runs", folder)
    yield "see the figures", command("report", path)
    yield "see the curves", command("tensorboard", path)
