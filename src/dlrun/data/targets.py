"""Classes and scales in the form that tasks and losses take."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dlrun.data.base import TaskKind


def class_task(classes: int) -> tuple[TaskKind, int]:
    """The kind of problem that so many classes make, and how many scores it takes."""
    return ("binary", 1) if classes == 2 else ("multiclass", classes)


def class_targets(numbers: np.ndarray, classes: int) -> Tensor:
    """(N,) class numbers as the loss takes them: 0.0 and 1.0 of two classes, whole numbers of more."""
    return torch.from_numpy(numbers.astype(np.float32 if classes == 2 else np.int64))


def without_constants(std: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """`std`, but 1 for a constant, which can only be centred: rounding alone may leave it a spread."""
    return np.where(std <= 1e-12 * np.abs(mean), 1.0, std)
