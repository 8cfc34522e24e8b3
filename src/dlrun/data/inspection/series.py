"""What is in a series: its step, gaps, repeated and unsorted times, and its seasons. No torch here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from dlrun.data.inspection.plan import option_settings
from dlrun.data.series.steps import Steps, steps_of
from dlrun.data.series.time_column import detected_times, read_times
from dlrun.data.tables.cells import Cells
from dlrun.data.tables.column import Decimals
from dlrun.data.times import NotATime, Times, ZonesMixed, read_as
from dlrun.errors import ConfigError, collected_notes

_LOOKED_AT = 2000  # rows, by which the format of times is found
_ORDERED = 0.9  # of the steps go one way
_MOST_SERIES = 2000  # in a file
_PAIRED = 8  # columns, of which pairs may tell series apart
_SEASONAL = 0.3  # correlation
_DIP = 0.1  # between a season's peak and what is before it
_FEWEST = 16  # rows with seasons
_LONGEST_SEASON = 5000  # rows


class TimeColumns(NamedTuple):
    """The column that orders the rows, and those that tell several series apart; `even` if steps are."""

    time: str
    series: tuple[str, ...]
    even: bool


@dataclass(frozen=True)
class SeriesReport:
    """A series, or several.

    Attributes:
        format: how the times are written.
        step: how far apart rows are, in words.
        gaps: by the time before it, how many rows are missing.
        repeated: rows whose time stands above as well.
        unsorted: rows that come before the row above them.
        seasons: by column, rows in a period, the strongest first; of several series those of the longest.
        series: the columns that tell several apart.
        lengths: of several, how many rows each has.
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
    series: list[str]
    lengths: dict[str, int]

    @property
    def missing_steps(self) -> int:
        """How many rows are missing in all gaps."""
        return sum(self.gaps.values())


def time_columns(cells: Cells, dates: Sequence[str]) -> TimeColumns | None:
    """Which of the columns of `dates` orders the rows of a series, or of several; None where it is a table."""
    for name in dates:
        values = _moments(cells, name)
        if values is None or len(values) < 3:
            continue
        kinds = np.unique(values)
        if len(kinds) < len(values) and (keys := _keys(cells, name, values)):
            return TimeColumns(name, keys, even=True)
        if len(values) <= 2 * len(kinds):
            apart = np.diff(values)
            even = len(kinds) > _ORDERED * len(values) and _are_even(values)
            if even or max((apart > 0).mean(), (apart < 0).mean()) >= _ORDERED:
                return TimeColumns(name, (), even)
    return None


def _moments(cells: Cells, name: str) -> np.ndarray | None:
    """(N,) what orders the rows by the dates of a column; None where some are missing or not read in one way."""
    column = cells.columns[cells.names.index(name)]
    if not column.known.all():
        return None
    head = cells.only(np.arange(min(len(cells), _LOOKED_AT)))
    with suppress(ConfigError, NotATime, ZonesMixed), collected_notes():
        if found := detected_times(head, name):
            kinds = read_as(column.distinct, found.format, cells.notation.number).values
            return np.asarray(kinds[column.codes])
    return None


def rises_evenly(values: np.ndarray) -> bool:
    """Whether numbers (N,) rise from row to row, by the same step."""
    apart = np.diff(values)
    return len(apart) > 1 and bool((apart > 0).all()) and bool(np.allclose(apart, apart[0]))


def settings_by_length(
    cells: Cells, time: TimeColumns | None, columns: Sequence[str]
) -> dict[str, Any]:
    """What a series asks for whose training part is short, or has no value of some of the `columns` of numbers."""
    defaults, rows = option_settings("series"), training_rows(cells, time)
    found: dict[str, Any] = {}
    if 3 <= len(rows) < defaults["window"] + defaults["horizon"] + 1:
        found["window"] = len(rows) - defaults["horizon"] - 1
    known = {name: cells.columns[cells.names.index(name)].known for name in columns}
    if empty := [name for name, there in known.items() if not there[rows].any()]:
        found["drop"] = empty
    return found


def training_rows(cells: Cells, time: TimeColumns | None) -> np.ndarray:
    """The rows of the training part of a series, in the order of time or of the file."""
    defaults, count = option_settings("series"), len(cells)
    validated = count - round(defaults["test_fraction"] * count)
    trained = validated - round(defaults["val_fraction"] * validated)
    values = None if time is None else _moments(cells, time.time)
    order = np.arange(count) if values is None else np.argsort(values, kind="stable")
    return order[:trained]


def is_constant(cells: Cells, name: str, rows: np.ndarray) -> bool:
    """Whether a column of numbers is the same in all of the `rows`."""
    values = cells.columns[cells.names.index(name)].numbers(cells.notation)
    known = np.array([]) if values is None else values[rows][~np.isnan(values[rows])]
    return len(known) > 0 and bool((known == known[0]).all())


def _are_even(values: np.ndarray) -> bool:
    times = Times("", values, values, zoned=False)
    steps = steps_of(times, np.argsort(values, kind="stable"))
    return steps is not None and steps.even


