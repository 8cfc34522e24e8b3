"""A series continued: its rows so far, read from a CSV file, and what a model tells of the rows after them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from dlrun.data.base import Spec
from dlrun.data.changed_data import Kept
from dlrun.data.files import locate_file
from dlrun.data.kind import TEST_PATH, Labelled, NewInputs, one_path
from dlrun.data.series.dataset import forecasts_of
from dlrun.data.series.file import read_columns
from dlrun.data.series.order import in_time, look_for_times, note_order
from dlrun.data.series.scaling import SeriesScaling
from dlrun.data.series.series import Layout
from dlrun.data.series.several import only_rows
from dlrun.data.series.time_column import read_times
from dlrun.data.tables.csv import Cells, read_csv
from dlrun.data.tables.csv_format import CsvFormat
from dlrun.errors import ConfigError, did_you_mean


class NewSeries(NewInputs):
    """The rows of a series so far, to be continued; with what came after each window, to be evaluated on."""

    preparing = (
        "the last `window` rows before the forecast, gaps filled, as changes where difference or "
        "seasonal_difference says so (of the inputs only with difference_inputs), then (raw - mean) / std; "
        "the output is a change likewise: add the value that it is a change from"
    )

    def read(self, path: Path, spec: Spec, preprocessing: SeriesScaling) -> np.ndarray:
        return read_history(path, preprocessing)

    def labelled(self, given: Any, kept: Kept, dataset: Mapping[str, Any]) -> Labelled:
        scaling = cast(SeriesScaling, kept.preprocessing)
        path = locate_file(TEST_PATH, one_path(given))
        return Labelled(*forecasts_of(scaling, read_history(path, scaling, told=True)))


def read_history(path: Path, scaling: SeriesScaling, *, told: bool = False) -> np.ndarray:
    """All rows of the file (R, C) as `scaling` takes them, NaN where a value is missing.

    `told`: they are to be forecast themselves, so that every target must be there.

    Raises:
        ConfigError: a column is not there, a cell is no number, a value that is needed is missing, or rows are too few.
    """
    reading, layout, cutting = scaling.reading, scaling.layout, scaling.cutting
    cells = _read(path, scaling)
    changes = told or cutting.difference or cutting.seasonal_difference
    # What is only told, and not as a change, need not be known.
    names = list(dict.fromkeys([*layout.inputs, *(layout.targets if changes else ())]))
    for name in [*names, *([reading["time"]] if reading["time"] else [])]:
        _require_column(cells, name)
    order = _order(cells, scaling, say=True)
    numbers, words = read_columns(
        cells,
        names,
        words=layout.kinds,
        order=order,
        skip=0,
        fill=scaling.fill,
        needed=None if told else cutting.reach,
    )
    if len(cells) < cutting.reach + told * cutting.horizon:
        more = f", and {cutting.horizon} to forecast" * told
        raise ConfigError(
            f"{path} has {len(cells)} rows, but this run needs {cutting.reach} to forecast from{more}: "
            f"a window of {cutting.window} and what its differences look back on"
        )
    unknown = {name: np.full(len(cells), np.nan) for name in layout.targets}
    return layout.encode({**unknown, **numbers}, words)


def last_time(path: Path, scaling: SeriesScaling) -> str | None:
    """What stands in the column of time of the last row of a file that can be read; None without such a column."""
    time = scaling.reading["time"]
    if time is None:
        return None
    cells = _read(path, scaling)
    return cells.column(cells.names.index(time))[_order(cells, scaling, say=False)[-1]]


def _order(cells: Cells, scaling: SeriesScaling, *, say: bool) -> list[int]:
    """The rows in the order of time, as in training; what is wrong with it said or not."""
    name = scaling.reading["time"]
    if name is None:
        if say:
            others = [one for one in cells.names if one not in scaling.layout.names]
            look_for_times(cells, others, set_="a run may be trained with")
        return list(range(len(cells)))
    times = read_times(cells, name, scaling.reading.get("time_format", "auto"))
    order = in_time(cells, name, times)
    if say:
        note_order(cells, name, times, order)
    return order


def _read(path: Path, scaling: SeriesScaling) -> Cells:
    reading = scaling.reading
    cells = read_csv(path, CsvFormat.of(reading))
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


def _require_column(cells: Cells, name: str) -> None:
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
