"""What a regression predicts over what is true, as a picture of points for each target."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
from torch import Tensor

from dlrun.data.base import Dataset
from dlrun.data.loaders import Split
from dlrun.diagnostics.line_chart import round_numbers, write_letters
from dlrun.tracking.picture import Picture, text_width
from dlrun.training.tasks import point_scores

_FIGURES = 4  # pictures, at most
_SIDE, _LEFT, _TOP, _RIGHT, _BOTTOM = 420, 72, 36, 36, 44  # of the picture, and its margins
_GRID, _LINE, _BLUE = (228, 228, 228), (120, 120, 120), (31, 119, 180)


def prediction_pictures(
    data: Dataset, part: Split, outputs: Tensor
) -> Iterator[tuple[str, Picture]]:
    """(target, picture) on `part`, from raw scores; nothing of classes and of series. A single target has no name."""
    names = data.spec.target_names or ("",)
    if data.spec.task != "regression" or part.bases is not None or not len(part):
        return
    if len(names) != data.spec.num_targets:  # several from code have no names
        return
    true, predicted = (
        data.preprocessing.values(scores.detach().cpu().double(), None).numpy()
        for scores in (part.targets, point_scores(outputs, data.spec))
    )
    for at, name in enumerate(names[:_FIGURES]):
        yield name, prediction_picture(name, true[:, at], predicted[:, at])


def prediction_picture(target: str, true_N: np.ndarray, predicted_N: np.ndarray) -> Picture:
    """N predictions over the true values, both in their own units; right ones lie on the diagonal."""
    known = np.isfinite(true_N) & np.isfinite(predicted_N)
    true, predicted = true_N[known], predicted_N[known]
    every = np.concatenate([true, predicted]) if known.any() else np.zeros(1)
    ticks = round_numbers(float(every.min()), float(every.max()), about=5)
    pixels = np.full((_SIDE, _SIDE, 3), 255, np.uint8)
    for tick in ticks:
        row, column = _rows(tick, ticks), _columns(tick, ticks)
        pixels[row, _LEFT : _SIDE - _RIGHT] = _GRID
        pixels[_TOP : _SIDE - _BOTTOM, column] = _GRID
    along = np.linspace(ticks[0], ticks[-1], 2 * _SIDE)
    pixels[_rows(along, ticks), _columns(along, ticks)] = _LINE
    rows, columns = _rows(predicted, ticks), _columns(true, ticks)
    for down, right in product((-1, 0, 1), repeat=2):
        pixels[rows + down, columns + right] = _BLUE
    write_letters(
        pixels, f"{target}{': ' * bool(target)}predicted over true, {len(true_N):,} rows", 8, 8, 15
    )
    for tick in ticks:
        text = f"{tick:,.6g}"
        top, left = int(_rows(tick, ticks)), int(_columns(tick, ticks))
        write_letters(pixels, text, _LEFT - 8 - text_width(text, 12), top - 8, 12)
        write_letters(pixels, text, left - text_width(text, 12) // 2, _SIDE - _BOTTOM + 6, 12)
    return Picture(pixels)


def _rows(values: np.ndarray | float, ticks: list[float]) -> np.ndarray:
    """The row of pixels of each predicted value."""
    share = (np.asarray(values) - ticks[0]) / (ticks[-1] - ticks[0])
    return np.rint(_SIDE - _BOTTOM - share * (_SIDE - _TOP - _BOTTOM)).astype(int)


def _columns(values: np.ndarray | float, ticks: list[float]) -> np.ndarray:
    """The column of pixels of each true value."""
    share = (np.asarray(values) - ticks[0]) / (ticks[-1] - ticks[0])
    return np.rint(_LEFT + share * (_SIDE - _LEFT - _RIGHT)).astype(int)
