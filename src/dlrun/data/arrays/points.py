"""Two-dimensional points made from a seed: problems small enough to watch a decision boundary move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from annotated_types import Ge

from dlrun.config.schema import Count, Most, NonNegative
from dlrun.config.settings import Seed
from dlrun.data.arrays.source import Source
from dlrun.errors import ConfigError

Size = Annotated[int, Ge(10), Most(10**8)]
Classes = Annotated[int, Ge(2), Most(10_000)]


def blobs(*, size: Size, classes: Classes, noise: NonNegative, seed: Seed) -> Source:
    """One Gaussian cloud a class, centres evenly on the unit circle, `noise` their standard deviation."""
    rng = np.random.default_rng(seed)
    labels = _labels(size, classes)
    angles = 2 * np.pi * labels / classes
    return _points(np.stack([np.cos(angles), np.sin(angles)], 1), labels, noise, rng)


def gaussians(
    *, size: Size, means: list[list[float]], covariances: list[list[list[float]]], seed: Seed
) -> Source:
    """One Gaussian cloud a class, each with a mean and a covariance matrix of its own.

    With equal covariances the best boundary is a line, with others a conic section.

    Raises:
        ConfigError: fewer than two means, not a covariance for each, or one that is none.
    """
    if len(means) < 2 or len(means) != len(covariances):
        raise ConfigError(
            f"dataset.means has {len(means)} points and dataset.covariances {len(covariances)} matrices: "
            "give both for each of at least two classes"
        )
    for number, mean in enumerate(means):
        if len(mean) != 2:
            raise ConfigError(
                f"dataset.means[{number}] is {mean}, but must be a point, as in [1,2]"
            )
    rng = np.random.default_rng(seed)
    labels = _labels(size, len(means))
    roots = np.stack([_root(number, matrix) for number, matrix in enumerate(covariances)])
    spread = np.einsum("nij,nj->ni", roots[labels], rng.standard_normal((size, 2)))
    return _points(np.array(means)[labels] + spread, labels, 0.0, rng)


# A made-up rule for a made-up class: this many points a lecture and an hour, and what it takes to pass.
_LECTURE, _HOUR, _NEEDED = 1.0, 1.5, 9.0


def pass_class(*, size: Size, seed: Seed) -> Source:
    """Will a student pass: 0 to 10 lectures attended and 0 to 10 hours spent on the final project.

    The chance to pass is sigmoid(lectures + 1.5 hours - 9): 0.92 for 4 lectures and 5 hours.
    """
    rng = np.random.default_rng(seed)
    lectures, hours = rng.integers(0, 11, size), 10 * rng.random(size)
    chance = 1 / (1 + np.exp(_NEEDED - _LECTURE * lectures - _HOUR * hours))
    return Source(
        inputs=np.stack([lectures, hours], 1).astype(np.float32),
        targets=(rng.random(size) < chance).astype(np.int64),
        task="classification",
        kind="features",
        class_names=("fail", "pass"),
        feature_names=("lectures", "hours"),
    )


def moons(*, size: Size, noise: NonNegative, seed: Seed) -> Source:
    """Two interleaving half circles: not separable by a line."""
    rng = np.random.default_rng(seed)
    labels = _labels(size, 2)
    angles = np.pi * rng.random(size)
    upper = np.stack([np.cos(angles), np.sin(angles)], 1)
    lower = np.stack([1 - np.cos(angles), 0.5 - np.sin(angles)], 1)
    return _points(np.where(labels[:, None] == 0, upper, lower), labels, noise, rng)


def circles(
    *, size: Size, noise: NonNegative, factor: Annotated[float, Ge(0)], seed: Seed
) -> Source:
    """A ring around a ring, the inner one `factor` times as wide."""
    rng = np.random.default_rng(seed)
    labels = _labels(size, 2)
    angles = 2 * np.pi * rng.random(size)
    radius = np.where(labels == 0, 1.0, factor)
    return _points(
        radius[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1), labels, noise, rng
    )


def xor(*, size: Size, noise: NonNegative, seed: Seed) -> Source:
    """The square from -1 to 1, the class by whether both coordinates have the same sign."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-1, 1, (size, 2))
    labels = (points[:, 0] * points[:, 1] < 0).astype(np.int64)
    return _points(points, labels, noise, rng, ["same sign", "other sign"])


def spiral(*, size: Size, classes: Classes, turns: Count, noise: NonNegative, seed: Seed) -> Source:
    """One arm a class winding out from the centre, `turns` half turns each."""
    rng = np.random.default_rng(seed)
    labels = _labels(size, classes)
    radius = 0.05 + 0.95 * rng.random(size)
    angles = 2 * np.pi * labels / classes + np.pi * turns * radius
    return _points(
        radius[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1), labels, noise, rng
    )


def _root(number: int, matrix: list[list[float]]) -> np.ndarray:
    """The lower triangular L with L L^T = `matrix`, the covariance of a class."""
    covariance = np.array(matrix) if {len(row) for row in matrix} == {2} else np.zeros((0, 0))
    try:
        if covariance.shape == (2, 2) and np.array_equal(covariance, covariance.T):
            return np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        pass
    raise ConfigError(
        f"dataset.covariances[{number}] is {matrix}, but must be symmetric and positive definite, "
        "as in [[1,0.5],[0.5,2]]"
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
