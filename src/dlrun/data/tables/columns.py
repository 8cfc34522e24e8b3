"""Which columns of a table are numbers and which are words, and their values. No torch here."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from dlrun.data.tables.column_checks import (
    Remark,
    counts_of,
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
from dlrun.data.tables.table import Rows
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
        counts = counts_of(cells, position)
        if position in categorical:
            found.words.append(position)
        else:
            _sort(cells, position, counts, found, decided=position in numeric)
            if decimal == "auto":
                refuse_ambiguous(cells, position, counts)
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
    if not dressings:
        return cells
    rows = [list(row) for row in cells.rows]
    for position, dressing in dressings.items():
        known = {cell: dressing.number(cell) for cell in {*cells.column(position)} if cell}
        for row in rows:
            row[position] = known.get(row[position] or "", row[position])
    return replace(cells, rows=rows)


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
    values = np.empty((len(cells.rows), len(numbers)))
    for index, position in enumerate(numbers):
        values[:, index] = read_numbers(cells, position)
        if position in zero_is_missing:
            values[values[:, index] == 0, index] = np.nan
    texts = np.empty((len(cells.rows), len(words)), object)
    for index, position in enumerate(words):
        # One object a word, however many rows have it.
        texts[:, index] = [cell and sys.intern(cell) for cell in cells.column(position)]
    return Rows(values, texts)


def read_numbers(cells: Cells, position: int) -> np.ndarray:
    """(N,) the numbers of a column, nan where missing.

    Raises:
        ConfigError: a cell that holds none, with row and column.
    """
    column = cells.column(position)
    known = [row for row, cell in enumerate(column) if cell is not None]
    numbers = cells.notation.numbers(str(column[row]) for row in known)
    if numbers is None:
        row = next(row for row in known if cells.notation.number(str(column[row])) is None)
        if is_infinite(str(column[row])):
            raise infinite(cells, row, position)
        remedy = "mend it or leave it empty"
        if not looks_like_number(str(column[row])):
            remedy += (
                f", or set {cells.if_missing([str(column[row])])} if it stands for a missing value"
            )
        raise cells.no_number(row, position, remedy)
    values = np.full(len(column), np.nan)
    values[known] = numbers
    return values


def _sort(
    cells: Cells, position: int, counts: Counter[str], found: SortedColumns, *, decided: bool
) -> None:
    """Put a column where it belongs; `decided` is one that must be of numbers."""
    name, column = cells.names[position], cells.column(position)
    otherwise = f"set {setting('categorical', [name], found.given)} or {setting('drop', [name], found.given)}"
    numbers = cells.notation.numbers(counts)
    if numbers is None and (dressing := common_dressing(counts)):
        example = next(cell for cell in counts if dressing_of(cell))
        bare = Counter({dressing.number(cell): count for cell, count in counts.items()})
        if cells.notation.numbers(bare) is None:
            refuse_notation(undressed(cells, {position: dressing}), position, bare, otherwise)
        found.dressings[position] = dressing
        found.remarks.append(Remark("dressed", name, example))
        found.numbers.append(position)
        return
    if decided:
        found.numbers.append(position)
        return
    kind: Kind
    if numbers is None:
        kind = kind_of_words(counts)
        if kind != "date":
            refuse_mixture(cells, position, counts, otherwise)
    else:
        given = "" if cells.named and name == str(position + 1) else name
        kind = kind_of_numbers(given, column, counts, cells.notation)
    first = next(iter(counts))
    if kind in _LEFT_OUT:
        example = next(filter(is_date, counts), first) if kind == "date" else first
        found.remarks.append(Remark(kind, name, example, len(counts)))
        return
    (found.numbers if kind == "number" else found.words).append(position)
    if kind == "code":
        example = next(cell for cell in counts if has_leading_zeros([cell]))
        found.remarks.append(Remark("code", name, example))
    found.remarks.extend(_remarks(name, column, counts, kind))


def _remarks(
    name: str, column: Sequence[str | None], counts: Counter[str], kind: Kind
) -> list[Remark]:
    """The remarks on a column that is read."""
    first, rows = next(iter(counts)), len(column)
    if len(counts) == 1 and counts.total() == rows > 1:
        return [Remark("constant", name, first)]
    if kind == "number":
        if out := outlying_code(counts):
            return [Remark("outlying", name, f"{out} in {counts[out]} rows")]
        whole = is_named_identifier(name) and len(counts) > 2 and all(map(str.isdecimal, counts))
        return [Remark("numbered", name)] if whole else []
    remarks = []
    if len(counts) > _LEVELS or len(counts) > max(_FEW_LEVELS, rows / 4):
        remarks.append(Remark("levels", name, first, len(counts)))
    if alike := spelled_alike(counts):
        remarks.append(Remark("alike", name, " and ".join(alike)))
    return remarks
