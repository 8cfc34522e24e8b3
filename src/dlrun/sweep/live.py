"""What a person sees while a sweep runs: a live table on a terminal, a line a trial elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from dlrun.numbers import spread_text
from dlrun.sweep.leaderboard import Row, by_setting
from dlrun.sweep.repetitions import Repetitions
from dlrun.sweep.table import make_table
from dlrun.terminal import make_console

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
    repetitions: Repetitions
    comparable: bool = True

    @cached_property
    def settings(self) -> list[Row]:
        """What is compared, best first: the trials, or where some repeat a setting a row for each setting.

        By number where they cannot be compared.
        """
        found = by_setting(
            self.rows,
            self.repetitions,
            self.objective,
            minimize=self.minimize,
            comparable=self.comparable,
        )
        return [setting for setting, _ in found]

    def count(self, status: str) -> int:
        """Trials that ended so."""
        return self.tally.get(status, 0)

    @property
    def best(self) -> Row | None:
        """The leader; None before any trial is completed, and where there is nothing to choose by or from."""
        if not self.comparable or self.repetitions.are_all or not self.settings:
            return None
        return self.settings[0] if self.settings[0].status == "completed" else None

    @property
    def shown(self) -> list[Row]:
        """The rows of a table: the settings, or the trials in their order where all repeat one setting."""
        if self.repetitions.are_all:
            return sorted(self.rows, key=lambda row: row.number)
        return self.settings

    @property
    def leader(self) -> str:
        """The best so far in words: `best val/loss 0.1123 by trial 3`, or the mean of all trials that repeat it."""
        if self.comparable and self.repetitions.are_all:
            only = next((row for row in self.settings if row.value is not None), None)
            return f"mean {self.objective} {self._value(only)}" if only else ""
        best = self.best
        if best is None:
            return ""
        by = settings_text(best) if self.repetitions.across_trials else f"trial {best.number}"
        return f"best {self.objective} {self._value(best)} by {by}"

    def _value(self, row: Row) -> str:
        assert row.value is not None
        count = f" (n = {len(row.each)})" if self.repetitions.are_any else ""
        return f"{spread_text(row.value, row.spread)}{count}"

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
            best, leader = standing.best, standing.leader
            if best and best.number == row.number and not standing.repetitions.across_trials:
                leader = "best so far"
            result = f"{standing.objective} {spread_text(row.value, row.spread)}"
            result += f" ({leader})" if leader else ""
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
        from rich.live import Live

        self.started, self.before, self.standing = time.monotonic(), standing.ended, standing
        self.under_way: dict[int, str] = {}
        self.console = make_console()
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
        value = f", {standing.leader}" if standing.leader else ""
        head = Text(f"{standing.counts()}{value}{left}", style="bold")
        rows = [row for row in standing.shown[:_BEST_ROWS] if row.status == "completed"]
        width = self.console.width
        table = [make_table(rows, standing.objective, width)] if rows else []
        news = [Text(f"trial {n}: {text}") for n, text in sorted(self.under_way.items())]
        return Group(head, *table, *news)
