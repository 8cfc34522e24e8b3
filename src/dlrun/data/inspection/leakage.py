"""Columns that predict the target so well that they may reveal it. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dlrun.data.tables.csv import Cells

_ROWS = 100_000  # that are looked at, sampled from all
_FEWEST = 20  # rows, below which chance is as likely
_CORRELATED = 0.99
_ERRORS = 0.01  # of those that the commonest class, or the mean, makes
_BINS = 256  # of numbers
_PER_BIN = 20  # rows at least


class Leak(NamedTuple):
    """A column, and how it predicts the target."""

    column: str
    how: str


def find_leaks(
    cells: Cells, target: int, targets: np.ndarray, classes: int, without: Sequence[str] = ()
) -> list[Leak]:
    """The columns that alone predict the target almost without error.

    Args:
        targets: (N,) of all rows: class numbers, or numbers where there are no `classes`.
        without: columns that are not looked at, such as identifiers.
    """
    rows = np.arange(len(cells))
    if len(rows) > _ROWS:
        rows = np.sort(np.random.default_rng(0).choice(rows, _ROWS, replace=False))
    if len(rows) < _FEWEST:
        return []
    sample, y = cells.only(rows), targets[rows]
    found = []
    for at, name in enumerate(cells.names):
        if at == target or name in without:
            continue
        values = sample.columns[at].numbers(sample.notation)
        how = None
        if values is not None:
            how = _ranges(values, y, classes) if classes else _correlation(values, y)
        if how is None:
            groups = sample.columns[at].codes + 1 if values is None else _bins(values)
            how = _by_group(groups, y, classes)
        if how:
            found.append(Leak(name, how))
    return found


def _correlation(x: np.ndarray, y: np.ndarray) -> str | None:
    known = np.isfinite(x) & np.isfinite(y)
    if known.sum() < _FEWEST or np.ptp(x[known]) == 0 or np.ptp(y[known]) == 0:
        return None
    found = float(np.corrcoef(x[known], y[known])[0, 1])
    return f"correlation {found:.4f}" if abs(found) > _CORRELATED else None


def _ranges(x: np.ndarray, y: np.ndarray, classes: int) -> str | None:
    """Whether each class is a range of its own."""
    ends = np.array(
        [(np.min(x[y == one]), np.max(x[y == one])) for one in range(classes) if (y == one).any()]
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
