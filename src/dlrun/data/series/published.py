"""Published series, fetched once into the folder of the data. No torch here."""

from __future__ import annotations

from typing import Any, Literal

from dlrun.config.schema import Count, NonNegativeInt
from dlrun.data.files import fetch
from dlrun.data.series.file import Period, series
from dlrun.data.series.imputation import FillRule
from dlrun.data.series.series import Series
from dlrun.data.tables.column_roles import Column

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
    target: Column | list[Column],
    inputs: list[Column] | None,
    drop: list[Column],
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
    return series(path=file, **_form(time="No", missing=["NA"]), **asked)


def sunspots(
    *,
    root: str,
    skip: NonNegativeInt,
    target: Column | list[Column],
    inputs: list[Column] | None,
    drop: list[Column],
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
    return series(path=file, **_form(time="Month", missing=[]), **asked)


def _form(*, time: str, missing: list[str]) -> dict[str, Any]:
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
        "time": time,
        "time_format": "auto",
    }


def _fetch(root: str, name: str, md5: str) -> str:
    return str(fetch(root, f"timeseries/{name}", url=f"{_REPOSITORY}/{name}", md5=md5))
