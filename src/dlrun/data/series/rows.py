"""The rows of each series in a file, in the order of time, at the steps asked for; both are reported. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np

from dlrun.data.series.grid import Combine, Places, Step, combine, days_off, places_of, step_from
from dlrun.data.series.order import in_time, note_moved, note_steps
from dlrun.data.series.several import key_columns, repeated, row_beside
from dlrun.data.series.time_column import without_clock_changes
from dlrun.data.series.windows import FillRule
from dlrun.data.tables.cells import Cells
from dlrun.data.times import Times
from dlrun.errors import BadFile, note

_OFF = 0.05  # of a step, by which times may be beside it without a line
_MOST = 50  # steps for each row, beyond which a step is too short


class Stepping(NamedTuple):
    """What becomes of the steps of time.

    Attributes:
        step: from a row to the next; None to take rows as they come.
    """

    step: Step | None
    combine: Combine
    fill: FillRule

    @classmethod
    def of(cls, settings: Mapping[str, Any], fill: FillRule) -> Self:
        """Those of a dataset's `settings`, or of those that a run kept."""
        given = settings.get("step")
        return cls(
            None if given is None else step_from(given), settings.get("combine", "none"), fill
        )


@dataclass(frozen=True)
class Member:
    """The rows of one series.

    Attributes:
        order: (N,) their numbers in the file, in the order of time.
        places: (N,) which of `count` steps each is at; None where each row is one.
    """

    order: np.ndarray
    places: np.ndarray | None = None
    steps: int = 0

    def __len__(self) -> int:
        return len(self.order) if self.places is None else self.steps


@dataclass(frozen=True)
class Rows:
    """The rows of all series in a file, one series after the other; of one series by the name "".

    Attributes:
        step: from each row to the next, as asked for or, in all series alike, found; None for none.
    """

    members: Mapping[str, Member]
    combine: Combine = "none"
    step: Step | None = None

    @cached_property
    def order(self) -> np.ndarray:
        """(N,) the numbers of the rows in the file."""
        return np.concatenate([member.order for member in self.members.values()])

    def last(self, count: int) -> np.ndarray:
        """The numbers of the rows in the last `count` steps of each series."""
        return np.concatenate(
            [
                member.order[-count:]
                if member.places is None
                else member.order[member.places >= member.steps - count]
                for member in self.members.values()
            ]
        )

    def before(self, ends: Mapping[str, int]) -> Rows:
        """The same without so many steps at the end of each series."""
        members = {}
        for name, member in self.members.items():
            steps = len(member) - ends[name]
            if member.places is None:
                members[name] = Member(member.order[:steps])
            else:
                kept = member.places < steps
                members[name] = Member(member.order[kept], member.places[kept], steps)
        return replace(self, members=members)

    def only(self, names: Sequence[str]) -> Rows:
        """Those of these series."""
        return replace(self, members={name: self.members[name] for name in names})

    @property
    def bounds(self) -> dict[str, tuple[int, int]]:
        """Where each series begins, and ends, among the steps of all."""
        ends = np.cumsum([len(member) for member in self.members.values()]).tolist()
        return {
            name: (end - len(member), end)
            for (name, member), end in zip(self.members.items(), ends, strict=True)
        }

    def numbers(self, values: np.ndarray) -> np.ndarray:
        """A value a step from those of the rows in `order`."""
        if self._places is None:
            return values
        return combine(values, self._places, self._steps, self.combine)

    def without_value(self, known: np.ndarray) -> np.ndarray:
        """The numbers of the rows whose step has no value, by whether each row in `order` has one."""
        if self._places is not None:
            known = (np.bincount(self._places[known], minlength=self._steps) > 0)[self._places]
        return self.order[~known]

    def words(self, words: np.ndarray) -> tuple[str | None, ...]:
        """A word a step from those (N,) of the rows in `order`: the last one, of combined rows."""
        if self._places is None:
            return tuple(words.tolist())
        known = words != None  # noqa: E711  of each
        found = np.full(self._steps, None, object)
        found[self._places[known]] = words[known]
        return tuple(found.tolist())

    @cached_property
    def _steps(self) -> int:
        return sum(len(member) for member in self.members.values())

    @cached_property
    def _places(self) -> np.ndarray | None:
        places = [
            member.places + start
            for member, (start, _) in zip(self.members.values(), self.bounds.values(), strict=True)
            if member.places is not None
        ]
        return np.concatenate(places) if places else None


