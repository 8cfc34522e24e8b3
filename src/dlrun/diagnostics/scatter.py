"""Predictions of a regression over the true values, and what is left between the two."""

from __future__ import annotations

import numpy as np

from dlrun.diagnostics.plane import Dots, Line, plane, ticks_of
from dlrun.tracking.picture import Picture

_BLUE = (31, 119, 180)
_BINS = 40


def scatter(title: str, true_N: np.ndarray, predicted_N: np.ndarray) -> Picture:
    """A dot for each sample, on the diagonal where it is right, in the target's own units.

    What is not finite is left out.
    """
    known = np.isfinite(true_N) & np.isfinite(predicted_N)
    ticks = ticks_of(true_N[known], predicted_N[known])
    dots = Dots("", _BLUE, true_N[known], predicted_N[known])
    axes = "x: true value, y: predicted"
    low, high = ticks[0], ticks[-1]
    return plane(title, axes, ticks, ticks, dots=[dots], guide=((low, low), (high, high)))


def residuals(title: str, true_N: np.ndarray, predicted_N: np.ndarray) -> Picture:
    """The error of each prediction over the prediction: a pattern in it is what the model has not learned."""
    known = np.isfinite(true_N) & np.isfinite(predicted_N)
    predicted, errors = predicted_N[known], true_N[known] - predicted_N[known]
    x_ticks, y_ticks = ticks_of(predicted), ticks_of(errors, -errors)
    axes = "x: predicted, y: true value - predicted"
    guide = ((x_ticks[0], 0.0), (x_ticks[-1], 0.0))
    return plane(
        title, axes, x_ticks, y_ticks, dots=[Dots("", _BLUE, predicted, errors)], guide=guide
    )


def residual_histogram(title: str, true_N: np.ndarray, predicted_N: np.ndarray) -> Picture:
    """How often an error occurs."""
    errors = true_N - predicted_N
    ticks = ticks_of(errors, -errors)
    counts, edges = np.histogram(errors[np.isfinite(errors)], _BINS, (ticks[0], ticks[-1]))
    line = outline("", _BLUE, counts, edges)
    axes = "x: true value - predicted, y: samples"
    y_ticks = ticks_of(counts, np.zeros(1))
    return plane(title, axes, ticks, y_ticks, lines=[line], guide=((0.0, 0.0), (0.0, y_ticks[-1])))


def outline(name: str, colour: tuple[int, int, int], counts: np.ndarray, edges: np.ndarray) -> Line:
    """A histogram's bars (N,) between `edges` (N + 1,) as the line around them."""
    heights = np.concatenate(([0.0], counts.repeat(2), [0.0]))
    return Line(name, colour, edges.repeat(2), heights)
