"""Around a picture of the plane: what its axes are, from where to where they go, and which colour is which class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dlrun.lettering import lettering
from dlrun.numbers import number_text
from dlrun.pictures import CLASS_COLOURS, PALETTE
from dlrun.png import Picture

_MARGIN = 24  # pixels on each side
_SIZE = 14  # of the letters
_INK, _PAPER = np.array((30, 30, 30)), np.array((255, 255, 255))
_GREYS = 4  # from paper to ink
_SQUARE = 10  # pixels, of a class's colour


def framed(
    picture: Picture,
    names: Sequence[str],
    extent: Sequence[float],
    class_names: Sequence[str],
) -> Picture:
    """The picture, indexed, with a margin that names both axes, their ends and the classes.

    Args:
        extent: left, right, bottom and top of the picture, in the axes' units.
    """
    assert picture.palette is not None
    paper = len(picture.palette)
    shades = _PAPER + (_INK - _PAPER) * np.linspace(0, 1, _GREYS)[:, None]
    palette = np.vstack([picture.palette, shades])
    height, width = picture.height + 2 * _MARGIN, picture.width + 2 * _MARGIN
    canvas = np.full((height, width), paper, np.uint8)
    canvas[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN] = picture.pixels
    left, right, bottom, top = extent
    _name_axis(canvas[-_MARGIN:, _MARGIN:-_MARGIN], names[0], left, right, paper)
    # Turned, so that upwards is from left to right.
    upright = np.rot90(canvas[_MARGIN:-_MARGIN, :_MARGIN], -1)
    _name_axis(upright, names[1], bottom, top, paper)
    _name_classes(canvas[:_MARGIN, _MARGIN:-_MARGIN], class_names, paper)
    return Picture(canvas, palette.astype(np.uint8))


def _name_axis(strip: np.ndarray, name: str, low: float, high: float, paper: int) -> None:
    """The two ends and the name between them, along a strip with its axis at the upper edge."""
    width = strip.shape[1]
    for text, share in (
        (number_text(low, digits=3), 0.0),
        (name, 0.5),
        (number_text(high, digits=3), 1.0),
    ):
        ink = lettering(text, _SIZE)
        _write(strip, ink, round(share * (width - ink.shape[1])), paper)


def _name_classes(strip: np.ndarray, class_names: Sequence[str], paper: int) -> None:
    """A square in its colour and the name of each class, as many as there is room for."""
    left = 0
    for number, name in enumerate(class_names):
        ink = lettering(name, _SIZE)
        if left + 2 * _SQUARE + ink.shape[1] > strip.shape[1]:
            return
        top = (strip.shape[0] - _SQUARE) // 2
        colour = CLASS_COLOURS + number % len(PALETTE)
        strip[top : top + _SQUARE, left : left + _SQUARE] = colour
        _write(strip, ink, left + _SQUARE + 4, paper)
        left += 2 * _SQUARE + ink.shape[1] + 4


def _write(strip: np.ndarray, ink: np.ndarray, left: int, paper: int) -> None:
    """Letters in the middle of the strip's height; what does not fit is cut off."""
    top = max(0, (strip.shape[0] - ink.shape[0]) // 2)
    place = strip[top : top + ink.shape[0], max(0, left) : max(0, left) + ink.shape[1]]
    place[:] = paper + ink[: place.shape[0], : place.shape[1]] // (256 // _GREYS)
