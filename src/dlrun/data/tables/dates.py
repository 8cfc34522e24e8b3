"""Columns of dates as numbers: year, days since 1970, and what comes round as sine and cosine. No torch here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dlrun.data.tables.column import Column, Values
from dlrun.data.times import NotATime, Times, ZonesMixed, iso_times, likeliest, read_as, readings

AUTO = "auto"  # the format that fits all cells, where there is but one
_DAY = 86400  # seconds
_MONDAY = 3  # what 1970-01-01, a Thursday, is from Monday on
_PERIODS = {"month": 12, "weekday": 7, "hour": 24}


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
    times = _times(column.distinct, format)
    numbers = _numbers(times)
    varying = [name for name, values in numbers.items() if (values != values[0]).any()]
    return DateForm(times.format, varying or [*numbers][:1])


def date_numbers(column: Column, form: DateForm) -> list[Values]:
    """(N,) float64 for each part, nan where missing.

    Raises:
        NotADate: a cell in another format.
    """
    if not column.distinct:
        return [np.full(len(column), np.nan) for _ in form.parts]
    numbers = _numbers(_times(column.distinct, form.format))
    nothing = np.full(len(column.distinct), np.nan)
    return [column.by_code(np.append(numbers.get(part, nothing), np.nan)) for part in form.parts]


def _times(cells: list[str], format: str) -> Times:
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


def _numbers(times: Times) -> dict[str, np.ndarray]:
    """All parts that a format has, by name."""
    seconds = np.floor(times.walls).astype(np.int64)
    moments = seconds.astype("datetime64[s]")
    directives = {*re.findall("%(.)", times.format)}
    counted = "%" not in times.format  # seconds since 1970
    with_year = counted or bool(directives & {*"YyG"})
    found: dict[str, np.ndarray] = {}
    around: dict[str, np.ndarray] = {}
    if with_year:
        found["year"] = moments.astype("datetime64[Y]").astype(np.int64) + 1970.0
    if counted or directives & {*"mbBqVj"}:
        around["month"] = moments.astype("datetime64[M]").astype(np.int64) % 12
    if counted or (with_year and directives & {*"duj"}):
        around["weekday"] = (seconds // _DAY + _MONDAY) % 7
    if (times.walls % _DAY).any():
        around["hour"] = times.walls % _DAY / 3600
    for name, values in around.items():
        angle = 2 * np.pi * values / _PERIODS[name]
        found |= {f"{name}_sin": np.sin(angle), f"{name}_cos": np.cos(angle)}
    if with_year:
        found["days"] = times.values / _DAY
    return found
