"""Several series in one file: told apart by named columns, or refused with the columns to name. No torch here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise
from typing import Any, NoReturn

import numpy as np

from dlrun.data.series.steps import steps_of
from dlrun.data.tables.cells import Cells
from dlrun.data.tables.column import Decimals
from dlrun.data.tables.number_format import looks_like_number
from dlrun.data.times import Times
from dlrun.errors import BadFile, ConfigError, did_you_mean

_KINDS = 2000  # of words that may be the names of series
_ROWS = 5  # of each series, at least: fewer may be even by chance
_PAIRED = 8  # columns, of which pairs may be
_SHOWN = 5  # names in a line
_EXACT = 2.0**53  # up to which float64 has each whole number
_OF_TIMES = {
    "month",
    "day",
    "hour",
    "minute",
    "week",
    "weekday",
    "quarter",
    "yday",
    "doy",
    "hr",
    "time",
    "clock",
}
_CLOCK = re.compile(r"\d{1,2}:\d\d(:\d\d)?")


def only_rows(cells: Cells, only: Mapping[str, Any]) -> Cells:
    """The rows that have the value given for each column of `only` that is there.

    Raises:
        ConfigError: no such row.
    """
    for column, value in only.items():
        if column not in cells.names:
            continue
        words = cells.column(column)
        kept = [row for row, word in enumerate(words) if _equal(cells, word, value)]
        if not kept:
            raise ConfigError(
                f"dataset.only is {{{column}: {value}}}, but no row of {cells.path} has it"
                f"{did_you_mean(str(value), list({word for word in words if word})[:_SHOWN])}"
            )
        cells = cells.only(kept)
    return cells


def series_in(cells: Cells, columns: Sequence[str]) -> dict[str, list[int]]:
    """The rows of each series that `columns` tell apart, by its name.

    Raises:
        ConfigError: a cell of them is missing, or two series have one name.
    """
    rows_of: dict[tuple[str, ...], list[int]] = {}
    words = [_series_names(cells, name) for name in columns]
    for row, key in enumerate(zip(*words, strict=True)):
        if None in key:
            mend = "fill it in, or leave the row out"
            where = cells.place(row, columns[key.index(None)])
            raise BadFile(f"{where}: the name of the series is missing", mend, mend)
        rows_of.setdefault(key, []).append(row)
    found = sorted((", ".join(key), rows) for key, rows in rows_of.items())
    for (name, _), (other, rows) in pairwise(found):
        if name == other:
            mend = "rename one"
            where = cells.place(rows[0], columns[0])
            raise BadFile(f"{where}: two series are called {name}", mend, mend)
    return dict(found)


def _series_names(cells: Cells, name: str) -> list[str | None]:
    """(N,) the cells of a column, numbers alike however they are written: 7, 7.0."""
    column = cells.columns[cells.names.index(name)]
    found = None if column.any_leading_zero else column.numbers(cells.notation)
    if found is None or not (np.abs(found[column.known]) < _EXACT).all():
        return column.as_list
    return Decimals(found).as_list


def refuse_twice(cells: Cells, time: str, values: np.ndarray, keys: Sequence[str] = ()) -> None:
    """Refuse a time that stands in two rows, with the columns in which they differ.

    Args:
        values: (N,) of the column `time`.
        keys: columns that are known to tell series apart.

    Raises:
        ConfigError: there is one.
    """
    if (rows := repeated(values)) is None:
        return
    what = _repeat_message(cells, time, *rows)
    if more := key_columns(cells, time, values):
        _refuse_each(cells, what, more, keys)
    recurring = len(values) - len(np.unique(values))
    mend = "leave one out" if recurring == 1 else "keep one of each"
    remedy = f"{mend}, or set dataset.combine to mean, sum or last"
    raise BadFile(what + (f" ({recurring} rows too many)" if recurring > 1 else ""), remedy, mend)


def refuse_several(cells: Cells, time: str, values: np.ndarray) -> None:
    """Refuse several series, named by columns; a time that recurs for another reason is allowed.

    Raises:
        ConfigError: there are several.
    """
    rows = repeated(values)
    if rows is not None and (keys := key_columns(cells, time, values)):
        _refuse_each(cells, _repeat_message(cells, time, *rows), keys)


def has_clock_beside(cells: Cells, time: str, values: np.ndarray) -> bool:
    """Whether times recur because a column beside them holds the time of day."""
    if repeated(values) is None:
        return False
    keys = key_columns(cells, time, values)
    return bool(keys) and _is_clock(cells, keys)


def refuse_interleaved(cells: Cells, time: str, times: Times) -> None:
    """Refuse rows whose steps are even only among those with the same word in some column.

    Raises:
        ConfigError: there is such a column.
    """
    for name in cells.names:
        column = np.array([cell or "" for cell in cells.column(name)])
        kinds, counts = np.unique(column, return_counts=True)
        if name == time or not 2 <= len(kinds) <= _KINDS or counts.min() < _ROWS:
            continue
        if all(_are_even(times, np.flatnonzero(column == kind)) for kind in kinds):
            what = f"{cells.path}, column {time}: steps are uneven but for those of each {name}"
            _refuse_each(cells, what, (name,))


def _are_even(times: Times, rows: np.ndarray) -> bool:
    steps = steps_of(times, rows[np.argsort(times.values[rows], kind="stable")])
    return steps is not None and steps.even


def repeated(values: np.ndarray) -> tuple[int, int] | None:
    """The first two rows of one time."""
    order = np.argsort(values, kind="stable")
    same = np.flatnonzero(np.diff(values[order]) == 0)
    return (int(order[same[0]]), int(order[same[0] + 1])) if len(same) else None


def row_beside(cells: Cells, row: int, other: int) -> str:
    """Where `row` is, for an error that has named the place of `other`."""
    file = cells.lines.file(row)
    of = "" if file == cells.lines.file(other) else f" of {file}"
    return f"row {cells.lines[row]}{of}"


def _repeat_message(cells: Cells, time: str, earlier: int, later: int) -> str:
    return (
        f"{cells.place(later, time)}: {cells.cell(later, time)} stands in {row_beside(cells, earlier, later)} as well, "
        "but a series has one row for each time"
    )


def _refuse_each(
    cells: Cells, what: str, keys: tuple[str, ...], known: Sequence[str] = ()
) -> NoReturn:
    said = " and ".join(keys)
    if _is_clock(cells, keys):
        is_part = f"column {said} is a part" if len(keys) == 1 else f"columns {said} are parts"
        mend = f"{is_part} of the time: write {'both' if len(keys) == 1 else 'all'} in one"
        raise BadFile(what, f"{mend}, or set dataset.time=null to take the rows as they come", mend)
    together = (*known, *keys)
    picked = ", ".join(f"{name}: {cells.cell(0, name)}" for name in together)
    named = together[0] if len(together) == 1 else f"[{','.join(together)}]"
    columns = [cells.column(name) for name in keys]
    kinds = len({*zip(*columns, strict=True)})
    tells = f"column {said} tells" if len(keys) == 1 else f"columns {said} tell"
    raise BadFile(
        f"{what}; {tells} {kinds} series apart",
        f"set 'dataset.series={named}' to learn from all of them, or keep one, as in 'dataset.only={{{picked}}}'",
        "keep the rows of one series",
    )


def key_columns(cells: Cells, time: str, values: np.ndarray) -> tuple[str, ...]:
    """The column, or two, within whose values each time stands once: they name the series."""
    _, counts = np.unique(values, return_counts=True)
    kinds: dict[str, int] = {}
    for name in cells.names:
        column = cells.column(name)
        count = len(set(column))
        if name != time and None not in column and 2 <= count <= min(_KINDS, len(column) // 2):
            kinds[name] = count
    likely = sorted(kinds, key=lambda name: (_is_numeric(cells, name), kinds[name]))
    pairs = combinations(likely[:_PAIRED], 2)
    for names in (*((name,) for name in likely), *pairs):
        columns = [cells.column(name) for name in names]
        together = {*zip(values.tolist(), *columns, strict=True)}
        # Measurements differ from row to row as well, but have more kinds than there are rows of one time.
        few = len(set(zip(*columns, strict=True))) <= max(2, 2 * counts.max())
        if len(together) == len(values) and few:
            return tuple(names)
    return ()


def _is_numeric(cells: Cells, name: str) -> bool:
    return all(looks_like_number(cell or "") for cell in cells.column(name)[:20])


def _is_clock(cells: Cells, names: tuple[str, ...]) -> bool:
    """Whether a column is a part of the time by its name, or holds times of day: 08:30, or the numbers of 24 hours."""
    if any(name.lower() in _OF_TIMES for name in names):
        return True
    column = {cell for cell in cells.column(names[0]) if cell is not None}
    if all(map(_CLOCK.fullmatch, column)):
        return True
    hours = [{f"{hour}" for hour in range(first, first + 24)} for first in (0, 1)]
    return any({cell.lstrip("0") or "0" for cell in column} == day for day in hours)


def _equal(cells: Cells, word: str | None, value: Any) -> bool:
    """Whether a cell holds the value of a setting: 1 is 1.0 and 01, true is True."""
    if word is None:
        return False
    number = cells.notation.number(word)
    if number is not None and isinstance(value, int | float) and not isinstance(value, bool):
        return number == value
    return word == str(value) or (isinstance(value, bool) and word.lower() == str(value).lower())
