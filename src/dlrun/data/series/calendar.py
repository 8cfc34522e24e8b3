"""Where in the year, the week and the day each step of a series is, as sine and cosine. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dlrun.data.series.rows import Rows
from dlrun.data.times import Times
from dlrun.errors import ConfigError

_DAY = 86400.0
_MONDAY = 3  # what 1970-01-01, a Thursday, is from Monday on


def _of_year(walls: np.ndarray) -> np.ndarray:
    moments = np.floor(walls).astype(np.int64).astype("datetime64[s]")
    years = moments.astype("datetime64[Y]")
    start, end = (year.astype("datetime64[s]").astype(np.int64) for year in (years, years + 1))
    return np.asarray((walls - start) / (end - start))


def _of_week(walls: np.ndarray) -> np.ndarray:
    return np.asarray((walls / _DAY + _MONDAY) % 7 / 7)


def _of_day(walls: np.ndarray) -> np.ndarray:
    return np.asarray(walls / _DAY % 1)


# By name, with the longest step, in seconds, at which a series goes round in it: its share gone by at local times.
_CYCLES: dict[str, tuple[float, Callable[[np.ndarray], np.ndarray]]] = {
    "year": (180 * _DAY, _of_year),
    "week": (3 * _DAY, _of_week),
    "day": (_DAY / 2, _of_day),
}


def cycles_of(clock: str, times: Times, rows: Rows) -> list[str]:
    """The cycles that the steps of a series go round in.

    Raises:
        ConfigError: its times, in the column `clock`, have no calendar, or none is gone round in.
    """
    if times.is_number:
        raise ConfigError(
            f"dataset.known_future names {clock}, whose plain numbers have no calendar; leave it out, or say with "
            "dataset.time_format that they are seconds (epoch) or milliseconds (epoch_ms)"
        )
    apart = [np.diff(times.values[member.order]) for member in rows.members.values()]
    step = float(np.median(np.concatenate(apart)))
    found = [name for name, (longest, _) in _CYCLES.items() if step <= longest]
    if not found:
        raise ConfigError(
            f"dataset.known_future names {clock}, but steps of {step / _DAY:.0f} days do not go round in a year; "
            "leave it out"
        )
    return found


def names_of(clock: str, cycles: Sequence[str]) -> list[str]:
    """The columns that the cycles of the column `clock` become."""
    return [f"{clock} in the {cycle} ({wave})" for cycle in cycles for wave in ("sin", "cos")]


def calendar(clock: str, times: Times, rows: Rows, cycles: Sequence[str]) -> dict[str, np.ndarray]:
    """These columns by name, a value for each step of `rows`, those without a row included."""
    walls = rows.numbers(times.walls[rows.order])
    for start, end in rows.bounds.values():
        own = walls[start:end]
        known = np.flatnonzero(np.isfinite(own))
        walls[start:end] = np.interp(np.arange(len(own)), known, own[known])
    angles = [2 * np.pi * _CYCLES[cycle][1](walls) for cycle in cycles]
    values = [wave(angle) for angle in angles for wave in (np.sin, np.cos)]
    return dict(zip(names_of(clock, cycles), values, strict=True))
