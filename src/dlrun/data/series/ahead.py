"""The times of the rows after a series, at the step that its rows have; written as its own are. No torch here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from dlrun.data.series.grid import MONTHS, Step, worked_days
from dlrun.data.series.rows import Member
from dlrun.data.series.steps import by_one_clock
from dlrun.data.times import CLOCKS, EPOCHS, NUMBER, Times

_DAY = 86400.0
_LOOKED_AT = 100  # rows at the end, of which each has to follow from the one before it
_NEAR, _MOST = 0.1, 0.9  # of a step, by which one may be beside that; of these rows
_CLOCKS = ("", " %H:%M", " %H:%M:%S", "T%H:%M", "T%H:%M:%S")
_ZONE = re.compile(r"(?<=:\d\d) ?(Z|UTC|GMT|[+-]\d\d(:?\d\d)?)$")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Ahead:
    """The rows after the last one of a series.

    Attributes:
        last: what stands in the column of time of that row.
        rule: how times go on; None where they follow no step.
        given: what stands there in rows to come that are in the file, None where it has none.
    """

    last: str
    rule: _Rule | None
    given: tuple[str | None, ...] = ()

    def time(self, ahead: int) -> str:
        """The time of the row so many steps ahead; the last one and their number where it is not known."""
        if ahead <= len(self.given) and (cell := self.given[ahead - 1]) is not None:
            return cell
        found = None if self.rule is None else self.rule.cell(self.last, ahead)
        return found or f"{self.last} +{ahead}"


@dataclass(frozen=True)
class _Rule:
    """How the times of a series go on.

    Attributes:
        format: how they are written.
        wall: the time of the last row, on the clock on the wall.
        start: the time of its step, from which steps are counted.
        day: of the month, at which steps of months are; 31 for the last one.
        worked: (7,) the days of the week that are business days.
    """

    format: str
    step: Step
    wall: float
    start: float
    day: int
    worked: np.ndarray

    def wall_ahead(self, start: float | np.ndarray, count: int | np.ndarray) -> np.ndarray:
        """The times so many steps after `start`."""
        start, steps = np.atleast_1d(start), np.asarray(count * self.step.size)
        if self.step.unit in MONTHS:
            months = _months(start) + (steps * MONTHS[self.step.unit]).astype(np.int64)
            return _in_month(months, self.day) + start % _DAY
        if self.step.unit == "B":
            days = np.floor(start / _DAY).astype("datetime64[D]")
            after = np.busday_offset(
                days, steps.astype(np.int64), roll="forward", weekmask=self.worked
            )
            return after.astype(np.int64) * _DAY + start % _DAY
        return np.asarray(start + count * self.step.length)

    def cell(self, last: str, ahead: int) -> str | None:
        """The time so many steps ahead, written as `last` is, by ISO 8601 otherwise; None without a year."""
        wall = float(self.wall_ahead(self.start, ahead)[0])
        if self.format == NUMBER:
            return f"{wall:.10g}"
        if self.format in EPOCHS:
            return f"{wall * EPOCHS[self.format][0]:.0f}"
        if not re.search("%[YGy]", self.format) and self.format not in CLOCKS:
            return None  # the 28th of February may be followed by the 29th
        zone = match[0] if (match := _ZONE.search(last)) else ""
        for format in _written(self.format):
            if _text(self.wall, format) + zone == last:
                return _text(wall, format) + zone
        if not re.search("%[YG]", self.format):
            return None
        dated = "%Y-%m" if re.search("%[mbBq]", self.format) else "%Y-%m-%d"
        if re.search("%[dHj]", self.format):
            dated = "%Y-%m-%d" if wall % _DAY == 0 else "%Y-%m-%d %H:%M:%S"
        return _text(wall, dated) + zone


def rule_of(times: Times, member: Member, step: Step | None, *, combined: bool) -> _Rule | None:
    """How the times of the rows of a series go on by `step`; None where its last rows do not stand at such steps.

    Args:
        combined: a step has all rows within it, and begins where it begins by the calendar.
    """
    if step is None or len(member.order) < 2:
        return None
    walls = times.walls[member.order]
    last = float(walls[-1])
    days = np.floor(walls / _DAY).astype(np.int64)
    worked = worked_days(days)
    rule = _Rule(times.format, step, last, last, _day_of_month(walls), worked)
    if combined and member.places is not None and not step.is_number:
        return _of_steps(rule, walls, int(member.places[-1]))
    shown = walls if times.is_number or times.zoned else by_one_clock(walls)
    shown = shown[-_LOOKED_AT:]
    places = np.arange(len(walls)) if member.places is None else member.places
    counts = np.diff(places[-_LOOKED_AT:])
    beside = np.abs(rule.wall_ahead(shown[:-1], counts) - shown[1:])
    return rule if (beside <= _NEAR * step.length).mean() >= _MOST else None


def _of_steps(rule: _Rule, walls: np.ndarray, place: int) -> _Rule | None:
    """The rule where a step has all rows within it: from the beginning of the last one, `place` after the first."""
    step, first = rule.step, float(walls[0])
    midnight = first - first % _DAY
    if step.unit in MONTHS:
        months, size = int(_months(walls[:1])[0]), int(step.size) * MONTHS[step.unit]
        begin = float(_in_month(np.array([months - months % size * (12 % size == 0)]), 1)[0])
        rule = _Rule(rule.format, step, rule.wall, begin, 1, rule.worked)
    elif step.unit in ("D", "W", "B"):
        begin = midnight - (midnight / _DAY + 3) % 7 * _DAY * (step.unit == "W")
    else:
        last = rule.wall % _DAY
        even = np.abs((walls - rule.wall) / step.length % 1 - 0.5) > 0.5 - _NEAR
        if even.mean() >= _MOST or _DAY % step.length:
            return rule if even.mean() >= _MOST else None
        begin, place = rule.wall - last + last // step.length * step.length, 0
    start = float(rule.wall_ahead(begin, place)[0])
    return _Rule(rule.format, step, rule.wall, start, rule.day, rule.worked)


def _months(walls: np.ndarray) -> np.ndarray:
    """Months since January 1970."""
    days = np.floor(walls / _DAY).astype("datetime64[D]")
    return days.astype("datetime64[M]").astype(np.int64)


def _in_month(months: np.ndarray, day: int) -> np.ndarray:
    """The beginning of this day of each month, or of its last one."""
    first, after = (
        (months + one).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
        for one in (0, 1)
    )
    return np.asarray((first + np.minimum(day, after - first) - 1) * _DAY)


def _day_of_month(walls: np.ndarray) -> int:
    """At which the rows are, which a short month may end before."""
    days = np.floor(walls / _DAY)
    if (_in_month(_months(walls), 31) / _DAY == days).all():
        return 31
    return int((days - _in_month(_months(walls), 1) / _DAY).max()) + 1


def _written(format: str) -> Iterator[str]:
    """Ways in which a time of this format may be written: a time of day may follow a date, and zeros be left out."""
    for padded in (format, re.sub("%([dm])", r"%~\1", format)):
        yield from (
            (padded + clock for clock in _CLOCKS) if re.search("%[dHj]", format) else (padded,)
        )


def _text(wall: float, format: str) -> str:
    moment = _EPOCH + timedelta(seconds=round(wall))
    own = {"%q": (moment.month + 2) // 3, "%~m": moment.month, "%~d": moment.day}
    return moment.strftime(re.sub("%(q|~[md])", lambda match: str(own[match[0]]), format))
