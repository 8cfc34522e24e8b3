"""The confusion matrix as a picture: blue for right, red for wrong, the darker the larger the share of its row."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from dlrun.tracking.picture import Picture, lettering, text_width

_BLUE, _RED = np.array((31, 119, 180)), np.array((190, 20, 20))
_INK, _PAPER, _FAINT = np.array((30, 30, 30)), np.array((255, 255, 255)), np.array((190, 190, 190))


def confusion_picture(confusion: Sequence[Sequence[int]], class_names: Sequence[str]) -> Picture:
    """The confusion matrix: a row for each true class, shaded by its share, the count in each cell."""
    counts = np.asarray(confusion)
    title = lettering("rows: true class, columns: predicted", 16)
    names = [lettering(name, 16) for name in class_names]
    cell = max(48, 16 + text_width(str(counts.max()), 16))
    margin = 20 + max(name.shape[1] for name in names)
    size, top = len(counts) * cell, 28 + margin
    width = max(margin + size, title.shape[1]) + 16
    canvas = np.zeros((top + size + 12, width), np.uint8)
    squares = canvas[top : top + size, margin : margin + size]
    squares[:] = _shades(counts).repeat(cell, 0).repeat(cell, 1)
    for gap in (cell - 2, cell - 1):
        squares[gap::cell] = squares[:, gap::cell] = 0
    _write(canvas, title, width // 2, 4 + title.shape[0] // 2)
    for row, name in enumerate(names):
        middle = row * cell + cell // 2
        _write(canvas, name, margin - 8 - name.shape[1] // 2, top + middle)
        _write(canvas, np.rot90(name), margin + middle, top - 6 - name.shape[1] // 2)
        for column, count in enumerate(counts[row]):
            _write(squares, lettering(str(count), 16), column * cell + cell // 2, middle)
    return Picture(canvas, _confusion_palette())


# The colours of a confusion picture: paper, shades of blue (for right) and of red (for wrong), and each
# of these under four amounts of ink, of which none is the first.
_SHADES = 31


def _shades(counts: np.ndarray) -> np.ndarray:
    """For each cell the number of its colour: of its share of the row, rounded up; red beside the diagonal."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    strength = np.ceil(shares * (_SHADES - 1) - 1e-9).astype(np.uint8)
    right = np.eye(len(counts), dtype=bool) & (counts > 0)
    return strength + np.where(right, 0, _SHADES).astype(np.uint8)


@lru_cache(maxsize=1)
def _confusion_palette() -> np.ndarray:
    strength = np.linspace(0, 1, _SHADES)[:, None]
    ends = (_BLUE, _RED)
    paper = np.vstack([255 - (255 - end) * strength for end in ends])
    ink = np.where(np.vstack([strength] * 2) > 0.5, _PAPER, _INK)
    ink[_SHADES] = _FAINT  # zeros are there for completeness
    return np.vstack([paper + (ink - paper) * amount / 3 for amount in range(4)]).astype(np.uint8)


def _write(canvas: np.ndarray, ink: np.ndarray, across: int, down: int) -> None:
    """Write letters into a confusion picture, centred on a point."""
    top, left = down - ink.shape[0] // 2, across - ink.shape[1] // 2
    canvas[top : top + ink.shape[0], left : left + ink.shape[1]] += ink // 64 * (2 * _SHADES)
