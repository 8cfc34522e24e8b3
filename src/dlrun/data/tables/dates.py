"""Columns of dates as numbers: year, days since 1970, and what comes round as sine and cosine. No torch here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dlrun.data.tables.column import Column, Values
from dlrun.data.tables.number_format import written
from dlrun.data.tables.stored_columns import StoredArray, StoredMoments, StoredNumbers
from dlrun.data.times import (
    EPOCHS,
    NotATime,
    Times,
    ZonesMixed,
    iso_times,
    likeliest,
    read_as,
    readings,
)

AUTO = "auto"  # the format that fits all cells, where there is but one
_DAY = 86400  # seconds
_MONDAY = 3  # what 1970-01-01, a Thursday, is from Monday on
_PERIODS = {"month": 12, "weekday": 7, "hour": 24}
_PARTS = ("year", *(f"{name}_{wave}" for name in _PERIODS for wave in ("sin", "cos")), "days")
_AT_ONCE = 2**20  # rows


class NotADate(ValueError):
    """A column that no format reads; `cell` is the first that does not fit, `formats` those that fit it or others."""

    def __init__(self, cell: str, formats: Sequence[str] = ()) -> None:
        super().__init__(cell, formats)
        self.cell, self.formats = cell, formats


@dataclass(frozen=True)
class DateForm:
    """How a column of dates becomes numbers.

    Attributes:
        format: as in `times`.
        parts: the numbers, in their order: those that differ between the rows of the training file.
    """

    format: str
    parts: list[str]


def date_form(column: Column, format: str = AUTO) -> DateForm:
    """The form of a column with a value in some row.

    Raises:
        NotADate: no format, or more than one, reads all cells; with `formats` of several readings.
    """
    kept = _kept(column, format)
    first: dict[str, float] = {}
    varying: set[str] = set()
    for times in [times_of(column.distinct, format)] if kept is None else kept.pieces():
        for name in _names(times) if len(times.values) else ():
            values = _part(name, times)
            if (values != first.setdefault(name, values[0])).any():
                varying.add(name)
    parts = [name for name in _PARTS if name in varying] or [
        name for name in _PARTS if name in first
    ]
    return DateForm(times.format, parts if varying else parts[:1])


def date_numbers(column: Column, form: DateForm) -> list[Values]:
    """(N,) float64 for each part, nan where missing.

    Raises:
        NotADate: a cell in another format.
    """
    if (kept := _kept(column, form.format)) is not None:
        return [_KeptPart(kept, part) for part in form.parts]
    if not column.distinct:
        return [np.full(len(column), np.nan) for _ in form.parts]
    times = times_of(column.distinct, form.format)
    names, nothing = _names(times), np.full(len(column.distinct), np.nan)
    parts = [_part(part, times) if part in names else nothing for part in form.parts]
    return [column.by_code(np.append(numbers, np.nan)) for numbers in parts]


@dataclass(frozen=True)
class _KeptTimes:
    """(N,) times that stay in files, nan where missing: those of `Times`, in a unit `per_second`."""

    format: str
    values: StoredArray
    walls: StoredArray | None
    per_second: float = 1.0

    def at(self, rows: Any) -> Times:
        """Those of some rows."""
        values = self.values[rows] / self.per_second
        walls = values if self.walls is None else self.walls[rows]
        return Times(self.format, values, walls, zoned=self.walls is not None)

    def pieces(self) -> Iterator[Times]:
        """All that are not missing, some at a time."""
        for start in range(0, len(self.values), _AT_ONCE):
            found = self.at(slice(start, start + _AT_ONCE))
            known = ~np.isnan(found.values)
            yield replace(found, values=found.values[known], walls=found.walls[known])


@dataclass(frozen=True)
class _KeptPart:
    """One of the numbers that they become, worked out where it is indexed."""

    times: _KeptTimes
    part: str

    def __len__(self) -> int:
        return len(self.times.values)

    def __getitem__(self, at: Any) -> np.ndarray:
        found = self.times.at(at)
        missing = np.isnan(found.values)
        if missing.any():
            found = replace(found, walls=np.where(missing, 0.0, found.walls))
        return np.where(missing, np.nan, _part(self.part, found))


def _kept(column: Column, format: str) -> _KeptTimes | None:
    """The times of a column of many different ones that stays in a file; None of another column.

    Raises:
        NotADate: a cell in another format.
    """
    if isinstance(column, StoredMoments):
        if format not in (AUTO, column.format):
            raise NotADate(column.first, [format])
        if column.strays:
            raise NotADate(next(iter(column.strays)), [format])
        return _KeptTimes(column.format, column.values, column.walls)
    if isinstance(column, StoredNumbers) and format in EPOCHS:
        per_second, least, most = EPOCHS[format]
        for numbers in column.values.pieces():
            if len(odd := numbers[(numbers < least) | (numbers >= most)]):
                raise NotADate(written(odd[0]), [format])
        return _KeptTimes(format, column.values, None, per_second)
    return None


def times_of(cells: list[str], format: str = AUTO) -> Times:
    """Different cells as times.

    Raises:
        NotADate: as of `date_form`.
    """
    if format in (AUTO, "%Y-%m-%d") and (found := iso_times(cells)):
        return found
    try:
        if format != AUTO:
            return read_as(cells, format, _number)
        found_all = readings(cells, _no_number)
    except NotATime as error:
        raise NotADate(cells[error.row], [format]) from None
    except ZonesMixed as error:
        raise NotADate(cells[error.rows[1]]) from None
    if not found_all:
        usual = likeliest(cells, _no_number)
        strays = [cell for cell in cells if usual and not _reads(cell, usual)]
        raise NotADate(next(iter(strays), cells[0]))
    first, *others = found_all
    different = [one for one in others if not np.array_equal(one.values, first.values)]
    if different:
        raise NotADate(cells[0], [one.format for one in (first, *different)])
    return first


def _reads(cell: str, format: str) -> bool:
    try:
        read_as([cell], format, _no_number)
    except NotATime:
        return False
    return True


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _no_number(cell: str) -> None:
    return None


def _names(times: Times) -> list[str]:
    """The parts that times have."""
    directives = {*re.findall("%(.)", times.format)}
    counted = "%" not in times.format  # seconds since 1970
    with_year = counted or bool(directives & {*"YyG"})
    there = {
        "year": with_year,
        "month": counted or bool(directives & {*"mbBqVj"}),
        "weekday": counted or (with_year and bool(directives & {*"duj"})),
        "hour": bool((times.walls % _DAY).any()),
        "days": with_year,
    }
    return [name for name in _PARTS if there[name.partition("_")[0]]]


def _part(name: str, times: Times) -> np.ndarray:
    """(N,) float64, one part of times."""
    if name == "days":
        return times.values / _DAY
    what, _, wave = name.partition("_")
    seconds = np.floor(times.walls).astype(np.int64)
    moments = seconds.astype("datetime64[s]")
    if what == "year":
        return np.asarray(moments.astype("datetime64[Y]").astype(np.int64) + 1970.0)
    if what == "month":
        values = moments.astype("datetime64[M]").astype(np.int64) % 12
    elif what == "weekday":
        values = (seconds // _DAY + _MONDAY) % 7
    else:
        values = times.walls % _DAY / 3600
    angle = 2 * np.pi * values / _PERIODS[what]
    return np.sin(angle) if wave == "sin" else np.cos(angle)
