"""A part of a series cut at successive origins: what is known at each, and what is then to be forecast.

Rolling origins: Tashman (2000); Hyndman and Athanasopoulos, Forecasting: Principles and Practice, chapter 5.10.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dlrun.data.fingerprint import Parts, Rows
from dlrun.data.series.series import Series
from dlrun.errors import ConfigError


class Fold(NamedTuple):
    """The forecasts from one origin up to the next.

    Attributes:
        parts: all rows up to the origin to train and validate on, and those after it to forecast.
        windows: (N,) which of the forecasts of the whole part they are.
    """

    parts: Parts
    windows: np.ndarray


class _Stretch(NamedTuple):
    """The rows of a part in one series, whose own begin at `first`: forecasts of rows from `start` to before `end`."""

    name: str
    first: int
    start: int
    end: int
    forecasts: int


def folds(series: Series, rows: Rows, count: int, *, val_fraction: float) -> list[Fold]:
    """`count` folds of the forecasts of a part, in the order of time, as equal as can be; of each series by itself.

    Args:
        rows: of the part.
        val_fraction: of the rows up to each origin, the last ones validate.

    Raises:
        ConfigError: a series with fewer forecasts in the part.
    """
    stretches = _stretches(series, rows)
    least = min(stretches, key=lambda one: one.forecasts)
    if least.forecasts < count:
        of = f" of the series {least.name}" if least.name else ""
        several = "s" * (least.forecasts != 1)
        raise ConfigError(
            f"--backtest is {count}, but the part{of} has {least.end - least.start} rows, for {least.forecasts} "
            f"forecast{several} of {series.cutting.horizon}: ask for at most {least.forecasts}"
        )
    return [_fold(series, stretches, number, count, val_fraction) for number in range(count)]


def _stretches(series: Series, rows: Rows) -> list[_Stretch]:
    assert rows is not None, "a series is cut where it stands"
    numbers = np.asarray(rows)
    found = []
    for name, (first, end) in (series.bounds or {"": (0, len(series))}).items():
        begin, stop = np.searchsorted(numbers, [first, end])
        if begin < stop:
            start, last = int(numbers[begin]), int(numbers[stop - 1])
            origins = series.cutting.origins(start - first, last + 1 - first)
            found.append(_Stretch(name, first, start, last + 1, len(origins)))
    return found


def _fold(
    series: Series, stretches: list[_Stretch], number: int, count: int, val_fraction: float
) -> Fold:
    ranges: dict[str, list[range]] = {"train": [], "val": [], "test": []}
    windows, before = [], 0
    for one in stretches:
        low, high = (n * one.forecasts // count for n in (number, number + 1))
        begin = (
            one.end - series.cutting.horizon - one.forecasts + 1 + low
        )  # the first row to forecast
        trained = begin - round(val_fraction * (begin - one.first))
        ranges["train"].append(range(one.first, trained))
        ranges["val"].append(range(trained, begin))
        ranges["test"].append(range(begin, begin + high - low + series.cutting.horizon - 1))
        windows.append(np.arange(before + low, before + high))
        before += one.forecasts
    parts: Parts = {
        name: np.concatenate(of) if series.members else of[0] for name, of in ranges.items()
    }
    return Fold(parts, np.concatenate(windows))
