"""Which columns of a table are numbers and which are words, and their values. No torch here."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence

import numpy as np

from dlrun.data.csv_file import Cells
from dlrun.data.csv_form import as_number, as_numbers
from dlrun.data.table import Rows
from dlrun.errors import ConfigError

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
    numbers = as_numbers(str(column[row]) for row in known)
    if numbers is None:
        row = next(row for row in known if as_number(str(column[row])) is None)
        raise ConfigError(
            f"{cells.place(row, position)}: {column[row]} is not a number; mend it or leave it empty"
        )
    values = np.full(len(column), np.nan)
    values[known] = numbers
    return values


def _is_numeric(cells: Cells, position: int) -> bool:
    counts = Counter(cell for cell in cells.column(position) if cell is not None)
    others = [cell for cell in counts if as_number(cell) is None]
    if others and 2 * sum(counts[cell] for cell in others) < counts.total():
        row = cells.column(position).index(others[0])
        raise ConfigError(
            f"{cells.place(row, position)}: {others[0]} is not a number, but most of the column are; "
            "add it to dataset.missing, or the column to dataset.categorical"
        )
    if others and len(counts) > max(_MANY, len(cells.rows) / 2):
        name = cells.names[position]
        print(
            f"dlrun: {cells.path}: column {name} has {len(counts)} different words in {len(cells.rows)} rows, "
            f"too many to learn from; dataset.drop=[{name}] leaves it out",
            flush=True,
        )
    return not others


def _refuse_empty(cells: Cells, position: int) -> None:
    if all(cell is None for cell in cells.column(position)):
        raise ConfigError(
            f"{cells.place(0, position)}: every value is missing, in this row and all others; "
            f"set dataset.drop=[{cells.names[position]}]"
        )
