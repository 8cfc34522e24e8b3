"""A table that names image files, and what is to be predicted of each. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from dlrun.data.files import part_named
from dlrun.data.fingerprint import PARTS
from dlrun.data.tables.cells import Cells
from dlrun.data.tables.column_roles import ColumnName
from dlrun.data.tables.columns import undressed_as
from dlrun.data.tables.csv import read_csv
from dlrun.data.tables.csv_format import CsvFormat, SkipLines
from dlrun.data.tables.number_format import Notation
from dlrun.data.tables.target_column import Labelling, with_targets
from dlrun.data.tables.targets import (
    Classes,
    Targets,
    settle_targets,
    target_positions,
    target_values,
)
from dlrun.errors import ConfigError, listed, note

_FEW = 10  # different whole numbers, up to which they are classes
_ROWS = 5  # of each of them on average, from which on they are


@dataclass(frozen=True)
class LabelColumns:
    """The columns of a table of images; each field is a setting of `dataset=image_table`."""

    image: ColumnName
    target: ColumnName | list[ColumnName]
    split_column: ColumnName | None

    def positions(self, cells: Cells) -> tuple[int, list[int], int | None]:
        """Where the images are named, where the targets stand, and where the parts.

        Raises:
            ConfigError: no such column, no target, or one column for two purposes.
        """
        image = cells.position("dataset.image", self.image)
        split = None
        if self.split_column is not None:
            split = cells.position("dataset.split_column", self.split_column)
        found = target_positions(cells, self.target)
        named = [("dataset.image", image), *(("dataset.target", target) for target in found)]
        if split is not None:
            named.append(("dataset.split_column", split))
        keys: dict[int, str] = {}
        for key, position in named:
            if position in keys:
                raise ConfigError(
                    f"{keys[position]} and {key} both name {cells.names[position]}; give a column for each"
                )
            keys[position] = key
        return image, found, split


@dataclass(frozen=True)
class LabelReading:
    """How more tables are read as the table of the training images was; plain values.

    Attributes:
        image, targets: the columns, by name.
        root: the folder of the images where a setting names it.
        dressings: what stands before and after the numbers of a target.
        header, missing and so on: as in `CsvFormat`.
    """

    image: str
    targets: list[str]
    root: str | None
    header: bool
    missing: list[str]
    delimiter: str
    encoding: str
    decimal: str = "point"
    thousands: str = "none"
    skip_lines: SkipLines = 0
    comment: str | None = None
    dressings: dict[str, list[str]] = field(default_factory=dict)
    merge_labels: bool = False


@dataclass(frozen=True)
class Labels:
    """The rows of a table of images.

    Attributes:
        cells: of the table; its rows are those that have a target.
        image: where the column of image names stands.
        targets: (N,) class numbers, or (N, D) quantities or those of several targets; (N, 0) where they are not read.
        parts: (N,) train, val or test, where a column says so.
    """

    cells: Cells
    image: int
    targets: np.ndarray
    parts: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def names(self) -> list[str | None]:
        """(N,) what the image of each row is called."""
        return self.cells.columns[self.image].as_list

    def place(self, row: int) -> str:
        """Where the name of an image stands, for an error."""
        return self.cells.place(row, self.image)

    def take(self, rows: np.ndarray) -> Labels:
        """These rows."""
        parts = None if self.parts is None else self.parts[rows]
        return Labels(self.cells.only(rows), self.image, self.targets[rows], parts)


def read_labels(
    path: Path, format: CsvFormat, columns: LabelColumns, labelling: Labelling, root: str | None
) -> tuple[LabelReading, Labels, Targets]:
    """The table in a file, how it was read, and its targets.

    Raises:
        ConfigError: a file, a column or a cell that cannot be read as the settings say.
    """
    cells = read_csv(path, format)
    image, positions, split = columns.positions(cells)
    if len(positions) == 1:
        labelling = _few_are_classes(cells, positions[0], labelling)
    cells, targets = settle_targets(cells, positions, labelling, format.decimal)
    dressings = targets.dressings
    reading = LabelReading(
        image=cells.names[image],
        targets=[cells.names[target] for target in positions],
        root=root,
        header=cells.named,
        **format.kept(cells.notation),
        dressings={cells.names[at]: [found.before, found.after] for at, found in dressings.items()},
        merge_labels=labelling.merge_labels,
    )
    parts = None if split is None else _parts(cells, split)
    values = _as_rows(targets.values(cells, cells.notation), targets.classes)
    return reading, Labels(cells, image, values, parts), targets


def read_more(
    path: Path, reading: LabelReading, classes: Classes, *, drop_missing_target: bool
) -> Labels:
    """The rows of another table with their targets, read as the training table was.

    Raises:
        ConfigError: as `read_labels`, or a class that the training table did not have.
    """
    rows = read_names(path, reading)
    cells = rows.cells
    found = [
        cells.position("dataset.target", _column(reading, target)) for target in reading.targets
    ]
    cells = with_targets(cells, found, drop=drop_missing_target)
    cells = undressed_as(cells, reading.dressings)
    labelling = Labelling(merge_labels=reading.merge_labels)
    notation = Notation(reading.decimal, reading.thousands)
    values = target_values(cells, found, classes, labelling, notation)
    return Labels(cells, rows.image, _as_rows(values, classes))


def read_names(path: Path, reading: LabelReading) -> Labels:
    """The rows of another table without their targets: the names of images.

    Raises:
        ConfigError: as `read_labels`.
    """
    cells = read_csv(path, CsvFormat.of(vars(reading)))
    image = cells.position("dataset.image", _column(reading, reading.image))
    return Labels(cells, image, np.empty((len(cells), 0)))


def _column(reading: LabelReading, name: str) -> ColumnName:
    """A column as a setting calls it: without a header it is a number."""
    return name if reading.header else int(name)


def _few_are_classes(cells: Cells, target: int, labelling: Labelling) -> Labelling:
    """The task where none is set: of images, a few whole numbers are classes, as those of most tables of images are."""
    values = cells.columns[target].numbers(cells.notation)
    if labelling.task != "auto" or values is None:
        return labelling
    values = values[~np.isnan(values)]
    kinds = len(np.unique(values))
    if not (
        2 < kinds <= _FEW and len(values) >= _ROWS * kinds and (values == values.round()).all()
    ):
        return labelling
    note(
        f"{cells.path}: column {cells.names[target]}, the target, has {kinds} whole numbers, read as classes; "
        "dataset.task=regression makes them quantities"
    )
    return replace(labelling, task="classification")


def _as_rows(values: np.ndarray, classes: Classes) -> np.ndarray:
    """Quantities of one target as those of several, (N, 1)."""
    return values if classes else values.reshape(len(values), -1)


def _parts(cells: Cells, split: int) -> np.ndarray:
    """(N,) the part of each row.

    Raises:
        ConfigError: a cell that names none, or no row to train on.
    """
    column = cells.columns[split]
    parts: Mapping[str, Any] = {word: part_named(word) for word in column.distinct}
    wrong = [word for word, part in parts.items() if part is None]
    if wrong or not column.known.all():
        row = column.row_of(wrong[0]) if wrong else int((~column.known).argmax())
        said = wrong[0] if wrong else "empty"
        raise ConfigError(
            f"{cells.place(row, split)}: {said} is no part of the data; write {', '.join(PARTS)} there, or set "
            "dataset.split_column=null"
        )
    found = np.array([parts[word] for word in column.distinct])[column.codes]
    if not (found == "train").any():
        raise ConfigError(
            f"{cells.path}: column {cells.names[split]}, which dataset.split_column names, has {listed(parts)} alone, "
            "and no row to train on; write train there"
        )
    return found
