"""New rows of a table, read from a CSV file by the names of their columns or in their order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dlrun.data.columns import read_rows, undressed_as
from dlrun.data.csv_file import Cells, read_csv
from dlrun.data.csv_form import Form
from dlrun.data.table import Reading, Rows
from dlrun.data.table_encoding import TableEncoding
from dlrun.errors import ConfigError

_SUFFIXES = (".csv", ".tsv", ".txt", ".data", ".gz")


def read_table_rows(path: Path, encoding: TableEncoding) -> Rows:
    """The rows in a file, raw cells as in the data set, with or without the column that is predicted.

    Raises:
        ConfigError: unreadable, a column is not there, or a cell of numbers holds none, with row and column.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise ConfigError(f"{path}: this run was trained on a table; give a .csv of rows")
    reading = Reading(**encoding.reading)
    cells = _in_order(_read(path, reading), reading)
    numbers, words, zero = (
        [cells.names.index(name) for name in names]
        for names in (reading.numbers, reading.words, reading.zero_is_missing)
    )
    cells = undressed_as(cells, reading.dressings)
    return read_rows(cells, numbers, words, zero_is_missing=zero)


def _read(path: Path, reading: Reading) -> Cells:
    """With a header where the first row has any of the names."""
    form = Form(
        False,
        reading.delimiter,
        reading.encoding,
        reading.missing,
        decimal=reading.decimal,
        thousands=reading.thousands,
    )
    cells = read_csv(path, form)
    used = {*reading.numbers, *reading.words}
    if reading.named and used & {*cells.rows[0]}:
        return read_csv(path, replace(form, header=True))
    return cells


def _in_order(cells: Cells, reading: Reading) -> Cells:
    """With the columns that the run reads, called by their names."""
    used = {*reading.numbers, *reading.words}
    if cells.named:
        return cells.in_order(reading.columns, needed=[*reading.numbers, *reading.words])
    inputs = [name for name in reading.columns if name in used]
    for names in (reading.columns, inputs):
        if len(cells.names) == len(names):
            return replace(cells, names=list(names))
    raise ConfigError(
        f"{cells.path}, row {cells.lines[0]}: its columns are {len(cells.names)}, but this run reads {len(inputs)}: "
        f"{', '.join(inputs)}; name them in a first row, or give them in this order"
    )
