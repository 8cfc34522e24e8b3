"""The decision boundary of a classifier of two features, drawn over the plane of both.

Drawn with numpy and with Pillow's letters: a figure library would cost more time to import than a small
run takes to train, and the trials of a sweep draw thousands of figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from PIL import Image

from dlrun.data.arrays.scaling import Scaling
from dlrun.data.base import Dataset
from dlrun.data.loaders import Split
from dlrun.data.tables.encoding import TableEncoding
from dlrun.tracking.numbers import number_text
from dlrun.tracking.picture import Picture, lettering
from dlrun.training.loop import Engine
from dlrun.training.scores import probabilities

# Ten colours told apart by most eyes, also in print (Tableau's).
PALETTE = np.array(
    [
        (31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189),
        (140, 86, 75), (227, 119, 194), (127, 127, 127), (188, 189, 34), (23, 190, 207),
    ],
    dtype=np.float32,
)  # fmt: skip
_INK, _PAPER = np.array((30, 30, 30)), np.array((255, 255, 255))
_GRID = 100  # points along each side of the plane


def decision_boundary(engine: Engine, data: Dataset) -> Picture:
    """The plane of both features, with the points of the validation part; without one, of the training part."""
    part = data.val if len(data.val) else data.train
    points, spec = part.inputs, data.spec
    low, high = points.amin(0) - 0.3, points.amax(0) + 0.3
    across = torch.linspace(0, 1, _GRID, device=points.device, dtype=points.dtype)
    xs, ys = low[0] + (high[0] - low[0]) * across, high[1] + (low[1] - high[1]) * across
    grid = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), 2).reshape(-1, 2)
    outputs = engine.outputs(Split(grid, grid[:, 0]))
    field = probabilities(outputs.float(), spec).reshape(_GRID, _GRID, -1)
    extent = (float(low[0]), float(high[0]), float(low[1]), float(high[1]))
    chances, places, labels = (x.float().cpu().numpy() for x in (field, points, part.targets))
    picture = boundary_picture(chances, places, labels, extent)
    names = spec.feature_names or ("x1", "x2")
    return framed(picture, names, _in_units(extent, data), spec.class_names)


def boundary_picture(
    field_SSC: np.ndarray,
    points_N2: np.ndarray,
    labels_N: np.ndarray,
    extent: tuple[float, float, float, float],
) -> Picture:
    """Where in the plane a classifier decides for which class, paler where it is less sure, with the points.

    Args:
        field_SSC: class probabilities on a square grid, first row at the top.
        extent: left, right, bottom and top of the grid, in the points' units.
    """
    side = field_SSC.shape[0] * 4
    decided, surety = _decisions(field_SSC, side)
    canvas = _tint_numbers(field_SSC.shape[2])[surety] + decided % len(PALETTE) * _TINTS
    across, down = decided[:, 1:] != decided[:, :-1], decided[1:] != decided[:-1]
    for edge in (canvas[:, 1:], canvas[:, :-1]):
        edge[across] = _EDGE
    for edge in (canvas[1:], canvas[:-1]):
        edge[down] = _EDGE
    left, right, bottom, top = extent
    places = (points_N2 - (left, top)) / (right - left, bottom - top) * (side - 1)
    _stamp(canvas, np.rint(places).astype(int), labels_N.astype(int) % len(PALETTE))
    return Picture(canvas, _boundary_palette())


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
    shades = _PAPER + (_INK - _PAPER) * np.linspace(0, 1, _FRAME_GREYS)[:, None]
    palette = np.vstack([picture.palette, shades])
    height, width = picture.height + 2 * _FRAME, picture.width + 2 * _FRAME
    canvas = np.full((height, width), paper, np.uint8)
    canvas[_FRAME:-_FRAME, _FRAME:-_FRAME] = picture.pixels
    left, right, bottom, top = extent
    _name_axis(canvas[-_FRAME:, _FRAME:-_FRAME], names[0], left, right, paper)
    # Turned, so that upwards is from left to right.
    upright = np.rot90(canvas[_FRAME:-_FRAME, :_FRAME], -1)
    _name_axis(upright, names[1], bottom, top, paper)
    _name_classes(canvas[:_FRAME, _FRAME:-_FRAME], class_names, paper)
    return Picture(canvas, palette.astype(np.uint8))


def _in_units(extent: tuple[float, float, float, float], data: Dataset) -> tuple[float, ...]:
    """Left, right, bottom and top of the plane as the data have them, before they were scaled."""
    if not isinstance(scaling := data.preprocessing, Scaling | TableEncoding):
        return extent
    mean, std = (np.broadcast_to(part, 2).repeat(2) for part in (scaling.mean, scaling.std))
    return tuple((np.array(extent) * std + mean).tolist())


# The colours of a boundary picture: tints of each class, their full colours, the edge, the rim of a point.
_TINTS = 24
_CLASS_COLOURS = _TINTS * len(PALETTE)  # the first class's place in the palette
_EDGE = _CLASS_COLOURS + len(PALETTE)
_RIM = _EDGE + 1


def _decisions(field_SSC: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The winning class at each pixel, and its probability in 255ths; each (side, side), uint8."""
    # Not rounded before it is enlarged: where a classifier is unsure, its edge would be a staircase.
    parts = np.ascontiguousarray((field_SSC * 255).astype(np.float32).transpose(2, 0, 1))
    images = (
        Image.fromarray(part).resize((side, side), Image.Resampling.BILINEAR) for part in parts
    )
    decided, surety = np.zeros((side, side), np.uint8), np.zeros((side, side), np.float32)
    for number, image in enumerate(images):
        chance = np.asarray(image)
        decided[chance > surety] = number
        np.maximum(surety, chance, out=surety)
    return decided, surety.astype(np.uint8)


