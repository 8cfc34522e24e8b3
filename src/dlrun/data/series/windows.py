"""A series cut into windows: what a forecast sees, what it predicts, the known values that it starts from.

Gaps are filled (imputation) from what was known at the time. An origin is the last row that a forecast sees. No
torch here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np

FillRule = Literal["none", "forward", "linear", "season", "mean", "zero"]


@dataclass(frozen=True)
class Known:
    """A series without gaps, as known at each time: a line through a gap needs the end of the gap.

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


def fill(
    values_RC: np.ndarray, rule: FillRule, fallback_C: np.ndarray, season: int | None = None
) -> Known:
    """`values_RC` with every NaN replaced.

    Rules: zero; mean (`fallback_C`, the mean of the training part); forward (the last value known);
    linear (a line to the next value once that is known, forward until then); season (the value
    `season` rows before, itself filled). Where there is no value before, these three take `fallback_C`.
    """
    missing = np.isnan(values_RC)
    rows = np.arange(len(values_RC))[:, None]
    if rule == "season":
        assert season is not None, "the rule asks for one"
        values_RC = _from_season_before(values_RC, missing, fallback_C, season)
        missing = np.zeros_like(missing)
    if rule in ("zero", "mean", "none") or not missing.any():
        plain = np.where(missing, 0.0 if rule == "zero" else fallback_C, values_RC)
        return Known(plain, plain, np.broadcast_to(rows, plain.shape))
    before = np.maximum.accumulate(np.where(missing, -1, rows), axis=0)
    left = np.where(before < 0, fallback_C, np.take_along_axis(values_RC, before.clip(0), 0))
    if rule == "forward":
        return Known(left, left, np.broadcast_to(rows, left.shape))
    return Known(*_lines(values_RC, missing, before, left))


def _from_season_before(
    values_RC: np.ndarray, missing: np.ndarray, fallback_C: np.ndarray, season: int
) -> np.ndarray:
    """`values_RC` where what is missing is as `season` rows before."""
    found = np.where(missing, fallback_C, values_RC)
    for start in range(season, len(found), season):
        rows = slice(start, start + season)
        before = found[start - season : start][: len(found[rows])]
        found[rows] = np.where(missing[rows], before, found[rows])
    return found


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


@dataclass(frozen=True)
class Cutting:
    """How a series is cut.

    Shapes: N origins, W window, H horizon, C columns, D targets among them.

    Attributes:
        window: rows that a forecast sees.
        horizon: rows that it predicts, each by outputs of its own (direct forecasts).
        difference: 1 to predict changes from the last known row, 0 for values.
        seasonal_difference: rows in a period, to predict changes from the same season's last known row.
        difference_inputs: show the targets' own columns as changes too.
    """

    window: int
    horizon: int
    difference: int
    seasonal_difference: int | None
    difference_inputs: bool

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """The cutting by those of a dataset's `settings` that are fields of it."""
        return cls(**{name: settings[name] for name in cls.__dataclass_fields__})

    @property
    def lost(self) -> int:
        """Rows before the window that its first change needs."""
        if not self.difference_inputs:
            return 0
        return self.difference + (self.seasonal_difference or 0)

    @property
    def reach(self) -> int:
        """Rows up to an origin, itself included, that a forecast there needs."""
        season = self.seasonal_difference
        if season is None:
            return max(self.window + self.lost, 1)
        # Where changes of changes are predicted, the last known row is compared with its own season, too.
        base = season * -(-self.horizon // season) + 1 if self.difference else season
        return max(self.window + self.lost, base)

    def origins(self, first: int, end: int) -> np.ndarray:
        """Every origin (N,) whose forecast is of rows from `first` up to before `end` alone."""
        return np.arange(max(first, self.reach) - 1, end - self.horizon)

    def windows(self, known: Known, origins: np.ndarray, targets: Sequence[int]) -> np.ndarray:
        """The window at each origin, as known then: (N, W, C), `targets` as changes where asked for."""
        rows = origins[:, None] + np.arange(1 - self.window - self.lost, 1)
        seen = np.broadcast_to(origins[:, None], rows.shape)
        values = known.at(rows, seen)
        if not self.lost:
            return values
        changes = values[:, :, targets]
        if self.difference:
            changes = changes[:, 1:] - changes[:, :-1]
        if season := self.seasonal_difference:
            changes = changes[:, season:] - changes[:, :-season]
        values = values[:, self.lost :]
        values[:, :, targets] = changes
        return values

    def bases(self, known: Known, origins: np.ndarray) -> np.ndarray:
        """The known values that the predicted changes start from, (N, H, C); zeros where values are predicted."""
        seasonal = self.seasonal_difference
        if seasonal is None:
            last = known.at(origins, origins)[:, None]
            return last.repeat(self.horizon, 1) * self.difference
        same = seasons_before(known, origins, self.horizon, seasonal)
        if not self.difference:
            return same
        # (1 - B)(1 - B^m) y for one step: the same season's value and by how much it is surpassed now.
        periods = -(-np.arange(1, self.horizon + 1) // seasonal)
        rows = origins[:, None] - seasonal * periods
        seen = np.broadcast_to(origins[:, None], rows.shape)
        return same + known.at(origins, origins)[:, None] - known.at(rows, seen)

    def rows_after(self, known: Known, origins: np.ndarray) -> np.ndarray:
        """The rows of the horizon after each origin, as known at their end, (N, H, C)."""
        rows = origins[:, None] + np.arange(1, self.horizon + 1)
        return known.at(rows, np.broadcast_to(origins[:, None] + self.horizon, rows.shape))

    def values_after(self, known: Known, origins: np.ndarray, end: int) -> np.ndarray:
        """The values of the horizon after each origin, (N, H, C), with gaps filled from rows before `end`."""
        rows = origins[:, None] + np.arange(1, self.horizon + 1)
        return known.at(rows, np.full(rows.shape, end - 1))


def seasons_before(known: Known, origins: np.ndarray, horizon: int, season: int) -> np.ndarray:
    """The last known value of the same season as each row to come, (N, horizon, C)."""
    steps = np.arange(1, horizon + 1)
    rows = origins[:, None] + steps - season * -(-steps // season)
    return known.at(rows, np.broadcast_to(origins[:, None], rows.shape))
