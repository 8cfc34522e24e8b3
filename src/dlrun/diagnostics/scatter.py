"""Predictions of a regression over the true values: a dot for each sample, on the diagonal where it is right."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from dlrun.diagnostics.line_chart import round_numbers, write
from dlrun.tracking.picture import Picture, text_width

_SIDE = 380  # pixels of the square
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 24, 36, 48  # margins
_RADIUS = 2  # of a dot
_OPAQUE = 0.5  # a dot; several on one place are darker
_INK, _GRID, _BLUE = (150, 150, 150), (228, 228, 228), (31, 119, 180)


def scatter(title: str, true_N: np.ndarray, predicted_N: np.ndarray) -> Picture:
    """Both in the target's own units, on axes of one range; what is not finite is left out."""
    known = np.isfinite(true_N) & np.isfinite(predicted_N)
    x, y = true_N[known], predicted_N[known]
    ends = np.concatenate([x, y]) if len(x) else np.zeros(1)
    ticks = round_numbers(float(ends.min()), float(ends.max()), about=6)
    canvas = Image.new("RGB", (_LEFT + _SIDE + _RIGHT, _TOP + _SIDE + _BOTTOM), (255, 255, 255))
    pen = ImageDraw.Draw(canvas)
    for tick in _places(np.array(ticks), ticks).tolist():
        pen.line([(_LEFT, _TOP + _SIDE - tick), (_LEFT + _SIDE, _TOP + _SIDE - tick)], _GRID)
        pen.line([(_LEFT + tick, _TOP), (_LEFT + tick, _TOP + _SIDE)], _GRID)
    pen.line([(_LEFT, _TOP + _SIDE), (_LEFT + _SIDE, _TOP)], _INK)
    pixels = np.array(canvas)
    draw_dots(pixels, _LEFT + _places(x, ticks), _TOP + _SIDE - _places(y, ticks), np.array(_BLUE))
    write(pixels, title, _LEFT, 6, 15)
    for tick, place in zip(ticks, _places(np.array(ticks), ticks).tolist(), strict=True):
        text = f"{tick:,.6g}"
        width = text_width(text, 12)
        write(pixels, text, _LEFT - 8 - width, _TOP + _SIDE - place - 8, 12)
        write(pixels, text, _LEFT + place - width // 2, _TOP + _SIDE + 6, 12)
    write(pixels, "true value; up the side: predicted", _LEFT, _TOP + _SIDE + 26, 13)
    return Picture(pixels)


def _places(values: np.ndarray, ticks: list[float]) -> np.ndarray:
    """Pixels from the lower or left edge of the square."""
    return np.rint((values - ticks[0]) / (ticks[-1] - ticks[0]) * _SIDE).astype(int)


def draw_dots(
    pixels_HW3: np.ndarray, x_N: np.ndarray, y_N: np.ndarray, colour_3: np.ndarray
) -> None:
    """A dot at each place, darker where several lie on each other."""
    height, width = pixels_HW3.shape[:2]
    counts = np.bincount(y_N * width + x_N, minlength=height * width).reshape(height, width)
    covered = np.zeros((height, width))
    around = range(-_RADIUS, _RADIUS + 1)
    for down in around:
        for right in around:
            if down**2 + right**2 <= _RADIUS**2 + 1:
                covered += np.roll(counts, (down, right), (0, 1))
    share = 1 - (1 - _OPAQUE) ** covered[..., None]
    pixels_HW3[:] = pixels_HW3 * (1 - share) + colour_3 * share
