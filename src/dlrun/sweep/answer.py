"""What a sweep found, in words: who won, by how much, how sure that is, and what to type for it."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace

from optuna.trial import FrozenTrial

from dlrun.sweep.directory import config_words
from dlrun.sweep.leaderboard import best_command, make_row
from dlrun.sweep.report.look import number
from dlrun.sweep.settings import Plan
from dlrun.sweep.snapshot import Snapshot, value_of

_MOST_METRICS = 8
NO_BEST = (
    "none is the best: the trials answer different questions, and their results cannot be compared"
)


def command_of(snapshot: Snapshot, trial: FrozenTrial) -> str:
    """The command line that trains the trial's setting once more, alone."""
    settings = snapshot.settings
    epochs = settings.get("epochs_per_round")
    plan = Plan(len(snapshot.trials), settings.get("trials_per_round"), epochs)
    row = replace(make_row(trial, snapshot.space), words=snapshot.words(trial))
    folder = config_words(list(map(str, snapshot.description.get("command") or [])))
    return best_command([*folder, *snapshot.fixed], row, plan.words(trial.number))


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
    ranked = [(trial.number, value_of(trial)) for trial in snapshot.ranked]
    return lead_among(ranked, spread(snapshot.ranked[0]), minimize=snapshot.minimize)


def lead_among(
    ranked: Sequence[tuple[int, float]], deviation: float | None, *, minimize: bool
) -> Iterator[str]:
    """The same of completed trials as number and objective, the best first.

    Args:
        deviation: the standard deviation over the best trial's seeds, None with one.
    """
    (_, best), *others = ranked
    if not others:
        yield "It is the only completed trial: there is nothing to compare it with."
        return
    better = "lower" if minimize else "higher"
    second, value = others[0]
    if ahead := abs(value - best):
        yield f"{ahead:.3g} {better} than the runner-up, trial {second} ({number(value)})."
        yield from _doubt(deviation, ahead)
    else:
        yield f"The same as the runner-up, trial {second}; the earlier of equals is named."
    if len(others) > 1:
        median = statistics.median(value for _, value in ranked)
        gap = abs(median - best)
        than = f"{gap:.3g} {better} than" if gap else "The same as"
        yield f"{than} the median of the {len(ranked)} completed trials ({number(median)})."


def other_metrics(snapshot: Snapshot, trial: FrozenTrial) -> list[tuple[str, float]]:
    """What else was measured of the trial, validation and test first."""
    metrics = trial.user_attrs.get("metrics") or {}
    names = [name for name in metrics if name != snapshot.objective]
    names.sort(key=lambda name: (not name.startswith(("val/", "test/")), name))
    return [(name, float(metrics[name])) for name in names[:_MOST_METRICS]]


def _doubt(deviation: float | None, ahead: float) -> Iterator[str]:
    if deviation is not None and ahead < deviation:
        yield (
            f"That is less than the seeds differ (standard deviation {deviation:.2g}): this sweep"
            " cannot tell the two apart."
        )
