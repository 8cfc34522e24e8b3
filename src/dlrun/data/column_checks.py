"""What is wrong with a column of numbers: words among them, another notation, no bounds. No torch here."""

from __future__ import annotations

from collections import Counter

from dlrun.data.column_kinds import stray_words, usual_dressing
from dlrun.data.column_notes import setting
from dlrun.data.csv_file import Cells
from dlrun.data.dressing import dressing_of
from dlrun.data.notation import Notation, is_infinite, looks_like_number, may_be_grouped, says
from dlrun.errors import BadFile, ConfigError

_STRAYS = 3  # different words at most that may all stand for a missing number


def counts_of(cells: Cells, position: int) -> Counter[str]:
    """How often each cell of a column comes, missing ones left out."""
    counts = Counter(cell for cell in cells.column(position) if cell is not None)
    if not counts:
        raise ConfigError(
            f"{cells.place(0, position)}: every value is missing, in this row and all others; "
            f"set {setting('drop', [cells.names[position]])}"
        )
    return counts


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
    missing = len(strays) <= _STRAYS and not any(map(str.isdigit, "".join(strays)))
    remedy = f"add {'it' if len(strays) == 1 else ', '.join(strays)} to dataset.missing"
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
    return BadFile(said, "add it to dataset.missing, or mend it", "mend it")


def refuse_notation(cells: Cells, position: int, counts: Counter[str], otherwise: str) -> None:
    """Refuse a column most rows of which hold numbers, in whatever notation, some in another than the file's."""
    numbers = [cell for cell in counts if looks_like_number(cell)]
    if 2 * sum(counts[cell] for cell in numbers) <= counts.total():
        return
    for cell in numbers:
        if cells.notation.number(cell) is None:
            raise cells.no_number(cells.column(position).index(cell), position, otherwise)
