"""Which columns of a table are numbers and which are words, and their values. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from dlrun.data.tables.column import Column
from dlrun.data.tables.column_checks import (
    Remark,
    infinite,
    left_out,
    refuse_ambiguous,
    refuse_empty,
    refuse_mixture,
    refuse_notation,
    setting,
)
from dlrun.data.tables.column_kinds import (
    Kind,
    has_leading_zeros,
    is_named_identifier,
    kind_of_numbers,
    kind_of_words,
    outlying_code,
    spelled_alike,
)
from dlrun.data.tables.csv import Cells
from dlrun.data.tables.number_format import (
    Dressing,
    common_dressing,
    dressing_of,
    is_infinite,
    looks_like_number,
)
from dlrun.data.tables.table import Rows, Words
from dlrun.data.times import is_date
from dlrun.errors import ConfigError

_LEVELS = 1000  # different words, from which on a column of categories is pointed out
_FEW_LEVELS = 20  # different words, up to which it never is, however few the rows are
_LEFT_OUT = ("date", "identifier", "text", "serial")


@dataclass
class SortedColumns:
    """The columns of a table that a model reads, and remarks on them.

    Attributes:
        numbers, words: read as the one and as the other.
        dressings: what stands around the numbers of a column, by position.
        given: the columns that `dataset.drop` and the like name already, by key.
    """

    given: Mapping[str, Sequence[str]] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)
    words: list[int] = field(default_factory=list)
    dressings: dict[int, Dressing] = field(default_factory=dict)
    remarks: list[Remark] = field(default_factory=list)


def sort_columns(
    cells: Cells,
    features: Sequence[int],
    *,
    numeric: Sequence[int],
    categorical: Sequence[int],
    dropped: Sequence[int],
    decimal: str,
) -> SortedColumns:
    """`features` as numbers or words by what they hold, where `numeric` and `categorical` do not say.

    Args:
        dropped: what the settings leave out.
        decimal: what was said of the sign before decimals; auto where nothing was.

    Raises:
        ConfigError: a column named twice or without any value, one of numbers with a few words among them or in another
            notation than the file's, or none left to read.
    """
    named = {"numeric": numeric, "categorical": categorical, "drop": dropped}
    for one, other in combinations(named, 2):
        if both := {*named[one]} & {*named[other]}:
            raise ConfigError(
                f"dataset.{one} and dataset.{other} both name {cells.names[min(both)]}; leave it out of one"
            )
    given = {key: [cells.names[position] for position in named[key]] for key in named}
    found = SortedColumns(given)
    refuse_empty(cells, features, given["drop"])
    for position in features:
        if position in categorical:
            found.words.append(position)
        else:
            sort_column(cells, position, found, decided=position in numeric)
            if decimal == "auto":
                refuse_ambiguous(cells, position)
    only = features[0] if len(features) == 1 else None
    if only is not None and found.remarks and found.remarks[0].fact == "serial":
        # What counts the rows may be all that there is to predict from: time, or an x.
        return SortedColumns(given, numbers=[only])
    if not found.numbers and not found.words:
        raise ConfigError(
            f"{cells.path} has no column left to predict from: {left_out(found.remarks, given)}"
        )
    return found


def undressed(cells: Cells, dressings: Mapping[int, Dressing]) -> Cells:
    """The same cells, without the units (`dressings`) around the numbers of columns."""
    return cells.with_columns(
        {at: cells.columns[at].by_cell(dressing.number) for at, dressing in dressings.items()}
    )


def undressed_as(cells: Cells, dressings: Mapping[str, Sequence[str]]) -> Cells:
    """As `undressed`, by the names of columns as a `Reading` has them; a missing column is skipped."""
    found = {name: Dressing(*around) for name, around in dressings.items() if name in cells.names}
    return undressed(cells, {cells.names.index(name): dressing for name, dressing in found.items()})


def read_rows(
    cells: Cells, numbers: Sequence[int], words: Sequence[int], *, zero_is_missing: Sequence[int]
) -> Rows:
    """The values of the columns `numbers` and `words`.

    Raises:
        ConfigError: a cell of `numbers` that holds none, with row and column.
    """
    values = [read_numbers(cells, position) for position in numbers]
    for index, position in enumerate(numbers):
        if position in zero_is_missing:
            values[index] = np.where(values[index] == 0, np.nan, values[index])
    return Rows(values, [Words.of(cells.columns[position]) for position in words])


def read_numbers(cells: Cells, position: int) -> np.ndarray:
    """(N,) the numbers of a column, nan where missing.

    Raises:
        ConfigError: a cell that holds none, with row and column.
    """
    column = cells.columns[position]
    values = column.numbers(cells.notation)
    if values is None:
        cell = next(cell for cell in column.distinct if cells.notation.number(cell) is None)
        row = column.row_of(cell)
        if is_infinite(cell):
            raise infinite(cells, row, position)
        remedy = "mend it or leave it empty"
        if not looks_like_number(cell):
            remedy += f", or set {cells.if_missing([cell])} if it stands for a missing value"
        raise cells.no_number(row, position, remedy)
    return values


def sort_column(cells: Cells, position: int, found: SortedColumns, *, decided: bool) -> None:
    """Put a column where it belongs; `decided` is one that must be of numbers.

    Raises:
        ConfigError: numbers with a few words among them, or in another notation than the file's.
    """
    name, column = cells.names[position], cells.columns[position]
    otherwise = f"set {setting('categorical', [name], found.given)} or {setting('drop', [name], found.given)}"
    values = column.numbers(cells.notation)
    if values is None and (dressing := common_dressing(column.counts)):
        example = next(cell for cell in column.distinct if dressing_of(cell))
        bare = undressed(cells, {position: dressing})
        if bare.columns[position].numbers(cells.notation) is None:
            refuse_notation(bare, position, otherwise)
        found.dressings[position] = dressing
        found.remarks.append(Remark("dressed", name, example))
        found.numbers.append(position)
        return
    if decided:
        found.numbers.append(position)
        return
    kind: Kind
    if values is None:
        kind = kind_of_words(column.counts)
        if kind != "date":
            refuse_mixture(cells, position, otherwise)
    else:
        given = "" if cells.named and name == str(position + 1) else name
        kind = kind_of_numbers(given, column, values)
    if kind in _LEFT_OUT:
        example = column.first
        if kind == "date":
            example = next(filter(is_date, column.distinct), example)
        found.remarks.append(Remark(kind, name, example, len(column.distinct)))
        return
    (found.numbers if kind == "number" else found.words).append(position)
    if kind == "code":
        example = next(cell for cell in column.distinct if has_leading_zeros([cell]))
        found.remarks.append(Remark("code", name, example))
    found.remarks.extend(
        _remarks_of_words(name, column)
        if values is None or kind != "number"
        else _remarks_of_numbers(name, column, values)
    )


def _remarks_of_numbers(name: str, column: Column, values: np.ndarray) -> list[Remark]:
    """What is to be said of a column of numbers that is read."""
    if len(values) > 1 and (values == values[0]).all():
        return [Remark("constant", name, column.first)]
    if out := outlying_code(column, values):
        return [Remark("outlying", name, f"{out} in {len(column.where([out]))} rows")]
    if (
        is_named_identifier(name)
        and len(column.distinct) > 2
        and all(map(str.isdecimal, column.distinct))
    ):
        return [Remark("numbered", name)]
    return []


def _remarks_of_words(name: str, column: Column) -> list[Remark]:
    """What is to be said of a column of categories that is read."""
    kinds, rows = column.distinct, len(column)
    if len(kinds) == 1 and column.known.all() and rows > 1:
        return [Remark("constant", name, column.first)]
    remarks = []
    if len(kinds) > _LEVELS or len(kinds) > max(_FEW_LEVELS, rows / 4):
        remarks.append(Remark("levels", name, column.first, len(kinds)))
    if alike := spelled_alike(kinds):
        remarks.append(Remark("alike", name, " and ".join(alike)))
    return remarks
