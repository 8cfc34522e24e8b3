"""From CSV files to a `Table`: which column is predicted, which are read and how. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from dlrun.data.tables.column_checks import note_columns
from dlrun.data.tables.columns import read_numbers, read_rows, sort_columns, undressed, undressed_as
from dlrun.data.tables.csv import Cells, read_csv
from dlrun.data.tables.csv_format import Form
from dlrun.data.tables.headers import judge
from dlrun.data.tables.table import Fill, Reading, Rows, Table
from dlrun.data.tables.target_column import (
    Labelling,
    TableTask,
    class_names,
    dressing_of_target,
    numbers_of_classes,
    task_of,
    with_targets,
)
from dlrun.errors import ConfigError

Column = str | int  # by name, or by number: from 1, or from -1 at the end


@dataclass(frozen=True)
class Choice:
    """What is made of a file's columns; the keys of `configs/dataset/csv.yaml`."""

    target: Column
    task: TableTask
    labelling: Labelling
    drop: Sequence[Column]
    categorical: Sequence[Column]
    numeric: Sequence[Column]
    zero_is_missing: Sequence[Column]
    fill: Fill
    folds: int | None
    fold: int


def read_table(path: Path, test_path: Path | None, form: Form, choice: Choice) -> Table:
    """The table in `path`, with the rows of `test_path` as its test part.

    Rows whose target is missing are left out, and counted in a line on the screen.

    Raises:
        ConfigError: a file, a column or a cell that cannot be read as `form` and `choice` say.
    """
    cells = read_csv(path, form)
    target = cells.position("dataset.target", choice.target)
    cells = with_targets(cells, target)
    zero = _inputs(cells, "zero_is_missing", choice.zero_is_missing, target)
    dropped = _inputs(cells, "drop", choice.drop, target)
    columns = sort_columns(
        cells,
        _features(cells, target, dropped),
        numeric=_inputs(cells, "numeric", choice.numeric, target),
        categorical=_inputs(cells, "categorical", choice.categorical, target),
        dropped=dropped,
        decimal=form.decimal,
    )
    note_columns(path, len(cells.rows), columns.remarks, columns.given, form.missing)
    numbers, words, dressings = columns.numbers, columns.words, dict(columns.dressings)
    if of_target := dressing_of_target(cells, target, choice.task):
        dressings[target] = of_target
    cells = undressed(cells, dressings)
    task = task_of(cells, target, form.decimal) if choice.task == "auto" else choice.task
    names = class_names(cells, target, choice.labelling) if task == "classification" else ()

    def values(part: Cells) -> tuple[Rows, np.ndarray]:
        rows = read_rows(part, numbers, words, zero_is_missing=zero)
        if task == "regression":
            return rows, read_numbers(part, target)
        return rows, numbers_of_classes(part, target, names, choice.labelling)

    reading = Reading(
        columns=cells.names,
        named=cells.named,
        numbers=[cells.names[position] for position in numbers],
        words=[cells.names[position] for position in words],
        zero_is_missing=[cells.names[position] for position in zero],
        missing=list(form.missing),
        delimiter=form.delimiter,
        encoding=form.encoding,
        decimal=cells.notation.decimal,
        thousands=cells.notation.thousands,
        skip_lines=form.skip_lines,
        comment=form.comment,
        dressings={cells.names[at]: [found.before, found.after] for at, found in dressings.items()},
        target=cells.names[target],
        strip_label=choice.labelling.strip,
        merge_labels=choice.labelling.merge,
    )
    test_rows, test_targets = None, None
    if test_path:
        test = _test_cells(test_path, form, cells, [*numbers, *words, target])
        test_rows, test_targets = values(undressed(with_targets(test, target), dressings))
    return Table(
        reading,
        *values(cells),
        names,
        test_rows,
        test_targets,
        choice.fill,
        choice.folds,
        choice.fold,
    )


def _inputs(cells: Cells, key: str, columns: Sequence[Column], target: int) -> list[int]:
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


def _test_cells(path: Path, form: Form, train: Cells, used: Sequence[int]) -> Cells:
    """The test file, its columns in the order of the training file's."""
    form = replace(form, decimal=train.notation.decimal)
    if form.names or not train.named:
        cells = read_csv(path, form, partial(_refuse_header, train.path))
    else:
        cells = read_csv(path, replace(form, header=True))
    if not train.named and len(cells.names) != len(train.names):
        raise ConfigError(
            f"{path} has {len(cells.names)} columns, but {train.path} has {len(train.names)}; make them alike"
        )
    return cells.in_order(train.names, needed=[train.names[position] for position in used])


def _refuse_header(train: Path, row: str, first: list[str], below: list[list[str]]) -> bool:
    verdict = judge(first, below)
    if verdict.header and verdict.sure:
        raise ConfigError(
            f"{row} looks like a header, but none was found in {train}: take it out, or set dataset.header=true "
            "if both have one"
        )
    return False


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
    labelling = Labelling(reading.strip_label, reading.merge_labels)
    return known, numbers_of_classes(known, position, class_names, labelling)
