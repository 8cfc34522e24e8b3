"""Files whose columns have types: Parquet, Feather (Arrow), JSON lines, Excel.

They become the same `Cells` as a CSV file: numbers stay numbers; words, dates and times are the text that they have
there; null is a missing cell. No torch here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from dlrun.data.tables.column import Column, Decimals, missing_column
from dlrun.data.tables.csv import Cells, Lines
from dlrun.data.tables.csv_format import missing_among
from dlrun.data.tables.csv_rules import listed, names_of
from dlrun.data.tables.number_format import EXACT, Notation, as_number
from dlrun.errors import ConfigError, note

_UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError)


class _Read(NamedTuple):
    """A file read: its columns, and where each row is in the file."""

    frame: pl.DataFrame
    lines: Callable[[], np.ndarray]


def read_typed(path: Path, missing: Sequence[str]) -> Cells:
    """The cells of a file of one of `table_files.TYPED`; rows are counted from 1.

    Args:
        missing: words that stand for a missing cell, and numbers that do.

    Raises:
        ConfigError: unreadable, empty, a column that holds more than one value a row, names twice.
    """
    what, read = _READERS[path.suffix.lower()]
    try:
        frame, lines = read(path)
    except _UNREADABLE as error:
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(f"{path} cannot be read as {what}: {reason}") from error
    if not frame.width:
        raise ConfigError(f"{path} has no columns: give a file with data in it")
    if not len(frame):
        raise ConfigError(f"{path} has columns and no rows: give it data")
    names = names_of(path, 1, [name.strip() for name in frame.columns])
    _refuse_nested(path, names, frame)
    columns = [_column(values, missing) for values in frame.get_columns()]
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


def _refuse_nested(path: Path, names: Sequence[str], frame: pl.DataFrame) -> None:
    for name, kind in zip(names, frame.dtypes, strict=True):
        what = "bytes" if kind == pl.Binary else "objects" if kind == pl.Object else ""
        if kind.is_nested():
            what = "named values" if kind == pl.Struct else "lists"
        if what:
            raise ConfigError(
                f"{path}: column {name} holds {what}, of which a table takes none; write the file without it, or each "
                "value as a column of its own"
            )


def _column(values: pl.Series, missing: Sequence[str]) -> Column:
    kind = values.dtype
    if kind == pl.Null:
        return missing_column(len(values))
    if kind == pl.Duration:
        return _column(values.dt.total_nanoseconds() / 1e9, missing)
    if kind.is_numeric():
        return _numbers(values, missing)
    return _words(_texts(values), missing)


def _numbers(values: pl.Series, missing: Sequence[str]) -> Column:
    """Numbers as such, unless there is one that 64 bits do not hold: identifiers, infinite ones."""
    found = values.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    if values.dtype.is_integer():
        exact = bool((np.abs(found[~np.isnan(found)]) < EXACT).all())
    else:
        exact = not np.isinf(found).any()
    if not exact:
        return _words(values.cast(pl.String), missing)
    codes = [number for word in missing if (number := as_number(word)) is not None]
    found = np.where(np.isin(found, codes), np.nan, found) if codes else found
    return Decimals(found, single=values.dtype == pl.Float32)


def _texts(values: pl.Series) -> pl.Series:
    """Words, yes or no, dates and times as a CSV file has them; the time of day is left out where all are midnight."""
    kind = values.dtype
    if kind == pl.Datetime and (values.dt.time().drop_nulls() == time()).all():
        return values.dt.date().dt.to_string("iso")
    if kind.is_temporal():
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
    return _Read(frame, lambda: np.arange(1, len(frame) + 1))


def _read_parquet(path: Path) -> _Read:
    return _counted(pl.read_parquet(path, glob=False, hive_partitioning=False))


def _read_arrow(path: Path) -> _Read:
    with path.open("rb") as file:
        begin = file.read(6)
    if begin.startswith(b"FEA1"):
        raise ValueError("it is of the first version of Feather; write it with a newer one")
    read = pl.read_ipc if begin == b"ARROW1" else pl.read_ipc_stream
    return _counted(read(path.read_bytes()))


def _read_json_lines(path: Path) -> _Read:
    try:
        frame = pl.read_ndjson(path, infer_schema_length=None)
    except pl.exceptions.PolarsError:
        _look_for_mistake(path)
        raise

    @cache
    def lines() -> np.ndarray:
        with path.open("rb") as file:
            return np.array([number for number, line in enumerate(file, 1) if line.strip()])

    return _Read(frame, lines)


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


_READERS: dict[str, tuple[str, Callable[[Path], _Read]]] = {
    ".parquet": ("Parquet", _read_parquet),
    ".feather": ("Feather (Arrow)", _read_arrow),
    ".arrow": ("Feather (Arrow)", _read_arrow),
    ".ipc": ("Feather (Arrow)", _read_arrow),
    ".jsonl": ("JSON lines", _read_json_lines),
    ".ndjson": ("JSON lines", _read_json_lines),
    ".xlsx": ("an Excel workbook", _read_excel),
}
