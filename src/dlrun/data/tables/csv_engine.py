"""Large CSV files of a plain format, read by the table engine: the same cells as cell by cell, sooner. No torch here.

Whatever might be read in another way than cell by cell is left to that reader: quotes in odd places, rows that lack
cells, line ends of old systems. So a mistake is found, and told, by one reader alone.
"""

from __future__ import annotations

import csv
import re
import zlib
from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import polars as pl

from dlrun.data.packed import GZIP, open_unpacked
from dlrun.data.stored import read_ahead
from dlrun.data.tables.column import Column, Decimals, rows_like
from dlrun.data.tables.csv_format import CsvFormat, cells_of_any_length, missing_among
from dlrun.data.tables.csv_rules import refuse_ragged
from dlrun.data.tables.number_format import as_number, may_be_grouped
from dlrun.data.tables.stored_columns import Types
from dlrun.errors import ConfigError

_HEAD = 2**20  # bytes, by which the form of a file is judged
_LINES = 2000  # the same
_PIECE = 2**22  # bytes that are read at a time
_MANY = 50  # different numbers, from which on a column is one of quantities
_MONTH = re.compile(r"\d{1,2}\.\d{4}|\d{4}\.\d{1,2}")
_PLAIN = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?")  # sooner than reading them one by one
ODD = '^\\s*"|[\r\x00\x1c-\x1f]'  # what the two readers may see differently


