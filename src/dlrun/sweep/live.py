"""What a person sees while a sweep runs: a live table on a terminal, a line a trial elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from dlrun.sweep.leaderboard import Row
from dlrun.sweep.table import make_table

if TYPE_CHECKING:
    from rich.console import RenderableType

_BEST_ROWS = 8
_LINE_SECONDS = 15.0  # between two lines about a trial under way


@dataclass
class Standing:
    """How far a sweep has come.

    Attributes:
        rows: the trials that are over, best first.
        tally: how many of them ended in which way.
        total: trials in all.
        minimize: whether less of the objective is better.
        comparable: whether one of them can be called the best.
    """

    rows: Sequence[Row]
    tally: Mapping[str, int]
    total: int
    objective: str
    minimize: bool
    comparable: bool = True

    def count(self, status: str) -> int:
        """Trials that ended so."""
        return self.tally.get(status, 0)

    @property
    def best(self) -> Row | None:
        """The leader, None before any trial is completed, and where trials cannot be compared."""
        return self.rows[0] if self.completed and self.comparable else None

    @property
    def completed(self) -> bool:
        """Whether any trial is."""
        return bool(self.rows) and self.rows[0].status == "completed"

    @property
    def shown(self) -> Sequence[Row]:
        """The rows in the order of their merit, or of their numbers where they cannot be compared."""
        return self.rows if self.comparable else sorted(self.rows, key=lambda row: row.number)

    @property
    def ended(self) -> int:
        """Trials that are over, however they ended."""
        return len(self.rows)

    def counts(self) -> str:
        """`12 of 40 done, 1 failed, 3 pruned`."""
        more = [f"{self.count(name)} {name}" for name in ("failed", "pruned") if self.count(name)]
        return ", ".join([f"{self.ended} of {self.total} done", *more])

    def left(self, seconds: float, done_here: int) -> str:
        """The time that is left, if the rest goes as fast as the `done_here` trials of this process."""
        if not done_here or self.ended >= self.total:
            return ""
        rest = timedelta(seconds=round(seconds / done_here * (self.total - self.ended)))
        return f", {rest} left"


class Display(Protocol):
    """Shows a sweep under way."""

    def trial_ended(self, row: Row, standing: Standing) -> None:
        """One more trial is over."""

    def trial_goes_on(self, number: int, text: str) -> None:
        """News of a trial under way."""

    def close(self) -> None:
        """Nothing more to come."""


def make_display(standing: Standing) -> Display:
    """The display that fits where the output goes."""
    return _Table(standing) if sys.stdout.isatty() else _Lines(standing)


def settings_text(row: Row) -> str:
    """The swept values of a trial on one line."""
    return " ".join(f"{key}={text}" for key, text in row.swept.items())


class _Lines:
    """For logs and pipes."""

    def __init__(self, standing: Standing) -> None:
        self.started, self.before = time.monotonic(), standing.ended
        self.said = time.monotonic()

    def trial_ended(self, row: Row, standing: Standing) -> None:
        seconds = time.monotonic() - self.started
        left = standing.left(seconds, standing.ended - self.before)
        result = row.error or (row.status if row.value is None else "")
        if row.value is not None:
            best = standing.best
            mark = " (best so far)" if best and best.number == row.number else ""
            if best and not mark:
                mark = f" (best {best.value:.4g} by trial {best.number})"
            result = f"{standing.objective} {row.value:.4g}{mark}"
        if row.status == "failed":
            result = f"failed: {result}"
        print(
            f"trial {row.number}: {settings_text(row)}  {result}  [{standing.counts()}{left}]",
            flush=True,
        )
        self.said = time.monotonic()

    def trial_goes_on(self, number: int, text: str) -> None:
        if time.monotonic() - self.said >= _LINE_SECONDS:
            print(f"trial {number}: {text}", flush=True)
            self.said = time.monotonic()

    def close(self) -> None:
        pass


class _Table:
    """For a terminal: the best trials so far, and what is being trained."""

    def __init__(self, standing: Standing) -> None:
        from rich.console import Console
        from rich.live import Live

        self.started, self.before, self.standing = time.monotonic(), standing.ended, standing
        self.under_way: dict[int, str] = {}
        self.console = Console(highlight=False)
        self.live = Live(
            console=self.console,
            get_renderable=self._render,
            refresh_per_second=4,
            transient=True,
        )
        self.live.start()

    def trial_ended(self, row: Row, standing: Standing) -> None:
        self.standing = standing
        self.under_way.pop(row.number, None)

    def trial_goes_on(self, number: int, text: str) -> None:
        self.under_way[number] = text

    def close(self) -> None:
        self.live.stop()

    def _render(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        standing = self.standing
        seconds = time.monotonic() - self.started
        left = standing.left(seconds, standing.ended - self.before)
        best = standing.best
        value = (
            f", best {standing.objective} {best.value:.4g} by trial {best.number}" if best else ""
        )
        head = Text(f"{standing.counts()}{value}{left}", style="bold")
        rows = [row for row in standing.shown[:_BEST_ROWS] if row.status == "completed"]
        width = self.console.width
        table = [make_table(rows, standing.objective, width)] if standing.completed else []
        news = [Text(f"trial {n}: {text}") for n, text in sorted(self.under_way.items())]
        return Group(head, *table, *news)
