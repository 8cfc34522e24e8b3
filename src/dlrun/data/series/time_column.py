"""A column of a file as times: as the one format that fits all of it, every mistake named by row. No torch here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NoReturn

import numpy as np

from dlrun.data.series.steps import by_one_clock, steps_of
from dlrun.data.tables.cells import Cells
from dlrun.data.tables.number_format import looks_like_number
from dlrun.data.times import (
    CLOCKS,
    NUMBER,
    NUMERIC,
    NotATime,
    Times,
    ZonesMixed,
    could_be_date,
    is_format,
    likeliest,
    read_as,
    readings,
    reads,
)
from dlrun.errors import BadFile, ConfigError, note

_LOOKED_AT = 20  # cells, before all are
_ODD = 2  # rows under a table, or between its parts


def read_times(cells: Cells, name: str, format: str, *, calendar: bool = False) -> Times:
    """The column `name` as times; where `format` is auto, as the one format that fits all of it.

    `calendar`: numbers that may be seconds or milliseconds since 1970 are.

    Raises:
        ConfigError: no format, a cell that is no time, zones here and there, or formats that fit equally well.
    """
    column = cells.column(name)
    if format != "auto" and not is_format(format):
        raise ConfigError(
            f"dataset.time_format is {format}, but must be auto, number, epoch, epoch_ms, or as strptime writes it: "
            "%Y-%m-%d, %d.%m.%Y, %b %Y, %YQ%q (a quarter), %G-W%V (a week); "
            "words that come in every cell stand as they are"
        )
    try:
        if format != "auto":
            return without_clock_changes(read_as(column, format, cells.notation.number))
        found = [without_clock_changes(times) for times in readings(column, cells.notation.number)]
    except NotATime as error:
        _refuse_cell(cells, name, error.row, format)
    except ZonesMixed as error:
        _refuse_zones(cells, name, *error.rows)
    if not found:
        _refuse_column(cells, name, column)
    if calendar:
        found = [times for times in found if not times.is_number] or found
    best = _best(found)
    if len(best) > 1:
        shown = next(cell for cell in column if cell is not None)
        formats = [times.format for times in best]
        raise BadFile(
            f"{cells.path}, column {name}: {shown} and all below it may be written as {' or as '.join(formats)}",
            f"say which with dataset.time_format='{formats[0]}'",
            "write years first",
        )
    _note_chosen(cells, name, best[0], found)
    if best[0].format in CLOCKS:
        _refuse_another_day(cells, name, best[0])
    return best[0]


def detected_times(cells: Cells, name: str) -> Times | None:
    """A column as times, if it can hardly be anything else: dates, or numbers that fall by the same step."""
    column = cells.column(name)
    first = next((cell for cell in column if cell is not None), "")
    number = cells.notation.number
    if could_be_date(first):
        try:
            found = _best([without_clock_changes(times) for times in readings(column, number)])
        except ZonesMixed as error:
            _refuse_zones(cells, name, *error.rows)
        if found and found[0].format not in NUMERIC:
            return found[0]
        if not found and (format := likeliest(column, number)) not in (None, NUMBER):
            _refuse_odd_rows(cells, name, column, format)
    beginning = [number(cell or "") for cell in column[:_LOOKED_AT]]
    if None in beginning or not all(a > b for a, b in pairwise(beginning) if a and b):
        return None
    try:
        times = read_as(column, NUMBER, number)
    except NotATime:
        return None
    apart = np.diff(times.values)
    falls = len(apart) > 2 and (apart < 0).all() and np.allclose(apart, apart[0], rtol=1e-6)
    return times if falls else None


def without_clock_changes(times: Times) -> Times:
    """The same times where, in the order of the file, an hour comes twice because clocks were put back."""
    if times.is_number or times.zoned or (np.diff(times.values) > 0).all():
        return times
    for way in (1, -1):  # from the oldest to the newest, or the other way round
        values = by_one_clock(times.values[::way])[::way]
        if (way * np.diff(values) > 0).all():
            return replace(times, values=values)
    return times


def _refuse_another_day(cells: Cells, name: str, times: Times) -> None:
    """Refuse times of day that do not rise: they are of several days, whose order is not known."""
    falls = np.flatnonzero(np.diff(times.values) <= 0)
    if not len(falls):
        return
    row = int(falls[0]) + 1
    mend = "write dates with the times"
    raise BadFile(
        f"{cells.place(row, name)}: {cells.cell(row, name)} comes after {cells.cell(row - 1, name)}, and "
        "no dates say which day is meant",
        f"{mend}, or set dataset.time=null to take the rows as they come",
        mend,
    )


def _refuse_odd_rows(cells: Cells, name: str, column: list[str | None], format: str) -> None:
    """Refuse one or two rows that are no times, or a repeated header; with more of them the column holds no times."""
    odd = [cell for cell in column if not reads(cell, format)]
    if len(odd) <= _ODD or set(odd) == {name}:
        _refuse_column(cells, name, column, format)


def _note_chosen(cells: Cells, name: str, chosen: Times, found: list[Times]) -> None:
    """Note the format where days and months could also change places."""
    others = [times.format for times in found if times.format not in (*NUMERIC, chosen.format)]
    if others and chosen.format not in NUMERIC:
        note(
            f"{cells.path}, column {name} is read as {chosen.format}, by which its rows are regular, and not as "
            f"{' or '.join(others)}; dataset.time_format={others[0]!r} says otherwise"
        )


def _best(found: list[Times]) -> list[Times]:
    """The readings by which the rows are most regular; one where the others mean the same or are less likely."""
    if len(found) < 2:
        return found
    ranks = [_rank(times) for times in found]
    best = [times for times, rank in zip(found, ranks, strict=True) if rank == min(ranks)]
    first = best[0]
    if first.format in NUMERIC or re.fullmatch(r"(%[YmdHMS])+", first.format):
        return best[:1]
    others = [times for times in best[1:] if not np.array_equal(times.values, first.values)]
    return [first, *others]


def _rank(times: Times) -> tuple[int, int]:
    """How irregular the rows are by these times, and how far from sorted."""
    order = np.argsort(times.values, kind="stable")
    steps = steps_of(times, order)
    irregular = 0 if steps is None or steps.are_regular else 1 if steps.even else 2
    apart = np.diff(times.values)
    return irregular, 0 if (apart >= 0).all() else 1 if (apart <= 0).all() else 2


def _refuse_cell(cells: Cells, name: str, row: int, format: str) -> NoReturn:
    raise BadFile(
        f"{cells.place(row, name)}: {cells.cell(row, name) or 'an empty cell'} is no time written as {format}",
        "mend it, or set dataset.time_format",
        "mend it",
    )


def _refuse_column(
    cells: Cells, name: str, column: Sequence[str | None], format: str | None = None
) -> NoReturn:
    """Refuse the column by its first cell that is not in the format of most others, or by its first cell."""
    format = format or likeliest(column, cells.notation.number, share=0.0)
    row = 0
    if format:
        try:
            read_as(column, format, cells.notation.number)
        except NotATime as error:
            row = error.row
    else:
        alone = (
            row
            for row, cell in enumerate(column)
            if cell is None or not (looks_like_number(cell) or could_be_date(cell))
        )
        row = next(alone, 0)
    cell = column[row]
    again = ", the column's own name," if cell == name else ""
    what = f"{cells.place(row, name)}: {cell or 'an empty cell'}{again} is"
    if format:
        written = "no number" if format == NUMBER else f"no time as the others, written as {format}"
        mend = "leave the row out or mend it"
        raise BadFile(f"{what} {written}", mend, mend)
    raise BadFile(
        f"{what} neither a number nor a date as in 2026-01-31",
        "say how times are written with dataset.time_format, as in '%d.%m.%Y %H:%M' with words that are in every cell "
        "as they stand, or set dataset.time=null to take the rows as they come",
        "mend it",
    )


def _refuse_zones(cells: Cells, name: str, zoned: int, plain: int) -> NoReturn:
    raise BadFile(
        f"{cells.place(zoned, name)}: {cells.cell(zoned, name)} has a zone, but "
        f"{cells.cell(plain, name)} in row {cells.lines[plain]} has none",
        "write all with one, or none",
        "write all with one, or none",
    )