def head_of(path: Path, format: CsvFormat, *, unpacked: bool = False) -> str | None:
    """The first rows of a large file that the engine may read; None of any other.

    Args:
        unpacked: look into a file that gzip or zstd has packed.
    """
    plain = format.encoding.lower() in ("utf-8", "utf8", "ascii") and format.comment is None
    packed = not unpacked and path.suffix.lower() == ".gz"
    if not plain or format.delimiter in ("space", " ") or packed:
        return None
    try:
        with open_unpacked(path) if unpacked else path.open("rb") as file:
            head = file.read(_HEAD)
        end = head.rfind(b"\n") + 1 if len(head) == _HEAD else len(head)
        end = _after_lines(head, end)
        while head.count(b'"', 0, end) % 2:  # within quotes
            end = head.rfind(b"\n", 0, end - 1) + 1
        text = head[:end].decode("utf-8-sig").replace("\r\n", "\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        return None
    return None if head.startswith(GZIP) or not text.strip() or {"\r", "\0"} & {*text} else text


def _after_lines(text: bytes, end: int) -> int:
    """Where as many lines end as tell the form of a file, or `end` where there are fewer."""
    at = 0
    for _ in range(_LINES):
        at = text.find(b"\n", at, end) + 1
        if not at:
            return end
    return at


def decimals_in(rows: Sequence[Sequence[str]], width: int) -> set[int]:
    """Which columns of the first `rows` hold many different numbers with decimals: they are read as numbers at once.

    Not those whose text says more than the number: months as 01.2003, points that may group thousands.
    """
    found = set()
    for at in range(width):
        cells = {row[at] for row in rows if row[at]}
        if len(cells) < _MANY or not any("." in cell for cell in cells):
            continue
        months = all(map(_MONTH.fullmatch, cells))
        if (
            not months
            and (
                all(map(_PLAIN.fullmatch, cells))
                or all(as_number(cell) is not None for cell in cells)
            )
            and not may_be_grouped(cells)
        ):
            found.add(at)
    return found


class Layout(NamedTuple):
    """Where the rows of a plain file are, and how they are written.

    Attributes:
        skip: lines above the rows.
        width: columns.
        decimals: the columns to read as numbers at once.
        empty_end: whether each row ends in a delimiter, with nothing behind it.
    """

    delimiter: str
    skip: int
    width: int
    decimals: Collection[int]
    empty_end: bool = False


class Unsure(Exception):
    """The engine may read the file in another way than cell by cell."""


class OtherTypes(Unsure):
    """What was read as numbers may hold something else, or the engine refuses the file."""


def read_columns(path: Path, format: CsvFormat, layout: Layout) -> list[Column] | None:
    """The columns of a file, without empty rows; None where the engine is not sure of them."""
    width, delimiter = layout.width, layout.delimiter
    if not delimiter.isascii():  # the engine has none of several bytes
        return None
    types = _types(layout)
    try:
        cells, delimiters = _read_pieces(path, types, layout)
    except OtherTypes:
        if not layout.decimals:
            return None
        return read_columns(path, format, layout._replace(decimals=()))
    except Unsure:
        return None
    columns: list[Column] = []
    while cells:  # one at a time: a column of text is given up for what it becomes
        values = cells.pop(0)
        if isinstance(values, np.ndarray):
            columns.append(Decimals(values))
            continue
        found = _column(pl.concat(values), format.missing, delimiter)
        if found is None:
            return None
        columns.append(found[0])
        delimiters -= found[1]
    if delimiters != 0:
        return None
    if len(empty := rows_like(columns, [""] * width)):
        rows = np.delete(np.arange(len(columns[0])), empty)
        return [column.take(rows) for column in columns] if len(rows) else None
    return columns


def _read_pieces(
    path: Path, types: Sequence[Any], layout: Layout
) -> tuple[list[np.ndarray | list[pl.Series]], int]:
    """(numbers or parts of each column, delimiters that separate no cells).

    Raises:
        Unsure: rows may differ in length.
        OtherTypes: the columns have to be read in another way.
    """
    columns: list[np.ndarray | list[pl.Series]] = [
        np.empty(0) if kind == pl.Float64 else [] for kind in types
    ]
    delimiters = count = read = 0
    with path.open("rb") as file:
        for frame, more, size in pieces(file, lambda: types, layout):
            delimiters += more
            begin, count, read = count, count + len(frame), read + size
            expected = int(1.02 * path.stat().st_size / read * count) + 1
            for at, cells in enumerate(frame.get_columns()):
                column = columns[at]
                if isinstance(column, list):
                    column.append(cells)
                    continue
                if len(column) < count:
                    columns[at] = longer = np.empty(expected)
                    longer[:begin] = column[:begin]
                    column = longer
                _write_numbers(cells, column[begin:count])
    for column in columns:
        if isinstance(column, np.ndarray):
            column.resize(count, refcheck=False)
    return columns, delimiters


def pieces(
    file: IO[bytes], types: Callable[[], Sequence[Any]], layout: Layout, *, texts_too: bool = False
) -> Iterator[tuple[pl.DataFrame, int, int]]:
    """The rows of a file, some at a time, with the number of delimiters that separate no cells in them, and of bytes.

    The file is read piece by piece, as its bytes would take as much memory as what they hold. Refused is what the
    engine makes rows of without a word: lines that end as on old systems, an empty cell at the very end.

    Args:
        types: asked for each piece.
        texts_too: a piece in which not all numbers are some is given with the texts of them.

    Raises:
        Unsure: rows may differ in length.
        OtherTypes: a cell is not of its type.
    """
    sign = layout.delimiter
    for _ in range(layout.skip):
        file.readline()
    for piece, complete in read_ahead(_pieces_of_lines(file)):
        frame = _read_piece(piece, types(), sign, complete=complete, texts_too=texts_too)
        yield frame, _surplus(piece, frame, sign), len(piece)


def _surplus(piece: bytes, frame: pl.DataFrame, sign: str) -> int:
    """How many delimiters of a piece are between no two cells of its rows."""
    columns = frame.get_columns()
    if not columns[-1].null_count() and b'"' not in piece:
        return 0  # each row has a last cell, and the engine refuses one too many
    rows = len(frame)
    if all(one.null_count() for one in columns):
        rows -= sum(not line.strip() for line in piece.splitlines())
    signs = np.frombuffer(piece, np.uint8) == ord(sign)
    return int(np.count_nonzero(signs)) - rows * (len(columns) - 1)


def column_pieces(
    path: Path, format: CsvFormat, layout: Layout
) -> Iterator[tuple[list[Column] | None, int]]:
    """(columns without empty rows, lines that these take) of some rows at a time; at last None if it is not sure."""
    if not layout.delimiter.isascii():
        yield None, 0
        return
    try:
        with open_unpacked(path) as file:
            for _ in range(layout.skip):
                file.readline()
            for piece, complete in read_ahead(_pieces_of_lines(file)):
                yield _columns_of(piece, format, layout, complete=complete), piece.count(b"\n")
    except (Unsure, OSError, EOFError, zlib.error):
        yield None, 0


def _columns_of(piece: bytes, format: CsvFormat, layout: Layout, *, complete: bool) -> list[Column]:
    """Raises: Unsure."""
    types = _types(layout)
    try:
        frame = _read_piece(piece, types, layout.delimiter, complete=complete, texts_too=False)
        columns: list[Column] = []
        inside = 0
        for cells in frame.get_columns():
            if cells.dtype == pl.Float64:
                columns.append(Decimals(_finite(cells)))
            elif found := _column(cells, format.missing, layout.delimiter):
                columns.append(found[0])
                inside += found[1]
            else:
                raise Unsure("a cell that may be read in two ways")
    except OtherTypes:
        if not layout.decimals:
            raise
        return _columns_of(piece, format, layout._replace(decimals=()), complete=complete)
    if inside != _surplus(piece, frame, layout.delimiter):
        raise Unsure("a row of another length")
    if len(empty := rows_like(columns, [""] * layout.width)):
        rows = np.delete(np.arange(len(frame)), empty)
        return [column.take(rows) for column in columns]
    return columns


def _types(layout: Layout) -> list[Any]:
    return [
        pl.Float64 if at in layout.decimals else pl.Categorical(pl.Categories.random())
        for at in range(layout.width)
    ]


def _read_piece(
    piece: bytes, types: Sequence[Any], sign: str, *, complete: bool, texts_too: bool
) -> pl.DataFrame:
    if b"\r" in piece and piece.count(b"\r") != piece.count(b"\r\n"):
        raise Unsure("a line end of old systems")
    if not complete or piece.endswith(sign.encode()):
        raise Unsure("a quote that is not closed, or an empty cell at its end")
    schema = {str(at): kind for at, kind in enumerate(types)}
    try:
        return pl.read_csv(piece, has_header=False, separator=sign, schema=schema)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        if not texts_too or pl.Float64 not in types:
            raise OtherTypes("a row that the table engine refuses") from error
    texts = [pl.String if kind == pl.Float64 else kind for kind in types]
    return _read_piece(piece, texts, sign, complete=complete, texts_too=False)


def _pieces_of_lines(file: IO[bytes]) -> Iterator[tuple[bytes, bool]]:
    """(lines, whether they end outside of quotes, as all but the last of a file do), about as many bytes at a time."""
    begin = b""
    while True:
        lines = [begin, file.read(_PIECE), file.readline()]
        odd = sum(line.count(b'"') for line in lines) % 2
        while odd and (begin := file.readline()):
            lines.append(begin)
            odd = (odd + begin.count(b'"')) % 2
        while (
            begin := file.readline()
        ) and not begin.strip():  # the engine skips them in front of rows
            lines.append(begin)
        if piece := b"".join(lines):
            yield piece, not odd
        if not begin:
            return


def _write_numbers(cells: pl.Series, to: np.ndarray) -> None:
    """The cells as numbers, nan where missing, in their place: parts of many columns would leave holes in memory."""
    to[:] = _finite(cells)


def _finite(cells: pl.Series) -> np.ndarray:
    """(N,) the numbers, nan where missing.

    Raises:
        OtherTypes: one is not finite.
    """
    values = cells.to_numpy()
    if np.count_nonzero(np.isfinite(values)) != len(cells) - cells.null_count():
        raise OtherTypes
    return values


def _column(cells: pl.Series, words: Sequence[str], delimiter: str) -> tuple[Column, int] | None:
    """The column, and how often the delimiter is in its cells; `words` stand for missing cells."""
    kinds = cells.unique(maintain_order=True).drop_nulls()
    texts = kinds.cast(pl.String)
    if texts.str.contains(ODD).any():
        return None
    places: dict[str, int] = {}
    written = texts.to_list()
    merged = [places.setdefault(text, len(places)) for text in texts.str.strip_chars().to_list()]
    physical = kinds.to_physical().to_numpy()
    by_code = np.zeros(int(physical.max(initial=0)) + 2, np.int32)
    by_code[physical] = merged
    numbers = cells.to_physical()
    if cells.null_count():
        by_code[-1] = places.setdefault("", len(places))
        numbers = numbers.fill_null(len(by_code) - 1)
    codes = numbers.to_numpy()
    inside = 0
    if any(delimiter in text for text in written):
        times = np.zeros(len(by_code), np.int64)
        times[physical] = [text.count(delimiter) for text in written]
        inside = int(times[codes].sum())
    return Column(by_code[codes], list(places), missing_among(places, words)), inside


def lines_of(path: Path, delimiter: str, skip: int) -> Callable[[], np.ndarray]:
    """What finds the lines in which the rows below the first `skip` lines begin."""

    @cache
    def find() -> np.ndarray:
        found, begins = array("q"), skip + 1
        with open_unpacked(path) as packed, cells_of_any_length():
            file = TextIOWrapper(packed, encoding="utf-8-sig")
            reader = csv.reader(
                islice(file, skip, None), delimiter=delimiter, skipinitialspace=True, strict=True
            )
            for cells in reader:
                if any(map(str.strip, cells)):
                    found.append(begins)
                begins = skip + reader.line_num + 1
        return np.array(found, np.int64)

    return find


def open_pieces(path: Path, layout: Layout, types: Types) -> Iterator[pl.DataFrame]:
    """The rows of a file, packed or not, some at a time and without empty ones: texts where not all are of their type.

    Raises:
        ConfigError: a row of another length or damaged quotes, with its line; what only the exact reader can read.
    """
    if layout.empty_end:
        layout, of_named = layout._replace(width=layout.width + 1), types
        types = lambda: [*of_named(), pl.String]  # noqa: E731
    try:
        with open_unpacked(path) as file:
            for frame, delimiters, _ in pieces(file, types, layout, texts_too=True):
                columns = frame.get_columns()
                if sum(_inside(cells, layout.delimiter) for cells in columns) != delimiters:
                    raise Unsure("a row of another length")
                if layout.empty_end and columns.pop().null_count() < len(frame):
                    raise Unsure("a cell behind the last column")
                yield _without_empty_rows(pl.DataFrame(columns))
    except Unsure as error:
        _refuse_mistakes(path, layout)
        raise only_in_memory(path, str(error)) from error
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def only_in_memory(path: Path, what: str) -> ConfigError:
    """The error of a file that has `what` in it."""
    return ConfigError(
        f"{path} exceeds dataset.memory_limit and has {what}, which is read in memory alone: mend it, or set "
        "dataset.memory_limit to more, if there is more memory"
    )


def _inside(cells: pl.Series, sign: str) -> int:
    """How often a sign is in cells."""
    if cells.dtype == pl.Float64:
        return 0
    different = cells.drop_nulls().unique().cast(pl.String)
    if not different.str.contains(sign, literal=True).any():
        return 0
    return int(cells.cast(pl.String).str.count_matches(sign, literal=True).sum())


def _without_empty_rows(frame: pl.DataFrame) -> pl.DataFrame:
    empty = np.arange(len(frame))
    for cells in frame.get_columns():
        if cells.dtype == pl.Float64:
            blank = cells.gather(empty).is_null()
        else:
            words = cells.gather(empty).cast(pl.String)
            blank = words.is_null() | (words.str.strip_chars() == "").fill_null(value=True)
        empty = empty[blank.to_numpy()]
        if not len(empty):
            return frame
    return frame[np.delete(np.arange(len(frame)), empty)]


def _refuse_mistakes(path: Path, layout: Layout) -> None:
    """Refuse the first row of another length or with damaged quotes, as the reader of small files does.

    Raises:
        ConfigError: with its line.
    """
    begins = layout.skip + 1
    with open_unpacked(path) as packed, cells_of_any_length():
        file = TextIOWrapper(packed, encoding="utf-8-sig", newline="")
        for _ in range(layout.skip):
            file.readline()
        reader = csv.reader(file, delimiter=layout.delimiter, skipinitialspace=True, strict=True)
        try:
            for cells in reader:
                if any(map(str.strip, cells)):
                    refuse_ragged(path, [(begins, cells)], layout.width, "first rows")
                begins = layout.skip + reader.line_num + 1
        except csv.Error as error:
            raise ConfigError(
                f"{path}, row {begins}: it cannot be read as CSV: {error}; mend the row"
            ) from error
