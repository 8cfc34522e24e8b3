"""What a figure of the report is: axes and layers, which the page and the PNG pictures both draw."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from dlrun.tracking.numbers import number_text

INK, FAINT, GRID, EDGE = "#1f2933", "#616e7c", "#e4e7eb", "#cbd2d9"
WINNER, WINNER_ON = "#e8590c", "white"
PLAIN, LINE, OUTLINE = "#4a7fb5", "#1864ab", "#243b53"
UNFINISHED = "#adb5bd"
# From worst to best; the lightest can still be seen on white.
BLUES = ("#d3e2f1", "#9dc3e2", "#5c9dcc", "#2a72b0", "#08306b")

# Ten colours told apart by most eyes, for curves that are named one by one.
NAMED = (
    "#1f77b4", "#e8590c", "#2b8a3e", "#c92a2a", "#7048e8", "#8c564b", "#d6336c", "#5c636a", "#949005", "#0c8599",
)  # fmt: skip

_MOST_TICKS = 6


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        ticks: the texts at their positions; None leaves them to the library.
        limits: the ends; None leaves them to the library.
        step: from tick to tick; None leaves it to the library.
        at_top: the ticks of a horizontal axis stand above the figure.
    """

    title: str = ""
    log: bool = False
    ticks: Mapping[float, str] | None = None
    limits: tuple[float, float] | None = None
    step: float | None = None
    grid: bool = True
    line: bool = True
    at_top: bool = False


@dataclass(frozen=True)
class Lines:
    """A line from point to point, a gap at what is not a number; `steps` makes it go by stairs.

    Attributes:
        name: in the legend; empty for none.
        hover: what the page says of each point; with `values` x and y follow.
    """

    x: Sequence[float]
    y: Sequence[float]
    colour: str
    width: float
    opacity: float = 1
    dashed: bool = False
    steps: bool = False
    name: str = ""
    hover: str | Sequence[str] = ""


@dataclass(frozen=True)
class Dots:
    """Points with a text each for the page."""

    x: Sequence[float]
    y: Sequence[float]
    colours: str | Sequence[str]
    hover: Sequence[str]
    size: float = 7  # pixels
    outline: str = "white"
    opacity: float = 1
    star: bool = False
    name: str = ""


@dataclass(frozen=True)
class Bands:
    """Rectangles: left, right, bottom, top."""

    boxes: Sequence[tuple[float, float, float, float]]
    colour: str = PLAIN
    opacity: float = 0.16


@dataclass(frozen=True)
class Bars:
    """Horizontal bars, the first at the top, with the number at the end of each."""

    names: Sequence[str]
    values: Sequence[float]
    colour: str = LINE


@dataclass(frozen=True)
class Field:
    """Heights z over x and y as filled contours, `z[row of y][column of x]`; the stronger the blue, the better."""

    x: Sequence[float]
    y: Sequence[float]
    z: Sequence[Sequence[float]]
    less_is_better: bool


@dataclass(frozen=True)
class Notes:
    """Short texts to the left of points."""

    x: Sequence[float]
    y: Sequence[float]
    texts: Sequence[str]


Layer = Lines | Dots | Bands | Bars | Field | Notes


@dataclass(frozen=True)
class Chart:
    """One figure: its layers, the lowest first, over two axes; `wide` takes the page's whole width."""

    layers: Sequence[Layer]
    x: Axis
    y: Axis
    height: int  # pixels on the page
    wide: bool = False
    legend: Literal["", "above", "beside"] = ""


def blue(share: float) -> str:
    """The colour at `share` of the way from worst, 0, to best, 1."""
    place = min(max(share, 0.0), 1.0) * (len(BLUES) - 1)
    index = min(int(place), len(BLUES) - 2)
    pair = (_channels(BLUES[index]), _channels(BLUES[index + 1]))
    mixed = [round(a + (b - a) * (place - index)) for a, b in zip(*pair, strict=True)]
    return "#{:02x}{:02x}{:02x}".format(*mixed)


def log_ticks(low: float, high: float) -> list[float]:
    """Few round numbers from `low` to `high` for a logarithmic axis: 1, 2 and 5 times a power of ten, if they fit."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [float(f"{step}e{power}") for power in powers for step in steps]
        ticks = [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]
        if len(ticks) <= _MOST_TICKS:
            break
    return ticks if len(ticks) > 1 else [low, high]


def linear_ticks(low: float, high: float) -> list[float]:
    """Few round numbers from `low` to `high`: multiples of 1, 2 or 5 times a power of ten."""
    power = math.floor(math.log10((high - low) / _MOST_TICKS))
    steps = (float(f"{step}e{power + more}") for more in (0, 1) for step in (1, 2, 5))
    step = next(step for step in steps if (high - low) / step < _MOST_TICKS)
    return [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def log_axis_ticks(values: Sequence[float]) -> dict[float, str]:
    """The ticks of a logarithmic axis that holds the values."""
    return {tick: number_text(tick) for tick in log_ticks(min(values), max(values))}


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
