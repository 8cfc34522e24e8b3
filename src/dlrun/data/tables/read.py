"""From files to a `Table`: which column is predicted, which are read and how. No torch here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dlrun.data.tables.cells import Cells
from dlrun.data.tables.column_checks import note_columns
from dlrun.data.tables.column_kinds import holds_values
from dlrun.data.tables.column_roles import ColumnName, ColumnRoles
from dlrun.data.tables.columns import (
    SortedColumns,
    read_rows,
    sort_columns,
    undressed,
    undressed_as,
)
from dlrun.data.tables.csv_format import CsvFormat
from dlrun.data.tables.table import Fill, RareBelow, Reading, Rows, Table
from dlrun.data.tables.table_files import read_alike, read_cells
from dlrun.data.tables.target_column import Labelling, with_targets
from dlrun.data.tables.targets import Classes, settle_targets, target_positions, target_values
from dlrun.errors import ConfigError


def read_table(
    path: Path,
    test_path: Path | None,
    format: CsvFormat,
    roles: ColumnRoles,
    labelling: Labelling,
    *,
    fill: Fill,
    rare_below: RareBelow = 0,
    memory_limit: float | None = math.inf,
) -> Table:
    """The table in `path`, with the rows of `test_path` as its test part.

    Each stays in files of the cache where it takes more memory than `memory_limit` GiB, None for half of what is free.

    Raises:
        ConfigError: a file, a column or a cell that cannot be read as `format`, `roles` and `labelling` say.
    """
    cells = read_cells(path, format, memory_limit=memory_limit)
    return table_of(
        cells,
        test_path,
        format,
        roles,
        labelling,
        fill=fill,
        rare_below=rare_below,
        memory_limit=memory_limit,
    )


def table_of(
    cells: Cells,
    test_path: Path | None,
    format: CsvFormat,
    roles: ColumnRoles,
    labelling: Labelling,
    *,
    fill: Fill,
    rare_below: RareBelow = 0,
    memory_limit: float | None = math.inf,
) -> Table:
    """As `read_table`, of a file that has been read."""
    # Numbers of a file with types are not written in any notation; other files of the same columns may be.
    decimal = "point" if cells.typed else format.decimal
    kept = format.kept(cells.notation) | ({"decimal": "auto"} if cells.typed else {})
    positions = target_positions(cells, roles.target)
    cells, targets = settle_targets(cells, positions, labelling, decimal)
    columns, zero = _sorted_columns(cells, positions, format, roles, decimal)
    dressings = {**columns.dressings, **targets.dressings}
    cells = undressed(cells, columns.dressings)

    reading = Reading(
        **kept,
        **_roles_of(cells, columns, zero),
        dressings={cells.names[at]: [found.before, found.after] for at, found in dressings.items()},
        targets=[cells.names[position] for position in positions],
        strip_label=labelling.strip_label,
        merge_labels=labelling.merge_labels,
    )

    def values(part: Cells) -> tuple[Rows, np.ndarray]:
        return read_rows(part, reading), targets.values(part, cells.notation)

    test_rows, test_targets = None, None
    if test_path:
        used = [*reading.used, *reading.targets]
        test = _test_cells(test_path, format, cells, used, memory_limit)
        test = with_targets(test, positions, drop=labelling.drop_missing_target)
        test_rows, test_targets = values(undressed(test, dressings))
    rows, train_targets = values(cells)
    return Table(
        reading=reading,
        rows=rows,
        targets=train_targets,
        class_names=targets.class_names,
        labels=targets.labels,
        test=test_rows,
        test_targets=test_targets,
        fill=fill,
        rare_below=rare_below,
    )


def _roles_of(cells: Cells, columns: SortedColumns, zero: Sequence[int]) -> dict[str, Any]:
    """What a `Reading` says of the columns that are read, by name."""
    names = cells.names
    return {
        "columns": names,
        "named": cells.named,
        "numbers": [names[at] for at in columns.numbers],
        "words": [names[at] for at in columns.words],
        "zero_is_missing": [names[at] for at in zero],
        "yes_no": [names[at] for at in columns.yes_no],
        "dates": {names[at]: dict(vars(form)) for at, form in columns.dates.items()},
        "by_value": [
            names[at] for at in columns.words if holds_values(cells.columns[at], cells.notation)
        ],
    }


def _sorted_columns(
    cells: Cells, targets: Sequence[int], format: CsvFormat, roles: ColumnRoles, decimal: str
) -> tuple[SortedColumns, list[int]]:
    """The columns that are read, remarks said, and those in which 0 stands for a missing value."""
    zero = _inputs(cells, "zero_is_missing", roles.zero_is_missing, targets)
    dropped = _inputs(cells, "drop", roles.drop, targets)
    named = {
        "numeric": _inputs(cells, "numeric", roles.numeric, targets),
        "categorical": _inputs(cells, "categorical", roles.categorical, targets),
        "dates": (dates := _inputs(cells, "dates", [*(roles.dates or {})], targets)),
        "drop": dropped,
    }
    columns = sort_columns(
        cells,
        _features(cells, targets, dropped),
        named,
        formats=dict(zip(dates, (roles.dates or {}).values(), strict=True)),
        infer=roles.infer,
        decimal=decimal,
    )
    note_columns(cells.path, len(cells), columns.remarks, columns.given, format.missing)
    return columns, zero


def _inputs(
    cells: Cells, key: str, columns: Sequence[ColumnName], targets: Sequence[int]
) -> list[int]:
    """Where the columns are that `key` names, none of which may be a target."""
    positions = [cells.position(f"dataset.{key}", column) for column in columns]
    for target in targets:
        if target in positions:
            raise ConfigError(
                f"dataset.{key} names {cells.names[target]}, which dataset.target names too; leave it out of one"
            )
    return positions


def _features(cells: Cells, targets: Sequence[int], dropped: Sequence[int]) -> list[int]:
    features = [at for at in range(len(cells.names)) if at not in targets and at not in dropped]
    if not features:
        names = ", ".join(cells.names[target] for target in targets)
        remedy = "take one out of dataset.drop" if dropped else "add one to the file"
        raise ConfigError(f"{cells.path} has no column left to predict {names} from: {remedy}")
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
    cells: Cells, reading: Reading, classes: Classes, *, drop: bool
) -> tuple[Cells, np.ndarray]:
    """The rows of a file that have all targets, and these as `target_values`.

    Raises:
        ConfigError: as `with_targets`; one that is no number, or no class of the training data.
    """
    positions = [cells.names.index(name) for name in reading.targets]
    known = undressed_as(with_targets(cells, positions, drop=drop), reading.dressings)
    labelling = Labelling.of(vars(reading))
    return known, target_values(known, positions, classes, labelling, reading.notation)
