"""Columns that predict a target so well that they may reveal it. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from dlrun.data.inspection.table import read_target
from dlrun.data.tables.cells import Cells
from dlrun.errors import ConfigError

MOST_TARGETS = 30  # for which leaks are looked for
_ROWS = 100_000  # that are looked at, sampled from all
_FEWEST_ROWS = 5_000  # of them, where there are many pairs of columns
_WORK = 10_000_000  # rows of all pairs
_FEWEST = 20  # rows, below which chance is as likely
_CORRELATED = 0.99
_ERRORS = 0.01  # of those that the commonest class, or the mean, makes
_BINS = 256  # of numbers
_PER_BIN = 20  # rows at least


class Leak(NamedTuple):
    """A target, a column, and how the column predicts the target."""

    target: str
    column: str
    how: str


@dataclass(frozen=True)
class _Values:
    """A column: (N,) its numbers, or None, and (N,) the group of each row."""

    numbers: np.ndarray | None
    groups: np.ndarray

    @classmethod
    def of(cls, cells: Cells, at: int) -> _Values:
        numbers = cells.columns[at].numbers(cells.notation)
        return cls(numbers, cells.columns[at].codes + 1 if numbers is None else _bins(numbers))

    def take(self, rows: np.ndarray) -> _Values:
        numbers = None if self.numbers is None else self.numbers[rows]
        return _Values(numbers, self.groups[rows])

    def reveals(self, y: np.ndarray, classes: int) -> str | None:
        """How they predict the targets (N,), if almost without error: class numbers, or numbers of 0 `classes`."""
        how = None
        if self.numbers is not None:
            how = _ranges(self.numbers, y) if classes else _correlation(self.numbers, y)
        return how or _by_group(self.groups, y, classes)


def find_leaks(
    cells: Cells, targets: Sequence[str], settings: dict[str, Any], without: Sequence[str] = ()
) -> list[Leak]:
    """For each of the `targets`, the columns that alone predict it almost without error.

    Args:
        settings: of the dataset.
        without: columns that are not looked at, such as identifiers.
    """
    most = max(_FEWEST_ROWS, _WORK // max(len(targets) * len(cells.names), 1))
    sample = cells.only(_some(len(cells), min(_ROWS, most)))
    columns = {
        name: _Values.of(sample, at) for at, name in enumerate(cells.names) if name not in without
    }
    leaks = []
    for target in targets:
        at = cells.names.index(target)
        known = np.flatnonzero(sample.columns[at].known)
        try:
            names, y = read_target(sample.only(known), at, settings)
        except ConfigError:  # of these rows alone
            continue
        for name, column in columns.items():
            if name == target or len(known) < _FEWEST:
                continue
            if how := column.take(known).reveals(y, len(names)):
                leaks.append(Leak(target, name, how))
    return leaks


def _some(rows: int, most: int) -> np.ndarray:
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng(0).choice(rows, most, replace=False))


def _correlation(x: np.ndarray, y: np.ndarray) -> str | None:
    known = np.isfinite(x) & np.isfinite(y)
    if known.sum() < _FEWEST or np.ptp(x[known]) == 0 or np.ptp(y[known]) == 0:
        return None
    found = float(np.corrcoef(x[known], y[known])[0, 1])
    return f"correlation {found:.4f}" if abs(found) > _CORRELATED else None


def _ranges(x: np.ndarray, y: np.ndarray) -> str | None:
    """Whether each class is a range of its own."""
    order = np.argsort(y, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(y[order]) > 0))
    ends = np.stack(
        [np.minimum.reduceat(x[order], starts), np.maximum.reduceat(x[order], starts)], 1
    )
    ends = ends[np.argsort(ends[:, 0])]
    apart = len(ends) > 1 and (ends[1:, 0] > ends[:-1, 1]).all()
    return "each class has a range of its own" if apart else None


def _bins(values: np.ndarray) -> np.ndarray:
    """(N,) the group of each number: itself where there are few, or else one of about equal size."""
    kinds, codes = np.unique(values, return_inverse=True)
    count = min(_BINS, max(len(values) // _PER_BIN, 1))
    if len(kinds) <= count:
        return np.asarray(codes)
    edges = np.quantile(values[~np.isnan(values)], np.linspace(0, 1, count + 1)[1:-1])
    return np.where(np.isnan(values), 0, np.searchsorted(edges, values, side="right") + 1)


def _by_group(groups: np.ndarray, y: np.ndarray, classes: int) -> str | None:
    """Whether rows of one group have one target; groups of one row prove nothing."""
    sizes = np.bincount(groups)
    repeated = sizes[groups] >= 2
    groups, y = groups[repeated], y[repeated]
    if 2 * len(groups) < len(repeated) or 5 * int((sizes >= 2).sum()) > len(groups):
        return None
    if classes:
        counts = np.bincount(groups * classes + y, minlength=len(sizes) * classes)
        table = counts.reshape(len(sizes), classes)
        wrong = float(len(y) - table.max(1).sum())
        usual = float(len(y) - np.bincount(y).max())
        share = 1 - wrong / len(y)
        said = f"determines the class in {share:.2%} of the rows"
    else:
        sums = np.bincount(groups, y, minlength=len(sizes))
        means = sums / np.maximum(np.bincount(groups, minlength=len(sizes)), 1)
        wrong, usual = float(((y - means[groups]) ** 2).sum()), float(((y - y.mean()) ** 2).sum())
        said = f"its values explain {1 - wrong / max(usual, 1e-300):.2%} of the variance"
    return said if usual > 0 and wrong <= _ERRORS * usual else None
