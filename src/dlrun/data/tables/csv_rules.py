"""What rows of a CSV file must be to make a table, and what is said where they are not. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dlrun.data.tables.csv_records import Record
from dlrun.data.tables.number_format import as_number
from dlrun.errors import BadFile, note

_TOTALS = {"total", "totals", "grand total", "sum", "average", "mean", "summe", "gesamt"}


def as_names(cells: Sequence[str]) -> list[str]:
    """The columns' names in a header, which may be marked as a comment; one without has its number from 1."""
    names = [cells[0].lstrip("#").strip() or cells[0], *cells[1:]]
    for number, name in enumerate(names, 1):
        if not name:
            names[number - 1] = f"unnamed_{number}" if str(number) in cells else str(number)
    return names


def listed(cells: Sequence[str]) -> str:
    """The first of some cells, for a message."""
    shown = [cell if len(cell) <= 20 else f"{cell[:19]}…" for cell in cells[:6]]
    return ", ".join([*shown, "…"] if len(cells) > len(shown) else shown)


def names_of(path: Path, line: int, cells: list[str]) -> list[str]:
    """The columns' names in a header that begins in this line.

    Raises:
        BadFile: a name comes twice.
    """
    names = as_names(cells)
    places: dict[str, int] = {}
    for position, name in enumerate(names):
        if (first := places.setdefault(name, position)) != position:
            raise BadFile(
                f"{path}, row {line}: columns {first + 1} and {position + 1} are both called {name}",
                "rename one, or set dataset.header=false if the row is one of data",
                "rename one",
            )
    return names


def without_empty_end(
    path: Path, names: list[str], body: list[Record], *, named: bool
) -> tuple[list[str], list[Record]]:
    """Without an empty last column, which a delimiter at the end of each row makes."""
    width = len(names) + 1 if named else len(names)
    if width < 2 or any(len(cells) != width or cells[-1] for _, cells in body):
        return names, body
    note(f"{path}: each row ends in a delimiter; the empty column after the last is left out")
    return names[: width - 1], [(line, cells[:-1]) for line, cells in body]


def refuse_repeated_header(path: Path, header: list[str], body: list[Record]) -> None:
    """Refuse a header that is repeated among the rows, unless it is all numbers and may be a row.

    Raises:
        BadFile: with its line.
    """
    if all(as_number(cell) is not None for cell in header):
        return
    for line, cells in body:
        if cells == header:
            raise BadFile(
                f"{path}, row {line} repeats the header",
                "take it out, or set dataset.header=false if the first row is one of data",
                "take it out",
            )


def refuse_ragged(path: Path, body: list[Record], width: int, what: str) -> None:
    """Refuse rows that are not as wide as `what`, the header or the table.

    Raises:
        BadFile: with the line of the first, and what it may be.
    """
    for line, cells in body:
        if len(cells) == width:
            continue
        rule = (
            f"{path}, row {line}: its columns are {len(cells)}, but those of the {what} are {width}"
        )
        mend = "mend the row"
        remedy = f"set dataset.delimiter to what is between the columns, or {mend}"
        if cells[0].startswith("#"):
            remedy = f"set dataset.comment=hash to leave out lines that begin with #, or {mend}"
        elif what == "header" and all(len(cells) == width + 1 for _, cells in body):
            remedy = mend = (
                "each row has one more, as with names of rows: name its first column in the header, or take out "
                "a title above it"
            )
        elif line == body[-1][0] and len(cells) < width:
            remedy = mend = "mend the row, or take it out where it stands below the table"
        raise BadFile(rule, remedy, mend)


def is_total(word: str) -> bool:
    """Whether a row that begins with `word` looks like a sum of others."""
    return word.lower().rstrip(":") in _TOTALS
