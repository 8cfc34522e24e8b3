"""What ends a sweep before all its trials are over: its budget of time, or its patience.

Worked out from the trials as the journal has them, so that every process comes to the same answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from dlrun.config.metrics import rank
from dlrun.errors import command
from dlrun.sweep.settings import TIME
from dlrun.sweep.study import WORKED, is_finite

BUDGET, PATIENCE = "budget", "patience"
_UNITS = (86_400, 3600, 60, 1)


def ended_by(
    trials: Sequence[FrozenTrial], settings: Mapping[str, Any], *, minimize: bool
) -> str | None:
    """The setting that lets no further trial begin, `budget` or `patience`; None where one may.

    Args:
        settings: the node `sweep` of the config.
    """
    if (budget := settings.get(BUDGET)) and seconds_worked(trials) >= seconds_of(budget):
        return BUDGET
    patience = settings.get(PATIENCE)
    return PATIENCE if patience and _is_exhausted(trials, patience, minimize=minimize) else None


def seconds_of(budget: str) -> int:
    """The seconds of a time such as `1h30m`."""
    found = re.fullmatch(TIME, budget)
    assert found is not None, "the schema has seen it"
    return sum(int(part or 0) * unit for part, unit in zip(found.groups(), _UNITS, strict=True))


def seconds_worked(trials: Iterable[FrozenTrial]) -> float:
    """How long a process was at work on any of the trials; what several did at a time counts once."""
    total, until = 0.0, float("-inf")
    for begin, end in sorted(span for trial in trials for span in _spans(trial)):
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total


def _spans(trial: FrozenTrial) -> Iterator[tuple[float, float]]:
    """From when to when a process was at work on the trial, each time."""
    if WORKED in trial.user_attrs:
        yield from ((begin, end) for begin, end in trial.user_attrs[WORKED])
    elif trial.datetime_complete is not None:  # by a version that noted only how long it took
        end = trial.datetime_complete.timestamp()
        yield end - (trial.user_attrs.get("seconds") or 0.0), end


def _is_exhausted(trials: Iterable[FrozenTrial], patience: int, *, minimize: bool) -> bool:
    """Whether so many trials have ended one after the other without a better result than all before them."""
    best: tuple[bool, float] | None = None
    waited = 0
    ended = [t for t in trials if t.state.is_finished() and t.datetime_complete is not None]
    for trial in sorted(ended, key=lambda trial: (trial.datetime_complete, trial.number)):
        value = trial.value if trial.state is TrialState.COMPLETE else None
        merit = rank(value, minimize=minimize) if is_finite(value) else None
        is_better = merit is not None and (best is None or merit < best)
        best, waited = (merit, 0) if is_better else (best, waited + 1)
        if waited >= patience:
            return True
    return False


def how_to_go_on(reason: str, settings: Mapping[str, Any], path: object) -> str:
    """The command that lets more trials begin."""
    more = (
        f"{2 * settings[PATIENCE]}"
        if reason == PATIENCE
        else _text(2 * seconds_of(settings[BUDGET]))
    )
    return command("resume", path, f"sweep.{reason}={more}")


def _text(seconds: int) -> str:
    parts = []
    for unit, name in zip(_UNITS, "dhms", strict=True):
        count, seconds = divmod(seconds, unit)
        parts += [f"{count}{name}"] if count else []
    return "".join(parts)
