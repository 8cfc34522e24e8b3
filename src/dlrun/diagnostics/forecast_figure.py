"""The forecasts of a series beside its targets and the better of two rules that need no model, as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice, product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlrun.data.base import Dataset
from dlrun.data.loaders import Split
from dlrun.data.series.scaling import SeriesScaling
from dlrun.diagnostics.line_chart import Curve, line_chart
from dlrun.tracking.picture import Picture

_FORECASTS = 200  # in a picture: the last ones of a part
_FIGURES = 4  # pictures, at most
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
    of_series = [
        (series, *_in_own_units(scaling, part, outputs, rows))
        for series, rows in _rows_by_series(part).items()
    ]
    several = list(scaling.members)
    pictures = product(enumerate(scaling.targets_told), of_series)
    for (number, target), (series, targets, forecasts) in islice(pictures, _FIGURES):
        name = f"{target}, {several[series]}" if several else target
        picture = forecast_picture(name, targets[:, :, number], forecasts[:, :, number], rule=rule)
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


def _in_own_units(
    scaling: SeriesScaling, part: Split, outputs: Tensor, rows: slice
) -> tuple[np.ndarray, np.ndarray]:
    """Targets and forecasts of these samples, each (N, H, D)."""
    scores, bases = part.targets[rows], part.bases
    assert bases is not None, "samples of a series"
    std, base = np.asarray(scaling.target_std), bases[rows].numpy()
    if scaling.scaled_by_row:
        scores, divisors = scores.chunk(2, 1)
        std = divisors.double().cpu().numpy()
    else:
        base = base + scaling.target_mean
    targets, forecasts = (
        np.asarray(one.detach().double().cpu().numpy() * std + base).reshape(
            len(base), scaling.horizon, -1
        )
        for one in (scores, outputs[rows])
    )
    return targets, forecasts


def _better_rule(baselines: Mapping[str, Mapping[str, float]], season: int | None) -> Rule | None:
    """The rule of smaller error; None where nothing is known of them, as in a quick check on a few windows."""
    rules = [Rule("persistence", 1), *([Rule("seasonal", season)] if season else [])]
    known = [rule for rule in rules if rule.name in baselines]
    return min(known, key=lambda rule: baselines[rule.name]["rmse"], default=None)
