"""From files to a `Table`: which column is predicted, which are read and how. No torch here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dlrun.data.tables.column_checks import note_columns
from dlrun.data.tables.column_roles import ColumnName, ColumnRoles
from dlrun.data.tables.columns import (
    SortedColumns,
    read_numbers,
    read_rows,
    sort_columns,
    undressed,
    undressed_as,
)
from dlrun.data.tables.csv import Cells
from dlrun.data.tables.csv_format import CsvFormat
from dlrun.data.tables.table import Fill, Reading, Rows, Table
from dlrun.data.tables.table_files import read_alike, read_cells
from dlrun.data.tables.target_column import (
    Labelling,
    class_names,
    dressing_of_target,
    numbers_of_classes,
    with_targets,
)
from dlrun.errors import ConfigError


def read_table(
    path: Path,
    test_path: Path | None,
    format: CsvFormat,
    roles: ColumnRoles,
    labelling: Labelling,
    *,
    fill: Fill,
    folds: int | None = None,
    fold: int = 0,
    memory_limit: float | None = math.inf,
) -> Table:
    """The table in `path`, with the rows of `test_path` as its test part.

    Each stays in files of the cache where it takes more memory than `memory_limit` GiB, None for half of what is free.
    Rows whose target is missing are left out, and counted in a line on the screen.

    Raises:
        ConfigError: a file, a column or a cell that cannot be read as `format` and `roles` say.
    """
    cells = read_cells(path, format, memory_limit=memory_limit)
    how = (test_path, format, roles, labelling)
    return table_of(cells, *how, fill=fill, folds=folds, fold=fold, memory_limit=memory_limit)


def table_of(
    cells: Cells,
    test_path: Path | None,
    format: CsvFormat,
    roles: ColumnRoles,
    labelling: Labelling,
    *,
    fill: Fill,
    folds: int | None = None,
    fold: int = 0,
    memory_limit: float | None = math.inf,
) -> Table:
    """As `read_table`, of a file that has been read."""
    if cells.typed:
        format = replace(format, decimal="point")
    assert not isinstance(roles.target, list), "a table has one target"
    target = cells.position("dataset.target", roles.target)
    blanks = cells.columns[target].blanks()
    cells = with_targets(cells, target)
    columns, zero = _sorted_columns(cells, target, format, roles)
    dressings = dict(columns.dressings)
    if of_target := dressing_of_target(cells, target, labelling.task):
        dressings[target] = of_target
    cells = undressed(cells, dressings)
    labelling = labelling.settled(cells, target, format.decimal)
    classes = labelling.task == "classification"
    names = class_names(cells, target, labelling, blanks) if classes else ()

    reading = Reading(
        columns=cells.names,
        named=cells.named,
        numbers=[cells.names[position] for position in columns.numbers],
        words=[cells.names[position] for position in columns.words],
        zero_is_missing=[cells.names[position] for position in zero],
        **format.kept(cells.notation),
        dressings={cells.names[at]: [found.before, found.after] for at, found in dressings.items()},
        target=cells.names[target],
        strip_label=labelling.strip_label,
        merge_labels=labelling.merge_labels,
        yes_no=[cells.names[position] for position in columns.yes_no],
        dates={cells.names[at]: dict(vars(form)) for at, form in columns.dates.items()},
    )

    def values(part: Cells) -> tuple[Rows, np.ndarray]:
        rows = read_rows(part, reading)
        if labelling.task == "regression":
            return rows, read_numbers(part, target)
        return rows, numbers_of_classes(part, target, names, labelling)

    test_rows, test_targets = None, None
    if test_path:
        used = [*reading.used, reading.target]
        test = _test_cells(test_path, format, cells, used, memory_limit)
        test_rows, test_targets = values(undressed(with_targets(test, target), dressings))
    return Table(reading, *values(cells), names, test_rows, test_targets, fill, folds, fold)


def _sorted_columns(
    cells: Cells, target: int, format: CsvFormat, roles: ColumnRoles
) -> tuple[SortedColumns, list[int]]:
    """The columns that are read, remarks said, and those in which 0 stands for a missing value."""
    zero = _inputs(cells, "zero_is_missing", roles.zero_is_missing, target)
    dropped = _inputs(cells, "drop", roles.drop, target)
    named = {
        "numeric": _inputs(cells, "numeric", roles.numeric, target),
        "categorical": _inputs(cells, "categorical", roles.categorical, target),
        "dates": (dates := _inputs(cells, "dates", [*(roles.dates or {})], target)),
        "drop": dropped,
    }
    columns = sort_columns(
        cells,
        _features(cells, target, dropped),
        named,
        formats=dict(zip(dates, (roles.dates or {}).values(), strict=True)),
        infer=roles.infer,
        decimal=format.decimal,
    )
    note_columns(cells.path, len(cells), columns.remarks, columns.given, format.missing)
    return columns, zero


def _inputs(cells: Cells, key: str, columns: Sequence[ColumnName], target: int) -> list[int]:
    """Where the columns are that `key` names, none of which may be the target."""
    positions = [cells.position(f"dataset.{key}", column) for column in columns]
    if target in positions:
        raise ConfigError(
            f"dataset.{key} names {cells.names[target]}, which dataset.target names too; leave it out of one"
        )
    return positions


def _features(cells: Cells, target: int, dropped: Sequence[int]) -> list[int]:
    features = [at for at in range(len(cells.names)) if at != target and at not in dropped]
    if not features:
        raise ConfigError(f"{cells.path} has no column left to predict {cells.names[target]} from")
    return features


def _test_cells(
    path: Path,
    format: CsvFormat,
    train: Cells,
    used: Sequence[str],
    memory_limit: float | None,
) -> Cells:
    """The test file, its columns in the order of the training file's."""
    cells = read_alike(path, format, train, memory_limit=memory_limit)
    if not train.named and len(cells.names) != len(train.names):
        raise ConfigError(
            f"{path} has {len(cells.names)} columns, but {train.path} has {len(train.names)}; make them alike"
        )
    return cells.in_order(train.names, needed=used)


def read_targets(
    cells: Cells, reading: Reading, class_names: tuple[str, ...]
) -> tuple[Cells, np.ndarray]:
    """The rows of a file that have a target, and the targets: class numbers where there are `class_names`.

    Raises:
        ConfigError: none has one; one that is no number, or no class of the training data.
    """
    position = cells.names.index(reading.target)
    known = undressed_as(with_targets(cells, position), reading.dressings)
    if not class_names:
        return known, read_numbers(known, position)
    return known, numbers_of_classes(known, position, class_names, Labelling.of(vars(reading)))
