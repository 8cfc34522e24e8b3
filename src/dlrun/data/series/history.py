"""A series continued: its rows so far, read from the files of a table, and a model's forecasts of those after them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from dlrun.data.base import Spec
from dlrun.data.changed_data import Kept
from dlrun.data.kind import TEST_PATH, Labelled, NewInputs, one_path
from dlrun.data.series.dataset import forecasts_of
from dlrun.data.series.file import read_columns
from dlrun.data.series.order import in_time, look_for_times, note_order, order_each
from dlrun.data.series.scaling import SeriesScaling
from dlrun.data.series.series import Layout
from dlrun.data.series.several import only_rows, series_in
from dlrun.data.series.time_column import read_times
from dlrun.data.tables.csv import Cells
from dlrun.data.tables.csv_format import CsvFormat
from dlrun.data.tables.table_files import FORMS, files_of, form_of, locate_table, read_cells
from dlrun.data.times import reads
from dlrun.errors import ConfigError, did_you_mean, listed, note

_ISO = "%Y-%m-%d"  # as times are read from a file that has them as such, with a time of day or not


class NewSeries(NewInputs):
    """The rows of a series so far, to be continued; with what came after each window, to be evaluated on."""

    preparing = (
        "the last `window` rows before the forecast, gaps filled, as changes where difference or "
        "seasonal_difference says so (of the inputs only with difference_inputs), then (raw - mean) / std; "
        "the output is a change likewise: add the value that it is a change from"
    )

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
        rows_RC: as `scaling` takes them, NaN where a value is missing.
        scaling: its own.
        last_time: what stands in the column of time of its last row; None without such a column.
    """

    series: str
    rows_RC: np.ndarray
    scaling: SeriesScaling
    last_time: str | None


def read_histories(path: Path, scaling: SeriesScaling, *, told: bool = False) -> list[History]:
    """Each series in a file, in the order of time; of several, those unknown or too short are left out, which is noted.

    `told`: the rows are to be forecast themselves, so that every target must be there.

    Raises:
        ConfigError: a column is not there, a cell is no number, a value that is needed is missing, rows are too few,
            or, of several series, none is left.
    """
    cells = _read(path, scaling)
    _require_columns(cells, scaling, told=told)
    if not scaling.members:
        order = _order(cells, scaling)
        _require_rows(cells, scaling, told=told)
        return [_history("", cells, scaling, order, told=told)]
    found = dict(_found(cells, scaling, told=told))
    clock = scaling.reading["time"]
    orders = found
    if clock is not None:
        times = read_times(cells, clock, _time_format(cells, scaling))
        orders = order_each(cells, found, clock, times)
    return [
        _history(name, cells, scaling.of(name), rows, told=told) for name, rows in orders.items()
    ]


def _found(cells: Cells, scaling: SeriesScaling, *, told: bool) -> dict[str, list[int]]:
    """The rows of each series that can be continued, by name."""
    series = series_in(cells, scaling.reading["series"])
    least = scaling.cutting.reach + told * scaling.horizon
    known = {name: rows for name, rows in series.items() if name in scaling.members}
    taken = {name: rows for name, rows in known.items() if len(rows) >= least}
    unknown = [name for name in series if name not in known]
    short = [f"{name} ({len(rows)} rows)" for name, rows in known.items() if name not in taken]
    why = [
        f"{listed(names)} {reason}"
        for names, reason in (
            (unknown, "that this run was not trained on, so that their scale is not known"),
            (short, f"with fewer than the {least} rows that this run needs"),
        )
        if names
    ]
    said = " and ".join(why)
    if not taken:
        raise ConfigError(f"{cells.path} has no series that this run can forecast, only {said}")
    if why:
        note(f"{cells.path}: {len(series) - len(taken)} of {len(series)} series left out: {said}")
    return taken


def _history(
    name: str, cells: Cells, scaling: SeriesScaling, order: list[int], *, told: bool
) -> History:
    time = scaling.reading["time"]
    last = None if time is None else cells.cell(order[-1], time)
    return History(name, _rows(cells, scaling, order, told=told), scaling, last)


def read_history(path: Path, scaling: SeriesScaling, *, told: bool = False) -> np.ndarray:
    """The rows (R, C) of a file with one series."""
    return read_histories(path, scaling, told=told)[0].rows_RC


def _rows(cells: Cells, scaling: SeriesScaling, order: list[int], *, told: bool) -> np.ndarray:
    """The rows (R, C) in this order as `scaling` takes them."""
    layout = scaling.layout
    numbers, words = read_columns(
        cells,
        _needed(scaling, told=told),
        words=layout.kinds,
        order=order,
        fill=scaling.fill,
        needed=None if told else scaling.cutting.reach,
    )
    unknown = {name: np.full(len(order), np.nan) for name in layout.targets}
    return layout.encode({**unknown, **numbers}, words)


def _require_rows(cells: Cells, scaling: SeriesScaling, *, told: bool) -> None:
    cutting = scaling.cutting
    if len(cells) < cutting.reach + told * cutting.horizon:
        more = f", and {cutting.horizon} to forecast" * told
        raise ConfigError(
            f"{cells.path} has {len(cells)} rows, but this run needs {cutting.reach} to forecast from{more}: "
            f"a window of {cutting.window} and what its differences look back on"
        )


def _order(cells: Cells, scaling: SeriesScaling) -> list[int]:
    """The rows in the order of time, as in training; what is wrong with it is noted."""
    name = scaling.reading["time"]
    if name is None:
        others = [one for one in cells.names if one not in scaling.layout.names]
        look_for_times(cells, others, set_="a run may be trained with")
        return list(range(len(cells)))
    times = read_times(cells, name, _time_format(cells, scaling))
    order = in_time(cells, name, times)
    note_order(cells, name, times, order)
    return order


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
    """The columns of which values must be known: what is only forecast, and not as a change, is none."""
    layout, cutting = scaling.layout, scaling.cutting
    changes = told or cutting.difference or cutting.seasonal_difference
    return list(dict.fromkeys([*layout.inputs, *(layout.targets if changes else ())]))


def _require_columns(cells: Cells, scaling: SeriesScaling, *, told: bool) -> None:
    clock = scaling.reading["time"]
    keys = scaling.reading.get("series", [])
    for name in [*_needed(scaling, told=told), *keys, *([] if clock is None else [clock])]:
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
