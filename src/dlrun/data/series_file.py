"""A series read from a CSV file: which columns it uses, in what order, every mistake named by row and column.

No torch here.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge

from dlrun.data.csv_file import Cells, read_csv
from dlrun.data.csv_form import Form, Header, SkipLines
from dlrun.data.cutting import Cutting
from dlrun.data.files import fetch, locate_file
from dlrun.data.gaps import FillRule
from dlrun.data.notation import Decimal, Thousands, looks_like_number
from dlrun.data.series import Series
from dlrun.errors import BadFile, ConfigError
from dlrun.schema import Count, NonNegativeInt

Column = str | int
Period = Annotated[int, Ge(2)]
Numbers = dict[str, np.ndarray]
Words = dict[str, tuple[str | None, ...]]


def series(
    *,
    path: str,
    root: str | None,
    url: str | None,
    md5: str | None,
    header: Header,
    skip_lines: SkipLines,
    comment: str | None,
    delimiter: str,
    decimal: Decimal,
    thousands: Thousands,
    encoding: str,
    missing: list[str],
    skip: NonNegativeInt,
    time: Column | None,
    target: Column | list[Column],
    inputs: list[Column] | None,
    drop: list[Column],
    fill: FillRule,
    window: Count,
    horizon: Count,
    difference: Literal[0, 1],
    seasonal_difference: Period | None,
    difference_inputs: bool,
    season: Count | None,
) -> Series:
    """The columns of a file, in the order of `time` or of its rows; of the named sets, in the folder `root`.

    Raises:
        ConfigError: no such file or column, a cell that is no number, a value missing though `fill` is none.
    """
    file = (
        fetch(root, path, url=url, md5=md5)
        if root and url and md5
        else locate_file("dataset.path", path)
    )
    form = Form(
        header,
        delimiter,
        encoding,
        missing,
        decimal=decimal,
        thousands=thousands,
        skip_lines=skip_lines,
        comment=comment,
    )
    cells = read_csv(file, form)
    targets = [_name(cells, "dataset.target", name) for name in _listed("target", target)]
    dropped = [_name(cells, "dataset.drop", name) for name in drop]
    clock = None if time is None else _name(cells, "dataset.time", time)
    if inputs is None:
        others = [name for name in cells.names if name not in dropped and name != clock]
        taken = [name for name in others if not _holds_words(cells, cells.names.index(name))]
    else:
        taken = [_name(cells, "dataset.inputs", name) for name in _listed("inputs", inputs)]
    used = list(dict.fromkeys([*taken, *targets]))
    numbers, words = read_columns(cells, used, words=None, time=clock, skip=skip, fill=fill)
    for name in targets:
        if name in words:
            raise ConfigError(
                f"dataset.target is {name}, which holds words; a forecast needs numbers"
            )
    return Series(
        numbers=numbers,
        words=words,
        inputs=tuple(dict.fromkeys(taken)),
        targets=tuple(dict.fromkeys(targets)),
        cutting=Cutting(window, horizon, difference, seasonal_difference, difference_inputs),
        fill=fill,
        season=season,
        reading={
            "header": cells.named,
            "skip_lines": skip_lines,
            "comment": comment,
            "delimiter": delimiter,
            "decimal": cells.notation.decimal,
            "thousands": cells.notation.thousands,
            "encoding": encoding,
            "missing": list(missing),
            "time": clock,
        },
        source=str(file),
    )


def read_columns(
    cells: Cells,
    names: Sequence[str],
    *,
    words: Collection[str] | None,
    time: str | None,
    skip: int,
    fill: FillRule,
    needed: int | None = None,
) -> tuple[Numbers, Words]:
    """Columns of numbers and of words by name, in the order of time, without the first `skip` rows.

    Args:
        words: which are columns of words; None for those in which no cell is a number.
        needed: the last rows, in which alone a missing value is refused; None for all.

    Raises:
        ConfigError: numbers and words in one column, or a value missing though `fill` is none.
    """
    if skip >= len(cells.rows):
        raise ConfigError(
            f"dataset.skip is {skip}, but {cells.path} has {len(cells.rows)} rows; lower it"
        )
    order = in_time(cells, time)[skip:]
    of_numbers, of_words = Numbers(), Words()
    for name in names:
        position = cells.names.index(name)
        column = cells.column(position)
        if fill == "none":
            _refuse_missing(cells, column, position, order[-(needed or len(order)) :])
        if _holds_words(cells, position) if words is None else name in words:
            of_words[name] = tuple(column[row] for row in order)
        else:
            of_numbers[name] = _numbers(cells, column, position, order)
    return of_numbers, of_words


def _listed(key: str, value: Column | list[Column]) -> list[Column]:
    if isinstance(value, list):
        if not value:
            raise ConfigError(f"dataset.{key} is an empty list, but must name a column")
        return value
    return [value]


def _name(cells: Cells, key: str, column: Column) -> str:
    return cells.names[cells.position(key, column)]


def in_time(cells: Cells, time: str | None) -> list[int]:
    """Row numbers in the order of the column `time`, or of the file."""
    if time is None:
        return list(range(len(cells.rows)))
    position = cells.names.index(time)
    moments = [_moment(cells, row, position) for row in range(len(cells.rows))]
    order = sorted(range(len(moments)), key=moments.__getitem__)
    for earlier, later in pairwise(order):
        if moments[earlier] == moments[later]:
            raise BadFile(
                f"{cells.place(later, position)}: {cells.rows[later][position]} stands in row "
                f"{cells.lines[earlier]} as well, but a series has one row for each time",
                "leave one out, or set dataset.time=null to take the rows as they come",
                "leave one out",
            )
    return order


def _moment(cells: Cells, row: int, position: int) -> float:
    """A cell of the time column as a number: of its own, or seconds of its date."""
    cell = cells.rows[row][position] or ""
    if (number := cells.notation.number(cell)) is not None:
        return number
    for text in (cell, f"{cell}-01"):  # a month has no day
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            continue
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    raise BadFile(
        f"{cells.place(row, position)}: {cell or 'an empty cell'} is neither a number nor a date as in 2026-01-31",
        "set dataset.time=null to take the rows as they come",
        "mend it",
    )


def _refuse_missing(
    cells: Cells, column: list[str | None], position: int, order: list[int]
) -> None:
    if all(cell is None for cell in column):
        raise BadFile(
            f"{cells.path}, column {cells.names[position]}: every value is missing",
            "leave it out with dataset.drop or dataset.inputs",
            "fill the column in",
        )
    for row in order:
        if column[row] is None:
            raise BadFile(
                f"{cells.place(row, position)}: the value is missing, and dataset.fill is none",
                "fill it in, or set dataset.fill to forward, linear, mean or zero",
                "fill it in",
            )


def _holds_words(cells: Cells, position: int) -> bool:
    """Whether no cell is a number, in whatever notation; a column of both is one of numbers with a mistake in it."""
    present = {cell for cell in cells.column(position) if cell is not None}
    return bool(present) and not any(map(looks_like_number, present))


def _numbers(cells: Cells, column: list[str | None], position: int, order: list[int]) -> np.ndarray:
    values = np.full(len(order), math.nan)
    for place, row in enumerate(order):
        if (cell := column[row]) is None:
            continue
        number = cells.notation.number(cell)
        if number is None:
            remedy = (
                "mend it, add it to dataset.missing if it stands for a missing value, "
                "or leave the column out with dataset.drop"
            )
            raise cells.no_number(row, position, remedy)
        values[place] = number
    return values
