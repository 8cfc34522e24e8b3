"""Large CSV files of a plain format, read by the table engine: the same cells as cell by cell, sooner. No torch here.

Whatever might be read in another way than cell by cell is left to that reader: quotes in odd places, rows that lack
cells, line ends of old systems. So a mistake is found, and told, by one reader alone.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Collection, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import polars as pl

from dlrun.data.tables.column import Column, Decimals, rows_like
from dlrun.data.tables.csv_format import CsvFormat, cells_of_any_length, missing_among
from dlrun.data.tables.number_format import as_number, may_be_grouped

_HEAD = 2**20  # bytes, by which the form of a file is judged
_LINES = 2000  # the same
_PIECE = 2**23  # bytes that are read at a time
_MANY = 50  # different numbers, from which on a column is one of quantities
_MONTH = re.compile(r"\d{1,2}\.\d{4}|\d{4}\.\d{1,2}")
_PLAIN = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?")  # sooner than reading them one by one
_GZIP = b"\x1f\x8b"
_ODD = '^\\s*"|[\r\x00\x1c-\x1f]'  # what the two readers may see differently


def head_of(path: Path, format: CsvFormat) -> str | None:
    """The first rows of a large file that the engine may read; None of any other."""
    plain = format.encoding.lower() in ("utf-8", "utf8", "ascii") and format.comment is None
    if not plain or format.delimiter in ("space", " ") or path.suffix.lower() == ".gz":
        return None
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
        end = head.rfind(b"\n") + 1 if len(head) == _HEAD else len(head)
        end = _after_lines(head, end)
        while head.count(b'"', 0, end) % 2:  # within quotes
            end = head.rfind(b"\n", 0, end - 1) + 1
        text = head[:end].decode("utf-8-sig").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError):
        return None
    return None if head.startswith(_GZIP) or not text.strip() or {"\r", "\0"} & {*text} else text


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


def read_columns(
    path: Path,
    format: CsvFormat,
    *,
    delimiter: str,
    skip: int,
    width: int,
    decimals: Collection[int],
) -> list[Column] | None:
    """The columns below the first `skip` lines, without empty rows; None where the engine is not sure of them.

    Args:
        decimals: the columns to read as numbers at once.
    """
    if not delimiter.isascii():  # the engine has none of several bytes
        return None
    types = [
        pl.Float64 if at in decimals else pl.Categorical(pl.Categories.random())
        for at in range(width)
    ]
    try:
        read = _read_pieces(path, types, delimiter, skip)
    except _NotSure:
        if not decimals:
            return None
        return read_columns(path, format, delimiter=delimiter, skip=skip, width=width, decimals=())
    if read is None:
        return None
    cells, delimiters = read
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


class _NotSure(Exception):
    """What was read as numbers may hold something else, or the engine refuses the file."""


def _read_pieces(
    path: Path, types: Sequence[Any], delimiter: str, skip: int
) -> tuple[list[np.ndarray | list[pl.Series]], int] | None:
    """(numbers or parts of each column, delimiters that separate no cells); None where rows may differ in length.

    So must be None what the engine makes rows of without a word: lines that end as on old systems. The file is read
    piece by piece, as its bytes would take as much memory as what they hold.

    Raises:
        _NotSure: so the columns have to be read in another way.
    """
    schema = {str(at): kind for at, kind in enumerate(types)}
    columns: list[np.ndarray | list[pl.Series]] = [
        np.empty(0) if kind == pl.Float64 else [] for kind in types
    ]
    delimiters = 0
    with path.open("rb") as file:
        for _ in range(skip):
            file.readline()
        while lines := _next_lines(file):
            piece, complete = lines
            if b"\r" in piece and piece.count(b"\r") != piece.count(b"\r\n"):
                return None
            if not complete or piece.endswith(delimiter.encode()):
                return None  # the engine drops an empty cell at the very end
            try:
                frame = pl.read_csv(piece, has_header=False, separator=delimiter, schema=schema)
            except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
                raise _NotSure from error
            for column, cells in zip(columns, frame.get_columns(), strict=True):
                if isinstance(column, list):
                    column.append(cells)
                else:
                    _extend(column, cells)
            rows = len(frame)
            if all(one.null_count() for one in frame.get_columns()):
                rows -= sum(not line.strip() for line in piece.splitlines())
            signs = np.frombuffer(piece, np.uint8) == ord(delimiter)
            delimiters += int(np.count_nonzero(signs)) - rows * (len(types) - 1)
    return columns, delimiters


def _next_lines(file: BinaryIO) -> tuple[bytes, bool] | None:
    """(lines, whether they end outside of quotes, as all but the last of a file do), about as many bytes at a time."""
    lines = [file.read(_PIECE), file.readline()]
    odd = sum(line.count(b'"') for line in lines) % 2
    while odd and (line := file.readline()):
        lines.append(line)
        odd = (odd + line.count(b'"')) % 2
    while (line := file.readline()) and not line.strip():  # the engine skips them in front of rows
        lines.append(line)
    file.seek(-len(line), os.SEEK_CUR)
    return (b"".join(lines), not odd) if lines[0] else None


def _extend(numbers: np.ndarray, cells: pl.Series) -> None:
    """Add cells, nan where missing, in place: parts of many columns would leave holes in memory."""
    values = cells.to_numpy()
    if np.count_nonzero(np.isfinite(values)) != len(cells) - cells.null_count():
        raise _NotSure
    begin = len(numbers)
    numbers.resize(begin + len(values), refcheck=False)
    numbers[begin:] = values


def _column(cells: pl.Series, words: Sequence[str], delimiter: str) -> tuple[Column, int] | None:
    """The column, and how often the delimiter is in its cells; `words` stand for missing cells."""
    kinds = cells.unique(maintain_order=True).drop_nulls()
    texts = kinds.cast(pl.String)
    if texts.str.contains(_ODD).any():
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
        found, begins = [], skip + 1
        with path.open(encoding="utf-8-sig") as file, cells_of_any_length():
            reader = csv.reader(
                islice(file, skip, None), delimiter=delimiter, skipinitialspace=True, strict=True
            )
            for cells in reader:
                if any(map(str.strip, cells)):
                    found.append(begins)
                begins = skip + reader.line_num + 1
        return np.array(found, np.int64)

    return find
