"""The forecasts of a series beside its targets and the better of two rules that need no model, as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from torch import Tensor

from dlrun.data.base import Dataset
from dlrun.data.loaders import Split
from dlrun.data.series.scaling import SeriesScaling
from dlrun.diagnostics.line_chart import Curve, line_chart
from dlrun.tracking.picture import Picture

MAX_FORECASTS = 200  # forecasts in a picture: the last ones of a part
_FIGURES = 4  # pictures, at most
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
    chosen = slice(-MAX_FORECASTS, None)
    if part.series is not None:  # of several series, the last one
        chosen = slice(max(-MAX_FORECASTS, -int((part.series == part.series[-1]).sum())), None)
    bases, scores = part.bases[chosen].numpy(), part.targets[chosen]
    std, mean = np.asarray(scaling.target_std), np.asarray(scaling.target_mean)
    if scaling.scaled_by_row:
        scores, row_std = scores.chunk(2, 1)
        std, mean = row_std.double().cpu().numpy(), np.zeros(1)
    targets, forecasts = (
        _in_own_units(one, std, mean + bases, scaling.horizon) for one in (scores, outputs[chosen])
    )
    rule = _better_rule(data.baselines, scaling.season)
    for number, name in enumerate(scaling.targets_told[:_FIGURES]):
        yield (
            name,
            forecast_picture(name, targets[:, :, number], forecasts[:, :, number], rule=rule),
        )


def forecast_picture(
    target: str, targets_NH: np.ndarray, forecasts_NH: np.ndarray, *, rule: Rule | None
) -> Picture:
    """Forecasts at N successive origins one step ahead; of every H-th origin the whole forecast, too.

    Args:
        rule: drawn beside them; None for none.
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
    return line_chart(f"{target}: the last {count} forecasts", curves)


def _in_own_units(scores: Tensor, std: np.ndarray, bases: np.ndarray, horizon: int) -> np.ndarray:
    """Standardised changes (N, H * D) as values (N, H, D)."""
    changes = scores.detach().double().cpu().numpy() * std
    return np.asarray(changes + bases).reshape(len(bases), horizon, -1)


def _better_rule(baselines: Mapping[str, Mapping[str, float]], season: int | None) -> Rule | None:
    """The rule of smaller error; None where nothing is known of them, as in a quick check on a few windows."""
    rules = [Rule("persistence", 1), *([Rule("seasonal", season)] if season else [])]
    known = [rule for rule in rules if rule.name in baselines]
    return min(known, key=lambda rule: baselines[rule.name]["rmse"], default=None)
