"""The scaling of a series, fitted on the rows of its training part alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace

import numpy as np

from dlrun.data.base import without_constants
from dlrun.data.series.scaling import SeriesScaling
from dlrun.data.series.series import Layout, Series
from dlrun.data.series.windows import Known, fill
from dlrun.errors import ConfigError


class NothingToLearn(ConfigError):
    """A training part with a column without values, or with a constant target."""


def fit_each(
    series: Series, layout: Layout, training: Mapping[str, np.ndarray], *, normalize: bool
) -> dict[str, SeriesScaling]:
    """The scaling of each series, by name, from the rows of its training part.

    A column that changes in none of several series, such as the name or the size of a store, is scaled over all of
    them: by itself it would be zero in each.
    """
    fitted = {
        name: fit_scaling(series, layout, rows_RC, normalize=normalize)
        for name, rows_RC in training.items()
    }
    if len(fitted) < 2 or not normalize:
        return fitted
    features = len(layout.features)
    least, most = (
        np.array([of(rows_RC[:, :features], axis=0) for rows_RC in training.values()])
        for of in (np.nanmin, np.nanmax)
    )
    fixed = (least == most).all(0)
    mean = least.mean(0)
    std = without_constants(least.std(0), mean)
    return {
        name: replace(
            one,
            mean=np.where(fixed, mean, one.mean).tolist(),
            std=np.where(fixed, std, one.std).tolist(),
        )
        for name, one in fitted.items()
    }


def fit_scaling(
    series: Series, layout: Layout, rows_RC: np.ndarray, *, normalize: bool
) -> SeriesScaling:
    """The scaling of the training part of a series, whose rows are `rows_RC`.

    Raises:
        NothingToLearn: a column has no value in them, or a target is constant.
    """
    cutting, count = series.cutting, len(rows_RC)
    fallback = _means(series.source, layout, rows_RC)
    known = fill(rows_RC, series.fill, fallback, series.season)
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
        input_columns=layout.inputs,
        target_columns=layout.targets,
        kinds=layout.kinds,
        fill=series.fill,
        season=series.season,
        reading=dict(series.reading),
        known_future=list(series.known_future),
        naive=_naive_errors(rows_RC[:, layout.target_places], series.season or 1),
        **asdict(cutting),
    )


def _means(source: str, layout: Layout, rows_RC: np.ndarray) -> np.ndarray:
    """The mean of each column, without what is missing."""
    empty = np.isnan(rows_RC).all(0)
    if empty.any():
        raise NothingToLearn(
            f"{source}, column {layout.names[int(empty.argmax())]}: no value in the training part, "
            f"the first {len(rows_RC)} rows; leave it out with dataset.drop, or lower the other fractions"
        )
    return np.asarray(np.nanmean(rows_RC, axis=0))


def _naive_errors(targets_RD: np.ndarray, lag: int) -> list[float]:
    """The mean error of each target where the value `lag` rows before is the forecast; NaN where none is known."""
    errors = np.abs(targets_RD[lag:] - targets_RD[:-lag])
    known = ~np.isnan(errors)
    sums, counts = np.where(known, errors, 0.0).sum(0), known.sum(0)
    return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0).tolist()


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
        raise NothingToLearn(
            f"{series.source}, column {name}: it {does} the same everywhere in the training part: "
            "there is nothing to learn; choose another target or other fractions"
        )
    return mean.reshape(-1), std.reshape(-1)
