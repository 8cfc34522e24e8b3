"""Which columns of a table are numbers, dates and words, and their values. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from dlrun.data.tables.cells import Cells
from dlrun.data.tables.column import Column, Values
from dlrun.data.tables.column_checks import (
    Remark,
    dates_setting,
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
    are_yes_no,
    find_kind,
    has_leading_zeros,
    is_named_identifier,
    is_yes,
    outlying_code,
    spelled_alike,
)
from dlrun.data.tables.column_roles import Inferred
from dlrun.data.tables.dates import AUTO, DateForm, NotADate, date_form, date_numbers
from dlrun.data.tables.number_format import (
    Dressing,
    common_dressing,
    dressing_of,
    is_infinite,
    looks_like_number,
)
from dlrun.data.tables.stored_columns import without_zeros
from dlrun.data.tables.table import Reading, Rows, Words
from dlrun.data.times import NUMBER, is_date, is_format
from dlrun.errors import ConfigError

_LEVELS = 1000  # different words, from which on a column of categories is pointed out
_FEW_LEVELS = 20  # different words, up to which it never is, however few the rows are
_LEFT_OUT = ("date", "identifier", "text", "serial", "constant")


@dataclass
class SortedColumns:
    """The columns of a table that a model reads, and remarks on them.

    Attributes:
        numbers, words: read as the one and as the other.
        yes_no: those of `numbers` whose words yes and no are 1 and 0.
        dates: how columns of dates are read, by position.
        dressings: what stands around the numbers of a column, by position.
        given: the columns that `dataset.drop` and the like name already, by key.
    """

    given: Mapping[str, Sequence[str]] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)
    words: list[int] = field(default_factory=list)
    yes_no: list[int] = field(default_factory=list)
    dates: dict[int, DateForm] = field(default_factory=dict)
    dressings: dict[int, Dressing] = field(default_factory=dict)
    remarks: list[Remark] = field(default_factory=list)


def sort_columns(
    cells: Cells,
    features: Sequence[int],
    named: Mapping[str, Sequence[int]],
    *,
    formats: Mapping[int, str],
    infer: Sequence[Inferred],
    decimal: str,
) -> SortedColumns:
    """`features` as numbers, dates or words by what they hold, where no setting says it.

    Args:
        named: the columns that settings name, by key: numeric, categorical, dates, drop.
        formats: of the columns that are named as dates.
        infer: as in `ColumnRoles`.
        decimal: what was said of the sign before decimals; auto where nothing was.

    Raises:
        ConfigError: a column named twice or without any value, one of numbers with a few words among them or in another
            notation than the file's, or none left to read.
    """
    for one, other in combinations(named, 2):
        if both := {*named[one]} & {*named[other]}:
            raise ConfigError(
                f"dataset.{one} and dataset.{other} both name {cells.names[min(both)]}; leave it out of one"
            )
    given = {key: [cells.names[position] for position in named[key]] for key in named}
    found = SortedColumns(given)
    refuse_empty(cells, features, given["drop"])
    for position in features:
        if position in named["categorical"]:
            found.words.append(position)
        elif position in formats:
            found.dates[position] = _form_of(cells, position, formats[position])
        else:
            sort_column(cells, position, found, infer, decided=position in named["numeric"])
            if decimal == "auto":
                refuse_ambiguous(cells, position)
    only = features[0] if len(features) == 1 else None
    if only is not None and found.remarks and found.remarks[0].fact == "serial":
        # What counts the rows may be all that there is to predict from: time, or an x.
        return SortedColumns(given, numbers=[only])
    if not found.numbers and not found.dates and not found.words:
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


def read_rows(cells: Cells, reading: Reading) -> Rows:
    """The values of the columns that are read.

    Raises:
        ConfigError: a cell that holds no number, no date, or neither yes nor no, with row and column.
    """
    values = []
    for name in reading.numbers:
        position = cells.names.index(name)
        read = _read_yes_no if name in reading.yes_no else _read_numbers
        numbers = read(cells, position)
        values.append(without_zeros(numbers) if name in reading.zero_is_missing else numbers)
    for name, form in reading.date_forms.items():
        values.extend(_read_dates(cells, cells.names.index(name), form))
    words = [
        Words.of(
            cells.columns[cells.names.index(name)],
            cells.notation.spelled if name in reading.by_value else None,
        )
        for name in reading.words
    ]
    return Rows(values, words)


def _read_yes_no(cells: Cells, position: int) -> Values:
    """(N,) 1 for yes, 0 for no, nan where missing."""
    column = cells.columns[position]
    answers = {cell: is_yes(cell) for cell in column.distinct}
    for cell, answer in answers.items():
        if answer is None:
            raise ConfigError(
                f"{cells.place(column.row_of(cell), position)}: {cell} is neither yes nor no, as all of the training "
                f"data are; mend it, or set {cells.if_missing([cell])} if it stands for a missing value"
            )
    return column.by_code(
        np.array([*(float(answer is True) for answer in answers.values()), np.nan])
    )


def _read_dates(cells: Cells, position: int, form: DateForm) -> list[Values]:
    """(N,) each part of the dates, nan where missing."""
    try:
        return date_numbers(cells.columns[position], form)
    except NotADate as error:
        raise _no_date(cells, position, error, form.format) from None


def _form_of(cells: Cells, position: int, format: str) -> DateForm:
    """How a column that is named as one of dates is read."""
    if format != AUTO and (not is_format(format) or format == NUMBER):
        raise ConfigError(
            f"dataset.dates has the format {format} for {cells.names[position]}, which is none: give one as %d.%m.%Y "
            "or %m/%d/%Y %H:%M, epoch, epoch_ms or auto"
        )
    try:
        return date_form(cells.columns[position], format)
    except NotADate as error:
        raise _no_date(cells, position, error, format) from None


def _no_date(cells: Cells, position: int, error: NotADate, format: str) -> ConfigError:
    where = cells.place(cells.columns[position].row_of(error.cell), position)
    if len(error.formats) > 1:
        remedy = dates_setting({cells.names[position]: error.formats[0]})
        ways = " and ".join(error.formats[:2])
        return ConfigError(
            f"{where}: {error.cell} may be read as {ways} alike; set {remedy} for one"
        )
    form = "" if format == AUTO else f" in the format {format}"
    return ConfigError(
        f"{where}: {error.cell} is no date{form}; mend it, or set {cells.if_missing([error.cell])} if it stands for a "
        "missing value"
    )


def read_numbers(cells: Cells, position: int) -> np.ndarray:
    """(N,) the numbers of a column, nan where missing, in memory.

    Raises:
        ConfigError: a cell that holds none, with row and column.
    """
    return np.asarray(_read_numbers(cells, position)[:])


def _read_numbers(cells: Cells, position: int) -> Values:
    column = cells.columns[position]
    values = column.kept_numbers(cells.notation)
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


def sort_column(
    cells: Cells, position: int, found: SortedColumns, infer: Sequence[Inferred], *, decided: bool
) -> None:
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
        if values is None and are_yes_no(column.distinct):
            found.yes_no.append(position)
        found.numbers.append(position)
        return
    given = "" if cells.named and name == str(position + 1) else name
    kind = find_kind(given, column, cells.notation).kind
    if values is None and kind not in ("date", "yes_no", "constant"):
        refuse_mixture(cells, position, otherwise)
    if kind in ("constant", "yes_no") and kind not in infer:
        kind = "category" if values is None else "number"
    if kind == "date" and kind in infer:
        _sort_dates(column, position, found, name)
    elif kind in _LEFT_OUT:
        example = column.first
        if kind == "date":
            example = next(filter(is_date, column.distinct), example)
        found.remarks.append(Remark(kind, name, example, len(column.distinct)))
    elif kind == "yes_no":
        found.numbers.append(position)
        found.yes_no.append(position)
        found.remarks.append(Remark("yes_no", name, " and ".join(column.distinct[:2])))
    else:
        _sort_others(column, position, found, name, values, kind)


def _sort_dates(column: Column, position: int, found: SortedColumns, name: str) -> None:
    """A column of dates that is read if it can be in one way alone, and left out otherwise."""
    try:
        found.dates[position] = date_form(column)
        found.remarks.append(Remark("read_date", name, column.first))
    except NotADate as error:
        several = len(error.formats) > 1
        fact = "ambiguous_date" if several else "odd_date"
        found.remarks.append(Remark(fact, name, error.cell, form=next(iter(error.formats), "")))


def _sort_others(
    column: Column,
    position: int,
    found: SortedColumns,
    name: str,
    values: np.ndarray | None,
    kind: Kind,
) -> None:
    """A column that is read as numbers or as words, with what is to be said of it."""
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
        return [Remark("one_value", name, column.first)]
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
        return [Remark("one_value", name, column.first)]
    remarks = []
    if len(kinds) > _LEVELS or len(kinds) > max(_FEW_LEVELS, rows / 4):
        remarks.append(Remark("levels", name, column.first, len(kinds)))
    if alike := spelled_alike(kinds):
        remarks.append(Remark("alike", name, " and ".join(alike)))
    return remarks
