"""From a series to training, validation and test windows: the past trains, what comes after it validates and tests.

No value to be forecast in one part is one of another part's. A window may look back at rows of an
earlier part, as it could in use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace

import numpy as np
import torch

from dlrun.config.settings import DataSettings
from dlrun.data.base import Dataset, Spec, without_constants
from dlrun.data.baselines import forecast_errors
from dlrun.data.fingerprint import Parts, Rows
from dlrun.data.kind import Kind
from dlrun.data.loaders import Split
from dlrun.data.series.scaling import SeriesScaling
from dlrun.data.series.series import Layout, Series
from dlrun.data.series.windows import Cutting, Known, fill, seasons_before
from dlrun.errors import ConfigError

Bounds = tuple[int, int]  # the first row of a part, and the row after its last


def split_series(series: Series, settings: DataSettings) -> Parts:
    """The rows that each part is to forecast, one part after the other.

    Raises:
        ConfigError: a part too short for one window.
    """
    return {name: range(*bounds) for name, bounds in _bounds(series, settings).items()}


def prepare_series(
    series: Series, settings: DataSettings, parts: Parts, scaling: SeriesScaling | None
) -> Dataset:
    """Fit encoding, filling and scaling on the first part alone, where they are not yet, and cut all parts.

    Raises:
        ConfigError: nothing in the first part to fit by.
    """
    bounds = {name: _ends(rows) for name, rows in parts.items()}
    trained = bounds["train"][1]
    layout = scaling.layout if scaling else series.layout(trained)
    values_RC = layout.encode(series.numbers, series.words)
    normalize = settings.normalize == "standard"
    scaling = scaling or _fit(series, layout, values_RC[:trained], normalize=normalize)
    known = scaling.known(values_RC)
    splits = {name: _split(scaling, known, ends) for name, ends in bounds.items()}
    spec = Spec(
        task="regression",
        kind="sequence",
        input_shape=(scaling.window, len(scaling.mean)),
        num_outputs=len(scaling.target_mean),
        feature_names=tuple(layout.features),
    )
    baselines = _baselines(scaling, known, bounds["test"])
    return Dataset(
        spec, scaling, splits["train"], splits["val"], splits["test"], baselines=baselines
    )


def forecasts_of(
    scaling: SeriesScaling, values_RC: np.ndarray
) -> tuple[Split, Mapping[str, Mapping[str, float]]]:
    """Every whole window in the rows of a series, and the baselines on them."""
    known, bounds = scaling.known(values_RC), (0, len(values_RC))
    first = int(scaling.cutting.origins(*bounds)[0])
    if scaling.season is not None and scaling.season > first + 1:
        scaling = replace(scaling, season=None)  # the first windows have no season before them
    return _split(scaling, known, bounds), _baselines(scaling, known, bounds)


def _ends(rows: Rows) -> Bounds:
    assert isinstance(rows, range), "a series is cut where it stands"
    return rows.start, rows.stop


def _bounds(series: Series, settings: DataSettings) -> dict[str, Bounds]:
    """The rows that each part is to forecast."""
    if settings.test_fraction is None:
        raise ConfigError(
            "dataset.test_fraction is null, but a series has no test part of its own: set it, as in 0.2"
        )
    rows, cutting = len(series), series.cutting
    validated = rows - round(settings.test_fraction * rows)
    trained = validated - round(settings.val_fraction * validated)
    bounds = {"train": (0, trained), "val": (trained, validated), "test": (validated, rows)}
    # Two forecasts to train on: one has no spread.
    needed = {"train": cutting.reach + cutting.horizon + 1, "test": cutting.horizon}
    if settings.val_fraction:
        needed["val"] = cutting.horizon
    for name, least in needed.items():
        first, end = bounds[name]
        if end - first < least:
            raise ConfigError(
                f"{series.source}: dataset.window is {cutting.window} and dataset.horizon is {cutting.horizon}: "
                f"the {name} part has {end - first} of the {rows} rows, but needs {least}{_why(cutting)}; "
                "lower them, change dataset.val_fraction and dataset.test_fraction, or give more rows"
            )
    return bounds


def _why(cutting: Cutting) -> str:
    return " with these differences" if cutting.reach > cutting.window else ""


def _fit(series: Series, layout: Layout, rows_RC: np.ndarray, *, normalize: bool) -> SeriesScaling:
    """The scaling of the training part, whose rows are `rows_RC`."""
    cutting, count = series.cutting, len(rows_RC)
    fallback = _means(series.source, layout, rows_RC)
    known = fill(rows_RC, series.fill, fallback)
    target_mean, target_std = _target_moments(series, layout, known, count)
    features = len(layout.features)
    mean, std = np.zeros(features), np.ones(features)
    if normalize:
        changed = [place for place in layout.target_places if place < features]
        every_row = np.arange(cutting.lost, count)
        seen = replace(cutting, window=1).windows(known, every_row, changed)[:, 0, :features]
        mean = seen.mean(0)
        std = without_constants(seen.std(0), mean)
    return SeriesScaling(
        mean=mean.tolist(),
        std=std.tolist(),
        target_mean=target_mean.tolist(),
        target_std=target_std.tolist(),
        fallback=fallback.tolist(),
        inputs_taken=layout.inputs,
        targets_told=layout.targets,
        kinds=layout.kinds,
        fill=series.fill,
        season=series.season,
        reading=dict(series.reading),
        **asdict(cutting),
    )


def _means(source: str, layout: Layout, rows_RC: np.ndarray) -> np.ndarray:
    """The mean of each column, without what is missing."""
    empty = np.isnan(rows_RC).all(0)
    if empty.any():
        raise ConfigError(
            f"{source}, column {layout.names[int(empty.argmax())]}: no value in the training part, "
            f"the first {len(rows_RC)} rows; leave it out with dataset.drop, or lower the other fractions"
        )
    return np.asarray(np.nanmean(rows_RC, axis=0))


def _target_moments(
    series: Series, layout: Layout, known: Known, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (H * D,) of the targets in the first `count` rows."""
    cutting = series.cutting
    origins, places = cutting.origins(0, count), layout.target_places
    values = cutting.values_after(known, origins, count)[:, :, places]
    targets = values - cutting.bases(known, origins)[:, :, places]
    mean, std = targets.mean(0), targets.std(0)
    constant = (std <= 1e-9 * np.abs(values).max((0, 1))).any(0)
    if constant.any():
        name = layout.targets[int(constant.argmax())]
        does = "changes by" if cutting.difference or cutting.seasonal_difference else "is"
        raise ConfigError(
            f"{series.source}, column {name}: it {does} the same everywhere in the training part: "
            "there is nothing to learn; choose another target or other fractions"
        )
    return mean.reshape(-1), std.reshape(-1)


