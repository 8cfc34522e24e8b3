"""The columns that are predicted: quantities, the classes of one column, or yes and no of several. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np

from dlrun.data.tables.cells import Cells
from dlrun.data.tables.column_roles import ColumnName
from dlrun.data.tables.columns import read_numbers, undressed
from dlrun.data.tables.number_format import Dressing, Notation
from dlrun.data.tables.target_column import (
    Labelling,
    class_names,
    dressing_of_target,
    numbers_of_classes,
    with_targets,
    words_for_missing,
)
from dlrun.errors import ConfigError

_KEY = "dataset.target"
Classes = Sequence[Sequence[str]]  # of each target, in their order; empty of quantities


@dataclass(frozen=True)
class Targets:
    """How the columns that are predicted are read.

    Attributes:
        positions: where they stand.
        labelling: with the task settled.
        dressings: what stands around the numbers of some of them, by position.
        classes: of one target all its classes, of several the two of each; () of quantities.
    """

    positions: list[int]
    labelling: Labelling
    dressings: dict[int, Dressing]
    classes: tuple[tuple[str, ...], ...]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes of a single target; () of quantities and of several targets."""
        return self.classes[0] if len(self.classes) == 1 else ()

    @property
    def labels(self) -> tuple[str, ...]:
        """As `Spec.labels`."""
        pairs = self.classes if len(self.classes) > 1 else ()
        return tuple(label for pair in pairs for label in pair)

    def values(self, cells: Cells, of_names: Notation) -> np.ndarray:
        """As `target_values`."""
        return target_values(cells, self.positions, self.classes, self.labelling, of_names)


def target_positions(cells: Cells, target: ColumnName | list[ColumnName]) -> list[int]:
    """Where the columns are that `dataset.target` names.

    Raises:
        ConfigError: none, one that there is not, or one twice.
    """
    columns = target if isinstance(target, list) else [target]
    if not columns:
        raise ConfigError(f"{_KEY} is an empty list, but must name a column to predict")
    found = [cells.position(_KEY, column) for column in columns]
    if twice := [at for at in found if found.count(at) > 1]:
        raise ConfigError(f"{_KEY} names {cells.names[twice[0]]} twice; give a column for each")
    return found


def settle_targets(
    cells: Cells, positions: Sequence[int], labelling: Labelling, decimal: str
) -> tuple[Cells, Targets]:
    """The rows that have all targets, without units around them, and how these are read.

    Raises:
        ConfigError: as `with_targets`; quantities and classes, or more than two classes, among several targets; what a
            single one is refused for.
    """
    blanks = words_for_missing(cells, positions)
    cells = with_targets(cells, positions, drop=labelling.drop_missing_target)
    dressings: dict[int, Dressing] = {}
    for at in positions:
        if found := dressing_of_target(cells, at, labelling.task):
            dressings[at] = found
    cells = undressed(cells, dressings)
    tasks = [labelling.settled(cells, at, decimal).task for at in positions]
    if len({*tasks}) > 1:
        _refuse_mixture(cells, positions, tasks.index("regression"), tasks.index("classification"))
    labelling = replace(labelling, task=tasks[0])
    classes: tuple[tuple[str, ...], ...] = ()
    if labelling.task == "classification":
        classes = tuple(class_names(cells, at, labelling, blanks) for at in positions)
    for at, names in zip(positions, classes, strict=bool(classes)):
        if len(positions) > 1 and len(names) > 2:
            raise ConfigError(
                f"{cells.path}: {_KEY} names {cells.names[at]}, which has {len(names)} classes, but several targets "
                "must be quantities, or have two classes each; predict it in a run of its own"
            )
    return cells, Targets(list(positions), labelling, dressings, classes)


def target_values(
    cells: Cells,
    positions: Sequence[int],
    classes: Classes,
    labelling: Labelling,
    of_names: Notation,
) -> np.ndarray:
    """(N,) of one target, (N, D) of several: numbers of classes where there are any, quantities otherwise.

    Args:
        of_names: how numbers are written in the names of the classes.

    Raises:
        ConfigError: no number, or a label that is none of the `classes`, with row and column.
    """
    if classes:
        pairs = zip(positions, classes, strict=True)
        found = [numbers_of_classes(cells, at, names, labelling, of_names) for at, names in pairs]
    else:
        found = [read_numbers(cells, at) for at in positions]
    return found[0] if len(found) == 1 else np.stack(found, 1)


def _refuse_mixture(
    cells: Cells, positions: Sequence[int], quantity: int, of_classes: int
) -> NoReturn:
    numbers = all(cells.columns[at].numbers(cells.notation) is not None for at in positions)
    remedy = "set dataset.task=regression where all are quantities, or " if numbers else ""
    raise ConfigError(
        f"{cells.path}: {_KEY} names {cells.names[positions[quantity]]}, which holds quantities, and "
        f"{cells.names[positions[of_classes]]}, which holds classes; {remedy}predict each kind in a run of its own"
    )
