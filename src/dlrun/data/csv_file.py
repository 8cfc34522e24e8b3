"""Cells of a CSV file: stripped text by row and column, every mistake named by both. No torch here."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from dlrun.data.csv_form import Form, delimiter_of, has_header
from dlrun.data.files import read_text
from dlrun.data.notation import Notation, notation_of
from dlrun.errors import BadFile, ConfigError, did_you_mean


@dataclass(frozen=True)
class Cells:
    """A file read.

    Attributes:
        names: of the columns: their numbers from 1 where the file has no header.
        named: whether `names` are more than numbers.
        rows: (N, columns) text, None where it is missing.
        lines: (N,) where each row begins in the file, from 1.
        notation: of its numbers.
        delimiter: the character between its cells.
    """

    path: Path
    names: list[str]
    named: bool
    rows: list[list[str | None]]
    lines: list[int]
    notation: Notation
    delimiter: str = ","

    def position(self, key: str, column: str | int) -> int:
        """Where the column is that the setting `key` names, or counts: from 1, or from -1 at the end.

        Raises:
            ConfigError: there is none.
        """
        if str(column) in self.names:
            return self.names.index(str(column))
        count = len(self.names)
        if isinstance(column, int) and 1 <= abs(column) <= count:
            return column - 1 if column > 0 else column + count
        rule = f"its columns are numbered from 1 to {count}, or from -1 at the end"
        hint = did_you_mean(str(column), self.names) if self.named else ""
        raise ConfigError(f"{key} is {column}, which is no column of {self.path}: {rule}{hint}")

    def column(self, position: int) -> list[str | None]:
        """(N,) its cells."""
        return self._columns[position]

    @cached_property
    def _columns(self) -> list[list[str | None]]:
        return [list(column) for column in zip(*self.rows, strict=True)]

    def only(self, keep: Sequence[int]) -> Cells:
        """The rows with the numbers `keep`."""
        return replace(
            self, rows=[self.rows[row] for row in keep], lines=[self.lines[row] for row in keep]
        )

    def in_order(self, columns: Sequence[str], *, needed: Iterable[str]) -> Cells:
        """The same rows with the columns in this order; what is not `needed` may be absent.

        Raises:
            ConfigError: one that is needed is.
        """
        for name in needed:
            if name not in self.names:
                raise ConfigError(f"{self.path} has no column {name}, only {', '.join(self.names)}")
        where = [self.names.index(name) if name in self.names else None for name in columns]
        rows = [[None if at is None else row[at] for at in where] for row in self.rows]
        return replace(self, names=list(columns), rows=rows)

    def no_number(self, row: int, position: int, remedy: str) -> BadFile:
        """The error of a cell that should hold a number, with what would make it one, or else `remedy`."""
        cell = str(self.rows[row][position])
        hint = self.notation.hint(cell)
        remedy = f"set {hint}, or {remedy}" if hint else remedy
        mend = f"write it with a decimal {self.notation.decimal}" if hint else "mend it"
        return BadFile(f"{self.place(row, position)}: {cell} is not a number", remedy, mend)

    def place(self, row: int, position: int) -> str:
        """Where a cell is, for an error."""
        return f"{self.path}, row {self.lines[row]}, column {self.names[position]}"


def read_csv(path: Path, form: Form) -> Cells:
    """The cells of a file, packed by gzip or not, without its empty lines.

    Raises:
        ConfigError: empty, a header alone, rows of different lengths, names twice, damaged quoting.
    """
    text = read_text(path, form.encoding)
    delimiter = delimiter_of(form.delimiter, text)
    records = list(_records(path, text, delimiter))
    header = bool(form.header) and not form.names
    if header and form.header == "auto":
        header = has_header([cells for _, cells in records])
    names = _names(path, *records[0]) if header else []
    width = len(form.names or records[0][1])
    for line, cells in records:
        if len(cells) != width:
            raise BadFile(
                f"{path}, row {line}: its columns are {len(cells)}, but those of the {'header' if header else 'table'} "
                f"are {width}",
                "mend the row, or set dataset.delimiter to what is between the columns",
                "mend the row",
            )
    body = records[1:] if header else records
    if not body:
        raise ConfigError(f"{path}, row {records[0][0]}: a header and no rows: give it data")
    missing = {*form.missing}
    rows = [[None if cell in missing else cell for cell in cells] for _, cells in body]
    columns = zip(*rows, strict=True)
    return Cells(
        path,
        names or list(form.names) or [str(number) for number in range(1, width + 1)],
        bool(names or form.names),
        rows,
        [line for line, _ in body],
        notation_of(form.decimal, form.thousands, columns, look=delimiter != ","),
        delimiter=delimiter,
    )


def _records(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(line it begins in, stripped cells) of each row that is not empty."""
    # Of cells apart by blanks, those at the ends of a line are no cells.
    lines = (line.strip(" ") for line in text.split("\n")) if delimiter == " " else text.split("\n")
    reader = csv.reader(_with_ends(lines), delimiter=delimiter, skipinitialspace=True, strict=True)
    begins = 1
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                yield begins, stripped
            begins = reader.line_num + 1
    except csv.Error as error:
        # The reader says this of text that ends inside of quotes alone.
        unclosed = "unexpected end of data" in str(error)
        why = (
            "a quote opened in it is never closed"
            if unclosed
            else f"it cannot be read as CSV: {error}"
        )
        raise ConfigError(f"{path}, row {begins}: {why}; mend the row") from error


def _with_ends(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield f"{line}\n"


def _names(path: Path, line: int, cells: list[str]) -> list[str]:
    """The columns' names; one without has its number from 1."""
    names = [cell or str(number) for number, cell in enumerate(cells, 1)]
    for position, name in enumerate(names):
        if (first := names.index(name)) != position:
            raise ConfigError(
                f"{path}, row {line}: columns {first + 1} and {position + 1} are both called {name}; rename one"
            )
    return names
