"""The cells of a table that has been read, by row and column, and where in its file each row stands. No torch here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from dlrun.data.tables.column import Column, missing_column
from dlrun.data.tables.csv_format import missing_setting
from dlrun.data.tables.csv_rules import listed
from dlrun.data.tables.number_format import Notation
from dlrun.errors import BadFile, ConfigError, did_you_mean, note


class Lines:
    """The lines of the file, from 1, in which rows begin; looked for where one is asked for."""

    def __init__(
        self,
        find: Callable[[], np.ndarray],
        rows: np.ndarray | None = None,
        files: Sequence[tuple[Path, int]] = (),
    ) -> None:
        """Those of a table in several `files`, each with the number of its rows, begin anew in each of them."""
        self._find, self._rows, self._files = find, rows, files

    def __getitem__(self, row: int) -> int:
        return int(self._find()[self._in_file(row)])

    def _in_file(self, row: int) -> int:
        return row if self._rows is None else int(self._rows[row])

    def file(self, row: int) -> Path | None:
        """The file of a row, where there are several."""
        left = self._in_file(row)
        for path, count in self._files:
            if left < count:
                return path
            left -= count
        return None

    def take(self, rows: np.ndarray) -> Lines:
        """Those of these rows."""
        kept = rows if self._rows is None else self._rows[rows]
        return Lines(self._find, kept, self._files)

    @classmethod
    def joined(cls, parts: Sequence[Cells]) -> Lines:
        """Those of the rows of all parts."""
        counts = Counter[Path]()
        for part in parts:
            counts[part.path] += len(part)
        lines = [part.lines for part in parts]
        files = list(counts.items()) if len(counts) > 1 else []
        return cls(lambda: np.concatenate([one.all() for one in lines]), files=files)

    def all(self) -> np.ndarray:
        """(N,) that of each row."""
        return self._find() if self._rows is None else self._find()[self._rows]


@dataclass(frozen=True)
class Cells:
    """A file read.

    Attributes:
        names: of the columns: their numbers from 1 where the file has no header.
        named: whether `names` are more than numbers.
        columns: the cells, N in each column.
        lines: where each row begins in the file.
        notation: of its numbers.
        first: which row is the first and what it holds, in words.
        delimiter: the character between its cells.
        missing: the words for missing cells that were looked for.
        header: a first row that no other may repeat.
        typed: whether it is a file whose columns have types, of which no setting says how numbers are written.
        values: the columns of such a file as they are, by name.
    """

    path: Path
    names: list[str]
    named: bool
    columns: list[Column]
    lines: Lines
    notation: Notation
    first: str = ""
    delimiter: str = ","
    missing: Sequence[str] = ()
    header: Sequence[str] | None = None
    typed: bool = False
    values: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.columns[0])

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
        return self.columns[self._position(column)].as_list

    def cell(self, row: int, column: int | str) -> str | None:
        """One of them."""
        return self.columns[self._position(column)][row]

    def row(self, row: int) -> list[str | None]:
        """The cells of a row."""
        return [column[row] for column in self.columns]

    @property
    def rows(self) -> list[list[str | None]]:
        """(N, columns) the cells, row by row."""
        return [list(row) for row in zip(*(column.as_list for column in self.columns), strict=True)]

    def only(self, keep: Sequence[int] | np.ndarray) -> Cells:
        """The rows with the numbers `keep`."""
        rows = np.asarray(keep, np.int64)
        if len(rows) == len(self) and (rows == np.arange(len(rows))).all():
            return self
        columns = [column.take(rows) for column in self.columns]
        return replace(self, columns=columns, lines=self.lines.take(rows))

    def with_columns(self, columns: Mapping[int, Column]) -> Cells:
        """The same with other columns at some positions."""
        return replace(self, columns=[columns.get(at, old) for at, old in enumerate(self.columns)])

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
        absent = missing_column(len(self))
        found = dict(zip(self.names, self.columns, strict=True))
        columns_found = [found.get(name, absent) for name in columns]
        return replace(self, names=list(columns), columns=columns_found)

    def kept(self, names: Sequence[str]) -> dict[str, Sequence[Any]]:
        """The columns of these names, or of these numbers where they have none: text, or values of a typed file.

        Raises:
            ConfigError: there is none of such a name.
        """
        known = dict(zip(self.names, self.columns, strict=True))
        for name in names:
            if name not in known:
                hint = did_you_mean(name, self.names) if self.named else self.no_header
                raise ConfigError(f"--keep names {name}, which is no column of {self.path}{hint}")
        return {name: self.values.get(name, known[name].as_list) for name in names}

    def if_missing(self, words: Iterable[str]) -> str:
        """What to set where `words` stand for missing cells, as it can be typed."""
        return missing_setting(self.missing, more=words)

    def no_number(self, row: int, column: int | str, remedy: str) -> BadFile:
        """The error of a cell that should hold a number, with what would make it one, or else `remedy`."""
        cell = str(self.cell(row, column))
        hint = "" if self.typed else self.notation.hint(cell)
        remedy = f"set {hint}, or {remedy}" if hint else remedy
        mend = f"write it with a decimal {self.notation.decimal}" if hint else "mend it"
        return BadFile(f"{self.place(row, column)}: {cell} is not a number", remedy, mend)

    def place(self, row: int, column: int | str) -> str:
        """Where a cell is, for an error."""
        name = self.names[self._position(column)]
        return f"{self.lines.file(row) or self.path}, row {self.lines[row]}, column {name}"
