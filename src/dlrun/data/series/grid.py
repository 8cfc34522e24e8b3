"""Even steps of time, as a user asks for them: at which each row stands, what the rows of one become. No torch here."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dlrun.data.series.steps import Steps, by_one_clock
from dlrun.data.times import Times
from dlrun.errors import ConfigError

Combine = Literal["none", "mean", "sum", "min", "max", "first", "last"]

_DAY = 86400.0
_HARDLY = 0.05  # of all rows: on a day of the week with fewer, nobody works
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}
# What a step may be called, by its short name.
_CALLED = {
    "s": ("s", "S", "sec", "second", "seconds"),
    "min": ("min", "minute", "minutes"),
    "h": ("h", "H", "hour", "hours"),
    "D": ("D", "d", "day", "days"),
    "W": ("W", "w", "week", "weeks"),
    "M": ("M", "month", "months"),
    "Q": ("Q", "q", "quarter", "quarters"),
    "Y": ("Y", "y", "year", "years"),
    "B": ("B", "business day", "business days"),
}
_UNITS = {name: unit for unit, names in _CALLED.items() for name in names}
MONTHS = {"M": 1, "Q": 3, "Y": 12}  # in each
_FOUND = {"seconds": "s", "minutes": "min", "hours": "h", "days": "D", "weeks": "W",
          "months": "M", "quarters": "Q", "years": "Y", "business days": "B"}  # fmt: skip
_NEAR, _MOST = 0.1, 0.9  # of a step; of rows that come so near to one time of it
_SHAKEN = 0.02  # of a step that clocks which are late make shorter or longer
_LENGTHS = {**_SECONDS, "D": _DAY, "W": 7 * _DAY, "M": 31 * _DAY, "Y": 366 * _DAY}
_RULE = (
    "must be a step of time such as 15min, 1h, 1D, 1W, 1M (a month), 1Q, 1Y or B (business days), or a number where "
    "times are plain numbers"
)


@dataclass(frozen=True)
class Step:
    """A length of time from a row to the next.

    Attributes:
        size: how many of `unit`.
        unit: one of `_CALLED`; empty for plain numbers.
    """

    size: float
    unit: str

    @property
    def is_number(self) -> bool:
        """Whether it is of times that are plain numbers."""
        return not self.unit

    @property
    def length(self) -> float:
        """Seconds, or the number itself; of calendar units about so many."""
        return self.size * _LENGTHS.get(self.unit, 1.0)

    def __str__(self) -> str:
        return "B" if self.unit == "B" and self.size == 1 else f"{self.size:g}{self.unit}"


_USUAL = [
    Step(size, unit)
    for units, sizes in (
        (("s", "min"), (1, 2, 5, 10, 15, 20, 30)),
        (("h",), (1, 2, 3, 4, 6, 8, 12)),
        (("D", "W", "M", "Y"), (1,)),
    )
    for unit in units
    for size in sizes
]


def step_from(given: str | float) -> Step:
    """The step that `dataset.step` says.

    Raises:
        ConfigError: it says none.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)?\s*([A-Za-z][A-Za-z ]*)?\s*", str(given))
    size = float(match[1] or 1) if match else 0.0
    unit = _UNITS.get((match[2] or "").strip()) if match and match[2] else ""
    whole = not unit or unit in _SECONDS or size.is_integer()
    if not match or not (match[1] or match[2]) or unit is None or not size > 0 or not whole:
        hint = "; m may be minutes or months" if match and match[2] == "m" else ""
        raise ConfigError(f"dataset.step is {given}, but {_RULE}{hint}")
    return Step(size, unit)


def step_of(steps: Steps) -> Step | None:
    """The step that was found in a file, or, of uneven ones, a usual one of about their length; None without a name."""
    unit = _FOUND.get(steps.unit, "")
    if unit in _LENGTHS and (unit in _SECONDS or not steps.even):
        length = (steps.size if steps.even else steps.usual) * _LENGTHS[unit]
        near = min(_USUAL, key=lambda step: abs(math.log(step.length / length)))
        if not steps.even or abs(near.length / length - 1) < _SHAKEN:
            return near
    if unit and unit not in _SECONDS and not float(steps.size).is_integer():
        return None
    return Step(float(f"{steps.size:.6g}"), unit)


