"""The forecasts of a series beside its targets and the better of two rules that need no model, as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from dlrun.config.metrics import MEDIAN, Band, bands
from dlrun.data.base import Dataset
from dlrun.data.loaders import Split
from dlrun.data.series.scaling import SeriesScaling
from dlrun.diagnostics.line_chart import Area, Colour, Curve, line_chart
from dlrun.tracking.picture import Picture
from dlrun.training.tasks import sorted_quantiles

MAX_FORECASTS = 200  # forecasts in a picture: the last ones of a part
_FIGURES = 4  # pictures, at most
_SHADES: list[Colour] = [(225, 236, 246), (200, 221, 240), (178, 207, 233)]
_INK, _BLUE, _PALE, _ORANGE = (30, 30, 30), (31, 119, 180), (158, 202, 235), (255, 170, 90)


class Rule(NamedTuple):
    """A forecast without a model: for each row the value `rows_back` before it."""

    name: str
    rows_back: int

    def forecasts(self, targets_R: np.ndarray) -> np.ndarray:
        """The forecasts (R,) of `targets_R`; NaN where earlier rows would be needed."""
        return np.concatenate([np.full(self.rows_back, np.nan), targets_R])[: len(targets_R)]


def forecast_pictures(data: Dataset, part: Split, outputs: Tensor) -> Iterator[tuple[str, Picture]]:
    """(target, picture) of the last forecasts on `part`, from raw scores; nothing where the data are no series."""
    scaling = data.preprocessing
    if not isinstance(scaling, SeriesScaling) or part.bases is None or not len(part):
        return
    bases = part.bases[-MAX_FORECASTS:].numpy()
    quantiles = data.spec.quantiles or (MEDIAN,)
    scores = sorted_quantiles(outputs[-MAX_FORECASTS:], len(quantiles)).unbind(-1)
    targets, *by_quantile = (
        _in_own_units(one, scaling, bases) for one in (part.targets[-MAX_FORECASTS:], *scores)
    )
    rule = _better_rule(data.baselines, scaling.season)
    for number, name in enumerate(scaling.targets_told[:_FIGURES]):
        forecasts = [one[:, :, number] for one in by_quantile]
        median = forecasts[quantiles.index(MEDIAN)]
        between = [(b, forecasts[b.lower], forecasts[b.upper]) for b in bands(quantiles)]
        yield (
            name,
            forecast_picture(name, targets[:, :, number], median, rule=rule, between=between),
        )


def forecast_picture(
    target: str,
    targets_NH: np.ndarray,
    forecasts_NH: np.ndarray,
    *,
    rule: Rule | None,
    between: Sequence[tuple[Band, np.ndarray, np.ndarray]] = (),
) -> Picture:
    """Forecasts at N successive origins one step ahead; of every H-th origin the whole forecast, too.

    Args:
        rule: drawn beside them; None for none.
        between: bands with their lower and upper quantiles (N, H), the widest first; those of every H-th origin are
            drawn.
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
    return line_chart(f"{target}: the last {count} forecasts", curves, areas)


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


def _in_own_units(scores: Tensor, scaling: SeriesScaling, bases: np.ndarray) -> np.ndarray:
    """Standardised changes (N, H * D) as values (N, H, D)."""
    changes = scores.detach().double().cpu().numpy() * scaling.target_std + scaling.target_mean
    return np.asarray(changes + bases).reshape(len(bases), scaling.horizon, -1)


def _better_rule(baselines: Mapping[str, Mapping[str, float]], season: int | None) -> Rule | None:
    """The rule of smaller error; None where nothing is known of them, as in a quick check on a few windows."""
    rules = [Rule("persistence", 1), *([Rule("seasonal", season)] if season else [])]
    known = [rule for rule in rules if rule.name in baselines]
    return min(known, key=lambda rule: baselines[rule.name]["rmse"], default=None)
