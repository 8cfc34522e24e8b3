"""The steps of a series: regular by the calendar or not, and where rows are missing. No torch here.

Months, quarters and years are regular though their days differ, as are business days, and clocks put
forward and back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dlrun.data.times import Times

_DAY = 86400.0
_HOUR = 3600.0
_SHAKE = 0.05  # of a step: by how much a clock may be late
_MOST = 0.5  # of all steps are one step, or there is no step at all
_UNITS = (
    ("weeks", 7 * _DAY),
    ("days", _DAY),
    ("hours", _HOUR),
    ("minutes", 60.0),
    ("seconds", 1.0),
)


@dataclass(frozen=True)
class Steps:
    """How far apart the times of a series are.

    Attributes:
        unit: what a step is called, more than one of them, such as days.
        size: of one, in `unit`: 15 of minutes.
        missing: by the place of the row before a gap, how many rows are missing.
        even: whether every step is a whole number of steps, but for `shake`.
        shake: the largest part of a step by which one is not, if they are even.
        shortest, usual, longest: in `unit`; half of all steps are longer than the usual one.
    """

    unit: str
    size: float
    missing: dict[int, int]
    even: bool
    shake: float
    shortest: float
    usual: float
    longest: float

    @property
    def are_regular(self) -> bool:
        """Whether no row is missing, and no step is of another length."""
        return self.even and not self.missing


def steps_of(times: Times, order: np.ndarray) -> Steps | None:
    """The steps between the rows in `order`, times that recur counted once; None for fewer than three times."""
    values, walls = times.values[order], times.walls[order]
    kept = np.flatnonzero(np.append(True, np.diff(values) > 0))
    if len(kept) < 3:
        return None
    values, walls = values[kept], walls[kept]
    grids = [_numbers(values)] if times.is_number else list(_calendars(values, walls))
    best = min(grids, key=lambda steps: (not steps.even, len(steps.missing), round(steps.shake, 6)))
    places = {int(kept[place + 1]) - 1: count for place, count in best.missing.items()}
    return replace(best, missing=places)


def by_one_clock(walls: np.ndarray) -> np.ndarray:
    """Local times in the order of a file, as if clocks had never been put forward or back.

    They are, by an hour, on a Sunday before 4 o'clock in spring or autumn.
    """
    apart = np.diff(walls)
    if not (apart > 0).any():
        return walls
    step = _commonest(apart)
    days = np.floor(walls[1:] / _DAY)
    month = days.astype("datetime64[D]").astype("datetime64[M]").astype(int) % 12 + 1
    sunday = (days + 3) % 7 == 6  # 1970 began on a Thursday
    at_night = sunday & np.isin(month, [3, 4, 9, 10, 11]) & (walls[1:] % _DAY <= 4 * _HOUR)
    forward = at_night & (np.abs(apart - step - _HOUR) < 1)
    back = at_night & (np.abs(apart - step + _HOUR) < 1)
    return np.asarray(walls - np.append(0.0, np.cumsum((forward * 1.0 - back) * _HOUR)))


def _calendars(values: np.ndarray, walls: np.ndarray) -> list[Steps]:
    """The steps by each calendar by which the times may be regular, the simplest first."""
    seconds = _unit_of(float(np.median(np.diff(values))))
    found = [_steps(values, *seconds), _steps(by_one_clock(walls), *seconds)]
    days = np.floor(walls / _DAY).astype("datetime64[D]")
    months = days.astype("datetime64[M]").astype(int)
    if (np.diff(months) > 0).all():  # the last day of each, or its first business day, as well
        size = _commonest(np.diff(months))
        for unit, length in (("years", 12), ("quarters", 3), ("months", 1)):
            if size % length == 0:
                found.append(_steps(months / length, unit, 1.0))
                break
    weekdays = np.bincount((days.astype(int) + 3) % 7, minlength=7)
    worked = weekdays > 0.1 * len(days)
    if worked.sum() >= 2 and not weekdays[~worked].any() and len(np.unique(walls % _DAY)) == 1:
        count = np.busday_count(np.full(len(days), days[0]), days, weekmask=worked)
        found.append(_steps(count.astype(float), "business days", 1.0))
    return found


def _steps(values: np.ndarray, unit: str, length: float) -> Steps:
    """The steps of `values`, in units of `length`."""
    apart = np.diff(values) / length
    size = _commonest(apart)
    counts = np.round(apart / size)
    shake = float(np.abs(apart / size - counts).max())
    even = bool(shake <= _SHAKE and (counts >= 1).all() and (counts == 1).mean() >= _MOST)
    missing = {int(place): int(counts[place]) - 1 for place in np.flatnonzero(counts > 1)}
    return Steps(
        unit,
        size,
        missing if even else {},
        even,
        shake,
        shortest=float(apart.min()),
        usual=float(np.median(apart)),
        longest=float(apart.max()),
    )


def _numbers(values: np.ndarray) -> Steps:
    """Of plain numbers, which may be rounded: 1818.001, 1818.004, 1818.007, 1818.010."""
    straight = np.linspace(values[0], values[-1], len(values))
    apart = float(np.ptp(values)) / (len(values) - 1)
    if np.abs(values - straight).max() < min(0.2 * apart, 0.5 * float(np.diff(values).min())):
        return Steps("", apart, {}, True, 0.0, shortest=apart, usual=apart, longest=apart)
    return _steps(values, "", 1.0)


def _commonest(apart: np.ndarray) -> float:
    """The most frequent step, to a thousandth of the median; some times must rise."""
    middle = float(np.median(apart[apart > 0]))
    rounded = np.round(apart / middle, 3)
    kinds, counts = np.unique(rounded[rounded > 0], return_counts=True)
    return float(kinds[counts.argmax()]) * middle if len(kinds) else middle


def _unit_of(seconds: float) -> tuple[str, float]:
    for unit, length in _UNITS:
        if seconds >= length and seconds % length < 1e-6 * length:
            return unit, length
    return "seconds", 1.0
