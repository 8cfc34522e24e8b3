"""Series by name: published ones, fetched once into the folder of the data, and one made from a seed. No torch here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge

from dlrun.config.schema import Count, Most, NonNegative, NonNegativeInt
from dlrun.config.settings import Seed
from dlrun.data.files import fetch
from dlrun.data.series.file import Period, series
from dlrun.data.series.series import Series
from dlrun.data.series.windows import Cutting, FillRule
from dlrun.data.tables.column_roles import ColumnName
from dlrun.errors import ConfigError

_REPOSITORY = (
    "https://raw.githubusercontent.com/jbrownlee/Datasets/d20fcb6402ae34e653d4513b00f39257bb37ed7f"
)
_POLLUTION_MD5 = "c50993a329efa65dc08a36384576756e"
_SUNSPOTS_MD5 = "dee19278d812667c0933bfcccbe4d0b2"
# By the checksums that configs of runs held before these sets had functions of their own.
FORMER = {
    _POLLUTION_MD5: f"{__name__}.pollution",
    _SUNSPOTS_MD5: f"{__name__}.sunspots",
}


def pollution(
    *,
    root: str,
    skip: NonNegativeInt,
    target: ColumnName | list[ColumnName],
    inputs: list[ColumnName] | None,
    known_future: list[ColumnName] | None,
    drop: list[ColumnName],
    fill: FillRule,
    window: Count,
    horizon: Count,
    difference: Literal[0, 1],
    seasonal_difference: Period | None,
    difference_inputs: bool,
    season: Count | None,
) -> Series:
    """43,824 hours of fine dust and weather in Beijing, 2010 to 2014 (Liang et al., 2015)."""
    asked = {name: value for name, value in locals().items() if name != "root"}
    file = _fetch(root, "pollution.csv", _POLLUTION_MD5)
    return series(path=file, **_file_settings(time="No", missing=["NA"]), **asked)


def sunspots(
    *,
    root: str,
    skip: NonNegativeInt,
    target: ColumnName | list[ColumnName],
    inputs: list[ColumnName] | None,
    drop: list[ColumnName],
    fill: FillRule,
    window: Count,
    horizon: Count,
    difference: Literal[0, 1],
    seasonal_difference: Period | None,
    difference_inputs: bool,
    season: Count | None,
) -> Series:
    """2,820 monthly means of the number of sunspots, 1749 to 1983 (Andrews and Herzberg, 1985)."""
    asked = {name: value for name, value in locals().items() if name != "root"}
    file = _fetch(root, "monthly-sunspots.csv", _SUNSPOTS_MD5)
    settings = _file_settings(time="Month", missing=[])
    return series(path=file, known_future=None, **settings, **asked)


def _file_settings(*, time: str, missing: list[str]) -> dict[str, Any]:
    """How the files of this collection are written."""
    return {
        "header": True,
        "skip_lines": 0,
        "comment": None,
        "delimiter": "comma",
        "decimal": "point",
        "thousands": "none",
        "encoding": "utf-8",
        "missing": missing,
        "only": None,
        "series": None,
        "time": time,
        "time_format": "auto",
        "step": None,
        "combine": "none",
    }


def _fetch(root: str, name: str, md5: str) -> str:
    return str(fetch(root, f"timeseries/{name}", url=f"{_REPOSITORY}/{name}", md5=md5))


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
