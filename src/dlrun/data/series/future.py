"""The rows of a series that are still to come: those at its end without a target. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dlrun.data.series.rows import Rows
from dlrun.data.tables.cells import Cells
from dlrun.errors import ConfigError, note

Columns = Mapping[str, Sequence[object] | np.ndarray]


def steps_to_come(cells: Cells, rows: Rows, targets: Sequence[str]) -> dict[str, int]:
    """How many steps each series has after the last one in which a target is known."""
    known = np.zeros(len(cells), bool)
    for name in targets:
        known |= cells.columns[cells.names.index(name)].known
    found = {}
    for name, member in rows.members.items():
        places = np.arange(len(member)) if member.places is None else member.places
        told = places[known[member.order]]
        found[name] = len(member) - (int(told[-1]) + 1 if len(told) else 0)
    return found


def without_future(cells: Cells, rows: Rows, targets: Sequence[str]) -> Rows:
    """The rows up to the last known target of each series; a note counts the others."""
    ahead = steps_to_come(cells, rows, targets)
    if count := sum(ahead.values()):
        note(f"{cells.path}: {count:,} rows at the end without a target are taken as still to come")
    return rows.before(ahead)


def with_horizon(cells: Cells, rows: Rows, targets: Sequence[str], horizon: int) -> Rows:
    """The rows up to `horizon` steps after the last known target of each series.

    Raises:
        ConfigError: a series has fewer of them.
    """
    ahead = steps_to_come(cells, rows, targets)
    for name, count in ahead.items():
        if count < horizon:
            of = f" of the series {name}" if name else ""
            raise ConfigError(
                f"{cells.path} ends with {count} rows{of} without {' and '.join(targets)}, but this run needs "
                f"{horizon}: add a row for each step to be forecast, its target empty and what is known of it filled in"
            )
    return rows.before({name: count - horizon for name, count in ahead.items()})


def refuse_unknown(cells: Cells, rows: Rows, columns: Columns, horizon: int) -> None:
    """Refuse columns that are known of the future without a value there.

    Args:
        columns: by name, a value for each step of `rows`.

    Raises:
        ConfigError: naming the column and the step.
    """
    for series, (_, end) in rows.bounds.items():
        for name, values in columns.items():
            for ahead, value in enumerate(values[end - horizon : end], 1):
                if value is None or value != value:
                    of = f" of the series {series}" if series else ""
                    raise ConfigError(
                        f"{cells.path}, column {name}: it is empty {ahead} steps after the last known target{of}, but "
                        "this run was trained with dataset.known_future and needs it there; fill it in"
                    )


def padded(values: np.ndarray, before: Rows, rows: Rows) -> np.ndarray:
    """A value for each step of `rows` from those of `before`, the same series without their ends; NaN or None there."""
    total = sum(map(len, rows.members.values()))
    whole = np.full(total, None if values.dtype == object else np.nan, values.dtype)
    for name, (start, end) in before.bounds.items():
        first = rows.bounds[name][0]
        whole[first : first + end - start] = values[start:end]
    return whole
