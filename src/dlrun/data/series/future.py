"""The rows of a series that are still to come: those at its end without a target. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dlrun.data.series.rows import Rows
from dlrun.data.tables.cells import Cells
from dlrun.errors import ConfigError, listed, note

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

    Of several series, those with fewer of them are left out, which is noted.

    Raises:
        ConfigError: no series has so many.
    """
    ahead = steps_to_come(cells, rows, targets)
    taken = [name for name, count in ahead.items() if count >= horizon]
    short = [f"{name} ({count})" for name, count in ahead.items() if count < horizon]
    if not taken:
        most, alone = max(ahead.values()), "" in ahead
        there = f"{most} rows" if alone else f"at most {most} rows of each series"
        raise ConfigError(
            f"{cells.path} ends with {there} without {' and '.join(targets)}, but this run needs "
            f"{horizon}: add a row for each step to be forecast, its target empty and what is known of it filled in"
        )
    if short:
        note(
            f"{cells.path}: series left out with fewer than the {horizon} rows to be forecast, without "
            f"{' and '.join(targets)}, that this run needs ({len(short)} of {len(ahead)}): {listed(short)}"
        )
    return rows.only(taken).before({name: ahead[name] - horizon for name in taken})


def refuse_unknown(
    cells: Cells, past: Rows, rows: Rows, columns: Columns, clock: str | None
) -> None:
    """Refuse columns that are known of the future without a value in the steps of `rows` after `past`.

    Args:
        columns: by name, a value for each step of `rows`.
        clock: the column of times.

    Raises:
        ConfigError: naming the column and the first step, and how many more there are.
    """
    empty = [
        (series, name, ahead)
        for series, (start, end) in rows.bounds.items()
        for name, values in columns.items()
        for ahead, value in enumerate(values[start + len(past.members[series]) : end], 1)
        if value is None or value != value
    ]
    for series, name, ahead in empty[:1]:
        of = f" of the series {series}" if series else ""
        last = "the last known target"
        if clock is not None:
            last = str(cells.cell(int(past.members[series].order[-1]), clock))
        more = f" ({len(empty)} such values)" if len(empty) > 1 else ""
        raise ConfigError(
            f"{cells.path}, column {name}: no value {ahead} step{'s' * (ahead > 1)} after {last}{of}{more}, but this "
            "run was trained with dataset.known_future and needs it in each row to be forecast; fill it in, or add "
            "the row"
        )


def padded(values: np.ndarray, before: Rows, rows: Rows) -> np.ndarray:
    """A value for each step of `rows` from those of `before`, the same series without their ends; NaN or None there."""
    total = sum(map(len, rows.members.values()))
    whole = np.full(total, None if values.dtype == object else np.nan, values.dtype)
    for name, (start, end) in before.bounds.items():
        first = rows.bounds[name][0]
        whole[first : first + end - start] = values[start:end]
    return whole
