"""Which columns of a table are numbers and which are words, and their values. No torch here."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from dlrun.data.csv_file import Cells, as_number
from dlrun.data.table import Rows
from dlrun.errors import ConfigError


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
    numbers = np.full(len(cells.rows), np.nan)
    for row, cell in enumerate(cells.column(position)):
        if cell is None:
            continue
        if (number := as_number(cell)) is None:
            raise ConfigError(
                f"{cells.place(row, position)}: {cell} is not a number; mend it or leave it empty"
            )
        numbers[row] = number
    return numbers


def _is_numeric(cells: Cells, position: int) -> bool:
    known = [(row, cell) for row, cell in enumerate(cells.column(position)) if cell is not None]
    others = [(row, cell) for row, cell in known if as_number(cell) is None]
    if others and 2 * len(others) < len(known):
        row, cell = others[0]
        raise ConfigError(
            f"{cells.place(row, position)}: {cell} is not a number, but most of the column are; "
            "add it to dataset.missing, or the column to dataset.categorical"
        )
    return not others


def _refuse_empty(cells: Cells, position: int) -> None:
    if all(cell is None for cell in cells.column(position)):
        raise ConfigError(
            f"{cells.place(0, position)}: every value is missing, in this row and all others; "
            f"set dataset.drop=[{cells.names[position]}]"
        )
