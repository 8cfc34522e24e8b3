"""From CSV files to a `Table`: which column is predicted, which are read and how. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from dlrun.data.columns import read_numbers, read_rows, refuse_notation, sort_columns
from dlrun.data.csv_file import Cells, read_csv
from dlrun.data.csv_form import Form
from dlrun.data.table import Fill, Reading, Rows, Table
from dlrun.errors import ConfigError
from dlrun.hints import note

Column = str | int  # by name, or by number: from 1, or from -1 at the end
TableTask = Literal["auto", "classification", "regression"]


@dataclass(frozen=True)
class Choice:
    """What is made of a file's columns; the keys of `configs/dataset/csv.yaml`."""

    target: Column
    task: TableTask
    strip_label: str
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
    cells = _with_targets(cells, target)
    features = _features(cells, target, choice.drop)
    zero = _positions(cells, "zero_is_missing", choice.zero_is_missing)
    numbers, words = sort_columns(
        cells,
        features,
        numeric=_positions(cells, "numeric", choice.numeric),
        categorical=_positions(cells, "categorical", choice.categorical),
    )
    task = _task(cells, target) if choice.task == "auto" else choice.task
    names = _class_names(cells, target, choice.strip_label) if task == "classification" else ()

    def values(part: Cells) -> tuple[Rows, np.ndarray]:
        rows = read_rows(part, numbers, words, zero_is_missing=zero)
        if task == "regression":
            return rows, read_numbers(part, target)
        return rows, _class_numbers(part, target, names, choice.strip_label)

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
        target=cells.names[target],
        strip_label=choice.strip_label,
    )
    test = _test_cells(test_path, form, cells, [*numbers, *words, target]) if test_path else None
    test_rows, test_targets = (None, None) if test is None else values(_with_targets(test, target))
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


def _positions(cells: Cells, key: str, columns: Sequence[Column]) -> list[int]:
    return [cells.position(f"dataset.{key}", column) for column in columns]


def _features(cells: Cells, target: int, drop: Sequence[Column]) -> list[int]:
    dropped = _positions(cells, "drop", drop)
    if target in dropped:
        raise ConfigError(
            f"dataset.drop names {cells.names[target]}, which dataset.target names too; leave it out of one"
        )
    features = [at for at in range(len(cells.names)) if at != target and at not in dropped]
    if not features:
        raise ConfigError(f"{cells.path} has no column left to predict {cells.names[target]} from")
    return features


def _with_targets(cells: Cells, target: int) -> Cells:
    """Without the rows that nothing can be learned from or tested on."""
    known = [row for row, cell in enumerate(cells.column(target)) if cell is not None]
    if not known:
        raise ConfigError(
            f"{cells.place(0, target)}: the value to predict is missing, in this row and all others; "
            "set dataset.target to another column"
        )
    if left_out := len(cells.rows) - len(known):
        note(
            f"{cells.path}: {left_out} of {len(cells.rows)} rows have no {cells.names[target]} "
            "and are left out"
        )
    return cells.only(known)


def _task(cells: Cells, target: int) -> TableTask:
    """Numbers are to be predicted as such, unless there are only two; words are classes."""
    values = {cells.notation.number(cell) for cell in {*cells.column(target)} if cell is not None}
    if None in values:
        refuse_notation(cells, target, "set dataset.task=classification")
    return "classification" if None in values or len(values) <= 2 else "regression"


def _labels(cells: Cells, target: int, strip: str) -> list[str]:
    return [str(cell).removesuffix(strip).rstrip() for cell in cells.column(target)]


def _class_names(cells: Cells, target: int, strip: str) -> tuple[str, ...]:
    labels = {*_labels(cells, target, strip)}
    if len(labels) < 2:
        raise ConfigError(
            f"{cells.place(0, target)}: {labels.pop()} is the value of all rows, so there is nothing to tell apart; "
            "set dataset.target to another column"
        )
    numbers = {label: cells.notation.number(label) for label in labels}
    if len(labels) == len(cells.rows) > 2:
        remedy = (
            "dataset.target to another column"
            if None in numbers.values()
            else "dataset.task=regression"
        )
        raise ConfigError(
            f"{cells.path}, column {cells.names[target]}: each of the {len(labels)} rows has a class of its own, so "
            f"none can be learned; set {remedy}"
        )
    if None in numbers.values():
        return tuple(sorted(labels))
    return tuple(sorted(labels, key=lambda label: (numbers[label], label)))


def _class_numbers(
    cells: Cells, target: int, class_names: tuple[str, ...], strip: str
) -> np.ndarray:
    numbers = {name: number for number, name in enumerate(class_names)}
    labels = _labels(cells, target, strip)
    for row, label in enumerate(labels):
        if label not in numbers:
            raise ConfigError(
                f"{cells.place(row, target)}: {label} is no class of the training file, which has "
                f"{', '.join(class_names[:10])}; mend it, or set dataset.strip_label to what stands behind it"
            )
    return np.array([numbers[label] for label in labels], np.int64)


def _test_cells(path: Path, form: Form, train: Cells, used: Sequence[int]) -> Cells:
    """The test file, its columns in the order of the training file's."""
    form = replace(form, decimal=train.notation.decimal)
    cells = read_csv(path, form if form.names else replace(form, header=train.named))
    if not train.named and len(cells.names) != len(train.names):
        raise ConfigError(
            f"{path} has {len(cells.names)} columns, but {train.path} has {len(train.names)}; make them alike"
        )
    return cells.in_order(train.names, needed=[train.names[position] for position in used])


def read_targets(
    cells: Cells, target: str, class_names: tuple[str, ...], strip_label: str
) -> tuple[Cells, np.ndarray]:
    """The rows of a file that have a target, and the targets: class numbers where there are `class_names`.

    Raises:
        ConfigError: none has one; one that is no number, or no class of the training data.
    """
    position = cells.names.index(target)
    known = _with_targets(cells, position)
    if not class_names:
        return known, read_numbers(known, position)
    return known, _class_numbers(known, position, class_names, strip_label)