@lru_cache(maxsize=32)
def _tint_numbers(classes: int) -> np.ndarray:
    """The tint for each winning probability in 255ths, which is at least one over the number of classes."""
    least = 1 / classes
    strength = (np.arange(256) / 255 - least) / (1 - least) if classes > 1 else np.ones(256)
    return np.rint(strength.clip(0, 1) * (_TINTS - 1)).astype(np.uint8)


@lru_cache(maxsize=1)
def _boundary_palette() -> np.ndarray:
    strength = np.linspace(0.15, 0.45, _TINTS)[:, None]
    tints = [255 - (255 - colour) * strength for colour in PALETTE]
    return np.vstack([*tints, PALETTE, _INK, _PAPER]).astype(np.uint8)


def _stamp(canvas: np.ndarray, places_N2: np.ndarray, colours_N: np.ndarray) -> None:
    """A dot in its colour with a rim at each place (x, y); later ones cover earlier ones."""
    y, x = np.mgrid[-3:4, -3:4].reshape(2, 1, -1)
    radius = np.hypot(x, y)
    y, x, radius = (part[:, radius[0] < 3.7] for part in (y, x, radius))
    colours = np.where(radius < 2.7, (_CLASS_COLOURS + colours_N)[:, None], _RIM).astype(np.uint8)
    xs, ys = places_N2[:, :1] + x, places_N2[:, 1:] + y
    inside = (xs >= 0) & (ys >= 0) & (xs < canvas.shape[1]) & (ys < canvas.shape[0])
    canvas[ys[inside], xs[inside]] = colours[inside]


# The frame of a boundary picture: pixels on each side, of a letter and of a class's square; shades from paper to ink.
_FRAME, _FRAME_LETTERS, _SQUARE = 24, 14, 10
_FRAME_GREYS = 4


def _name_axis(strip: np.ndarray, name: str, low: float, high: float, paper: int) -> None:
    """The two ends and the name between them, along a strip with its axis at the upper edge."""
    width = strip.shape[1]
    for text, share in (
        (number_text(low, digits=3), 0.0),
        (name, 0.5),
        (number_text(high, digits=3), 1.0),
    ):
        ink = lettering(text, _FRAME_LETTERS)
        _write_word(strip, ink, round(share * (width - ink.shape[1])), paper)


def _name_classes(strip: np.ndarray, class_names: Sequence[str], paper: int) -> None:
    """A square in its colour and the name of each class, as many as there is room for."""
    left = 0
    for number, name in enumerate(class_names):
        ink = lettering(name, _FRAME_LETTERS)
        if left + 2 * _SQUARE + ink.shape[1] > strip.shape[1]:
            return
        top = (strip.shape[0] - _SQUARE) // 2
        colour = _CLASS_COLOURS + number % len(PALETTE)
        strip[top : top + _SQUARE, left : left + _SQUARE] = colour
        _write_word(strip, ink, left + _SQUARE + 4, paper)
        left += 2 * _SQUARE + ink.shape[1] + 4


def _write_word(strip: np.ndarray, ink: np.ndarray, left: int, paper: int) -> None:
    """Letters in the middle of the strip's height; what does not fit is cut off."""
    top = max(0, (strip.shape[0] - ink.shape[0]) // 2)
    place = strip[top : top + ink.shape[0], max(0, left) : max(0, left) + ink.shape[1]]
    place[:] = paper + ink[: place.shape[0], : place.shape[1]] // (256 // _FRAME_GREYS)
