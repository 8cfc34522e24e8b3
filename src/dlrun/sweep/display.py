"""What a person sees while a sweep runs: a live table on a terminal, a line a trial elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from dlrun.sweep.leaderboard import Row, short_keys
from dlrun.sweep.summary import Answer
from dlrun.system.terminal import make_console
from dlrun.tracking.numbers import spread_text

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

_LEAST_WIDTH = 8  # of a column that is shortened: a number to three digits, as in 1.23e-05
_BETWEEN = 2  # spaces between two columns


def make_table(
    rows: Sequence[Row], objective: str, width: int | None, metrics: Sequence[str] = ()
) -> RenderableType:
    """The rows as a table with a column for each swept key; one that has no objective says how it ended.

    Args:
        width: that there is, in characters; None for no limit. The columns of the keys are made to
            fit it, and the last of them left out where they do not.
        metrics: more of them, in columns beside the objective.
    """
    from rich.console import Group
    from rich.text import Text

    keys = list(dict.fromkeys(key for row in rows for key in row.swept))
    fixed = [
        _names(rows),
        [objective, *map(_value, rows)],
        *([name, *(_metric(row, name) for row in rows)] for name in metrics),
    ]
    swept = [[key, *(row.swept.get(key, "") for row in rows)] for key in keys]
    shown = _fit(swept, None if width is None else width - sum(map(_needs, fixed)) + _BETWEEN)
    table = _draw([*(list(map(Text, column)) for column in fixed), *shown])
    if not (more := len(swept) - len(shown)):
        return table
    return Group(table, Text(f"{more} more column{'s' if more > 1 else ''}: leaderboard.csv"))


def draw_text(lines: Sequence[Sequence[str]]) -> RenderableType:
    """Plain cells as a table, the heads in the first line."""
    from rich.text import Text

    return _draw([list(map(Text, column)) for column in zip(*lines, strict=True)])


def _names(rows: Sequence[Row]) -> list[str]:
    """The column of the trials' numbers; of settings that several trials repeat, how many of them count."""
    if not any(row.trials for row in rows):
        return ["trial", *(str(row.number) for row in rows)]
    return ["n", *(_count(row) for row in rows)]


def _count(row: Row) -> str:
    lost = sum(row.missing.values())
    return f"{len(row.each)} of {len(row.each) + lost}" if lost else str(len(row.each))


def _metric(row: Row, name: str) -> str:
    value = row.metrics.get(name)
    return "" if value is None else spread_text(value, row.spread_of(name))


def _value(row: Row) -> str:
    if row.value is None:
        return "diverged" if row.diverged else row.status
    diverged = " diverged" if row.diverged else ""
    return f"{spread_text(row.value, row.spread)}{diverged}"


def _fit(columns: list[list[str]], space: int | None) -> list[list[Text]]:
    """The columns, each a head and its cells, made to fit: heads, then cells are shortened, then some go."""
    from rich.text import Text

    if space is not None and sum(map(_needs, columns)) > space:
        heads = short_keys([column[0] for column in columns])
        columns = [[head, *cells] for head, (_, *cells) in zip(heads, columns, strict=True)]
        least = _LEAST_WIDTH + _BETWEEN
        while columns and sum(min(_needs(column), least) for column in columns) > space:
            columns.pop()
        return _squeeze(columns, space)
    return [list(map(Text, column)) for column in columns]


def _squeeze(columns: list[list[str]], space: int) -> list[list[Text]]:
    """The columns with the widest of them narrowed until all fit."""
    needs = list(map(_needs, columns))
    while needs and sum(needs) > space:
        needs[needs.index(max(needs))] -= 1
    return [
        [_shorten(cell, need - _BETWEEN) for cell in column]
        for column, need in zip(columns, needs, strict=True)
    ]


def _needs(column: Sequence[str]) -> int:
    """The width of a column with the space that sets it off."""
    from rich.cells import cell_len

    return max(map(cell_len, column)) + _BETWEEN


def _shorten(cell: str, width: int) -> Text:
    """The cell in that width: a number with fewer digits, as its end matters, any other text cut."""
    from rich.text import Text

    text = Text(cell)
    if text.cell_len > width:
        with suppress(ValueError):
            value = float(cell)
            rounded = (f"{value:.{digits}g}" for digits in range(6, 0, -1))
            return Text(next((text for text in rounded if len(text) <= width), cell))
        text.truncate(width, overflow="ellipsis")
    return text


def _draw(columns: Sequence[Sequence[Text]]) -> RenderableType:
    """The columns side by side, not one of them narrower than it is, however narrow the screen."""
    from rich.table import Table

    widths = [max(text.cell_len for text in column) for column in columns]
    whole = sum(widths) + _BETWEEN * (len(widths) - 1)
    table = Table(box=None, pad_edge=False, header_style="bold", width=whole)
    for (head, *_), width in zip(columns, widths, strict=True):
        table.add_column(head, justify="right", no_wrap=True, width=width)
    for cells in zip(*(column[1:] for column in columns), strict=True):
        table.add_row(*cells)
    return table


_BEST_ROWS = _NEWS_ROWS = 8
_LINE_SECONDS = 15.0  # between two lines about a trial under way


@dataclass
class Standing:
    """How far a sweep has come.

    Attributes:
        answer: the trials that are over, compared.
        tally: how many of them ended in which way.
        total: trials in all.
    """

    answer: Answer
    tally: Mapping[str, int]
    total: int

    def count(self, status: str) -> int:
        """Trials that ended so."""
        return self.tally.get(status, 0)

    @property
    def shown(self) -> list[Row]:
        """The rows of a table: the settings, or the trials in their order where all repeat one setting."""
        if self.answer.repetitions.are_all:
            return sorted(self.answer.trials, key=lambda row: row.number)
        return self.answer.settings

    @property
    def leader(self) -> str:
        """The best so far in words: `best val/loss 0.1123 by trial 3`, or the mean of all trials that repeat it."""
        answer = self.answer
        if answer.comparable and answer.repetitions.are_all:
            only = next((row for row in answer.settings if row.value is not None), None)
            return f"mean {answer.objective} {self._value(only)}" if only else ""
        best = answer.winner
        if best is None:
            return ""
        by = settings_text(best) if answer.repetitions.across_trials else f"trial {best.number}"
        return f"best {answer.objective} {self._value(best)} by {by}"

    def _value(self, row: Row) -> str:
        assert row.value is not None
        count = f" (n = {len(row.each)})" if self.answer.repetitions.are_any else ""
        return f"{spread_text(row.value, row.spread)}{count}"

    @property
    def ended(self) -> int:
        """Trials that are over, however they ended."""
        return len(self.answer.trials)

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
            answer, leader = standing.answer, standing.leader
            is_best = answer.winner is not None and answer.winner.number == row.number
            if is_best and not answer.repetitions.across_trials:
                leader = "best so far"
            result = f"{answer.objective} {spread_text(row.value, row.spread)}"
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
        table = [make_table(rows, standing.answer.objective, width)] if rows else []
        news = [Text(f"trial {n}: {text}") for n, text in sorted(self.under_way.items())]
        if (more := len(news) - _NEWS_ROWS) > 0:
            news[_NEWS_ROWS:] = [Text(f"{more} more under way")]
        return Group(head, *table, *news)
