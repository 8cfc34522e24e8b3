"""Cells of a CSV file: stripped text by row and column, every mistake named by both. No torch here."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dlrun.data.file_kinds import refuse_markup
from dlrun.data.tables.cells import Cells, Lines
from dlrun.data.tables.column import Column, Listed, rows_like
from dlrun.data.tables.csv_format import CsvFormat, comment_of, missing_among
from dlrun.data.tables.csv_records import Record, read_records, records_in
from dlrun.data.tables.csv_rules import (
    is_total,
    listed,
    names_of,
    refuse_ragged,
    refuse_repeated_header,
    without_empty_end,
)
from dlrun.data.tables.headers import LOOKED_AT, judge
from dlrun.data.tables.number_format import as_number, notation_of
from dlrun.data.text_files import read_text, text_pieces
from dlrun.errors import ConfigError, note

if TYPE_CHECKING:
    from dlrun.data.tables.csv_engine import Layout

_LARGE = 2**20  # bytes, up to which cell by cell is as fast
_HEAD = 2000  # lines, by which the form of a file is judged
_ROWS = 2**14  # of a piece
_FEW = 512  # rows that are taken together: more of them at a time keep Python's collector of garbage busy
# (where and what the first row is, in words; its cells; the rows below) -> whether it names the columns
IsHeader = Callable[[str, list[str], list[list[str]]], bool]


def read_csv(path: Path, format: CsvFormat, is_header: IsHeader | None = None) -> Cells:
    """The cells of a file, packed by gzip or not, without its empty lines and what stands above the table.

    Args:
        is_header: decides it of the first row and those below, where the format leaves it open.

    Raises:
        ConfigError: empty, no table, a header alone or twice, rows of different lengths, names twice, damaged quoting.
    """
    return _read_fast(path, format, is_header) or _read_exactly(path, format, is_header)


@dataclass(frozen=True)
class Begin:
    """The rows of a file, or the first of them, and what the first one is.

    Attributes:
        first: the cells of the first row, which begins in `line`.
        names: of the columns in a header; [] without one.
        body: the other rows.
        empty_end: whether an empty cell behind the last column has been left out of each.
    """

    line: int
    first: list[str]
    names: list[str]
    body: list[Record]
    delimiter: str
    empty_end: bool

    @property
    def is_header(self) -> bool:
        """Whether the first row is a header that no row of data may repeat."""
        return bool(self.names) and any(as_number(cell) is None for cell in self.first)


def _begin(path: Path, text: str, format: CsvFormat, is_header: IsHeader | None) -> Begin:
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
    whole = len(body[0][1])
    if header:
        names, body = without_empty_end(path, names, body, named=bool(first[-1]))
    width = len(format.names or names or first)
    refuse_ragged(path, body, width, "header" if header else "table")
    return Begin(line, first, names, body, delimiter, empty_end=len(body[0][1]) < whole)


def _read_exactly(path: Path, format: CsvFormat, is_header: IsHeader | None) -> Cells:
    begin = _begin(path, read_text(path, format.encoding), format, is_header)
    if begin.names:
        refuse_repeated_header(path, begin.first, begin.body)
    lines = np.array([line for line, _ in begin.body], np.int64)
    missing = missing_among((cell for _, cells in begin.body for cell in cells), format.missing)
    columns = [
        Column.of(cells, missing) for cells in zip(*(row for _, row in begin.body), strict=True)
    ]
    looked_at = (column.distinct for column in columns)
    return _cells(path, format, begin, columns, Lines(lambda: lines), looked_at)


def _read_fast(path: Path, format: CsvFormat, is_header: IsHeader | None) -> Cells | None:
    """By the table engine; None of a small file, of any other than a plain format, and of one with a mistake in it."""
    if not path.is_file() or path.stat().st_size <= _LARGE:
        return None
    # Not imported above: polars takes as long to import as a small file to read.
    from dlrun.data.tables.csv_engine import lines_of, read_columns

    found = _begin_plain(path, format, is_header)
    if found is None:
        return None
    begin, layout = found
    columns = read_columns(path, format, layout)
    if columns is None or (begin.is_header and len(rows_like(columns, begin.first))):
        return None  # the header once more
    lines = Lines(lines_of(path, layout.delimiter, layout.skip))
    looked_at = (
        [cells[at] for _, cells in begin.body] if at in layout.decimals else column.distinct
        for at, column in enumerate(columns)
    )
    return _cells(path, format, begin, columns, lines, looked_at)


def open_csv(path: Path, format: CsvFormat, is_header: IsHeader | None) -> Cells | None:
    """The same file, its columns still to be read into the cache; None of one that can only be read whole."""
    from dlrun.data.tables.csv_engine import lines_of, open_pieces
    from dlrun.data.tables.stored_columns import UnreadColumn

    found = _begin_plain(path, format, is_header, unpacked=True)
    if found is None or not found[1].delimiter.isascii():
        return None
    begin, layout = found
    columns: list[Column] = [
        UnreadColumn(partial(open_pieces, path, layout), at, numbers=at in layout.decimals)
        for at in range(layout.width)
    ]
    lines = Lines(lines_of(path, layout.delimiter, layout.skip))
    return _form(path, format, begin, columns, lines, _cells_of(begin))


def note_last_row(cells: Cells) -> None:
    """Say that the last row looks like a sum of those above."""
    last = len(cells) - 1
    word = next(filter(None, cells.row(last)), "")
    if is_total(word) and not any((column.where([word]) < last).any() for column in cells.columns):
        note(
            f"{cells.path}: row {cells.lines[last]} begins with {word} and is read as data; "
            "take it out if it sums up the others"
        )


def _begin_plain(
    path: Path, format: CsvFormat, is_header: IsHeader | None, *, unpacked: bool = False
) -> tuple[Begin, Layout] | None:
    """The first rows of a file that the table engine may read, and the layout of all; None of any other.

    Args:
        unpacked: as of `head_of`; a mistake in the first rows is refused then.
    """
    from dlrun.data.tables.csv_engine import Layout, decimals_in, head_of

    head = head_of(path, format, unpacked=unpacked)
    if head is None:
        return None
    try:
        begin = _begin(path, head, format, is_header)
    except ConfigError:
        if unpacked:
            raise
        return None  # told by the exact reader, of the whole file
    if begin.empty_end and not unpacked:
        return None
    skip, width = begin.body[0][0] - 1, len(begin.body[0][1])
    of_words = all(as_number(word) is None for word in format.missing)
    plain = format.decimal != "comma" and format.thousands == "none" and of_words
    decimals = decimals_in([cells for _, cells in begin.body], width) if plain else ()
    return begin, Layout(begin.delimiter, skip, width, decimals, begin.empty_end)


def _cells(
    path: Path,
    format: CsvFormat,
    begin: Begin,
    columns: list[Column],
    lines: Lines,
    looked_at: Iterable[Sequence[str]],
) -> Cells:
    cells = _form(path, format, begin, columns, lines, looked_at)
    note_last_row(cells)
    return cells


def _names(begin: Begin, format: CsvFormat, width: int) -> list[str]:
    return begin.names or list(format.names) or [str(at) for at in range(1, width + 1)]


def _form(
    path: Path,
    format: CsvFormat,
    begin: Begin,
    columns: list[Column],
    lines: Lines,
    looked_at: Iterable[Sequence[str]],
) -> Cells:
    """`looked_at` has cells of each column that tell the notation."""
    names = _names(begin, format, len(columns))
    look = begin.delimiter != ","
    return Cells(
        path,
        names,
        bool(begin.names or format.names),
        columns,
        lines,
        notation_of(format.decimal, format.thousands, looked_at, look=look),
        first=f"row {begin.line} ({listed(begin.first)})",
        delimiter=begin.delimiter,
        missing=format.missing,
        header=begin.first if begin.is_header else None,
    )


def csv_pieces(
    path: Path,
    format: CsvFormat,
    is_header: IsHeader | None,
    *,
    listed: bool,
    texts: Sequence[str] = (),
) -> Iterator[Cells]:
    """The cells that `read_csv` reads of a file, some rows at a time.

    How the file is written is judged by its first lines; gzip and zstd may have packed any number of bytes.

    Args:
        listed: whether cells are given as columns that are `Listed`, as texts are best read.
        texts: the names of columns that are not to be read as numbers at once, which would change how they are written.

    Raises:
        ConfigError: as `read_csv`.
    """
    found = None if listed else _begin_plain(path, format, is_header, unpacked=True)
    if found is None:
        begin = _begin(path, _head_of(path, format), format, is_header)
        yield from _exact_pieces(path, format, begin, begin.body[0][0], listed=listed)
        return
    begin, layout = found
    names = _names(begin, format, layout.width)
    decimals = {at for at in layout.decimals if names[at] not in texts}
    line = yield from _fast_pieces(path, format, begin, layout._replace(decimals=decimals))
    if line is not None:
        yield from _exact_pieces(path, format, begin, line, listed=False)


def _fast_pieces(
    path: Path, format: CsvFormat, begin: Begin, layout: Layout
) -> Generator[Cells, None, int | None]:
    """By the table engine, as far as it is sure; the line from which it is not, None where it is to the end."""
    from dlrun.data.tables.csv_engine import column_pieces

    line = layout.skip + 1
    for columns, count in column_pieces(path, format, layout):
        if columns is None or (begin.is_header and len(rows_like(columns, begin.first))):
            return line
        if rows := len(columns[0]):
            lines = Lines(partial(_lines_of_rows, path, format, begin, line, rows))
            yield _form(path, format, begin, columns, lines, _cells_of(begin))
        line += count
    return None


def _lines_of_rows(
    path: Path, format: CsvFormat, begin: Begin, line: int, count: int
) -> np.ndarray:
    """The lines of so many rows, the first of which is in this line or below."""
    records = _records_from(path, format, begin, line)
    return np.array([number for number, _ in islice(records, count)], np.int64)


def _records_from(path: Path, format: CsvFormat, begin: Begin, line: int) -> Iterator[Record]:
    lines = islice(_lines_in(path, format), line - 1, None)
    return records_in(path, lines, begin.delimiter, comment_of(format.comment), first=line)


def _cells_of(begin: Begin) -> Iterator[Sequence[str]]:
    """The cells of each column of the first rows."""
    return zip(*(cells for _, cells in begin.body), strict=True)


def _exact_pieces(
    path: Path, format: CsvFormat, begin: Begin, line: int, *, listed: bool
) -> Iterator[Cells]:
    """Cell by cell, from this line on."""
    width, words = len(begin.body[0][1]), {*format.missing}
    records = _records_from(path, format, begin, line)
    cut = bool(begin.names) and len(begin.first) > len(begin.names)  # each row ends in a delimiter
    columns: list[list[str]] = [[] for _ in range(width)]
    lines: list[int] = []

    def column(cells: list[str]) -> Column:
        if listed:
            return Listed([None if cell in words else cell for cell in cells])
        return Column.of(cells, missing_among(cells, format.missing))

    def piece() -> Cells:
        numbers = np.array(lines, np.int64)
        made = list(map(column, columns))
        return _form(path, format, begin, made, Lines(lambda: numbers), _cells_of(begin))

    while rows := list(islice(records, _FEW)):
        if cut:
            rows = [(line, cells if cells[-1] else cells[:-1]) for line, cells in rows]
        refuse_ragged(path, rows, width, "header" if begin.names else "table")
        if begin.names:
            refuse_repeated_header(path, begin.first, rows)
        lines += [line for line, _ in rows]
        for cells, more in zip(columns, zip(*(row for _, row in rows), strict=True), strict=True):
            cells += more
        if len(lines) >= _ROWS:
            yield piece()
            columns, lines = [[] for _ in columns], []
    if lines:
        yield piece()


def _lines_in(path: Path, format: CsvFormat) -> Iterator[str]:
    for text in text_pieces(path, format.encoding, unfolds_to=math.inf):
        yield from text.removesuffix("\n").split("\n")


def _head_of(path: Path, format: CsvFormat) -> str:
    """The first lines of a file, which end outside of quotes where they can."""
    lines = list(islice(_lines_in(path, format), _HEAD))
    quotes = sum(line.count('"') for line in lines)
    while quotes % 2 and len(lines) > 1:
        quotes -= lines.pop().count('"')
    return "\n".join(lines)


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
