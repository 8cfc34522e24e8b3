"""What is wrong with a column of numbers: words among them, another notation, no bounds. No torch here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from dlrun.data.column_kinds import stray_words, usual_dressing
from dlrun.data.column_notes import setting
from dlrun.data.csv_file import Cells
from dlrun.data.dressing import dressing_of
from dlrun.data.notation import (
    Notation,
    is_infinite,
    looks_like_number,
    may_be_grouped,
    reads_with_other_decimal,
    says,
)
from dlrun.errors import BadFile, ConfigError

_STRAYS = 3  # different words at most that may all stand for a missing number


def counts_of(cells: Cells, position: int) -> Counter[str]:
    """How often each cell of a column comes, missing ones left out."""
    return Counter(cell for cell in cells.column(position) if cell is not None)


def refuse_empty(cells: Cells, features: Sequence[int], dropped: Sequence[str]) -> None:
    """Refuse columns without any value; `dropped` is left out already.

    Raises:
        ConfigError: naming all of them.
    """
    empty = [at for at in features if not any(cell is not None for cell in cells.column(at))]
    if empty:
        names = [cells.names[at] for at in empty]
        raise ConfigError(
            f"{cells.place(0, empty[0])}: every value is missing, in this row and all others; "
            f"set {setting('drop', names, {'drop': dropped})}"
        )


def refuse_mixture(cells: Cells, position: int, counts: Counter[str], otherwise: str) -> None:
    """Refuse a column of numbers with words among them, or in another notation than the file's.

    Args:
        counts: its cells.
        otherwise: what to set where its words are meant.

    Raises:
        ConfigError: naming the first of these cells.
    """
    if cells.notation.numbers(counts) is not None:
        return
    refuse_notation(cells, position, counts, otherwise)
    strays = stray_words(counts, cells.notation)
    if not strays:
        return
    row = min(cells.column(position).index(word) for word in strays)
    word, place = str(cells.rows[row][position]), cells.place(row, position)
    if is_infinite(word):
        raise infinite(cells, row, position)
    usual = usual_dressing(counts)
    if usual and (dressing_of(word) or looks_like_number(word)):
        raise ConfigError(
            f"{place}: {word} is not written as most of the column are, which have {usual}; "
            f"write all in one unit, or {otherwise}"
        )
    numbers = [cell for cell in counts if cell not in strays]
    most = 2 * sum(counts[cell] for cell in numbers) > counts.total()
    but = (
        "most of the column are" if most else f"{len(numbers)} different numbers are in the column"
    )
    words = [stray for stray in strays if not stray.startswith("#")]  # #DIV/0! is none of numbers
    missing = len(strays) <= _STRAYS and not any(map(str.isdigit, "".join(words)))
    stands = f"{word} stands" if len(strays) == 1 else f"{', '.join(strays)} stand"
    remedy = f"set {cells.if_missing(strays)} if {stands} for a missing value"
    raise ConfigError(
        f"{place}: {word} is not a number, but {but}; {remedy if missing else 'mend it'}, or {otherwise}"
    )


def refuse_ambiguous(cells: Cells, position: int, counts: Counter[str]) -> None:
    """Refuse a column whose points may stand before decimals or between thousands alike.

    Raises:
        BadFile: naming what to set for either.
    """
    if cells.notation == Notation() and (cell := may_be_grouped(counts)):
        row = cells.column(position).index(cell)
        grouped = Notation("comma", "point").number(cell)
        others = [cells.column(at) for at in range(len(cells.names)) if at != position]
        pointed = any(says(column, Notation()) for column in others)
        groups = "take the points out of the column" if pointed else "set dataset.thousands=point"
        raise BadFile(
            f"{cells.place(row, position)}: {cell} may be {grouped:.15g} as well, for all decimals of the column are "
            "three",
            f"{groups} for {grouped:.15g}, or set dataset.decimal=point for {cell}",
        )


def infinite(cells: Cells, row: int, position: int) -> BadFile:
    """The error of a cell that holds a number beyond all bounds."""
    said = f"{cells.place(row, position)}: {cells.rows[row][position]} is not a finite number"
    word = str(cells.rows[row][position])
    remedy = f"mend it, or set {cells.if_missing([word])} if it stands for a missing value"
    return BadFile(said, remedy, "mend it")


def refuse_notation(cells: Cells, position: int, counts: Counter[str], otherwise: str) -> None:
    """Refuse a column most rows of which hold numbers, in whatever notation, some in another than the file's."""
    numbers = [cell for cell in counts if looks_like_number(cell)]
    if 2 * sum(counts[cell] for cell in numbers) <= counts.total():
        return
    for cell in numbers:
        if cells.notation.number(cell) is None:
            row = cells.column(position).index(cell)
            refuse_two_notations(cells, row, position, otherwise)
            raise cells.no_number(row, position, otherwise)


def refuse_two_notations(cells: Cells, row: int, position: int, otherwise: str) -> None:
    """Refuse a cell with the other sign before decimals than that of some other column.

    Raises:
        BadFile: naming both columns; no setting reads them.
    """
    own = cells.notation
    if not reads_with_other_decimal(str(cells.rows[row][position]), own):
        return
    for at, name in enumerate(cells.names):
        if at != position and says(cells.column(at), own):
            raise BadFile(
                f"{cells.place(row, position)}: {cells.rows[row][position]} is not written as the numbers of column "
                f"{name} are, which have a decimal {own.decimal}",
                f"write both alike, or {otherwise}",
                "write both alike",
            )
