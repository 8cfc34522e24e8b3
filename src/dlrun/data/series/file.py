"""A series read from the files of a table: which columns it uses, in what order, every mistake named by row and column.

No torch here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated, Literal, NamedTuple

import numpy as np
from annotated_types import Ge

from dlrun.config.schema import Count, NonNegativeInt
from dlrun.data.series.order import in_time, look_for_times, note_order, order_each
from dlrun.data.series.series import Series
from dlrun.data.series.several import only_rows, series_in
from dlrun.data.series.time_column import read_times
from dlrun.data.series.windows import Cutting, FillRule
from dlrun.data.tables.column import Column
from dlrun.data.tables.column_roles import ColumnName, ColumnRoles
from dlrun.data.tables.csv import Cells
from dlrun.data.tables.csv_format import CsvFormat, Header, SkipLines
from dlrun.data.tables.number_format import Decimal, Thousands, looks_like_number
from dlrun.data.tables.table_files import locate_table, read_cells, refuse_settings_of_texts
from dlrun.data.times import could_be_date
from dlrun.errors import BadFile, ConfigError, note

Period = Annotated[int, Ge(2)]
Numbers = dict[str, np.ndarray]
Words = dict[str, tuple[str | None, ...]]

_SHOWN = 5  # names in a line
_LOOKED_AT = 20  # cells
_INFINITE = ("inf", "infinity")


def series(
    *,
    path: str,
    header: Header,
    skip_lines: SkipLines,
    comment: str | None,
    delimiter: str,
    decimal: Decimal,
    thousands: Thousands,
    encoding: str,
    missing: list[str],
    skip: NonNegativeInt,
    only: dict[str, str | int | float | bool] | None,
    series: ColumnName | list[ColumnName] | None,
    time: ColumnName | None,
    time_format: str,
    target: ColumnName | list[ColumnName],
    inputs: list[ColumnName] | None,
    drop: list[ColumnName],
    fill: FillRule,
    window: Count,
    horizon: Count,
    difference: Literal[0, 1],
    seasonal_difference: Period | None,
    difference_inputs: bool,
    season: Count | None,
) -> Series:
    """The columns of a file, in the order of `time` or of its rows; those of several `series` one after the other.

    Raises:
        ConfigError: no such file or column, a cell that is no number, a value missing though `fill` is none.
    """
    settings = locals()
    file = locate_table("dataset.path", path)
    refuse_settings_of_texts(settings, file)
    format, roles = CsvFormat.of(settings), ColumnRoles.of(settings)
    cells = read_cells(file, format)
    only_where = {_name(cells, "dataset.only", name): value for name, value in (only or {}).items()}
    cells = only_rows(cells, only_where)
    chosen = _chosen(cells, roles, time_format, skip)
    used = _once([*chosen.inputs, *chosen.targets])
    numbers, words = read_columns(cells, used, words=None, order=chosen.order, fill=fill)
    _check_targets(cells, chosen.targets, numbers, fill)
    reading = {
        "header": cells.named,
        **format.kept(cells.notation),
        "only": only_where,
        "series": list(chosen.series),
        "time": chosen.time,
        "time_format": chosen.time_format,
    }
    return Series(
        numbers=numbers,
        words=words,
        inputs=chosen.inputs,
        targets=chosen.targets,
        cutting=Cutting.of(settings),
        fill=fill,
        season=season,
        reading=reading,
        source=str(file),
        members=chosen.members,
    )


class _Chosen(NamedTuple):
    """Columns by name, the column of time and how it is written, and the rows in its order, series by series.

    Attributes:
        members: the name and the number of rows of each of several series.
    """

    targets: tuple[str, ...]
    inputs: tuple[str, ...]
    time: str | None
    time_format: str
    order: list[int]
    series: tuple[str, ...]
    members: tuple[tuple[str, int], ...]


def _chosen(cells: Cells, roles: ColumnRoles, time_format: str, skip: int) -> _Chosen:
    targets = [_name(cells, "dataset.target", name) for name in _listed("target", roles.target)]
    dropped = [_name(cells, "dataset.drop", name) for name in roles.drop]
    clock = None if roles.time is None else _name(cells, "dataset.time", roles.time)
    listed = _listed("series", roles.series) if roles.series is not None else []
    keys = _once([_name(cells, "dataset.series", name) for name in listed])
    others = [name for name in cells.names if name not in dropped and name not in (clock, *keys)]
    beside = [name for name in others if name not in targets]
    members: tuple[tuple[str, int], ...] = ()
    if keys:
        orders, written, dates = _ordered_each(cells, keys, clock, time_format, beside)
        orders = {name: rows[skip:] for name, rows in orders.items()}
        members = tuple((name, len(rows)) for name, rows in orders.items())
        order = [row for rows in orders.values() for row in rows]
    else:
        order, written, dates = _ordered(cells, clock, time_format, beside)
        order = order[skip:]
    if not order:
        raise ConfigError(
            f"dataset.skip is {skip}, but {cells.path} has {len(cells)} rows; lower it"
        )
    if roles.inputs is None:
        inputs = _inputs(cells, others, targets, dates)
    else:
        listed = _listed("inputs", roles.inputs)
        inputs = [_name(cells, "dataset.inputs", name) for name in listed]
    return _Chosen(_once(targets), _once(inputs), clock, written, order, keys, members)


def _once(names: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def read_columns(
    cells: Cells,
    names: Sequence[str],
    *,
    words: Collection[str] | None,
    order: Sequence[int],
    fill: FillRule,
    needed: int | None = None,
) -> tuple[Numbers, Words]:
    """Columns of numbers and of words by name, their rows in this order.

    Args:
        words: which are columns of words; None for those in which no cell is a number.
        needed: the last rows, in which alone a missing value is refused; None for all.

    Raises:
        ConfigError: numbers and words in one column, or a value missing though `fill` is none.
    """
    of_numbers, of_words = Numbers(), Words()
    for name in names:
        if fill == "none":
            _refuse_missing(cells, name, order[-(needed or len(order)) :])
        if _holds_words(cells, name) if words is None else name in words:
            column = cells.column(name)
            of_words[name] = tuple(column[row] for row in order)
        else:
            of_numbers[name] = _numbers(cells, name, order)
    return of_numbers, of_words


def _listed(key: str, value: ColumnName | list[ColumnName]) -> list[ColumnName]:
    if isinstance(value, list):
        if not value:
            raise ConfigError(f"dataset.{key} is an empty list, but must name a column")
        return value
    return [value]


def _name(cells: Cells, key: str, column: ColumnName) -> str:
    return cells.names[cells.position(key, column)]


def _ordered(
    cells: Cells, clock: str | None, time_format: str, others: list[str]
) -> tuple[list[int], str, list[str]]:
    """The rows in the order of `clock`, its format, and, without a clock, those of `others` that look like times."""
    if clock is not None:
        times = read_times(cells, clock, time_format)
        order = in_time(cells, clock, times)
        note_order(cells, clock, times, order)
        return order, times.format, []
    if time_format != "auto":
        raise ConfigError(
            f"dataset.time_format is {time_format}, but dataset.time is null; name the column of times there"
        )
    return list(range(len(cells))), "auto", look_for_times(cells, others)


def _ordered_each(
    cells: Cells, keys: Sequence[str], clock: str | None, time_format: str, others: list[str]
) -> tuple[dict[str, list[int]], str, list[str]]:
    """The same for each of the series that `keys` tell apart, by name."""
    found = series_in(cells, keys)
    if clock is None:
        own = cells.only(next(iter(found.values())))
        _, written, dates = _ordered(own, None, time_format, others)
        return found, written, dates
    times = read_times(cells, clock, time_format)
    return order_each(cells, found, clock, times), times.format, []


def _inputs(cells: Cells, others: list[str], targets: list[str], dates: list[str]) -> list[str]:
    """Those of the columns that hold numbers; a note names the others."""
    left: list[str] = []
    taken: list[str] = []
    for name in others:
        column = cells.columns[cells.names.index(name)]
        if name in targets:
            taken.append(name)
        elif name in dates:
            left.append(f"{name} (times)")
        elif _holds_words(cells, name):
            left.append(f"{name} ({'times' if _are_dates(column.distinct) else 'words'})")
        elif _is_constant(cells, column):
            left.append(f"{name} (always {column.first})")
        else:
            taken.append(name)
    if left:
        shown = ", ".join(left[:_SHOWN]) + (
            f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
        )
        note(
            f"{cells.path}: left out of dataset.inputs: {shown}; name columns there to take others"
        )
    return taken


def _are_dates(cells: Sequence[str]) -> bool:
    """Whether a column of words, of which these are the different ones, holds dates."""
    return all(could_be_date(cell) for cell in cells[:_LOOKED_AT])


def _is_constant(cells: Cells, column: Column) -> bool:
    """Whether a column of numbers has the same one in all rows."""
    found = column.numbers(cells.notation)
    return found is not None and bool((found == found[0]).all())


def _check_targets(cells: Cells, targets: Sequence[str], numbers: Numbers, fill: FillRule) -> None:
    """Refuse targets of words, and note those with filled values."""
    for name in targets:
        if name not in numbers:
            raise ConfigError(
                f"dataset.target is {name}, which holds words; a forecast needs numbers"
            )
    for name in targets:
        if count := int(np.isnan(numbers[name]).sum()):
            note(
                f"{cells.path}, column {name}: {count} of {len(numbers[name])} values of the target are missing: "
                f"dataset.fill={fill} fills them, also where a forecast is measured"
            )


def _refuse_missing(cells: Cells, name: str, order: Sequence[int]) -> None:
    known = cells.columns[cells.names.index(name)].known
    if not known.any():
        raise BadFile(
            f"{cells.path}, column {name}: every value is missing",
            "leave it out with dataset.drop or dataset.inputs",
            "fill the column in",
        )
    rows = np.asarray(order, np.int64)
    if not known[rows].all():
        row = int(rows[known[rows].argmin()])
        raise BadFile(
            f"{cells.place(row, name)}: the value is missing, and dataset.fill is none",
            "fill it in, or set dataset.fill to forward, linear, mean or zero",
            "fill it in",
        )


def _holds_words(cells: Cells, name: str) -> bool:
    """Whether no cell is a number, in whatever notation; a column of both is one of numbers with a mistake in it."""
    column = cells.columns[cells.names.index(name)]
    if not column.known.any() or looks_like_number(column.first):
        return False
    return not any(map(looks_like_number, column.distinct))


def _numbers(cells: Cells, name: str, order: Sequence[int]) -> np.ndarray:
    column = cells.columns[cells.names.index(name)].take(np.asarray(order, np.int64))
    found = column.numbers(cells.notation)
    if found is None:
        raise _no_number(cells, name, order)
    return found


def _no_number(cells: Cells, name: str, order: Sequence[int]) -> BadFile:
    """The error of the first of these rows that has no finite number."""
    column, number = cells.column(name), cells.notation.number
    row = next(row for row in order if (cell := column[row]) is not None and number(cell) is None)
    cell = str(column[row])
    if cell.lstrip("+-").lower() in _INFINITE:
        return _infinite(cells, row, name)
    missing = f"set {cells.if_missing([cell])} if it stands for a missing value, "
    missing = "" if looks_like_number(cell) else missing
    return cells.no_number(
        row, name, f"mend it, {missing}or leave the column out with dataset.drop"
    )


def _infinite(cells: Cells, row: int, name: str) -> BadFile:
    cell = str(cells.cell(row, name))
    return BadFile(
        f"{cells.place(row, name)}: {cell} is not a finite number",
        f"mend it, or take it for missing with {cells.if_missing([cell])} and set dataset.fill",
        "mend it",
    )