def _split(scaling: SeriesScaling, known: Known, bounds: Bounds) -> Split:
    """The windows of a part, from the row `bounds[0]` up to before `bounds[1]`."""
    origins = scaling.cutting.origins(*bounds)
    values = scaling.cutting.values_after(known, origins, bounds[1])
    values = values[:, :, scaling.layout.target_places].reshape(
        len(origins), len(scaling.target_mean)
    )
    bases = scaling.bases(known, origins)
    scaled = (values - bases - scaling.target_mean) / scaling.target_std
    targets = torch.from_numpy(scaled.astype(np.float32))
    return Split(scaling.windows(known, origins), targets, bases=torch.from_numpy(bases))


def _baselines(
    scaling: SeriesScaling, known: Known, tested: Bounds
) -> Mapping[str, Mapping[str, float]]:
    """The errors of simple rules on exactly the windows of the tested part, in the series' own units."""
    cutting, places = scaling.cutting, scaling.layout.target_places
    origins = cutting.origins(*tested)
    values = cutting.values_after(known, origins, tested[1])[:, :, places]
    rules = {
        "training mean": np.asarray(scaling.fallback)[places],
        "persistence": known.at(origins, origins)[:, None, places],
    }
    if scaling.season is not None:
        if scaling.season > origins[0] + 1:
            raise ConfigError(
                f"dataset.season is {scaling.season}, but only {origins[0] + 1} rows come before the test part; "
                "set it to null, or lower dataset.test_fraction"
            )
        before = seasons_before(known, origins, cutting.horizon, scaling.season)
        rules["seasonal"] = before[:, :, places]
    if cutting.difference and cutting.seasonal_difference:
        rules["differencing alone"] = cutting.bases(known, origins)[:, :, places]
    return {name: forecast_errors(values, forecasts) for name, forecasts in rules.items()}


SERIES = Kind(
    raw=Series,
    split=split_series,
    encode=prepare_series,
    preprocessing=SeriesScaling,
    units={"sequence": "forecasts"},
    reader="dlrun.data.series.history.NewSeries",
)
