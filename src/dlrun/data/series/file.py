"""A series read from the files of a table: which columns it uses, in what order, every mistake named by row and column.

No torch here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from annotated_types import Ge

from dlrun.config.schema import Count, NonNegativeInt
from dlrun.data.series.calendar import calendar, cycles_of, names_of
from dlrun.data.series.future import without_future
from dlrun.data.series.grid import Combine
from dlrun.data.series.order import look_for_times
from dlrun.data.series.rows import Rows, Stepping, as_they_come, rows_in_time
from dlrun.data.series.series import Series
from dlrun.data.series.several import only_rows, series_in
from dlrun.data.series.time_column import read_times
from dlrun.data.series.windows import Cutting, FillRule
from dlrun.data.tables.cells import Cells
from dlrun.data.tables.column import Column
from dlrun.data.tables.column_roles import ColumnName, ColumnRoles
from dlrun.data.tables.csv_format import CsvFormat, Header, SkipLines
from dlrun.data.tables.number_format import Decimal, Thousands, looks_like_number
from dlrun.data.tables.table_files import locate_table, read_cells, refuse_settings_of_texts
from dlrun.data.times import Times, could_be_date
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
    step: str | float | None,
    combine: Combine,
    target: ColumnName | list[ColumnName],
    inputs: list[ColumnName] | None,
    known_future: list[ColumnName] | None,
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
    if fill == "season" and season is None:
        raise ConfigError(
            "dataset.fill is season, but dataset.season is null; set it to the rows in a period, as in 7"
        )
    return _series(read_cells(file, CsvFormat.of(settings)), str(file), settings)


def _series(cells: Cells, source: str, settings: Mapping[str, Any]) -> Series:
    """The series in `cells` by the settings of `series`."""
    roles, fill = ColumnRoles.of(settings), settings["fill"]
    only = {_name(cells, "dataset.only", name): value for name, value in (roles.only or {}).items()}
    cells = only_rows(cells, only)
    chosen = _chosen(cells, roles)
    stepping = Stepping.of(settings, fill)
    rows, times, dates = _rows(cells, chosen, settings["time_format"], stepping, settings["skip"])
    if chosen.known_future:
        rows = without_future(cells, rows, chosen.targets)
    known = [name for name in chosen.known_future if name != chosen.time]
    taken = _once([*_inputs(cells, chosen, settings["inputs"], dates), *known])
    numbers, words = read_columns(
        cells, _once([*taken, *chosen.targets]), rows, words=None, fill=fill
    )
    _check_targets(cells, chosen.targets, numbers, fill)
    cycles: list[str] = []
    if times is not None and chosen.time in chosen.known_future:
        cycles = cycles_of(chosen.time, times, rows)
        numbers |= calendar(chosen.time, times, rows, cycles)
    in_calendar = names_of(str(chosen.time), cycles)
    reading = {
        "header": cells.named,
        **CsvFormat.of(settings).kept(cells.notation),
        "only": only,
        "series": list(chosen.series),
        "time": chosen.time,
        "time_format": "auto" if times is None else times.format,
        "calendar": cycles,
        "step": settings["step"],
        "found_step": None if rows.step is None else [rows.step.size, rows.step.unit],
        "combine": settings["combine"],
    }
    return Series(
        numbers=numbers,
        words=words,
        inputs=(*taken, *in_calendar),
        targets=chosen.targets,
        cutting=Cutting.of(settings),
        fill=fill,
        season=settings["season"],
        reading=reading,
        source=source,
        members=tuple((name, len(member)) for name, member in rows.members.items() if name),
        known_future=(*known, *in_calendar),
        times=() if times is None else _times(cells, str(chosen.time), rows),
    )


def _times(cells: Cells, clock: str, rows: Rows) -> tuple[str | None, ...]:
    """The cell of the column of times at each step."""
    return rows.words(np.array(cells.column(clock), object)[rows.order])


class _Chosen(NamedTuple):
    """Columns by name.

    Attributes:
        series: those that tell several series apart.
        others: what may be inputs.
        known_future: inputs that are known of the rows to be forecast as well; `time` stands for its calendar.
    """

    targets: tuple[str, ...]
    time: str | None
    series: tuple[str, ...]
    others: tuple[str, ...]
    known_future: tuple[str, ...]


def _chosen(cells: Cells, roles: ColumnRoles) -> _Chosen:
    targets = [_name(cells, "dataset.target", name) for name in _listed("target", roles.target)]
    dropped = [_name(cells, "dataset.drop", name) for name in roles.drop]
    clock = None if roles.time is None else _name(cells, "dataset.time", roles.time)
    listed = [] if roles.series is None else _listed("series", roles.series)
    keys = _once([_name(cells, "dataset.series", name) for name in listed])
    known = _known_future(cells, roles, [("target", targets), ("drop", dropped), ("series", keys)])
    others = [name for name in cells.names if name not in (*dropped, clock, *keys, *known)]
    return _Chosen(_once(targets), clock, keys, tuple(others), known)


def _known_future(
    cells: Cells, roles: ColumnRoles, taken: Sequence[tuple[str, Sequence[str]]]
) -> tuple[str, ...]:
    """The columns that are known of the rows to be forecast as well, none of them `taken` by another setting."""
    names = [_name(cells, "dataset.known_future", name) for name in roles.known_future or ()]
    for setting, others in taken:
        for name in names:
            if name in others:
                raise ConfigError(
                    f"dataset.known_future and dataset.{setting} both name {name}; take it out of one of them"
                )
    return _once(names)


def _rows(
    cells: Cells, chosen: _Chosen, time_format: str, stepping: Stepping, skip: int
) -> tuple[Rows, Times | None, list[str]]:
    """The rows of each series, the times of all rows, and, without a column of times, those that look like it."""
    series: Mapping[str, Sequence[int]] = {"": range(len(cells))}
    if chosen.series:
        series = series_in(cells, chosen.series)
        counts = sorted(map(len, series.values()))
        note(
            f"{cells.path}: {len(series):,} series by {' and '.join(chosen.series)}, of {counts[0]:,} to "
            f"{counts[-1]:,} rows"
        )
    if skip >= max(map(len, series.values())):
        raise ConfigError(
            f"dataset.skip is {skip}, but {cells.path} has {len(cells)} rows; lower it"
        )
    if chosen.time is not None:
        calendar = stepping.step is not None and not stepping.step.is_number
        times = read_times(cells, chosen.time, time_format, calendar=calendar)
        rows = rows_in_time(
            cells, series, chosen.time, times, stepping, keys=chosen.series, skip=skip
        )
        return rows, times, []
    for key, given, usual in (
        ("time_format", time_format, "auto"),
        ("step", stepping.step, None),
        ("combine", stepping.combine, "none"),
    ):
        if given != usual:
            raise ConfigError(
                f"dataset.{key} is {given}, but dataset.time is null; name the column of times there"
            )
    own = cells.only(next(iter(series.values())))
    dates = look_for_times(own, [name for name in chosen.others if name not in chosen.targets])
    return as_they_come(series, skip), None, dates


def _once(names: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def read_columns(
    cells: Cells,
    names: Sequence[str],
    rows: Rows,
    *,
    words: Collection[str] | None,
    fill: FillRule,
    needed: int | None = None,
) -> tuple[Numbers, Words]:
    """Columns of numbers and of words by name, as `rows` has them.

    Args:
        words: which are columns of words; None for those in which no cell is a number.
        needed: the last rows of each series, in which alone a missing value is refused; None for all.

    Raises:
        ConfigError: numbers and words in one column, or a value missing though `fill` is none.
    """
    of_numbers, of_words = Numbers(), Words()
    for name in names:
        if fill == "none":
            _refuse_missing(cells, name, rows, needed)
        if _holds_words(cells, name) if words is None else name in words:
            of_words[name] = rows.words(np.array(cells.column(name), object)[rows.order])
        else:
            of_numbers[name] = rows.numbers(_numbers(cells, name, rows.order))
    return of_numbers, of_words


def _listed(key: str, value: ColumnName | list[ColumnName]) -> list[ColumnName]:
    if isinstance(value, list):
        if not value:
            raise ConfigError(f"dataset.{key} is an empty list, but must name a column")
        return value
    return [value]


def _name(cells: Cells, key: str, column: ColumnName) -> str:
    return cells.names[cells.position(key, column)]


def _inputs(
    cells: Cells, chosen: _Chosen, listed: list[ColumnName] | None, dates: list[str]
) -> tuple[str, ...]:
    """The columns to forecast from: where none are listed, those that hold numbers; a note names the others."""
    if listed is not None:
        return _once([_name(cells, "dataset.inputs", name) for name in _listed("inputs", listed)])
    left: list[str] = []
    taken: list[str] = []
    for name in chosen.others:
        column = cells.columns[cells.names.index(name)]
        if name in chosen.targets:
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
    return tuple(taken)


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
                f"{cells.path}, column {name}: {count:,} of {len(numbers[name]):,} values of the target are missing: "
                f"dataset.fill={fill} fills them, also where a forecast is measured"
            )


def _refuse_missing(cells: Cells, name: str, rows: Rows, needed: int | None) -> None:
    known = cells.columns[cells.names.index(name)].known
    if not known.any():
        raise BadFile(
            f"{cells.path}, column {name}: every value is missing",
            "leave it out with dataset.drop or dataset.inputs",
            "fill the column in",
        )
    lacking = rows.without_value(known[rows.order])
    if needed is not None:
        lacking = lacking[np.isin(lacking, rows.last(needed))]
    if len(lacking):
        raise BadFile(
            f"{cells.place(int(lacking[0]), name)}: the value is missing, and dataset.fill is none",
            "fill it in, or set dataset.fill to forward, linear, season, mean or zero",
            "fill it in",
        )


def _holds_words(cells: Cells, name: str) -> bool:
    """Whether no cell is a number, in whatever notation; a column of both is one of numbers with a mistake in it."""
    column = cells.columns[cells.names.index(name)]
    if not column.known.any() or looks_like_number(column.first):
        return False
    return not any(map(looks_like_number, column.distinct))


def _numbers(cells: Cells, name: str, order: np.ndarray) -> np.ndarray:
    column = cells.columns[cells.names.index(name)].take(order)
    found = column.numbers(cells.notation)
    if found is None:
        raise _no_number(cells, name, order)
    return found


def _no_number(cells: Cells, name: str, order: np.ndarray) -> BadFile:
    """The error of the first of these rows that has no finite number."""
    column, number = cells.column(name), cells.notation.number
    row = next(
        row for row in order.tolist() if (cell := column[row]) is not None and number(cell) is None
    )
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