def as_they_come(series: Mapping[str, Sequence[int]], skip: int = 0) -> Rows:
    """The rows of each series, without the first `skip`, in the order of the file."""
    return Rows({name: Member(np.asarray(rows, np.int64)[skip:]) for name, rows in series.items()})


class _Timed(NamedTuple):
    """The rows of a series in the order of their times."""

    order: np.ndarray
    times: Times


def rows_in_time(
    cells: Cells,
    series: Mapping[str, Sequence[int]],
    clock: str,
    times: Times,
    stepping: Stepping,
    *,
    keys: Sequence[str] = (),
    skip: int = 0,
) -> Rows:
    """The rows of each series, without the first `skip`, in the order of `times`, those of the column `clock`.

    Args:
        keys: the columns that tell several series apart.

    Raises:
        ConfigError: a time, or a step, has several rows though `combine` is none; steps are missing though `fill` is.
    """
    found = {}
    for name, rows in series.items():
        numbers = np.asarray(rows, np.int64)
        own = times if len(series) == 1 else without_clock_changes(times.take(numbers))
        order = in_time(cells, clock, own, numbers, combined=stepping.combine != "none", keys=keys)
        found[name] = _Timed(numbers[order], own.take(order))
    note_moved(cells, clock, {name: (series[name], one.order) for name, one in found.items()})
    found = {
        name: _Timed(one.order[skip:], one.times.take(np.arange(skip, len(one.order))))
        for name, one in found.items()
    }
    step = stepping.step
    if step is None:
        step = note_steps(
            cells, clock, {name: (one.order, one.times) for name, one in found.items()}
        )
        if stepping.combine == "none":
            return Rows({name: Member(one.order) for name, one in found.items()}, step=step)
    several = "" in found and stepping.combine != "none" and repeated(times.values) is not None
    if several and (columns := key_columns(cells, clock, times.values)):
        note(
            f"{cells.path}: rows of {' and '.join(columns)} are combined as if they were of one series; "
            f"dataset.series=[{','.join(columns)}] learns from each"
        )
    members = {name: _at_steps(cells, clock, one, stepping) for name, one in found.items()}
    _note_steps_taken(cells, clock, members, stepping)
    return Rows(members, stepping.combine, step)


def _at_steps(cells: Cells, clock: str, rows: _Timed, stepping: Stepping) -> Member:
    step, times = stepping.step, rows.times
    if not len(rows.order):  # of one of several series, by `skip`
        return Member(rows.order, np.zeros(0, np.int64))
    if step is None:
        numbers = np.cumsum(np.append(0, np.diff(times.values) > 0))
        return Member(rows.order, numbers, int(numbers[-1]) + 1)
    _refuse_unit(cells, clock, times, step)
    if step.unit == "B" and len(off := days_off(times)):
        row = int(rows.order[off[0]])
        remedy = "leave the row out, or set dataset.step=1D"
        raise BadFile(
            f"{cells.place(row, clock)}: {cells.cell(row, clock)} is on a day of the week that has hardly any rows, "
            "but dataset.step is B",
            remedy,
            "leave the row out",
        )
    places = places_of(times, step, combined=stepping.combine != "none")
    _refuse_too_short(cells, clock, places, step)
    if stepping.combine == "none":
        _refuse_same_step(cells, clock, rows, places, step)
        _note_off(cells, clock, rows, places, step)
    return Member(rows.order, places.numbers, int(places.numbers[-1]) + 1)


