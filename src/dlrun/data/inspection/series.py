"""What is in a series: its step, gaps, repeated and unsorted times, and its seasons. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from dlrun.data.series.steps import Steps, steps_of
from dlrun.data.series.time_column import detected_times, read_times
from dlrun.data.tables.csv import Cells
from dlrun.data.times import Times
from dlrun.errors import ConfigError, collected_notes

_LOOKED_AT = 2000  # rows, by which a table is found to be a series
_ORDERED = 0.9  # of its steps go one way
_SEASONAL = 0.3  # correlation
_DIP = 0.1  # between a season's peak and what is before it
_FEWEST = 16  # rows with seasons
_LONGEST_SEASON = 5000  # rows


@dataclass(frozen=True)
class SeriesReport:
    """A series.

    Attributes:
        format: how the times are written.
        step: how far apart rows are, in words.
        gaps: by the time before it, how many rows are missing.
        repeated: rows whose time stands above as well.
        unsorted: rows that come before the row above them.
        seasons: by column, rows in a period, the strongest first.
    """

    rows: int
    time: str
    format: str
    first: str
    last: str
    step: str
    gaps: dict[str, int]
    repeated: int
    unsorted: int
    seasons: dict[str, list[int]]

    @property
    def missing_steps(self) -> int:
        """How many rows are missing in all gaps."""
        return sum(self.gaps.values())


def time_column(cells: Cells, dates: Sequence[str]) -> str | None:
    """Which of the columns of `dates` orders the rows of a series; None where they are rows of a table."""
    head = cells.only(np.arange(min(len(cells), _LOOKED_AT)))
    for name in dates:
        times = None
        with suppress(ConfigError), collected_notes():
            times = detected_times(head, name)
        if times is None or len(times.values) < 3:
            continue
        if 2 * len(np.unique(times.values)) < len(times.values):
            continue
        apart = np.diff(times.values)
        if max((apart > 0).mean(), (apart < 0).mean()) >= _ORDERED:
            return name
    return None


def inspect_series(
    cells: Cells, time: str, time_format: str, columns: Sequence[str]
) -> SeriesReport:
    """What is in `cells`, ordered by the column `time`; seasons are looked for in `columns` of numbers.

    Raises:
        ConfigError: a cell of `time` that is no time.
    """
    with collected_notes():
        times = read_times(cells, time, time_format)
    order = np.argsort(times.values, kind="stable")
    steps = steps_of(times, order)
    kept = order[np.append(True, np.diff(times.values[order]) > 0)]
    seasons = {}
    for name in columns:
        values = cells.columns[cells.names.index(name)].numbers(cells.notation)
        if values is not None and (found := find_seasons(values[kept])):
            seasons[name] = found
    gaps = steps.missing if steps and steps.even else {}
    return SeriesReport(
        rows=len(cells),
        time=time,
        format=times.format,
        first=str(cells.cell(int(order[0]), time)),
        last=str(cells.cell(int(order[-1]), time)),
        step=_step(steps),
        gaps={str(cells.cell(int(order[row]), time)): count for row, count in gaps.items()},
        repeated=len(order) - len(kept),
        unsorted=_count_unsorted(times),
        seasons=seasons,
    )


def _count_unsorted(times: Times) -> int:
    apart = np.diff(times.values)
    return 0 if (apart <= 0).all() else int((apart < 0).sum())


def _step(steps: Steps | None) -> str:
    if steps is None:
        return "too few times"
    if not steps.even:
        return f"uneven, {steps.shortest:.3g} to {steps.longest:.3g} {steps.unit}".rstrip()
    unit = steps.unit.removesuffix("s") if steps.size == 1 else steps.unit
    return f"{steps.size:g} {unit}".rstrip()


def find_seasons(values: np.ndarray) -> list[int]:
    """The lags, in rows, at which a series repeats itself, the strongest first; at most two."""
    known = np.isfinite(values)
    if known.sum() < max(_FEWEST, len(values) / 2):
        return []
    t = np.arange(len(values))
    filled = np.interp(t, t[known], values[known])
    line = np.polynomial.Polynomial.fit(t, filled, 1)(t)
    level, change = _autocorrelation(filled - line), _autocorrelation(np.diff(filled))
    most = min(len(values) // 3, len(change) - 2, _LONGEST_SEASON)
    peaks = [
        lag
        for lag in range(2, most + 1)
        if level[lag] > _SEASONAL
        and level[lag] > level[lag - 1]
        and level[lag] >= level[lag + 1]
        and level[lag] - level[1:lag].min() > _DIP
        and change[lag] > _SEASONAL / 2
    ]
    if not peaks:
        return []
    best = max(peaks, key=lambda lag: level[lag])
    first = next(lag for lag in peaks if level[lag] >= 0.8 * level[best])
    return [first] if level[best] - level[first] < _DIP else [best, first]


def _autocorrelation(values: np.ndarray) -> np.ndarray:
    """By lag, the correlation of a series with itself, of those rows that both have."""
    count = len(values)
    centred = values - values.mean()
    power = np.abs(np.fft.rfft(centred, 2 * count)) ** 2
    products = np.fft.irfft(power)[:count] / (count - np.arange(count))
    return np.asarray(products / products[0] if products[0] > 0 else np.zeros(count))
