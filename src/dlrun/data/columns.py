"""Which columns of a table are numbers and which are words, and their values. No torch here."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Sequence

import numpy as np

from dlrun.data.csv_file import Cells
from dlrun.data.notation import looks_like_number
from dlrun.data.table import Rows
from dlrun.errors import ConfigError
from dlrun.hints import note

_INSIDE = re.compile(r"^[^\d.,+-]+|[^\d.,]+$")  # what stands around a number
_MANY = 20  # different words, from which on a column may be one of names


def sort_columns(
    cells: Cells, features: Sequence[int], *, numeric: Sequence[int], categorical: Sequence[int]
) -> tuple[list[int], list[int]]:
    """(numbers, words): `features` told apart by what they hold, where `numeric` and `categorical` do not say.

    Raises:
        ConfigError: a column without any value, or one of numbers with a few words among them.
    """
    numbers, words = [], []
    for position in features:
        _refuse_empty(cells, position)
        if position in numeric or (position not in categorical and _is_numeric(cells, position)):
            numbers.append(position)
        else:
            words.append(position)
    return numbers, words


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
        raise cells.no_number(row, position, "mend it or leave it empty")
    values = np.full(len(column), np.nan)
    values[known] = numbers
    return values


def refuse_notation(cells: Cells, position: int, remedy: str) -> None:
    """Refuse a column that is one of numbers in another notation than the file's.

    Raises:
        BadFile: naming the notation, or else `remedy`.
    """
    counts = Counter(cell for cell in cells.column(position) if cell is not None)
    numbers = [cell for cell in counts if looks_like_number(cell)]
    if 2 * sum(counts[cell] for cell in numbers) <= counts.total():
        return
    for cell in numbers:
        if cells.notation.number(cell) is None:
            raise cells.no_number(cells.column(position).index(cell), position, remedy)


def _is_numeric(cells: Cells, position: int) -> bool:
    counts = Counter(cell for cell in cells.column(position) if cell is not None)
    others = [cell for cell in counts if cells.notation.number(cell) is None]
    if not others:
        return True
    refuse_notation(cells, position, "add the column to dataset.categorical")
    if 2 * sum(counts[cell] for cell in others) < counts.total():
        row = cells.column(position).index(others[0])
        raise ConfigError(
            f"{cells.place(row, position)}: {others[0]} is not a number, but most of the column are; "
            "add it to dataset.missing, or the column to dataset.categorical"
        )
    if len(counts) > max(_MANY, len(cells.rows) / 2):
        _note_many(cells, position, list(counts))
    return False


def _note_many(cells: Cells, position: int, words: list[str]) -> None:
    name = cells.names[position]
    # Of a sum of money or a share the number may be all that counts.
    wrapped = [word for word in words if looks_like_number(_INSIDE.sub("", word))]
    remedy = f"; dataset.drop=[{name}] leaves it out"
    if 2 * len(wrapped) > len(words):
        remedy = f"; they are numbers with more around them, as in {wrapped[0]}: take that out of the file"
    note(
        f"{cells.path}: column {name} has {len(words)} different words in {len(cells.rows)} rows, "
        f"too many to learn from{remedy}"
    )


def _refuse_empty(cells: Cells, position: int) -> None:
    if all(cell is None for cell in cells.column(position)):
        raise ConfigError(
            f"{cells.place(0, position)}: every value is missing, in this row and all others; "
            f"set dataset.drop=[{cells.names[position]}]"
        )
