"""A series made from a seed: a trend, seasons and noise, whose best forecast is known."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge

from dlrun.config.schema import Count, Most, NonNegative
from dlrun.config.settings import Seed
from dlrun.data.series.series import Series
from dlrun.data.series.windows import Cutting
from dlrun.errors import ConfigError

Period = Annotated[int, Ge(2)]


def synthetic_series(
    *,
    length: Annotated[int, Ge(10), Most(10**8)],
    level: float,
    trend: float,
    periods: list[Period],
    amplitudes: list[float],
    noise: NonNegative,
    seed: Seed,
    window: Count,
    horizon: Count,
    difference: Literal[0, 1],
    seasonal_difference: Period | None,
    difference_inputs: bool,
    season: Count | None,
) -> Series:
    """y[t] = level + trend t + sum of amplitude sin(2 pi t / period) + noise e[t], e standard normal, t = 0, 1, …

    Raises:
        ConfigError: not one amplitude a period.
    """
    settings = locals()
    if len(periods) != len(amplitudes):
        raise ConfigError(
            f"dataset.periods has {len(periods)} numbers, but dataset.amplitudes {len(amplitudes)}; "
            "give one amplitude a period"
        )
    t_R = np.arange(length)
    values = level + trend * t_R
    for period, amplitude in zip(periods, amplitudes, strict=True):
        values = values + amplitude * np.sin(2 * np.pi * t_R / period)
    values = values + noise * np.random.default_rng(seed).standard_normal(length)
    return Series(
        numbers={"y": values},
        words={},
        inputs=("y",),
        targets=("y",),
        cutting=Cutting.of(settings),
        fill="none",
        season=season,
        reading={
            "header": "auto",
            "delimiter": "auto",
            "encoding": "utf-8",
            "missing": [],
            "time": None,
        },
        computed=True,
    )
