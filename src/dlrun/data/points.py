"""Two-dimensional points made from a seed: problems small enough to watch a decision boundary move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from annotated_types import Ge

from dlrun.data.source import Source
from dlrun.schema import Count, NonNegative

Size = Annotated[int, Ge(10)]
Classes = Annotated[int, Ge(2)]


def blobs(*, size: Size, classes: Classes, noise: NonNegative, seed: int) -> Source:
    """One Gaussian cloud a class, centres evenly on the unit circle, `noise` their standard deviation."""
    rng = np.random.default_rng(seed)
    labels = _labels(size, classes)
    angles = 2 * np.pi * labels / classes
    return _points(np.stack([np.cos(angles), np.sin(angles)], 1), labels, noise, rng)


def moons(*, size: Size, noise: NonNegative, seed: int) -> Source:
    """Two interleaving half circles: not separable by a line."""
    rng = np.random.default_rng(seed)
    labels = _labels(size, 2)
    angles = np.pi * rng.random(size)
    upper = np.stack([np.cos(angles), np.sin(angles)], 1)
    lower = np.stack([1 - np.cos(angles), 0.5 - np.sin(angles)], 1)
    return _points(np.where(labels[:, None] == 0, upper, lower), labels, noise, rng)


def circles(
    *, size: Size, noise: NonNegative, factor: Annotated[float, Ge(0)], seed: int
) -> Source:
    """A ring around a ring, the inner one `factor` times as wide."""
    rng = np.random.default_rng(seed)
    labels = _labels(size, 2)
    angles = 2 * np.pi * rng.random(size)
    radius = np.where(labels == 0, 1.0, factor)
    return _points(
        radius[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1), labels, noise, rng
    )


def xor(*, size: Size, noise: NonNegative, seed: int) -> Source:
    """The square from -1 to 1, the class by whether both coordinates have the same sign."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-1, 1, (size, 2))
    labels = (points[:, 0] * points[:, 1] < 0).astype(np.int64)
    return _points(points, labels, noise, rng, ["same sign", "other sign"])


def spiral(*, size: Size, classes: Classes, turns: Count, noise: NonNegative, seed: int) -> Source:
    """One arm a class winding out from the centre, `turns` half turns each."""
    rng = np.random.default_rng(seed)
    labels = _labels(size, classes)
    radius = 0.05 + 0.95 * rng.random(size)
    angles = 2 * np.pi * labels / classes + np.pi * turns * radius
    return _points(
        radius[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1), labels, noise, rng
    )


def _labels(size: int, classes: int) -> np.ndarray:
    """Class numbers in turn, so that every class has its equal share."""
    return np.arange(size) % classes


def _points(
    points: np.ndarray,
    labels: np.ndarray,
    noise: float,
    rng: np.random.Generator,
    names: Sequence[str] | None = None,
) -> Source:
    noisy = points + noise * rng.standard_normal(points.shape)
    classes = names or [f"class {number}" for number in range(labels.max() + 1)]
    return Source(
        inputs=noisy.astype(np.float32),
        targets=labels.astype(np.int64),
        task="classification",
        kind="features",
        class_names=tuple(classes),
        feature_names=("x1", "x2"),
    )
