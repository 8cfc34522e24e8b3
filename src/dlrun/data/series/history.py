"""A series continued: its rows so far, read from the files of a table, and a model's forecasts of those after them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from dlrun.data.base import Preprocessing, Spec
from dlrun.data.changed_data import Kept
from dlrun.data.kind import TEST_PATH, Labelled, NewInputs, one_path
from dlrun.data.series.ahead import Ahead, rule_of
from dlrun.data.series.calendar import calendar, names_of
from dlrun.data.series.dataset import forecasts_of
from dlrun.data.series.file import Numbers, Words, read_columns
from dlrun.data.series.future import padded, refuse_unknown, with_horizon, without_future
from dlrun.data.series.grid import Step
from dlrun.data.series.order import look_for_times
from dlrun.data.series.rows import Member, Rows, Stepping, as_they_come, rows_in_time
from dlrun.data.series.scaling import SeriesScaling
from dlrun.data.series.series import Layout
from dlrun.data.series.several import only_rows, series_in
from dlrun.data.series.time_column import read_times
from dlrun.data.tables.cells import Cells
from dlrun.data.tables.csv_format import CsvFormat
from dlrun.data.tables.table_files import FORMS, files_of, form_of, locate_table, read_cells
from dlrun.data.times import Times, reads
from dlrun.errors import ConfigError, did_you_mean, listed, note

_ISO = "%Y-%m-%d"  # as times are read from a file that has them as such, with a time of day or not


class NewSeries(NewInputs):
    """The rows of a series so far, to be continued; with what came after each window, to be evaluated on."""

    preparing = (
        "the last `window` rows before the forecast, gaps filled, as changes where difference or "
        "seasonal_difference says so (of the inputs only with difference_inputs), then (raw - mean) / std; "
        "the output is a change likewise: add the value that it is a change from; of several series, each has mean, "
        "std, target_mean and target_std of its own, by its name in members"
    )
    reads_folders = True

    def describe(self, preprocessing: Preprocessing, spec: Spec) -> tuple[str, dict[str, Any]]:
        preparing, values = super().describe(preprocessing, spec)
        if spec.future:
            preparing += (
                "; after the window come `horizon` rows to be forecast: the columns `known_future` scaled, the others "
                "0; a last column is 0 in the window and 1 in these rows"
            )
        return preparing, values

    def read(self, path: Path, spec: Spec, preprocessing: SeriesScaling) -> list[History]:
        if not path.is_dir() and form_of(path) not in FORMS:
            raise ConfigError(
                f"{path}: this run was trained on a series; give its rows in one of {', '.join(FORMS)}"
            )
        return read_histories(path, preprocessing)

    def files_in(self, folder: Path, spec: Spec, preprocessing: SeriesScaling) -> list[Path]:
        files_of(folder, "INPUT")
        return [folder]  # the parts of one file

    def labelled(self, given: Any, kept: Kept, dataset: Mapping[str, Any]) -> Labelled:
        scaling = cast(SeriesScaling, kept.preprocessing)
        path = locate_table(TEST_PATH, one_path(given))
        histories = read_histories(path, scaling, told=True)
        return Labelled(*forecasts_of(scaling, {one.series: one.rows_RC for one in histories}))


class History(NamedTuple):
    """The rows of one series so far.

    Attributes:
        series: its name; empty where a file holds one.
        rows_RC: as `scaling` takes them, NaN where a value is missing; with `known_future` also those to forecast.
        scaling: its own.
        ahead: the times of the rows after them; None without a column of times.
    """

    series: str
    rows_RC: np.ndarray
    scaling: SeriesScaling
    ahead: Ahead | None

    @property
    def known(self) -> int:
        """Rows so far."""
        return len(self.rows_RC) - self.scaling.future


def read_histories(path: Path, scaling: SeriesScaling, *, told: bool = False) -> list[History]:
    """Each series in a file, in the order of time; of several, those unknown or too short are left out, which is noted.

    `told`: the rows are to be forecast themselves, so that every target must be there.

    Raises:
        ConfigError: a column is not there, a cell is no number, a value that is needed is missing, rows are too few,
            or, of several series, none is left.
    """
    cells = _read(path, scaling)
    _require_columns(cells, scaling, told=told)
    rows, times = _rows(cells, scaling)
    if scaling.known_future and told:
        rows = without_future(cells, rows, scaling.target_columns)
    elif scaling.known_future:
        rows = with_horizon(cells, rows, scaling.target_columns, scaling.horizon)
    rows = rows.only(_long_enough(cells, rows, scaling, told=told))
    past = rows if told else rows.before(dict.fromkeys(rows.members, scaling.future))
    numbers, words = _columns(cells, rows, past, scaling, told=told)
    if times is not None and (cycles := scaling.reading.get("calendar")):
        numbers |= calendar(scaling.reading["time"], times, rows, cycles)
    bounds = rows.bounds
    count = sum(map(len, rows.members.values()))
    unknown = {name: np.full(count, np.nan) for name in scaling.target_columns}
    values_RC = scaling.layout.encode({**unknown, **numbers}, words)
    return [
        History(
            name,
            values_RC[slice(*bounds[name])],
            scaling.of(name),
            None if times is None else _ahead(cells, times, member, rows.members[name], scaling),
        )
        for name, member in past.members.items()
    ]


def _ahead(
    cells: Cells, times: Times, member: Member, whole: Member, scaling: SeriesScaling
) -> Ahead:
    """The times after the rows of `member`, some of which `whole` may have already."""
    clock, found = scaling.reading["time"], scaling.reading.get("found_step")
    asked = Stepping.of(scaling.reading, scaling.fill)
    step = asked.step if found is None else Step(*found)
    combined = asked.step is not None and asked.combine != "none"
    rule = rule_of(times, member, step, combined=combined)
    places = range(len(whole.order)) if whole.places is None else whole.places.tolist()
    rows = dict(zip(places, whole.order.tolist(), strict=True))
    to_come = (rows.get(place) for place in range(len(member), len(whole)))
    given = tuple(None if row is None else cells.cell(row, clock) for row in to_come)
    return Ahead(str(cells.cell(int(member.order[-1]), clock)), rule, given)


def _columns(
    cells: Cells, rows: Rows, past: Rows, scaling: SeriesScaling, *, told: bool
) -> tuple[Numbers, Words]:
    """The columns of numbers and of words: of the rows to come only what is known of them.

    Raises:
        ConfigError: that has no value there.
    """
    needed = None if told else scaling.cutting.reach
    read = partial(read_columns, cells, words=scaling.kinds, fill=scaling.fill)
    names = _needed(scaling, told=told)
    if past is rows:
        return read(names, rows, needed=needed)
    known = [name for name in names if name in scaling.known_future]
    numbers, words = read(known, rows, needed=scaling.cutting.reach + scaling.future)
    refuse_unknown(cells, past, rows, {**numbers, **words}, scaling.reading["time"])
    other_numbers, other_words = read(
        [name for name in names if name not in known], past, needed=needed
    )
    numbers |= {name: padded(values, past, rows) for name, values in other_numbers.items()}
    for name, values in other_words.items():
        words[name] = tuple(padded(np.array(values, object), past, rows).tolist())
    return numbers, words


def read_history(path: Path, scaling: SeriesScaling, *, told: bool = False) -> np.ndarray:
    """The rows (R, C) of a file with one series."""
    return read_histories(path, scaling, told=told)[0].rows_RC


def _rows(cells: Cells, scaling: SeriesScaling) -> tuple[Rows, Times | None]:
    """The rows of each series that the run knows, as in training, and the times of all; what is wrong is noted."""
    series: Mapping[str, Sequence[int]] = {"": range(len(cells))}
    if scaling.members:
        series = _known(cells, series_in(cells, scaling.reading["series"]), scaling)
    clock = scaling.reading["time"]
    if clock is None:
        others = [name for name in cells.names if name not in scaling.layout.names]
        own = cells.only(next(iter(series.values())))
        look_for_times(own, others, set_="a run may be trained with")
        return as_they_come(series), None
    times = read_times(cells, clock, _time_format(cells, scaling))
    stepping = Stepping.of(scaling.reading, scaling.fill)
    return rows_in_time(cells, series, clock, times, stepping), times


def _known(
    cells: Cells, series: Mapping[str, Sequence[int]], scaling: SeriesScaling
) -> dict[str, Sequence[int]]:
    """Those of several series that the run was trained on; the others are named."""
    known = {name: rows for name, rows in series.items() if name in scaling.members}
    unknown = [name for name in series if name not in known]
    what = f"that this run was not trained on ({len(unknown)} of {len(series)}): {listed(unknown)}"
    if not known:
        raise ConfigError(
            f"{cells.path} has series {what}; this run knows {listed(scaling.members)}"
        )
    if unknown:
        note(f"{cells.path}: series left out {what}")
    return known


def _long_enough(cells: Cells, rows: Rows, scaling: SeriesScaling, *, told: bool) -> list[str]:
    """The series with rows enough to forecast from; of several, the others are named."""
    cutting = scaling.cutting
    least = cutting.reach + (cutting.horizon if told else scaling.future)
    taken = [name for name, member in rows.members.items() if len(member) >= least]
    short = [
        f"{name} ({len(member)})" for name, member in rows.members.items() if len(member) < least
    ]
    more = f" and {cutting.horizon} to forecast" * told
    what = f"with fewer than the {cutting.reach} rows that this run needs{more} ({len(short)} of {len(rows.members)})"
    if not taken and not scaling.members:
        raise ConfigError(
            f"{cells.path} has {len(rows.members[''])} rows, but this run needs {cutting.reach} to forecast from"
            f"{',' * told}{more}: a window of {cutting.window} and what its differences look back on"
        )
    if not taken:
        raise ConfigError(f"{cells.path} has series {what}: {listed(short)}")
    if short:
        note(f"{cells.path}: series left out {what}: {listed(short)}")
    return taken


def _time_format(cells: Cells, scaling: SeriesScaling) -> str:
    """How the times are written: as in training, but for a file that has them as times and not as words."""
    format = str(scaling.reading.get("time_format", "auto"))  # the first version did not keep it
    if cells.typed and format != "auto":
        column = cells.columns[cells.names.index(scaling.reading["time"])]
        first = next(iter(column.distinct), None)
        return _ISO if reads(first, _ISO) and not reads(first, format) else format
    return format


def _read(path: Path, scaling: SeriesScaling) -> Cells:
    reading = scaling.reading
    cells = read_cells(path, CsvFormat.of(reading))
    return only_rows(cells, reading.get("only", {}))


def continued(
    rows_RC: np.ndarray,
    scaling: SeriesScaling,
    *,
    steps: int | None,
    predict: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]],
) -> tuple[np.ndarray, np.ndarray | None]:
    """The rows after `rows_RC`, (steps, D) in the targets' own units, and their quantiles (steps, D, Q) or None.

    Beyond the horizon, forecasts are made from forecasts.

    Args:
        steps: None for one horizon.
        predict: (1, H * D) for the rows so far, and their quantiles (1, H * D, Q) or None.

    Raises:
        ConfigError: further than the horizon, though not every input is forecast, or by quantiles.
    """
    horizon, layout = scaling.horizon, scaling.layout
    wanted = horizon if steps is None else steps
    if wanted > horizon:
        _require_all_told(layout, wanted, horizon)
    values, quantiles = predict(rows_RC)
    told = values.reshape(horizon, -1)
    if quantiles is not None:
        if wanted > horizon:
            raise ConfigError(
                f"--steps is {wanted}, but this run forecasts quantiles of {horizon} steps, and a forecast that is "
                f"made from forecasts has none; ask for at most {horizon}, or train with dataset.horizon={wanted}"
            )
        return told[:wanted], quantiles.reshape(*told.shape, -1)[:wanted]
    while len(told) < wanted:
        # All inputs are targets here, though perhaps in another order.
        as_rows = told[:, [layout.targets.index(name) for name in layout.names]]
        ahead, _ = predict(np.concatenate([rows_RC, as_rows]))
        told = np.concatenate([told, ahead.reshape(horizon, -1)])
    return told[:wanted], None


def _needed(scaling: SeriesScaling, *, told: bool) -> list[str]:
    """The columns of a file of which values must be known: what is only forecast, and not as a change, is none."""
    layout, cutting = scaling.layout, scaling.cutting
    changes = told or cutting.difference or cutting.seasonal_difference
    computed = names_of(str(scaling.reading["time"]), scaling.reading.get("calendar", ()))
    read = [name for name in layout.inputs if name not in computed]
    return list(dict.fromkeys([*read, *(layout.targets if changes else ())]))


def _require_columns(cells: Cells, scaling: SeriesScaling, *, told: bool) -> None:
    clock = scaling.reading["time"]
    keys = scaling.reading.get("series", [])
    ends = scaling.target_columns if scaling.known_future else []
    for name in [*_needed(scaling, told=told), *ends, *keys, *([] if clock is None else [clock])]:
        if name not in cells.names:
            raise ConfigError(
                f"{cells.path} has no column {name}, which this run forecasts from{did_you_mean(name, cells.names)}"
            )


def _require_all_told(layout: Layout, wanted: int, horizon: int) -> None:
    for name in layout.inputs:
        if name not in layout.targets:
            raise ConfigError(
                f"--steps is {wanted}, but this run forecasts {horizon} at a time, and a longer forecast needs "
                f"future values of {name}, which it does not forecast; ask for at most {horizon}, or train with "
                f"dataset.horizon={wanted}"
            )
