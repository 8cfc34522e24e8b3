"""Pictures of forecasts: what came, what was told one step ahead and further, and what a simple rule tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from torch import Tensor

from dlrun.data.base import Dataset, Split
from dlrun.data.series_scaling import SeriesScaling
from dlrun.line_chart import Curve, line_chart
from dlrun.png import Picture

SHOWN = 200  # forecasts in a picture: the last ones of a part
_TARGETS = 4  # pictures, at most
_INK, _BLUE, _PALE, _ORANGE = (30, 30, 30), (31, 119, 180), (158, 202, 235), (255, 170, 90)


def forecast_pictures(data: Dataset, part: Split, outputs: Tensor) -> Iterator[tuple[str, Picture]]:
    """(target, picture) of the last forecasts on `part`, from raw scores; nothing where the data are no series."""
    scaling = data.preprocessing
    if not isinstance(scaling, SeriesScaling) or part.bases is None or not len(part):
        return
    bases = part.bases[-SHOWN:].numpy()
    truths, told = (
        _in_own_units(scores[-SHOWN:], scaling, bases) for scores in (part.targets, outputs)
    )
    rule, rows_back = _better_rule(data.baselines, scaling.season)
    for number, name in enumerate(scaling.targets_told[:_TARGETS]):
        yield (
            name,
            forecast_picture(
                name, truths[:, :, number], told[:, :, number], rule=rule, rows_back=rows_back
            ),
        )


def forecast_picture(
    target: str, truth_NH: np.ndarray, told_NH: np.ndarray, *, rule: str, rows_back: int
) -> Picture:
    """Forecasts at N successive origins one step ahead; of every H-th origin the whole forecast, too.

    Args:
        rule: what tells for each row the value `rows_back` before it.
    """
    count, horizon = truth_NH.shape
    truth = np.concatenate([truth_NH[:, 0], truth_NH[-1, 1:]])
    repeated = np.concatenate([np.full(rows_back, np.nan), truth])[: len(truth)]
    fans = [
        Curve("" if start else f"{horizon} steps ahead", _PALE, told_NH[start], start + 1)
        for start in range(0, count, horizon)
    ]
    curves = [
        *(fans if horizon > 1 else []),
        Curve(rule, _ORANGE, repeated),
        Curve("truth", _INK, truth),
        Curve("forecast 1 step ahead", _BLUE, told_NH[:, 0]),
    ]
    return line_chart(f"{target}: the last {count} forecasts", curves)


def _in_own_units(scores: Tensor, scaling: SeriesScaling, bases: np.ndarray) -> np.ndarray:
    """Standardised changes (N, H * D) as values (N, H, D)."""
    changes = scores.detach().double().cpu().numpy() * scaling.target_std + scaling.target_mean
    return np.asarray(changes + bases).reshape(len(bases), scaling.horizon, -1)


def _better_rule(
    baselines: Mapping[str, Mapping[str, float]], season: int | None
) -> tuple[str, int]:
    """The rule of smaller error, and how many rows back it looks."""
    rules = {"persistence": 1} | ({"seasonal": season} if season else {})
    name = min(rules, key=lambda rule: baselines[rule]["rmse"])
    return name, rules[name]
