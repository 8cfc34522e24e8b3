"""The order of a series: by its column of time, whose direction and steps are looked at and said. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from dlrun.data.series.grid import Step, step_of
from dlrun.data.series.several import (
    has_clock_beside,
    refuse_interleaved,
    refuse_several,
    refuse_twice,
    repeated,
    row_beside,
)
from dlrun.data.series.steps import Steps, steps_of
from dlrun.data.series.time_column import detected_times
from dlrun.data.tables.cells import Cells
from dlrun.data.times import NUMERIC, Times
from dlrun.errors import BadFile, note


def in_time(
    cells: Cells, name: str, times: Times, rows: np.ndarray, *, combined: bool, keys: Sequence[str]
) -> np.ndarray:
    """Places in `rows`, the rows of a series, in the order of its `times`, those of the column `name`.

    `keys` are the columns that tell several series apart.

    Raises:
        ConfigError: a time stands in two rows, which are not `combined`.
    """
    if not combined and repeated(times.values) is not None:
        refuse_twice(cells.only(rows), name, times.values, keys)
    return np.argsort(times.values, kind="stable")


def note_moved(
    cells: Cells, name: str, orders: Mapping[str, tuple[Sequence[int], np.ndarray]]
) -> None:
    """Note how many rows move; of each series its rows as they come and in the order of time."""
    moved = {
        series: int((np.asarray(given) != order).sum()) for series, (given, order) in orders.items()
    }
    if not any(moved.values()):
        return
    falls, within = "", ""
    if "" not in orders:
        within = f" within {sum(map(bool, moved.values()))} of {len(orders)} series"
    elif (orders[""][1] == np.asarray(orders[""][0])[::-1]).all():
        falls = ", which ran from newest to oldest,"
    note(
        f"{cells.path}: {sum(moved.values())} of {len(cells)} rows move{falls} into the order of column "
        f"{name}{within}; "
        "dataset.time=null takes them as they come"
    )


def note_steps(
    cells: Cells, name: str, series: Mapping[str, tuple[np.ndarray, Times]], *, besides: str = ""
) -> Step | None:
    """The step of all series, if they have one; notes where those of a series, rows and times in order, are uneven.

    Args:
        besides: what else is to be set for even steps.

    Raises:
        ConfigError: steps have one length only among the rows of each of several series.
    """
    uneven: dict[str, str] = {}
    found: dict[bytes, Steps | None] = {}  # most series have the times of others
    for one, (order, times) in series.items():
        at = times.values.tobytes()
        if at not in found:
            found[at] = steps_of(times, np.arange(len(order)))
        steps = found[at]
        if steps is None or steps.are_regular:
            continue
        if not one and not steps.even:
            refuse_interleaved(cells.only(order), name, times)
        uneven[one] = _wrong(cells, name, steps, order, besides)
    for one, wrong in [*uneven.items()][:1]:
        of = f", series {one}" if one else ""
        more = (
            f" (the steps of {len(uneven) - 1} more series are not even)"
            if uneven.keys() - {one}
            else ""
        )
        note(f"{cells.path}, column {name}{of}: {wrong}{more}")
    kinds = {None if steps is None else step_of(steps) for steps in found.values()}
    return None if uneven or len(kinds) != 1 else kinds.pop()


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
        as_they_come = {"": (np.arange(len(times.values)), times)}
        note_steps(cells, name, as_they_come, besides=f"dataset.time={name} ")


def _wrong(cells: Cells, name: str, steps: Steps, order: np.ndarray, besides: str) -> str:
    """Where rows are missing, or how far apart they are, and what to set."""
    step = step_of(steps)
    given = besides + (f"dataset.step={step}" if step else "dataset.step")
    if not steps.even:
        return (
            f"steps are uneven, from {_length(steps.shortest, steps.unit)} to "
            f"{_length(steps.longest, steps.unit)}, but rows are taken as equally far "
            f"apart; {given} with dataset.combine and dataset.fill brings them to one step"
        )
    first = min(steps.missing)
    cell = cells.cell(int(order[first]), name)
    count = sum(steps.missing.values())
    places = len(steps.missing)
    more = f" ({count} in {places} places)" if places > 1 else ""
    return (
        f"{_rows(steps.missing[first], steps)} missing after {cell}{more}; rows on both sides of a gap "
        f"are taken as neighbours; {given} with dataset.fill adds the rows"
    )


def _rows(count: int, steps: Steps) -> str:
    """How many steps are missing, with the verb."""
    verb = "is" if count == 1 else "are"
    if steps.size == 1 and steps.unit:
        return f"{count} {steps.unit[:-1] if count == 1 else steps.unit} {verb}"
    rows = "row" if count == 1 else "rows"
    return f"{count} {rows} ({step_of(steps) or _length(steps.size, steps.unit)} apart) {verb}"


def _length(size: float, unit: str) -> str:
    for larger, of in (("days", 24), ("hours", 60), ("minutes", 60)):
        smaller = {"days": "hours", "hours": "minutes", "minutes": "seconds"}[larger]
        if unit == smaller and size >= of:
            return _length(size / of, larger)
    return f"{size:.3g} {unit[:-1] if size == 1 else unit}".strip()
