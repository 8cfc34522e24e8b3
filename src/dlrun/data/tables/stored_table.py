"""A table larger than memory: read once, some rows at a time, into columns of the cache. No torch here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl

from dlrun.data.cache import made_once
from dlrun.data.tables.cells import Cells, Lines
from dlrun.data.tables.column import Column, rows_like
from dlrun.data.tables.column_files import ColumnFile, stored_column
from dlrun.data.tables.column_writers import CellForm, Hint, OddCell, OtherKind
from dlrun.data.tables.csv import note_last_row
from dlrun.data.tables.csv_engine import only_in_memory
from dlrun.data.tables.number_format import Notation
from dlrun.data.tables.stored_columns import UnreadColumn
from dlrun.errors import BadFile, ConfigError

_LAYOUT = 1  # of the files; a change makes entries of before unused
_COLUMNS = "columns.json"


def stored(path: Path, parts: Sequence[Cells]) -> Cells:
    """The cells of all parts of the table in `path`, from the cache. The first time they are read into it.

    Args:
        parts: of the same columns in the same order, which are still to be read, or in memory.

    Raises:
        ConfigError: a row of another length, damaged quoting, or what can be read only in memory.
    """
    files = [part.path.resolve() for part in parts]
    found = made_once(path, files, _settings(parts), partial(_write, parts), act="read")
    about = json.loads((found / _COLUMNS).read_text(encoding="utf-8"))
    first, rows = parts[0], about["rows"]
    columns = [
        stored_column(found / str(at), sum(rows), of, f"{path}, column {first.names[at]}")
        for at, of in enumerate(about["columns"])
    ]
    cells = replace(first, path=path, columns=columns, lines=_lines(parts, rows))
    _check(cells)
    return cells


def _lines(parts: Sequence[Cells], rows: Sequence[int]) -> Lines:
    if len(parts) == 1:
        return parts[0].lines
    files = [(part.path, count) for part, count in zip(parts, rows, strict=True)]
    return Lines(lambda: np.concatenate([part.lines.all() for part in parts]), files=files)


def _check(cells: Cells) -> None:
    """Refuse the header once more among the rows, and say that the last row may be a sum.

    Raises:
        BadFile: with the line.
    """
    if cells.header is not None and len(found := rows_like(cells.columns, cells.header)):
        row = int(found[0])
        raise BadFile(
            f"{cells.lines.file(row) or cells.path}, row {cells.lines[row]} repeats the header",
            "take it out, or set dataset.header=false if the first row is one of data",
            "take it out",
        )
    if not cells.typed:
        note_last_row(cells)


def _settings(parts: Sequence[Cells]) -> Iterator[Any]:
    """All that decides how the files are read."""
    first = parts[0]
    yield from (_LAYOUT, first.notation, list(first.missing), first.names)
    for part in parts:
        yield part.first, part.delimiter, part.named
        yield [getattr(column, "at", -1) for column in part.columns]


def _write(parts: Sequence[Cells], folder: Path) -> None:
    """The columns of all parts, one file each, and what is to be known to read them."""
    first = parts[0]
    hints: list[Hint] = [
        "numbers" if getattr(column, "numbers_at_once", False) else "" for column in first.columns
    ]
    form = CellForm(first.notation, first.missing, first.typed)
    while True:
        files = [ColumnFile(folder / str(at), form, hint) for at, hint in enumerate(hints)]
        try:
            rows = [
                sum(_add(cells, files, hints) for cells in _pieces(part, files)) for part in parts
            ]
            break
        except OtherKind:  # from the beginning once more
            continue
        except OddCell as error:
            raise only_in_memory(first.path, str(error)) from error
        finally:
            for file in files:
                file.close()
    if not sum(rows):
        raise ConfigError(f"{first.path} has no rows: give it data")
    about = {"rows": rows, "columns": [file.about() for file in files]}
    (folder / _COLUMNS).write_text(json.dumps(about), encoding="utf-8")


def _add(cells: Sequence[pl.Series], files: Sequence[ColumnFile], hints: list[Hint]) -> int:
    """Write more rows; how many they are."""
    for at, (column, file) in enumerate(zip(cells, files, strict=True)):
        try:
            file.add(column)
        except OtherKind as error:
            hints[at] = error.hint
            raise
    return len(cells[0])


def _pieces(part: Cells, files: Sequence[ColumnFile]) -> Iterator[list[pl.Series]]:
    """The columns of a part in their order, some rows at a time."""
    if not isinstance(part.columns[0], UnreadColumn):
        yield [_as_series(column, typed=part.typed) for column in part.columns]
        return
    columns = cast(Sequence[UnreadColumn], part.columns)
    order = np.argsort([column.at for column in columns])
    for frame in columns[0].pieces(lambda: [files[at].type for at in order]):
        cells = frame.get_columns()
        yield [cells[column.at] for column in columns]


def _as_series(column: Column, *, typed: bool) -> pl.Series:
    if typed and column.typed:
        return pl.Series(column.numbers(Notation()), nan_to_null=True)
    return pl.Series(column.as_list, dtype=pl.String)
