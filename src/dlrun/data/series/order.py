"""The order of a series: by its column of time, whose direction and steps are looked at and said. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from dlrun.data.series.several import (
    has_clock_beside,
    refuse_interleaved,
    refuse_several,
    refuse_twice,
    row_beside,
)
from dlrun.data.series.steps import Steps, steps_of
from dlrun.data.series.time_column import detected_times, without_clock_changes
from dlrun.data.tables.csv import Cells
from dlrun.data.times import NUMERIC, Times
from dlrun.errors import BadFile, note


def in_time(cells: Cells, name: str, times: Times) -> list[int]:
    """Row numbers in the order of the column `name`.

    Raises:
        ConfigError: a time stands in two rows.
    """
    refuse_twice(cells, name, times.values)
    return np.argsort(times.values, kind="stable").tolist()


def note_orders(
    cells: Cells, name: str, found: Mapping[str, tuple[Cells, Times, Sequence[int]]]
) -> None:
    """The same for several series, by name each with its cells, its times and their order: a line for all of them."""
    moved = [series for series, (_, _, order) in found.items() if _moved(order)]
    if moved:
        count = sum(_moved(found[series][2]) for series in moved)
        note(
            f"{cells.path}: {count} of {len(cells)} rows move into the order of column {name} within "
            f"{len(moved)} of {len(found)} series; dataset.time=null takes them as they come"
        )
    uneven = {
        series: text
        for series, (own, times, order) in found.items()
        if (text := _uneven_steps(own, name, times, np.array(order)))
    }
    for series, text in [*uneven.items()][:1]:
        more = f", and {len(uneven) - 1} more series have such steps" if len(uneven) > 1 else ""
        note(f"{cells.path}, column {name}, series {series}: {text}{more}")


def order_each(
    cells: Cells, series: Mapping[str, Sequence[int]], clock: str, times: Times
) -> dict[str, list[int]]:
    """The rows of each of several series, by name, in the order of its own `times`; what moves is noted.

    Raises:
        ConfigError: a time stands in two rows of a series.
    """
    found = {}
    for name, rows in series.items():
        own, at = cells.only(rows), without_clock_changes(times.take(np.asarray(rows)))
        found[name] = own, at, in_time(own, clock, at)
    note_orders(cells, clock, found)
    return {name: [rows[place] for place in found[name][2]] for name, rows in series.items()}


def _moved(order: Sequence[int]) -> int:
    """How many rows are not where their time has them."""
    return sum(row != place for place, row in enumerate(order))


def note_order(cells: Cells, name: str, times: Times, order: Sequence[int]) -> None:
    """Note how many rows move, and where the steps between them are not even."""
    if moved := _moved(order):
        falls = (
            ", which ran from newest to oldest,"
            if list(order) == [*range(len(order))][::-1]
            else ""
        )
        note(
            f"{cells.path}: {moved} of {len(order)} rows move{falls} into the order of column {name}; "
            "dataset.time=null takes them as they come"
        )
    _note_steps(cells, name, times, np.array(order))


def look_for_times(cells: Cells, names: Sequence[str], *, set_: str = "set") -> list[str]:
    """Those of the columns `names` that look like times though no setting names one; notes what is wrong by the first.

    Args:
        set_: what the user may do with dataset.time.

    Raises:
        ConfigError: by the first, several series lie in the file side by side, or a row is none of a series.
    """
    found: list[tuple[str, Times]] = []
    for name in names:
        with _unless_dropped(name):
            if (times := detected_times(cells, name)) is not None:
                found.append((name, times))
    dates = [one for one in found if one[1].format not in NUMERIC]
    for name, times in (dates or found)[:1]:
        _note_as_they_come(cells, name, times, f"{set_} dataset.time={name}")
    return [name for name, _ in dates]


@contextmanager
def _unless_dropped(name: str) -> Iterator[None]:
    """Offer to drop the column in an error about a time column that no setting names."""
    try:
        yield
    except BadFile as error:
        remedy = f"{error.remedy}, or set 'dataset.drop=[{name}]' if it is not the time"
        raise BadFile(error.what, remedy, error.mend) from error


def _note_as_they_come(cells: Cells, name: str, times: Times, remedy: str) -> None:
    """Note what is wrong with the order of the rows, by a column that no setting names."""
    apart = np.diff(times.values)
    if (apart >= 0).all() and has_clock_beside(cells, name, times.values):
        return
    refuse_several(cells, name, times.values)
    if (apart < 0).any():
        wrong = "are not in order"
        if (apart <= 0).all():
            wrong = "run from newest to oldest: the model would forecast the past"
        note(f"{cells.path}: by column {name} its rows {wrong}; {remedy}")
    elif (apart == 0).any():
        row = int(np.flatnonzero(apart == 0)[0]) + 1
        count = int((apart == 0).sum())
        note(
            f"{cells.place(row, name)}: {cells.cell(row, name)} stands in {row_beside(cells, row - 1, row)} as well"
            f"{f', and {count - 1} more do so' if count > 1 else ''}; {remedy} to have each time once"
        )
    else:
        _note_steps(cells, name, times, np.arange(len(times.values)))


def _note_steps(cells: Cells, name: str, times: Times, order: np.ndarray) -> None:
    """Note where rows are missing, or that steps have no length in common.

    Raises:
        ConfigError: they have one among the rows of each of several series.
    """
    steps = steps_of(times, order)
    if steps is not None and not steps.even:
        refuse_interleaved(cells, name, times)
    if text := _uneven_steps(cells, name, times, order):
        note(f"{cells.path}, column {name}: {text}")


def _uneven_steps(cells: Cells, name: str, times: Times, order: np.ndarray) -> str:
    """Where rows are missing, or how far apart they are where that differs; empty for regular steps."""
    steps = steps_of(times, order)
    if steps is None or steps.are_regular:
        return ""
    if not steps.even:
        return (
            f"steps are uneven, from {_length(steps.shortest, steps.unit)} to "
            f"{_length(steps.longest, steps.unit)}, but rows are taken as equally far "
            "apart; bring them to one step, or show how far apart they are as a column of dataset.inputs"
        )
    first = min(steps.missing)
    cell = cells.cell(int(order[first]), name)
    count = sum(steps.missing.values())
    places = len(steps.missing)
    more = f" ({count} in {places} places)" if places > 1 else ""
    return (
        f"{_rows(steps.missing[first], steps)} missing after {cell}{more}; rows on both sides of a gap "
        "are taken as neighbours: add rows with empty cells there, and set dataset.fill"
    )


def _rows(count: int, steps: Steps) -> str:
    """How many steps are missing, with the verb."""
    verb = "is" if count == 1 else "are"
    if steps.size == 1 and steps.unit:
        return f"{count} {steps.unit[:-1] if count == 1 else steps.unit} {verb}"
    rows = "row" if count == 1 else "rows"
    return f"{count} {rows} ({_length(steps.size, steps.unit)} apart) {verb}"


def _length(size: float, unit: str) -> str:
    for larger, of in (("days", 24), ("hours", 60), ("minutes", 60)):
        smaller = {"days": "hours", "hours": "minutes", "minutes": "seconds"}[larger]
        if unit == smaller and size >= of:
            return _length(size / of, larger)
    return f"{size:.3g} {unit[:-1] if size == 1 else unit}".strip()
