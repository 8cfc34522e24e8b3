"""Curves over their numbers, drawn with Pillow: as quick as the other pictures that a run draws of itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from dlrun.tracking.picture import Picture, lettering, text_width

Colour = tuple[int, int, int]

_WIDTH, _HEIGHT = 960, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 16, 52, 30  # margins
_FINE = 2  # lines are drawn this many times larger, then made smaller: that smooths them
_INK, _GRID, _MARK = (30, 30, 30), (228, 228, 228), (170, 170, 170)


@dataclass(frozen=True)
class Curve:
    """A line through `values` (N,), NaN where it has none, from the number `first` on.

    Attributes:
        name: in the legend; empty for none.
    """

    name: str
    colour: Colour
    values: np.ndarray
    first: int = 1
    width: int = 3  # half pixels


@dataclass(frozen=True)
class Area:
    """What is between `lower` and `upper` (N,), from the number `first` on; otherwise as a curve."""

    name: str
    colour: Colour
    lower: np.ndarray
    upper: np.ndarray
    first: int = 1


def line_chart(
    title: str, curves: Sequence[Curve], areas: Sequence[Area] = (), *, marks: Sequence[int] = ()
) -> Picture:
    """`areas` and `curves` over the numbers from 1, later ones over earlier ones, with a legend and round numbers.

    Args:
        marks: numbers before which a line stands.
    """
    known = np.concatenate(
        [curve.values for curve in curves] + [side for a in areas for side in (a.lower, a.upper)]
    )
    if not np.isfinite(known).any():
        known = np.zeros(1)  # a run that diverged draws an empty chart
    low, high = float(np.nanmin(known)), float(np.nanmax(known))
    count = max(curve.first - 1 + len(curve.values) for curve in curves)
    chart = _Chart(count, round_numbers(low, high, about=5))
    pixels = chart.lines(curves, areas, marks)
    write_letters(pixels, title, _LEFT, 6, 15)
    _write_legend(pixels, [*curves, *areas])
    chart.write_numbers(pixels)
    return Picture(pixels)


def round_numbers(low: float, high: float, *, about: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten from below `low` to above `high`, `about` as many at most."""
    span = high - low if high > low else max(abs(low), 1.0)
    power = 10.0 ** np.floor(np.log10(span / about))
    step = next(power * factor for factor in (1, 2, 5, 10) if span <= power * factor * about)
    first, last = np.floor(low / step), np.ceil(high / step)
    numbers = np.arange(first, max(last, first + 1) + 1)
    return [float(f"{number * step:.12g}") for number in numbers]


@dataclass(frozen=True)
class _Chart:
    """`count` numbers across; up the side the range of `ticks`."""

    count: int
    ticks: list[float]

    def place(self, number: float, value: float) -> tuple[float, float]:
        """In pixels from the left and the top."""
        across = (number - 0.5) / self.count
        up = (value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0])
        x = _LEFT + across * (_WIDTH - _LEFT - _RIGHT)
        return x, _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)

    def lines(
        self, curves: Sequence[Curve], areas: Sequence[Area], marks: Sequence[int]
    ) -> np.ndarray:
        """The areas, the grid, the marks and the curves, (H, W, 3)."""
        canvas = Image.new("RGB", (_WIDTH * _FINE, _HEIGHT * _FINE), (255, 255, 255))
        pen = ImageDraw.Draw(canvas)
        for area in areas:
            self._fill(pen, area)
        for tick in self.ticks:
            self._line(pen, [(0.5, tick), (self.count + 0.5, tick)], _GRID, _FINE)
        for mark in marks:
            ends = [(mark - 0.5, self.ticks[0]), (mark - 0.5, self.ticks[-1])]
            self._line(pen, ends, _MARK, _FINE)
        for curve in curves:
            points = [
                (number, float(value))
                for number, value in enumerate(curve.values, curve.first)
                if np.isfinite(value)
            ]
            self._line(pen, points, curve.colour, curve.width)
        return np.array(canvas.reduce(_FINE))

    def _fill(self, pen: ImageDraw.ImageDraw, area: Area) -> None:
        """An area: a number alone is as wide as the line between two."""
        numbers = np.arange(area.first, area.first + len(area.lower), dtype=float)
        known = np.isfinite(area.lower) & np.isfinite(area.upper)
        numbers, lower, upper = numbers[known], area.lower[known], area.upper[known]
        if len(numbers) == 1:
            numbers = np.array([numbers[0] - 0.5, numbers[0] + 0.5])
            lower, upper = lower.repeat(2), upper.repeat(2)
        outline = [*zip(numbers, upper, strict=True), *zip(numbers[::-1], lower[::-1], strict=True)]
        places = [self.place(float(number), float(value)) for number, value in outline]
        if places:
            pen.polygon([(x * _FINE, y * _FINE) for x, y in places], area.colour)

    def write_numbers(self, pixels_HW3: np.ndarray) -> None:
        """Along both axes."""
        for tick in self.ticks:
            text = f"{tick:,.6g}"
            top = int(self.place(1, tick)[1]) - 8
            write_letters(pixels_HW3, text, _LEFT - 8 - text_width(text, 12), top, 12)
        for number in {1, *round_numbers(0, self.count, about=10)}:
            if number == int(number) and 1 <= number <= self.count:
                text = f"{number:,.0f}"
                left = int(self.place(number, self.ticks[0])[0]) - text_width(text, 12) // 2
                write_letters(pixels_HW3, text, left, _HEIGHT - _BOTTOM + 6, 12)

    def _line(
        self,
        pen: ImageDraw.ImageDraw,
        points: Sequence[tuple[float, float]],
        colour: Colour,
        width: int,
    ) -> None:
        places = [self.place(number, value) for number, value in points]
        if len(places) > 1:
            pen.line([(x * _FINE, y * _FINE) for x, y in places], colour, width, joint="curve")


def _write_legend(pixels_HW3: np.ndarray, curves: Sequence[Curve | Area]) -> None:
    left = _LEFT
    for curve in curves:
        if curve.name:
            rows = slice(36, 39) if isinstance(curve, Curve) else slice(31, 44)
            pixels_HW3[rows, left : left + 22] = curve.colour
            write_letters(pixels_HW3, curve.name, left + 28, 28, 13)
            left += 52 + text_width(curve.name, 13)


def write_letters(pixels_HW3: np.ndarray, text: str, left: int, top: int, size: int) -> None:
    """Letters from a corner on; what does not fit is cut off."""
    left = max(0, left)
    ink = lettering(text, size)[:, : max(0, pixels_HW3.shape[1] - left)]
    place = pixels_HW3[top : top + ink.shape[0], left : left + ink.shape[1]]
    share = ink[: place.shape[0], :, None] / 255
    place[:] = place * (1 - share) + np.array(_INK) * share
