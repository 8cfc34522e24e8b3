"""Pictures of forecasts: what came, what was told one step ahead and further, and what a simple rule tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from torch import Tensor

from dlrun.data.base import Dataset, Split
from dlrun.data.series_scaling import SeriesScaling
from dlrun.line_chart import Curve, line_chart
from dlrun.png import Picture

SHOWN = 200  # forecasts in a picture: the last ones of a part
_TARGETS = 4  # pictures, at most
_INK, _BLUE, _PALE, _ORANGE = (30, 30, 30), (31, 119, 180), (158, 202, 235), (255, 170, 90)


class Rule(NamedTuple):
    """What tells for each row the value `rows_back` before it."""

    name: str
    rows_back: int

    def tells(self, truth_R: np.ndarray) -> np.ndarray:
        """For each of `truth_R` what it tells (R,), NaN where it would have to know earlier rows."""
        return np.concatenate([np.full(self.rows_back, np.nan), truth_R])[: len(truth_R)]


def forecast_pictures(data: Dataset, part: Split, outputs: Tensor) -> Iterator[tuple[str, Picture]]:
    """(target, picture) of the last forecasts on `part`, from raw scores; nothing where the data are no series."""
    scaling = data.preprocessing
    if not isinstance(scaling, SeriesScaling) or part.bases is None or not len(part):
        return
    bases = part.bases[-SHOWN:].numpy()
    truths, told = (
        _in_own_units(scores[-SHOWN:], scaling, bases) for scores in (part.targets, outputs)
    )
    rule = _better_rule(data.baselines, scaling.season)
    for number, name in enumerate(scaling.targets_told[:_TARGETS]):
        yield (
            name,
            forecast_picture(name, truths[:, :, number], told[:, :, number], rule=rule),
        )


def forecast_picture(
    target: str, truth_NH: np.ndarray, told_NH: np.ndarray, *, rule: Rule | None
) -> Picture:
    """Forecasts at N successive origins one step ahead; of every H-th origin the whole forecast, too.

    Args:
        rule: drawn beside them; None for none.
    """
    count, horizon = truth_NH.shape
    truth = np.concatenate([truth_NH[:, 0], truth_NH[-1, 1:]])
    fans = [
        Curve("" if start else f"{horizon} steps ahead", _PALE, told_NH[start], start + 1)
        for start in range(0, count, horizon)
    ]
    curves = [
        *(fans if horizon > 1 else []),
        *([] if rule is None else [Curve(rule.name, _ORANGE, rule.tells(truth))]),
        Curve("target", _INK, truth),
        Curve("forecast 1 step ahead", _BLUE, told_NH[:, 0]),
    ]
    return line_chart(f"{target}: the last {count} forecasts", curves)


def _in_own_units(scores: Tensor, scaling: SeriesScaling, bases: np.ndarray) -> np.ndarray:
    """Standardised changes (N, H * D) as values (N, H, D)."""
    changes = scores.detach().double().cpu().numpy() * scaling.target_std + scaling.target_mean
    return np.asarray(changes + bases).reshape(len(bases), scaling.horizon, -1)


def _better_rule(baselines: Mapping[str, Mapping[str, float]], season: int | None) -> Rule | None:
    """The rule of smaller error; None where nothing is known of them, as in a quick check on a few windows."""
    rules = [Rule("persistence", 1), *([Rule("seasonal", season)] if season else [])]
    known = [rule for rule in rules if rule.name in baselines]
    return min(known, key=lambda rule: baselines[rule.name]["rmse"], default=None)
