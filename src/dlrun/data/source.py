"""What every data set is before splitting: raw arrays with their meaning. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Source:
    """A data set as it was published.

    Attributes:
        inputs: (N, F) features, (N, C, H, W) images or (N, T, F) sequences, raw values.
        targets: (N,) class numbers, or (N,) or (N, D) regression targets.
        test_inputs, test_targets: the test part, where the data set comes with one.
        pixel_max: raw value of a fully bright pixel; 0 where the inputs are not images.
    """

    inputs: np.ndarray
    targets: np.ndarray
    task: Literal["classification", "regression"]
    kind: Literal["features", "image", "sequence"]
    class_names: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()
    test_inputs: np.ndarray | None = None
    test_targets: np.ndarray | None = None
    pixel_max: float = 0.0