def _refuse_unit(cells: Cells, clock: str, times: Times, step: Step) -> None:
    if step.is_number == times.is_number:
        return
    has = "plain numbers" if times.is_number else f"times written as {times.format}"
    remedy = "give a number, such as 1" if times.is_number else "give a unit, as in 1D"
    if times.is_number:
        remedy += ", or say with dataset.time_format that they are seconds (epoch) or milliseconds (epoch_ms)"
    mend = "write times as in the training data"
    raise BadFile(
        f"{cells.path}, column {clock}: it has {has}, but dataset.step is {step}", remedy, mend
    )


def _refuse_too_short(cells: Cells, clock: str, places: Places, step: Step) -> None:
    steps, rows = int(places.numbers[-1]) + 1, len(places.numbers)
    if steps > _MOST * rows + 1000:
        remedy = "give a longer step"
        raise BadFile(
            f"{cells.path}, column {clock}: dataset.step is {step}, of which {steps:,} lie between the first time and "
            f"the last, for {rows:,} rows",
            remedy,
            "mend the times",
        )


def _refuse_same_step(cells: Cells, clock: str, rows: _Timed, places: Places, step: Step) -> None:
    same = np.flatnonzero(np.diff(places.numbers) <= 0)
    if not len(same):
        return
    earlier, later = (int(rows.order[same[0] + one]) for one in (0, 1))
    more = f" ({len(same)} rows too many)" if len(same) > 1 else ""
    mend = "leave one out"
    raise BadFile(
        f"{cells.place(later, clock)}: {cells.cell(later, clock)} is of the same step of {step} as "
        f"{cells.cell(earlier, clock)} in {row_beside(cells, earlier, later)}{more}",
        "set dataset.combine to mean, sum or last, or give a shorter dataset.step",
        mend,
    )


def _note_off(cells: Cells, clock: str, rows: _Timed, places: Places, step: Step) -> None:
    beside = places.off > _OFF
    if beside.any():
        row = int(rows.order[places.off.argmax()])
        note(
            f"{cells.path}, column {clock}: {beside.sum()} of {len(beside)} times lie beside the steps of {step}, as "
            f"{cells.cell(row, clock)} does by {places.off.max():.0%} of a step; each row is taken at the nearest one"
        )


def _note_steps_taken(
    cells: Cells, clock: str, members: Mapping[str, Member], stepping: Stepping
) -> None:
    """Note how many rows became one, and how many steps have none.

    Raises:
        ConfigError: there are such steps, but no rule to fill them.
    """
    given = sum(len(member.order) for member in members.values())
    steps = sum(map(len, members.values()))
    gaps = {name: _gaps(member) for name, member in members.items()}
    missing = sum(int(gap.sum()) for _, gap in gaps.values())
    if given > steps - missing:
        at = "of one time" if stepping.step is None else f"of one step of {stepping.step}"
        note(
            f"{cells.path}: {given:,} rows become {steps - missing:,}: those {at} are combined by "
            f"dataset.combine={stepping.combine}"
        )
    if not missing:
        return
    name, (after, gap) = next((name, found) for name, found in gaps.items() if len(found[0]))
    row = int(members[name].order[after[0]])
    of = f" of the series {name}" if name else ""
    what = (
        f"{cells.path}, column {clock}: {missing:,} of {steps:,} steps of {stepping.step} have no row, first "
        f"{int(gap[0]):,} after {cells.cell(row, clock)}{of}"
    )
    if stepping.fill == "none":
        remedy = "set dataset.fill to forward, linear, season, mean or zero"
        raise BadFile(f"{what}, and dataset.fill is none", remedy, "add the rows")
    note(f"{what}: dataset.fill={stepping.fill} fills their values")


def _gaps(member: Member) -> tuple[np.ndarray, np.ndarray]:
    """After which rows steps are missing, and how many."""
    assert member.places is not None, "rows at steps"
    apart = np.diff(member.places)
    after = np.flatnonzero(apart > 1)
    return after, apart[after] - 1
