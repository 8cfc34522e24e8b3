"""A square with two axes, on which curves, dots and histograms are drawn with Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from dlrun.diagnostics.line_chart import Colour, round_numbers, write
from dlrun.tracking.picture import Picture, text_width

SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # ticks of what lies between 0 and 1

_SIDE = 380  # pixels of the square
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 24, 36, 56  # margins
_LEGEND = 230  # pixels more on the right where there are names
_SMALL, _MIDDLE, _LARGE = 15, 17, 19  # letters
_FINE = 2  # lines are drawn this many times larger, then made smaller: that smooths them
_RADIUS = 2  # of a dot
_OPAQUE = 0.5  # a dot; several on one place are darker
_INK, _GRID = (150, 150, 150), (228, 228, 228)


@dataclass(frozen=True)
class Line:
    """A line through the points (x_N, y_N).

    Attributes:
        name: in the legend; empty for none.
    """

    name: str
    colour: Colour
    x_N: np.ndarray
    y_N: np.ndarray


@dataclass(frozen=True)
class Dots:
    """A dot for each point (x_N, y_N).

    Attributes:
        name: in the legend; empty for none.
    """

    name: str
    colour: Colour
    x_N: np.ndarray
    y_N: np.ndarray


def ticks_of(*values: np.ndarray) -> list[float]:
    """Round numbers around all finite `values`."""
    known = np.concatenate([one[np.isfinite(one)] for one in values])
    known = known if len(known) else np.zeros(1)
    return round_numbers(float(known.min()), float(known.max()), about=6)


def plane(
    title: str,
    axes: str,
    x_ticks: Sequence[float],
    y_ticks: Sequence[float],
    *,
    lines: Sequence[Line] = (),
    dots: Sequence[Dots] = (),
    guide: tuple[tuple[float, float], tuple[float, float]] | None = None,
) -> Picture:
    """Lines and dots over a grid.

    Args:
        axes: what both axes are, in words below the square.
        guide: the ends of a grey line: where points lie of a model that is right, or that guesses.
    """
    drawn: list[Line | Dots] = [*lines, *dots]
    named = [one for one in drawn if one.name]
    frame = _Frame(x_ticks, y_ticks, legend=bool(named))
    pixels = frame.lines(lines, guide)
    for some in dots:
        frame.draw_dots(pixels, some)
    write(pixels, title, _LEFT, 6, _LARGE)
    frame.write_numbers(pixels)
    write(pixels, axes, _LEFT, _TOP + _SIDE + 28, _MIDDLE)
    for row, one in enumerate(named):
        top = _TOP + 8 + 24 * row
        pixels[top + 9 : top + 12, _LEFT + _SIDE + 16 : _LEFT + _SIDE + 34] = one.colour
        write(pixels, one.name, _LEFT + _SIDE + 40, top, _MIDDLE)
    return Picture(pixels)


@dataclass(frozen=True)
class _Frame:
    """Where a point of the plane lies in the picture."""

    x_ticks: Sequence[float]
    y_ticks: Sequence[float]
    legend: bool

    def x(self, values: np.ndarray) -> np.ndarray:
        """In pixels from the left."""
        return _LEFT + _share(values, self.x_ticks) * _SIDE

    def y(self, values: np.ndarray) -> np.ndarray:
        """In pixels from the top."""
        return _TOP + (1 - _share(values, self.y_ticks)) * _SIDE

    def lines(
        self,
        lines: Sequence[Line],
        guide: tuple[tuple[float, float], tuple[float, float]] | None,
    ) -> np.ndarray:
        """The grid, the guide and the lines, (H, W, 3)."""
        width = _LEFT + _SIDE + (_LEGEND if self.legend else _RIGHT)
        size = (width * _FINE, (_TOP + _SIDE + _BOTTOM) * _FINE)
        canvas = Image.new("RGB", size, (255, 255, 255))
        pen = ImageDraw.Draw(canvas)
        left, right = _LEFT * _FINE, (_LEFT + _SIDE) * _FINE
        top, bottom = _TOP * _FINE, (_TOP + _SIDE) * _FINE
        for across in self.x(np.array(self.x_ticks)) * _FINE:
            pen.line([(across, top), (across, bottom)], _GRID, _FINE)
        for down in self.y(np.array(self.y_ticks)) * _FINE:
            pen.line([(left, down), (right, down)], _GRID, _FINE)
        if guide:
            x_ends, y_ends = np.array(guide, float).T
            self._line(pen, x_ends, y_ends, _INK)
        for line in lines:
            self._line(pen, line.x_N, line.y_N, line.colour)
        return np.array(canvas.reduce(_FINE))

    def _line(
        self, pen: ImageDraw.ImageDraw, x_N: np.ndarray, y_N: np.ndarray, colour: Colour
    ) -> None:
        places = np.stack((self.x(x_N), self.y(y_N)), 1) * _FINE
        places = np.rint(places[np.isfinite(places).all(1)])
        # Of very many points only those that the eye can tell apart.
        kept = np.ones(len(places), bool)
        kept[1:] = (places[1:] != places[:-1]).any(1)
        if kept.sum() > 1:
            pen.line([(a, b) for a, b in places[kept].tolist()], colour, 3, joint="curve")

    def draw_dots(self, pixels_HW3: np.ndarray, dots: Dots) -> None:
        """A dot for each point that is finite."""
        known = np.isfinite(dots.x_N) & np.isfinite(dots.y_N)
        across = np.rint(self.x(dots.x_N[known])).astype(int)
        down = np.rint(self.y(dots.y_N[known])).astype(int)
        height, width = pixels_HW3.shape[:2]
        counts = np.bincount(down * width + across, minlength=height * width)
        counts = counts.reshape(height, width)
        covered = np.zeros((height, width))
        around = range(-_RADIUS, _RADIUS + 1)
        for step in around:
            for right in around:
                if step**2 + right**2 <= _RADIUS**2 + 1:
                    covered += np.roll(counts, (step, right), (0, 1))
        share = 1 - (1 - _OPAQUE) ** covered[..., None]
        pixels_HW3[:] = pixels_HW3 * (1 - share) + np.array(dots.colour) * share

    def write_numbers(self, pixels_HW3: np.ndarray) -> None:
        """Along both axes."""
        for tick, down in zip(self.y_ticks, self.y(np.array(self.y_ticks)), strict=True):
            text = f"{tick:,.6g}"
            write(pixels_HW3, text, _LEFT - 8 - text_width(text, _SMALL), round(down) - 8, 12)
        for tick, across in zip(self.x_ticks, self.x(np.array(self.x_ticks)), strict=True):
            text = f"{tick:,.6g}"
            left = round(across) - text_width(text, _SMALL) // 2
            write(pixels_HW3, text, left, _TOP + _SIDE + 6, _SMALL)


def _share(values: np.ndarray, ticks: Sequence[float]) -> np.ndarray:
    return (values - ticks[0]) / (ticks[-1] - ticks[0])
