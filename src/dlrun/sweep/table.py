"""The best trials as a table for a screen of any width: their numbers are never cut, columns give way."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from dlrun.numbers import spread_text
from dlrun.sweep.leaderboard import Row
from dlrun.sweep.names import short_keys

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
