"""Trials in the order of their merit, as a table for programs and as the answer for people."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from dlrun.hints import command
from dlrun.run_directory import latest_overrides, write_whole
from dlrun.sweep.directory import SweepDirectory
from dlrun.sweep.space import Space

STATUSES = {
    TrialState.COMPLETE: "completed",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
_ORDER = list(STATUSES.values())


@dataclass(frozen=True)
class Row:
    """One trial.

    Attributes:
        value: the objective; the mean over the seeds where there are several.
        spread: the standard deviation over the seeds; None with one.
        words: what the sweep varies and its values here, as overrides to type.
        swept: the same to read: each key and its value, of named cases the name.
    """

    number: int
    status: str
    value: float | None
    spread: float | None
    words: list[str]
    swept: dict[str, str]
    seconds: float | None
    metrics: dict[str, float] = field(default_factory=dict)
    error: str = ""
    diverged: bool = False  # its loss grew, beyond all numbers where it failed


def merit(row: Row, *, minimize: bool) -> tuple[int, float, int]:
    """A key to sort rows by, the best first."""
    value = row.value or 0.0
    return _ORDER.index(row.status), value if minimize else -value, row.number


def make_row(trial: FrozenTrial, space: Space) -> Row:
    """The row of one trial."""
    facts: dict[str, Any] = trial.user_attrs
    values = facts.get("values", [])
    # A trial that has just begun may not have all its parameters yet.
    known = {p.name for p in space.parameters} <= set(trial.params)
    words = space.words(trial.params) if known else []
    return Row(
        trial.number,
        STATUSES[trial.state],
        trial.value if trial.state is TrialState.COMPLETE else None,
        statistics.stdev(values) if len(values) > 1 else None,
        words,
        space.labels(trial.params) if known else {},
        facts.get("seconds"),
        facts.get("metrics", {}),
        facts.get("error", ""),
        facts.get("diverged", False),
    )


def write_leaderboard(
    sweep: SweepDirectory, rows: Sequence[Row], objective: str, *, ranked: bool
) -> None:
    """Replace leaderboard.csv; `ranked` where the order of the rows is that of merit."""
    keys = list(dict.fromkeys(key for row in rows for key in row.swept))
    names = sorted({name for row in rows for name in row.metrics} - {objective})
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        ["rank", "trial", "status", objective, "spread", *keys, *names, "seconds", "error"]
    )
    for place, row in enumerate(rows, 1):
        writer.writerow(
            [
                place if ranked and row.status == "completed" else "",
                row.number,
                row.status,
                row.value,
                row.spread,
                *(row.swept.get(key) for key in keys),
                *(row.metrics.get(name) for name in names),
                row.seconds,
                row.error,
            ]
        )
    write_whole(sweep.leaderboard_file, file.getvalue())


def best_command(fixed: Sequence[str], row: Row, more: Sequence[str] = ()) -> str:
    """The command line that trains the setting of `row` once more, alone."""
    return command("train", *latest_overrides([*fixed, *row.words, *more]))