@dataclass(frozen=True)
class Places:
    """Where rows stand among even steps.

    Attributes:
        numbers: (N,) the number of each row's step, from that of the first row, which is 0.
        off: (N,) by what part of a step each row's time is beside it; zeros where that means nothing.
    """

    numbers: np.ndarray
    off: np.ndarray


def places_of(times: Times, step: Step, *, combined: bool) -> Places:
    """The steps at which rows stand, whose `times` rise.

    Days, weeks (from Monday), months and years are those of the calendar and of the clock on the wall. Business days
    are those from Monday to Friday, or, with rows at the weekend, the days of the week on which there are any.

    Args:
        combined: there may be several rows of a step. Then, unless all come at about the same time of a step, a row
            is of the step in which it lies, and not of the nearest one.
    """
    days = np.floor(times.walls / _DAY).astype(np.int64)
    if step.is_number:
        return _even(times.values, step.size, 0.0, combined=combined)
    if step.unit in _SECONDS:
        length = step.length
        clocks = [times.values]
        if not times.zoned:  # clocks may have been put forward and back
            clocks.append(by_one_clock(times.walls) if len(times.walls) > 1 else times.walls)
        ahead = float(times.walls[0] - times.values[0]) if times.zoned else 0.0
        found = [_even(clock, length, ahead, combined=combined) for clock in clocks]
        return min(found, key=lambda places: places.numbers[-1])
    if step.unit in MONTHS:
        months = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
        return _counted(months, int(step.size) * MONTHS[step.unit], by=12)
    if step.unit == "B":
        days = np.busday_count(np.full(len(days), days[0], "datetime64[D]"),
                               days.astype("datetime64[D]"), weekmask=worked_days(days))  # fmt: skip
        return _counted(days, int(step.size))
    return _counted((days + 3) // 7 if step.unit == "W" else days, int(step.size))


def days_off(times: Times) -> np.ndarray:
    """The rows of `times` on days of the week on which there are hardly any: they are no business days."""
    days = np.floor(times.walls / _DAY).astype(np.int64)
    return np.flatnonzero(~worked_days(days)[(days + 3) % 7])


def worked_days(days: np.ndarray) -> np.ndarray:
    """(7,) which days of the week are worked, from Monday on: those of `days`, if there are any at the weekend."""
    there = np.bincount((days + 3) % 7, minlength=7) > _HARDLY * len(days)
    return there if there[5:].any() else np.arange(7) < 5


def _counted(numbers: np.ndarray, size: int, *, by: int = 0) -> Places:
    """Steps of `size` from the first row on, or, if they divide `by`, from the beginning of a year."""
    first = 0 if by and by % size == 0 else numbers[0]
    steps = (numbers - first) // size
    return Places(steps - steps[0], np.zeros(len(steps)))


def _even(values: np.ndarray, length: float, ahead: float, *, combined: bool) -> Places:
    """Steps of equal length; `ahead` is by how much the clock on the wall is ahead of `values`."""
    beside = (values - values[0]) / length
    begin = np.median(beside - np.round(beside))
    steps = np.round(beside - begin)
    off = np.abs(beside - begin - steps)
    if combined and (off < _NEAR).mean() < _MOST:
        midnight = -ahead if _DAY % length == 0 else values[0]
        steps, off = np.floor((values - midnight) / length + 1e-9), np.zeros(len(steps))
    return Places((steps - steps[0]).astype(np.int64), off)


def combine(values: np.ndarray, places: np.ndarray, count: int, rule: Combine) -> np.ndarray:
    """(count,) from the values (N,) of rows at `places`: NaN where there is none; missing ones do not count."""
    known = ~np.isnan(values)
    at, values = places[known], values[known]
    found = np.full(count, np.nan)
    if rule in ("mean", "sum"):
        rows = np.bincount(at, minlength=count)
        total = np.bincount(at, values, minlength=count)
        there = rows > 0
        found[there] = total[there] / (rows[there] if rule == "mean" else 1)
    elif rule in ("min", "max"):
        (np.fmin if rule == "min" else np.fmax).at(found, at, values)
    else:
        way = -1 if rule == "first" else 1
        found[at[::way]] = values[::way]
    return found
