"""Files whose columns have types: Parquet, Feather (Arrow), JSON lines, Excel.

They become the same `Cells` as a CSV file: numbers stay numbers; words, dates and times are the text that they have
there; null is a missing cell. No torch here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import time
from functools import cache, partial
from glob import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from dlrun.data.tables.cells import Cells, Lines
from dlrun.data.tables.column import Column, Decimals, Listed, missing_column
from dlrun.data.tables.csv_format import missing_among
from dlrun.data.tables.csv_rules import listed, names_of
from dlrun.data.tables.number_format import EXACT, Notation, as_number
from dlrun.data.tables.stored_columns import Types, UnreadColumn
from dlrun.errors import ConfigError, note

_ROWS = 2**15  # that are read at a time
_UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError)


class _Read(NamedTuple):
    """A file read: its columns, and where each row is in the file."""

    frame: pl.DataFrame
    lines: Callable[[], np.ndarray]


class _Opened(NamedTuple):
    """A file of which no rows are read yet.

    Attributes:
        pieces: its rows, some at a time.
    """

    types: Mapping[str, Any]
    rows: int
    pieces: Callable[[], Iterator[pl.DataFrame]]
    lines: Callable[[], np.ndarray]


def read_typed(path: Path, missing: Sequence[str]) -> Cells:
    """The cells of a file of one of `table_files.TYPED`; rows are counted from 1.

    Args:
        missing: words that stand for a missing cell, and numbers that do.

    Raises:
        ConfigError: unreadable, empty, a column that holds more than one value a row, names twice.
    """
    form = _FORMS[path.suffix.lower()]
    with _readable(path, form):
        frame, lines = form.read(path)
    names = _names(path, dict(frame.schema), len(frame))
    return _cells_of(path, names, frame, lines, missing, _column)


def typed_pieces(path: Path, missing: Sequence[str], *, listed: bool) -> Iterator[Cells]:
    """The same of a Parquet or Arrow file or of JSON lines, some rows at a time; of another form at once.

    Args:
        listed: whether words are given as columns that are `Listed`.

    Raises:
        ConfigError: as `read_typed`.
    """
    form = _FORMS[path.suffix.lower()]
    with _readable(path, form):
        opened = form.open(path) if form.open else None
    if opened is None:
        yield read_typed(path, missing)
        return
    names, frames, start = _names(path, opened.types, opened.rows), opened.pieces(), 0
    while True:
        with _readable(path, form):
            frame = next(frames, None)
        if frame is None:
            return
        stop = start + len(frame)
        lines = partial(_rows_of, opened.lines, slice(start, stop))
        yield _cells_of(path, names, frame, lines, missing, _listed if listed else _column)
        start = stop


def _rows_of(lines: Callable[[], np.ndarray], rows: slice) -> np.ndarray:
    return lines()[rows]


def _cells_of(
    path: Path,
    names: list[str],
    frame: pl.DataFrame,
    lines: Callable[[], np.ndarray],
    missing: Sequence[str],
    read: Callable[[pl.Series, Sequence[str]], Column],
) -> Cells:
    columns = [read(values, missing) for values in frame.get_columns()]
    values: Mapping[str, Any] = dict(zip(names, frame.get_columns(), strict=True))
    return replace(_cells(path, names, columns, lines, missing), values=values)


def _listed(values: pl.Series, missing: Sequence[str]) -> Column:
    if values.dtype == pl.Null or is_numeric(values.dtype):
        return _column(values, missing)
    cells = as_texts(values, times=not all_midnight(values)).to_list()
    absent = {"", *missing_among(filter(None, cells), missing)}
    return Listed([None if cell in absent else cell for cell in cells])


def open_typed(path: Path, missing: Sequence[str]) -> Cells | None:
    """The same file, its columns still to be read into the cache; None of one that can only be read whole.

    Raises:
        ConfigError: as `read_typed`.
    """
    form = _FORMS[path.suffix.lower()]
    if form.open is None:
        return None
    with _readable(path, form):
        opened = form.open(path)
    if opened is None:
        return None
    names = _names(path, opened.types, opened.rows)

    def pieces(types: Types) -> Iterator[pl.DataFrame]:
        with _readable(path, form):
            yield from opened.pieces()

    columns: list[Column] = [UnreadColumn(pieces, at) for at in range(len(names))]
    return _cells(path, names, columns, opened.lines, missing)


def cells_in(path: Path) -> int:
    """How many cells a file holds that says so without being read; 0 of another.

    Raises:
        ConfigError: as `read_typed`.
    """
    form = _FORMS[path.suffix.lower()]
    if form.open is None:
        return 0
    with _readable(path, form):
        opened = form.open(path)
    return opened.rows * len(opened.types) if opened else 0


@contextmanager
def _readable(path: Path, form: _Form) -> Iterator[None]:
    try:
        yield
    except ConfigError:
        raise
    except _UNREADABLE as error:
        if form is _JSON_LINES:
            _look_for_mistake(path)
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(f"{path} cannot be read as {form.name}: {reason}") from error


def _names(path: Path, types: Mapping[str, Any], rows: int) -> list[str]:
    if not types:
        raise ConfigError(f"{path} has no columns: give a file with data in it")
    if not rows:
        raise ConfigError(f"{path} has columns and no rows: give it data")
    names = names_of(path, 1, [name.strip() for name in types])
    _refuse_nested(path, names, [*types.values()])
    return names


def _cells(
    path: Path,
    names: list[str],
    columns: list[Column],
    lines: Callable[[], np.ndarray],
    missing: Sequence[str],
) -> Cells:
    return Cells(
        path,
        names,
        named=True,
        columns=columns,
        lines=Lines(lines),
        notation=Notation(),
        first=f"its columns ({listed(names)})",
        missing=missing,
        typed=True,
    )


def _refuse_nested(path: Path, names: Sequence[str], types: Sequence[Any]) -> None:
    for name, kind in zip(names, types, strict=True):
        what = "bytes" if kind == pl.Binary else "objects" if kind == pl.Object else ""
        if kind.is_nested():
            what = "named values" if kind == pl.Struct else "lists"
        if what:
            raise ConfigError(
                f"{path}: column {name} holds {what}, of which a table takes none; write the file without it, or each "
                "value as a column of its own"
            )


def _column(values: pl.Series, missing: Sequence[str]) -> Column:
    if values.dtype == pl.Null:
        return missing_column(len(values))
    if is_numeric(values.dtype):
        numbers = as_numbers(values, missing)
        if numbers is not None:
            return Decimals(numbers, single=values.dtype == pl.Float32)
        return _words(as_texts(values), missing)
    return _words(as_texts(values, times=not all_midnight(values)), missing)


def is_numeric(kind: pl.DataType) -> bool:
    """Whether a column of this type is read as numbers, if 64 bits hold them."""
    return kind.is_numeric() or kind == pl.Duration


def as_numbers(values: pl.Series, missing: Sequence[str]) -> np.ndarray | None:
    """(N,) float64, nan where missing; None where 64 bits do not hold one: identifiers, infinite ones."""
    if values.dtype == pl.Duration:
        values = values.dt.total_nanoseconds() / 1e9
    found = values.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    if values.dtype.is_integer():
        exact = bool((np.abs(found[~np.isnan(found)]) < EXACT).all())
    else:
        exact = not np.isinf(found).any()
    if not exact:
        return None
    codes = [number for word in missing if (number := as_number(word)) is not None]
    return np.where(np.isin(found, codes), np.nan, found) if codes else found


def all_midnight(values: pl.Series) -> bool:
    """Whether moments are dates, with no time of day."""
    midnight = values.dtype == pl.Datetime and (values.dt.time().drop_nulls() == time()).all()
    return bool(midnight)


def as_texts(values: pl.Series, *, times: bool = True) -> pl.Series:
    """Words, yes or no, dates and times as a CSV file has them, moments without the time of day where not `times`."""
    kind = values.dtype
    if kind == pl.Datetime and not times:
        return values.dt.date().dt.to_string("iso")
    if kind.is_temporal() and kind != pl.Duration:
        return values.dt.to_string("iso").str.replace(r"\.0+($|[+-])", "$1")
    return values.cast(pl.String).str.strip_chars()


def _words(texts: pl.Series, missing: Sequence[str]) -> Column:
    cells = texts.cast(pl.Categorical(pl.Categories.random()))
    kinds = cells.drop_nulls().unique()
    places = kinds.to_physical().to_numpy()
    absent = int(places.max(initial=0)) + 1
    words = np.full(absent + 1, "", object)
    words[places] = kinds.cast(pl.String).to_list()
    codes = cells.to_physical().fill_null(absent).to_numpy().astype(np.int32)
    return Column(codes, words.tolist(), {"", *missing_among(words, missing)})


def _counted(frame: pl.DataFrame) -> _Read:
    return _Read(frame, _from_one(len(frame)))


def _from_one(rows: int) -> Callable[[], np.ndarray]:
    return lambda: np.arange(1, rows + 1)


def _read_parquet(path: Path) -> _Read:
    return _counted(pl.read_parquet(path, glob=False, hive_partitioning=False))


def _open_parquet(path: Path) -> _Opened:
    return _scanned(pl.scan_parquet(path, glob=False, hive_partitioning=False))


def _scanned(lazy: pl.LazyFrame) -> _Opened:
    rows = int(lazy.select(pl.len()).collect().item())

    def pieces() -> Iterator[pl.DataFrame]:
        return iter(lazy.collect_batches(chunk_size=_ROWS))

    return _Opened(lazy.collect_schema(), rows, pieces, _from_one(rows))


def _read_arrow(path: Path) -> _Read:
    read = pl.read_ipc if _is_arrow_file(path) else pl.read_ipc_stream
    return _counted(read(path.read_bytes()))


def _open_arrow(path: Path) -> _Opened | None:
    """None of a stream, of which nobody knows where its rows are."""
    if not _is_arrow_file(path):
        return None
    lazy = pl.scan_ipc(path, glob=False)
    opened = _scanned(lazy)

    def pieces() -> Iterator[pl.DataFrame]:
        # Some rows at a time: what is mapped of a whole file counts as memory of the process.
        for start in range(0, opened.rows, _ROWS):
            yield lazy.slice(start, _ROWS).collect()

    return opened._replace(pieces=pieces)


def _is_arrow_file(path: Path) -> bool:
    with path.open("rb") as file:
        begin = file.read(6)
    if begin.startswith(b"FEA1"):
        raise ValueError("it is of the first version of Feather; write it with a newer one")
    return begin == b"ARROW1"


def _read_json_lines(path: Path) -> _Read:
    return _Read(pl.read_ndjson(path, infer_schema_length=None), _lines_with_text(path))


def _open_json_lines(path: Path) -> _Opened:
    opened = _scanned(pl.scan_ndjson(escape(str(path)), infer_schema_length=None))
    return opened._replace(lines=_lines_with_text(path))


def _lines_with_text(path: Path) -> Callable[[], np.ndarray]:
    @cache
    def lines() -> np.ndarray:
        with path.open("rb") as file:
            numbers = (number for number, line in enumerate(file, 1) if line.strip())
            return np.fromiter(numbers, np.int64)

    return lines


def _look_for_mistake(path: Path) -> None:
    """Name the line that is no object of JSON, or that has a value of another type than the lines above it.

    Raises:
        ConfigError: where there is one.
    """
    types: dict[str, type] = {}
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, 1):
            try:
                row: Any = json.loads(line) if line.strip() else {}
            except ValueError as error:
                raise ConfigError(
                    f"{path}, row {number}: no JSON ({error}); mend the line"
                ) from None
            if not isinstance(row, dict):
                raise ConfigError(
                    f"{path}, row {number}: {line.strip()[:40]} is no object of names and values, as in "
                    '{"a": 1, "b": "x"}; write each row as one'
                )
            for name, value in row.items():
                kind = float if type(value) is int else type(value)
                if value is not None and types.setdefault(name, kind) is not kind:
                    raise ConfigError(
                        f"{path}, row {number}, column {name}: {json.dumps(value)[:40]} is of another type than the "
                        "values above it; write all of a column alike"
                    )


def _read_excel(path: Path) -> _Read:
    """The first sheet; its first row names the columns, and its empty rows are left out."""
    if find_spec("fastexcel") is None:
        raise ConfigError(f"{path} is an Excel workbook, which needs: pip install 'dlrun[excel]'")
    import fastexcel  # optional

    try:
        book = fastexcel.read_excel(path)
        head = book.load_sheet(0, header_row=None, n_rows=1, dtypes="string").to_polars()
        frame = book.load_sheet(0, header_row=0, schema_sample_rows=None).to_polars()
    except fastexcel.FastExcelError as error:
        raise ValueError(error) from error
    if others := book.sheet_names[1:]:
        note(f"{path}: sheet {book.sheet_names[0]} is read, the first; not {', '.join(others)}")
    if len(head):
        names = names_of(path, 1, [(name or "").strip() for name in head.row(0)])
        frame.columns = names
    filled = ~frame.select(pl.all_horizontal(pl.all().is_null())).to_series()
    rows = np.flatnonzero(filled.to_numpy()) + 2
    return _Read(frame.filter(filled), lambda: rows)


class _Form(NamedTuple):
    """A form of files.

    Attributes:
        open: as far as such a file can be read in pieces.
    """

    name: str
    read: Callable[[Path], _Read]
    open: Callable[[Path], _Opened | None] | None


_ARROW = _Form("Feather (Arrow)", _read_arrow, _open_arrow)
_JSON_LINES = _Form("JSON lines", _read_json_lines, _open_json_lines)
_FORMS = {
    ".parquet": _Form("Parquet", _read_parquet, _open_parquet),
    ".feather": _ARROW,
    ".arrow": _ARROW,
    ".ipc": _ARROW,
    ".jsonl": _JSON_LINES,
    ".ndjson": _JSON_LINES,
    ".xlsx": _Form("an Excel workbook", _read_excel, None),
}
