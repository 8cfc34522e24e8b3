"""New rows of a table, read from files by the names of their columns or in their order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from dlrun.data.base import Spec
from dlrun.data.changed_data import Kept
from dlrun.data.kind import TEST_PATH, Labelled, NewInputs, Piece, one_path, pieces_of
from dlrun.data.tables.cells import Cells
from dlrun.data.tables.columns import read_rows, undressed_as
from dlrun.data.tables.csv_rules import as_names, listed
from dlrun.data.tables.encoding import TableEncoding, encode_rows
from dlrun.data.tables.headers import judge
from dlrun.data.tables.number_format import as_number
from dlrun.data.tables.read import read_targets
from dlrun.data.tables.table import Reading, Rows
from dlrun.data.tables.table_files import (
    FORMS,
    file_pieces,
    files_of,
    form_of,
    locate_table,
    read_cells,
)
from dlrun.data.tables.target_column import DROP_MISSING
from dlrun.errors import ConfigError


class NewRows(NewInputs):
    """The rows in a file, raw cells as in the data set; a target column is not read, or alone."""

    preparing = (
        "columns of numbers (those of yes_no: 1 for yes, 0 for no), then the parts of dates: fill where missing, then "
        "(raw - mean) / std; after them columns of words: the place in levels, from 1; for a word that is not there "
        "the place after the last where other is true, and else 0; in columns of by_value, numbers and yes/no are "
        "spelled in one way, as 1, 0.5 and true"
    )

    def read(self, path: Path, spec: Spec, preprocessing: TableEncoding) -> Rows:
        _refuse_other_forms(path)
        reading = Reading.of(preprocessing.reading)
        return _rows(_in_order(_read(path, reading), reading), reading)

    def pieces(
        self, files: Sequence[Path], spec: Spec, preprocessing: TableEncoding, keep: Sequence[str]
    ) -> Iterator[Piece]:
        reading = Reading.of(preprocessing.reading)
        for path in files:
            _refuse_other_forms(path)
            first = 0
            is_header = partial(_is_header, reading)
            how = reading.format, is_header
            for cells in file_pieces(path, *how, listed=False, texts=keep):
                rows = _rows(_in_order(cells, reading), reading)
                yield from pieces_of(path, rows, cells.kept(keep), first=first)
                first += len(rows)

    def files_in(self, folder: Path, spec: Spec, preprocessing: TableEncoding) -> list[Path]:
        return files_of(folder, "INPUT")

    def labelled(self, given: Any, kept: Kept, dataset: Mapping[str, Any]) -> Labelled:
        encoding, spec = cast(TableEncoding, kept.preprocessing), kept.spec
        reading = Reading.of(encoding.reading)
        if not reading.targets:  # an earlier version wrote none
            reading = replace(reading, targets=[_name(reading, dataset.get("target", ""))])
        path, limit = locate_table(TEST_PATH, one_path(given)), dataset.get("memory_limit")
        cells = _as_in_training(_read(path, reading, limit), reading)
        drop = bool(dataset.get(DROP_MISSING, False))
        cells, targets = read_targets(cells, reading, spec.classes, drop=drop)
        return Labelled(encode_rows(encoding, _rows(cells, reading), targets, spec))


def _name(reading: Reading, column: Any) -> str:
    """The name of the column that a config calls by name, or by number from 1 or from -1."""
    if isinstance(column, int) and str(column) not in reading.columns:
        return reading.columns[column - 1 if column > 0 else column]
    return str(column)


def _as_in_training(cells: Cells, reading: Reading) -> Cells:
    """With the columns that the training data had, the target among them."""
    if cells.named:
        return cells.in_order(reading.columns, needed=[*reading.used, *reading.targets])
    if len(cells.names) == len(reading.columns):
        return replace(cells, names=list(reading.columns))
    raise ConfigError(
        f"{cells.path}, row {cells.lines[0]}: its columns are {len(cells.names)}, but those of the training data "
        f"{len(reading.columns)}: {', '.join(reading.columns)}; name them in a first row, or give all in this order"
    )


def _rows(cells: Cells, reading: Reading) -> Rows:
    return read_rows(undressed_as(cells, reading.dressings), reading)


def _refuse_other_forms(path: Path) -> None:
    if form_of(path) not in FORMS:
        raise ConfigError(
            f"{path}: this run was trained on a table; give rows in one of {', '.join(FORMS)}"
        )


def _read(path: Path, reading: Reading, memory_limit: float | None = math.inf) -> Cells:
    is_header = partial(_is_header, reading)
    return read_cells(path, reading.format, is_header, memory_limit=memory_limit)


def _is_header(reading: Reading, row: str, first: list[str], below: list[list[str]]) -> bool:
    """Whether the first row has the names that training read, or half of them: some may be values as well.

    Raises:
        ConfigError: it has other names.
    """
    used = {*reading.used}
    found = used & {*as_names(first)}
    told = found == used or (
        len(found) * 2 >= len(used) and any(as_number(name) is None for name in found)
    )
    if reading.named and told:
        return True
    if reading.named and reading.skip_lines not in ("auto", 0):
        raise ConfigError(
            f"{row} does not name the columns that this run reads ({listed(sorted(used))}), and {reading.skip_lines} "
            "lines above it are left out, as in training; write the file in the same form"
        )
    verdict = judge(first, below)
    if below and verdict.header and verdict.sure:
        remedy = (
            f"but names none of the columns that this run reads: {listed(sorted(used))}"
            if reading.named
            else "but the file that this run was trained on has none; take it out"
        )
        raise ConfigError(f"{row} looks like a header, {remedy}")
    return False


def _in_order(cells: Cells, reading: Reading) -> Cells:
    """With the columns that the run reads, called by their names."""
    used = {*reading.used}
    if cells.named:
        return cells.in_order(reading.columns, needed=reading.used)
    inputs = [name for name in reading.columns if name in used]
    for names in (reading.columns, inputs):
        if len(cells.names) == len(names):
            return replace(cells, names=list(names))
    raise ConfigError(
        f"{cells.path}, row {cells.lines[0]}: its columns are {len(cells.names)}, but this run reads {len(inputs)}: "
        f"{', '.join(inputs)}; name them in a first row, or give them in this order"
    )
