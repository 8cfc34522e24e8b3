"""Large CSV files of a plain format, read by the table engine: the same cells as cell by cell, sooner. No torch here.

Whatever might be read in another way than cell by cell is left to that reader: quotes in odd places, rows that lack
cells, line ends of old systems. So a mistake is found, and told, by one reader alone.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Collection, Sequence
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl

from dlrun.data.tables.column import Column, Decimals, rows_like
from dlrun.data.tables.csv_format import CsvFormat, cells_of_any_length, missing_among
from dlrun.data.tables.number_format import as_number, may_be_grouped

_HEAD = 2**20  # bytes, by which the form of a file is judged
_CHUNK = 2**24  # bytes
_MANY = 50  # different numbers, from which on a column is one of quantities
_MONTH = re.compile(r"\d{1,2}\.\d{4}|\d{4}\.\d{1,2}")
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
        while head.count(b'"', 0, end) % 2:  # within quotes
            end = head.rfind(b"\n", 0, end - 1) + 1
        text = head[:end].decode("utf-8-sig").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError):
        return None
    return None if head.startswith(_GZIP) or not text.strip() or {"\r", "\0"} & {*text} else text


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
            and all(as_number(cell) is not None for cell in cells)
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
    kinds = {
        str(at): pl.Float64 if at in decimals else pl.Categorical(pl.Categories.random())
        for at in range(width)
    }
    try:
        frame = pl.read_csv(
            path, has_header=False, skip_lines=skip, separator=delimiter, schema=kinds
        )
        sure = all(frame.to_series(at).is_finite().all() for at in decimals)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        sure = False
    if not sure:
        if not decimals:
            return None
        return read_columns(path, format, delimiter=delimiter, skip=skip, width=width, decimals=())
    if _is_irregular(path, frame, delimiter, skip):
        return None
    series = frame.get_columns()
    del frame
    columns: list[Column] = []
    while series:  # one at a time: a column of text is given up for what it becomes
        column = _column(series.pop(0), format.missing)
        if column is None:
            return None
        columns.append(column)
    if len(empty := rows_like(columns, [""] * width)):
        rows = np.delete(np.arange(len(columns[0])), empty)
        return [column.take(rows) for column in columns] if len(rows) else None
    return columns


def _column(cells: pl.Series, words: Sequence[str]) -> Column | None:
    """`words` stand for missing cells."""
    if cells.dtype == pl.Float64:
        return Decimals(cells.fill_null(float("nan")).to_numpy())
    kinds = cells.drop_nulls().unique()
    texts = kinds.cast(pl.String)
    if texts.str.contains(_ODD).any():
        return None
    places: dict[str, int] = {"": 0}
    merged = [places.setdefault(text, len(places)) for text in texts.str.strip_chars().to_list()]
    codes = _of_kind(cells, kinds, np.array(merged, np.int32))
    return Column(codes, list(places), missing_among(places, words))


def _of_kind(cells: pl.Series, kinds: pl.Series, values: np.ndarray) -> np.ndarray:
    """(N,) the value of the kind of each cell, 0 of an empty one."""
    physical = kinds.to_physical().to_numpy()
    by_code = np.zeros(int(physical.max(initial=0)) + 2, values.dtype)
    by_code[physical] = values
    return by_code[cells.to_physical().fill_null(len(by_code) - 1).to_numpy()]


def _is_irregular(path: Path, frame: pl.DataFrame, delimiter: str, skip: int) -> bool:
    """Whether rows differ in length, or a line ends as on old systems: the engine makes rows of it without a word."""
    columns = frame.get_columns()
    inside = sum(_times(one, delimiter) for one in columns if one.dtype != pl.Float64)
    may_be_blank = all(one.null_count() for one in columns)
    counted, blank, quotes = 0, 0, 0
    with path.open("rb") as file:
        for _ in range(skip):
            file.readline()
        while chunk := file.read(_CHUNK) + file.readline():
            if chunk.count(b"\r") != chunk.count(b"\r\n"):
                return True
            counted += chunk.count(delimiter.encode())
            quotes += chunk.count(b'"')
            if may_be_blank:
                blank += sum(not line.strip() for line in chunk.splitlines())
            if chunk.endswith(delimiter.encode()):  # the engine drops an empty cell at the very end
                return True
    return quotes % 2 == 1 or counted - inside != (len(frame) - blank) * (len(columns) - 1)


def _times(cells: pl.Series, sign: str) -> int:
    """How often a sign is in cells."""
    kinds = cells.drop_nulls().unique()
    times = kinds.cast(pl.String).str.count_matches(sign, literal=True).to_numpy()
    return int(_of_kind(cells, kinds, times).sum()) if times.any() else 0


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