def _keys(cells: Cells, time: str, values: np.ndarray) -> tuple[str, ...]:
    """The column, or two, within whose values the times are those of a series; none where there is none."""
    kinds, counts = np.unique(values, return_counts=True)
    together = np.flatnonzero(values == kinds[counts.argmax()])
    codes = {}
    for name, column in zip(cells.names, cells.columns, strict=True):
        if name == time or isinstance(column, Decimals) or not column.known.all():
            continue
        if 2 <= len(column.distinct) <= min(_MOST_SERIES, len(values) // 3):
            codes[name] = column.codes.astype(np.int64)
    likely = sorted(codes, key=lambda name: (_holds_numbers(cells, name), codes[name].max()))
    for names in (*((name,) for name in likely), *combinations(likely[:_PAIRED], 2)):
        found = codes[names[0]]
        if len(names) == 2:
            found = found * (codes[names[1]].max() + 1) + codes[names[1]]
        if len(np.unique(found[together])) < len(together):
            continue
        groups = rows_of_each(found)
        few = len(groups) <= max(2, 2 * int(counts.max()))
        if few and all(len(np.unique(values[rows])) == len(rows) for rows in groups):
            long = [rows for rows in groups if len(rows) >= 3]
            if long and np.mean([_are_even(values[rows]) for rows in long]) > 0.5:
                return names
    return ()


def _holds_numbers(cells: Cells, name: str) -> bool:
    return cells.columns[cells.names.index(name)].numbers(cells.notation) is not None


def rows_of_each(codes: np.ndarray) -> list[np.ndarray]:
    """The rows of each code (N,), in their order."""
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)


def inspect_series(
    cells: Cells, found: TimeColumns, time_format: str, columns: Sequence[str]
) -> SeriesReport:
    """What is in `cells`, ordered by a column of times; seasons are looked for in `columns` of numbers.

    Raises:
        ConfigError: a cell that is no time.
    """
    time = found.time
    with collected_notes():
        times = read_times(cells, time, time_format)
    members = {name: _Member.of(rows, times) for name, rows in _members(cells, found.series)}
    longest = max(members.values(), key=lambda one: len(one.order))
    seasons = {}
    for name in columns:
        values = cells.columns[cells.names.index(name)].numbers(cells.notation)
        if values is not None and (lags := find_seasons(values[longest.kept])):
            seasons[name] = lags
    order = np.argsort(times.values, kind="stable")
    return SeriesReport(
        rows=len(cells),
        time=time,
        format=times.format,
        first=str(cells.cell(int(order[0]), time)),
        last=str(cells.cell(int(order[-1]), time)),
        step=_step([one.steps for one in members.values()]),
        gaps={
            f"{cells.cell(row, time)}{f' of {name}' if name else ''}": count
            for name, one in members.items()
            for row, count in one.gaps
        },
        repeated=sum(len(one.order) - len(one.kept) for one in members.values()),
        unsorted=sum(one.unsorted for one in members.values()),
        seasons=seasons,
        series=list(found.series),
        lengths={name: len(one.order) for name, one in members.items() if name},
    )


def _members(cells: Cells, keys: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """The name and the rows of each series; of one alone, without a name."""
    if not keys:
        yield "", np.arange(len(cells))
        return
    codes = np.zeros(len(cells), np.int64)
    for key in keys:
        column = cells.columns[cells.names.index(key)]
        codes = codes * (len(column.distinct) + 1) + column.codes
    for rows in rows_of_each(codes):
        yield "/".join(str(cells.cell(int(rows[0]), key)) for key in keys), rows


@dataclass(frozen=True)
class _Member:
    """The rows of one series in the order of time, those of them whose time is new, and their steps."""

    order: np.ndarray
    kept: np.ndarray
    steps: Steps | None
    unsorted: int

    @classmethod
    def of(cls, rows: np.ndarray, times: Times) -> _Member:
        own = replace(times, values=times.values[rows], walls=times.walls[rows])
        order = np.argsort(own.values, kind="stable")
        kept = order[np.append(True, np.diff(own.values[order]) > 0)]
        return cls(rows[order], rows[kept], steps_of(own, order), _count_unsorted(own))

    @property
    def gaps(self) -> Iterator[tuple[int, int]]:
        """The row before each gap, and how many rows are missing."""
        if self.steps and self.steps.even:
            for place, count in self.steps.missing.items():
                yield int(self.order[place]), count


def _count_unsorted(times: Times) -> int:
    apart = np.diff(times.values)
    return 0 if (apart <= 0).all() else int((apart < 0).sum())


def _step(members: Sequence[Steps | None]) -> str:
    """The step in words, of several series the commonest one."""
    known = [steps for steps in members if steps is not None]
    if not known:
        return "too few times"
    counts = Counter(_step_of(steps) for steps in known)
    said, count = counts.most_common(1)[0]
    return said if len(counts) == 1 else f"{said} in {count:,} of {len(known):,} series"


def _step_of(steps: Steps) -> str:
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
