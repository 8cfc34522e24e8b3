"""What a sweep found, in words: who won, by how much, how sure that is, and what to type for it."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import replace

from optuna.trial import FrozenTrial

from dlrun.sweep.leaderboard import best_command, make_row
from dlrun.sweep.report.look import number
from dlrun.sweep.settings import Plan
from dlrun.sweep.snapshot import Snapshot, value_of

_MOST_METRICS = 8


def command_of(snapshot: Snapshot, trial: FrozenTrial) -> str:
    """The command line that trains the trial's setting once more, alone."""
    settings = snapshot.settings
    epochs = settings.get("epochs_per_round")
    plan = Plan(len(snapshot.trials), settings.get("trials_per_round"), epochs)
    row = replace(make_row(trial, snapshot.space), words=snapshot.words(trial))
    return best_command(snapshot.fixed, row, plan.words(trial.number))


def seeds_of(trial: FrozenTrial) -> list[float]:
    """The objective of each seed; of the only one where there are not several."""
    values = trial.user_attrs.get("values") or [value_of(trial)]
    return [float(value) for value in values]


def spread(trial: FrozenTrial) -> float | None:
    """The standard deviation over the seeds, None with one."""
    seeds = seeds_of(trial)
    return statistics.stdev(seeds) if len(seeds) > 1 else None


def lead(snapshot: Snapshot) -> Iterator[str]:
    """By how much the winner beats the runner-up and the trial in the middle, in sentences."""
    winner, *others = snapshot.ranked
    if not others:
        yield "It is the only completed trial: there is nothing to compare it with."
        return
    second, ahead = others[0], _ahead(snapshot, value_of(others[0]))
    if not ahead:
        yield f"The same as the runner-up, trial {second.number}; the earlier of equals is named."
    else:
        yield (
            f"{ahead:.3g} {_better(snapshot)} than the runner-up, trial {second.number}"
            f" ({number(value_of(second))})."
        )
        yield from _doubt(winner, ahead)
    if len(others) > 1:
        median = statistics.median(map(value_of, snapshot.ranked))
        gap = _ahead(snapshot, median)
        than = f"{gap:.3g} {_better(snapshot)} than" if gap else "The same as"
        yield f"{than} the median of the {len(snapshot.ranked)} completed trials ({number(median)})."


def other_metrics(snapshot: Snapshot, trial: FrozenTrial) -> list[tuple[str, float]]:
    """What else was measured of the trial, validation and test first."""
    metrics = trial.user_attrs.get("metrics") or {}
    names = [name for name in metrics if name != snapshot.objective]
    names.sort(key=lambda name: (not name.startswith(("val/", "test/")), name))
    return [(name, float(metrics[name])) for name in names[:_MOST_METRICS]]


def _ahead(snapshot: Snapshot, value: float) -> float:
    assert snapshot.winner is not None
    return abs(value - value_of(snapshot.winner))


def _better(snapshot: Snapshot) -> str:
    return "lower" if snapshot.minimize else "higher"


def _doubt(winner: FrozenTrial, ahead: float) -> Iterator[str]:
    deviation = spread(winner)
    if deviation is not None and ahead < deviation:
        yield (
            f"That is less than the seeds differ (standard deviation {deviation:.2g}): this sweep"
            " cannot tell the two apart."
        )
