"""How a CSV file is written: what is said of it, and what is found out by looking. No torch here."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dlrun.data.notation import looks_like_number
from dlrun.errors import ConfigError

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "space": " ", "pipe": "|"}
# Decimal commas are commoner than tables cut at commas that have a tab or semicolon in every row.
_GUESSES = ("\t", ";", "|", ",", " ")
_GUESSED_BY = 20  # rows

Header = Literal["auto"] | bool


@dataclass(frozen=True)
class Form:
    """How a file is written.

    Attributes:
        header: whether its first row names the columns; auto looks.
        delimiter: between cells: one character or its name in `DELIMITERS`; auto looks.
        missing: words that stand for a cell without a value.
        names: of the columns, where it is known that the file itself has none.
        decimal, thousands: of numbers, as `Notation`; a decimal of auto looks.
    """

    header: Header
    delimiter: str
    encoding: str
    missing: Sequence[str]
    names: tuple[str, ...] = ()
    decimal: str = "point"
    thousands: str = "none"


def delimiter_of(given: str, text: str) -> str:
    """The character between the cells of `text`; `given` is a form's delimiter.

    Raises:
        ConfigError: `given` is none.
    """
    if given != "auto":
        delimiter = DELIMITERS.get(given, given)
        if len(delimiter) != 1 or delimiter in '"\n':
            raise ConfigError(
                f"dataset.delimiter is {given}, but must be auto, one character or one of {', '.join(DELIMITERS)}"
            )
        return delimiter
    lines = [line for line in text.split("\n") if line.strip()][:_GUESSED_BY]
    for guess in _GUESSES:
        if len(widths := _widths(lines, guess)) == 1 and max(widths) > 1:
            return guess
    return max(_GUESSES[:-1], key=lambda guess: lines[0].count(guess))


def has_header(rows: list[list[str]]) -> bool:
    """Whether the first row names columns: none of it is a number or occurs again in its column."""
    first, *rest = rows
    if any(map(looks_like_number, first)):
        return False
    return not any(
        cell and cell == row[position]
        for row in rest
        for position, cell in enumerate(first[: len(row)])
    )


def _widths(lines: list[str], delimiter: str) -> set[int]:
    reader = csv.reader(
        [line.strip(" ") for line in lines], delimiter=delimiter, skipinitialspace=True
    )
    try:
        return {len(row) for row in reader}
    except csv.Error:  # to be met, and told, as the file is read
        return set()
