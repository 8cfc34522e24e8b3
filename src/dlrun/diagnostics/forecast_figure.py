"""The forecasts of a series beside its targets and the better of two rules that need no model, as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice, product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlrun.config.metrics import MEDIAN, Band, bands
from dlrun.data.base import Dataset
from dlrun.data.loaders import Split
from dlrun.data.series.scaling import SeriesScaling
from dlrun.diagnostics.line_chart import Area, Colour, Curve, line_chart
from dlrun.inference.backtest import Backtest, mean_errors
from dlrun.tracking.picture import Picture
from dlrun.training.scores import sorted_quantiles

_FORECASTS = 200  # in a picture: the last ones of a part
_FIGURES = 4  # pictures, at most
_ORIGINS = 40  # of a backtest: lines at more of them would hide the curves
_SHADES: list[Colour] = [(225, 236, 246), (200, 221, 240), (178, 207, 233)]
_INK, _BLUE, _PALE, _ORANGE = (30, 30, 30), (31, 119, 180), (158, 202, 235), (255, 170, 90)


class Rule(NamedTuple):
    """A forecast without a model: for each row the value `rows_back` before it."""

    name: str
    rows_back: int

    def forecasts(self, targets_R: np.ndarray) -> np.ndarray:
        """The forecasts (R,) of `targets_R`; NaN where earlier rows would be needed."""
        return np.concatenate([np.full(self.rows_back, np.nan), targets_R])[: len(targets_R)]


def drawn(part: Split) -> Split:
    """The samples of `part` whose forecasts are drawn."""
    rows = torch.cat([torch.arange(len(part))[of] for of in _rows_by_series(part).values()])
    each_sample = {
        name: value[rows.to(value.device)]
        for name, value in vars(part).items()
        if value is not None
    }
    return replace(part, **each_sample)


def forecast_pictures(data: Dataset, part: Split, outputs: Tensor) -> Iterator[tuple[str, Picture]]:
    """(target, picture) of the last forecasts on `part`, from raw scores; nothing where the data are no series.

    Of several series the first few are drawn, each in pictures of its own, whose names say which.
    """
    scaling = data.preprocessing
    if not isinstance(scaling, SeriesScaling) or part.bases is None or not len(part):
        return
    rule = _better_rule(data.baselines, scaling.season)
    quantiles = data.spec.quantiles or (MEDIAN,)
    scores = sorted_quantiles(outputs, len(quantiles)).unbind(-1)
    of_series = [
        (series, [one[rows] for one in scaling.in_own_units(part, scores)])
        for series, rows in _rows_by_series(part).items()
    ]
    several = list(scaling.members)
    pictures = product(enumerate(scaling.target_columns), of_series)
    for (number, target), (series, (targets, *by_quantile)) in islice(pictures, _FIGURES):
        name = f"{target}, {several[series]}" if several else target
        forecasts = [one[:, :, number] for one in by_quantile]
        median = forecasts[quantiles.index(MEDIAN)]
        between = [(b, forecasts[b.lower], forecasts[b.upper]) for b in bands(quantiles)]
        picture = forecast_picture(name, targets[:, :, number], median, rule=rule, between=between)
        yield name, picture


def _rows_by_series(part: Split) -> dict[int, slice]:
    """The last samples of each of the first few series, by its number."""
    if part.series is None:
        return {0: slice(max(0, len(part) - _FORECASTS), len(part))}
    numbers, counts = part.series.unique_consecutive(return_counts=True)
    ends = counts.cumsum(0).tolist()
    return {
        number: slice(end - min(count, _FORECASTS), end)
        for number, count, end in list(zip(numbers.tolist(), counts.tolist(), ends, strict=True))[
            :_FIGURES
        ]
    }


def forecast_picture(
    target: str,
    targets_NH: np.ndarray,
    forecasts_NH: np.ndarray,
    *,
    rule: Rule | None,
    between: Sequence[tuple[Band, np.ndarray, np.ndarray]] = (),
    origins: Sequence[int] = (),
) -> Picture:
    """Forecasts at N successive origins one step ahead; of every H-th origin the whole forecast, too.

    Args:
        rule: drawn beside them; None for none.
        between: bands with their lower and upper quantiles (N, H), the widest first; those of every H-th origin are
            drawn.
        origins: of a backtest, the number of the first forecast of each; lines show them unless there are many.
    """
    count, horizon = targets_NH.shape
    targets = np.concatenate([targets_NH[:, 0], targets_NH[-1, 1:]])
    fans = [
        Curve("" if start else f"{horizon} steps ahead", _PALE, forecasts_NH[start], start + 1)
        for start in range(0, count, horizon)
    ]
    curves = [
        *(fans if horizon > 1 else []),
        *([] if rule is None else [Curve(rule.name, _ORANGE, rule.forecasts(targets))]),
        Curve("target", _INK, targets),
        Curve("forecast 1 step ahead", _BLUE, forecasts_NH[:, 0]),
    ]
    areas = [
        area
        for shade, band in enumerate(between)
        for area in _areas(*band, colour=_SHADES[shade % 3])
    ]
    what = (
        f"{count} forecasts from {len(origins)} origins"
        if origins
        else f"the last {count} forecasts"
    )
    return line_chart(
        f"{target}: {what}", curves, areas, marks=origins if len(origins) <= _ORIGINS else ()
    )


def backtest_pictures(found: Backtest) -> Iterator[tuple[str, Picture]]:
    """(target, picture) of all forecasts of a backtest, the first few of several targets and series."""
    scaling, quantiles = found.scaling, found.quantiles or (MEDIAN,)
    several = list(scaling.members)
    numbers = range(min(len(several), _FIGURES)) if several else [0]
    for (number, target), series in islice(
        product(enumerate(scaling.target_columns), numbers), _FIGURES
    ):
        chosen = [one if one.series is None else one.of(series) for one in found.forecasts]
        targets = np.concatenate([one.targets[:, :, number] for one in chosen])
        values = np.concatenate([one.quantiles[:, :, number] for one in chosen])
        ends = np.cumsum([len(one.targets) for one in chosen]).tolist()
        between = [(b, values[..., b.lower], values[..., b.upper]) for b in bands(quantiles)]
        name = f"{target}, {several[series]}" if several else target
        yield (
            name,
            forecast_picture(
                name,
                targets,
                values[..., quantiles.index(MEDIAN)],
                rule=_better_rule(mean_errors(found.origins), scaling.season),
                between=between,
                origins=[1, *(end + 1 for end in ends[:-1])],
            ),
        )


def _areas(band: Band, lower: np.ndarray, upper: np.ndarray, *, colour: Colour) -> list[Area]:
    """A band (N, H) of every H-th origin; of one step ahead all in one."""
    count, horizon = lower.shape
    name = f"{band.percent} % band"
    if horizon == 1:
        return [Area(name, colour, lower[:, 0], upper[:, 0])]
    return [
        Area("" if start else name, colour, lower[start], upper[start], start + 1)
        for start in range(0, count, horizon)
    ]


def _better_rule(baselines: Mapping[str, Mapping[str, float]], season: int | None) -> Rule | None:
    """The rule of smaller error; None where nothing is known of them, as in a quick check on a few windows."""
    rules = [Rule("persistence", 1), *([Rule("seasonal", season)] if season else [])]
    known = [rule for rule in rules if rule.name in baselines]
    return min(known, key=lambda rule: baselines[rule.name]["rmse"], default=None)
