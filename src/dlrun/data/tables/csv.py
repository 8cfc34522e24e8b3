"""Cells of a CSV file: stripped text by row and column, every mistake named by both. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from dlrun.data.file_kinds import refuse_markup
from dlrun.data.files import read_text
from dlrun.data.tables.csv_format import CsvFormat, missing_among, missing_setting
from dlrun.data.tables.csv_records import Record, read_records
from dlrun.data.tables.csv_rules import (
    listed,
    names_of,
    note_total,
    refuse_ragged,
    refuse_repeated_header,
    without_empty_end,
)
from dlrun.data.tables.headers import LOOKED_AT, judge
from dlrun.data.tables.number_format import Notation, notation_of
from dlrun.errors import BadFile, ConfigError, did_you_mean, note

# (where and what the first row is, in words; its cells; the rows below) -> whether it names the columns
IsHeader = Callable[[str, list[str], list[list[str]]], bool]


@dataclass(frozen=True)
class Cells:
    """A file read.

    Attributes:
        names: of the columns: their numbers from 1 where the file has no header.
        named: whether `names` are more than numbers.
        rows: (N, columns) text, None where it is missing.
        lines: (N,) where each row begins in the file, from 1.
        notation: of its numbers.
        first: which row is the first and what it holds, in words.
        blanks: the words that stand for missing cells, by line and column; empty cells have none.
        delimiter: the character between its cells.
        missing: the words for missing cells that were looked for.
    """

    path: Path
    names: list[str]
    named: bool
    rows: list[list[str | None]]
    lines: list[int]
    notation: Notation
    first: str = ""
    delimiter: str = ","
    blanks: Mapping[tuple[int, str], str] = field(default_factory=dict)
    missing: Sequence[str] = ()

    def position(self, key: str, column: str | int) -> int:
        """Where the column is that the setting `key` names, or else counts: from 1, or from -1 at the end.

        Raises:
            ConfigError: there is none.
        """
        count = len(self.names)
        counted = None
        if isinstance(column, int) and 1 <= abs(column) <= count:
            counted = column - 1 if column > 0 else column + count
        if str(column) in self.names:
            found = self.names.index(str(column))
            if counted is not None and counted != found:
                note(
                    f"{self.path}: {key}={column} is the column called {column}, which is number {found + 1}; "
                    f"number {column} is called {self.names[counted]}"
                )
            return found
        if counted is not None:
            return counted
        rule = f"its columns are numbered from 1 to {count}, or from -1 at the end"
        hint = did_you_mean(str(column), self.names) if self.named else self.no_header
        raise ConfigError(f"{key} is {column}, which is no column of {self.path}: {rule}{hint}")

    @property
    def no_header(self) -> str:
        """What to add to an error about a name; empty where columns have names."""
        if self.named:
            return ""
        return f"; no header was found in {self.first}: set dataset.header=true if that is one"

    def _position(self, column: int | str) -> int:
        return self.names.index(column) if isinstance(column, str) else column

    def column(self, column: int | str) -> list[str | None]:
        """(N,) the cells of a column, by its position or its name."""
        return self._columns[self._position(column)]

    def cell(self, row: int, column: int | str) -> str | None:
        """One of them."""
        return self.rows[row][self._position(column)]

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
        needed = list(needed)
        if not {*needed} & {*self.names}:
            raise ConfigError(
                f"{self.path}, {self.first} names none of the columns {listed(needed)}; put their names in a first row"
            )
        for name in needed:
            if name not in self.names:
                raise ConfigError(f"{self.path} has no column {name}, only {', '.join(self.names)}")
        where = [self.names.index(name) if name in self.names else None for name in columns]
        rows = [[None if at is None else row[at] for at in where] for row in self.rows]
        return replace(self, names=list(columns), rows=rows)

    def blank(self, row: int, position: int) -> str:
        """The word in a cell that is missing; empty where there is none."""
        return self.blanks.get((self.lines[row], self.names[position]), "")

    def if_missing(self, words: Iterable[str]) -> str:
        """What to set where `words` stand for missing cells, as it can be typed."""
        return missing_setting(self.missing, more=words)

    def no_number(self, row: int, column: int | str, remedy: str) -> BadFile:
        """The error of a cell that should hold a number, with what would make it one, or else `remedy`."""
        cell = str(self.cell(row, column))
        hint = self.notation.hint(cell)
        remedy = f"set {hint}, or {remedy}" if hint else remedy
        mend = f"write it with a decimal {self.notation.decimal}" if hint else "mend it"
        return BadFile(f"{self.place(row, column)}: {cell} is not a number", remedy, mend)

    def place(self, row: int, column: int | str) -> str:
        """Where a cell is, for an error."""
        name = self.names[self._position(column)]
        return f"{self.path}, row {self.lines[row]}, column {name}"


def read_csv(path: Path, format: CsvFormat, is_header: IsHeader | None = None) -> Cells:
    """The cells of a file, packed by gzip or not, without its empty lines and what stands above the table.

    Args:
        is_header: decides it of the first row and those below, where the format leaves it open.

    Raises:
        ConfigError: empty, no table, a header alone or twice, rows of different lengths, names twice, damaged quoting.
    """
    text = read_text(path, format.encoding)
    refuse_markup(path, text)
    records, delimiter = read_records(path, text, format)
    line, first = records[0]
    header = format.header
    if format.names:
        header = False
    elif header == "auto":
        header = _look_for_header(path, records, {*format.missing}, is_header)
    names = names_of(path, line, first) if header else []
    body = records[1:] if header else records
    if not body:
        raise ConfigError(f"{path}, row {line}: a header and no rows: give it data")
    if header:
        names, body = without_empty_end(path, names, body, named=bool(first[-1]))
        refuse_repeated_header(path, first, body)
    width = len(format.names or names or first)
    refuse_ragged(path, body, width, "header" if header else "table")
    missing = missing_among((cell for _, cells in body for cell in cells), format.missing)
    named = bool(names or format.names)
    names = names or list(format.names) or [str(number) for number in range(1, width + 1)]
    rows = [[None if cell in missing else cell for cell in cells] for _, cells in body]
    note_total(path, rows, body[-1][0])
    columns = zip(*rows, strict=True)
    return Cells(
        path,
        names,
        named,
        rows,
        [line for line, _ in body],
        notation_of(format.decimal, format.thousands, columns, look=delimiter != ","),
        first=f"row {line} ({listed(first)})",
        blanks=_blanks(names, body, missing - {""}),
        delimiter=delimiter,
        missing=format.missing,
    )


def _blanks(
    names: Sequence[str], body: Sequence[Record], words: set[str]
) -> dict[tuple[int, str], str]:
    """Which of the `words` for missing cells stands where, by line and column."""
    return {
        (line, name): cell
        for line, cells in body
        if not words.isdisjoint(cells)
        for name, cell in zip(names, cells, strict=True)
        if cell in words
    }


def _look_for_header(
    path: Path, records: list[Record], missing: set[str], is_header: IsHeader | None
) -> bool:
    line, first = records[0]
    known = [
        ["" if cell in missing else cell for cell in cells] for _, cells in records[: LOOKED_AT + 1]
    ]
    if is_header:
        return is_header(f"{path}, row {line} ({listed(first)})", known[0], known[1:])
    verdict = judge(known[0], known[1:])
    if not verdict.sure:
        taken, other = ("a header", "data") if verdict.header else ("data", "a header")
        note(
            f"{path}: row {line} ({listed(first)}) is read as {taken}; "
            f"dataset.header={str(not verdict.header).lower()} reads it as {other}"
        )
    return verdict.header
