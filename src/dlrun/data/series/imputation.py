"""Missing values of a series, filled by a rule from what was known at the time. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

FillRule = Literal["none", "forward", "linear", "mean", "zero"]


@dataclass(frozen=True)
class Known:
    """A series without gaps, as it looked at each time: a line through a gap needs the gap's end.

    Attributes:
        closed: (R, C) values where every gap is filled up to its end.
        open: (R, C) values where the end of a gap is not known yet.
        closing: (R, C) the row from which on `closed` holds.
    """

    closed: np.ndarray
    open: np.ndarray
    closing: np.ndarray

    def at(self, rows: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """The values of `rows` (...), knowing no row after `seen` (...): (..., C)."""
        if self.open is self.closed:
            return self.closed[rows]
        return np.where(self.closing[rows] <= seen[..., None], self.closed[rows], self.open[rows])


def fill(values_RC: np.ndarray, rule: FillRule, fallback_C: np.ndarray) -> Known:
    """`values_RC` with every NaN replaced.

    Rules: zero; mean (`fallback_C`, the mean of the training part); forward (the last value known);
    linear (a line to the next value once that is known, forward until then). Where there is no last
    value yet, forward and linear take `fallback_C`.
    """
    missing = np.isnan(values_RC)
    rows = np.arange(len(values_RC))[:, None]
    if rule in ("zero", "mean", "none") or not missing.any():
        plain = np.where(missing, 0.0 if rule == "zero" else fallback_C, values_RC)
        return Known(plain, plain, np.broadcast_to(rows, plain.shape))
    before = np.maximum.accumulate(np.where(missing, -1, rows), axis=0)
    left = np.where(before < 0, fallback_C, np.take_along_axis(values_RC, before.clip(0), 0))
    if rule == "forward":
        return Known(left, left, np.broadcast_to(rows, left.shape))
    return Known(*_lines(values_RC, missing, before, left))


def _lines(
    values_RC: np.ndarray, missing: np.ndarray, before: np.ndarray, left: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(closed, open, closing) of `Known`; a gap at either end of the series is never closed."""
    count, rows = len(values_RC), np.arange(len(values_RC))[:, None]
    after = np.minimum.accumulate(np.where(missing, count, rows)[::-1], axis=0)[::-1]
    between = missing & (before >= 0) & (after < count)
    right = np.take_along_axis(values_RC, after.clip(max=count - 1), 0)
    share = (rows - before) / np.maximum(after - before, 1)
    closed = np.where(between, left + (right - left) * share, left)
    return closed, left, np.where(between, after, rows)
