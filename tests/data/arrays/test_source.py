"""What a source of data, the user's own too, is refused for."""

from typing import Any

import numpy as np
import pytest

from dlrun.data.arrays.source import Source
from dlrun.errors import ConfigError

GOOD: dict[str, Any] = {
    "inputs": np.zeros((4, 3), np.float32),
    "targets": np.array([0, 1, 1, 0]),
    "task": "classification",
    "kind": "features",
    "class_names": ("no", "yes"),
}


def test_a_source_whose_parts_fit_is_taken() -> None:
    test = {"test_inputs": np.ones((2, 3)), "test_targets": np.array([1, 0])}
    assert Source(**GOOD | test).targets.tolist() == [0, 1, 1, 0]
    regression = {"task": "regression", "targets": np.ones((4, 2)), "class_names": ()}
    assert Source(**GOOD | regression).targets.shape == (4, 2)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": "image"}, "have the shape (4, 3), but kind=image is (N, C, H, W)"),
        ({"targets": np.array([0, 1])}, "has 4 inputs, but 2 targets"),
        ({"inputs": np.array([[0.0], [1.0], [np.nan], [2.0]])}, "not finite in row 2"),
        ({"class_names": ("only",)}, "has 1 names, but a classifier needs two classes"),
        ({"targets": np.array([0, 1, 2, 0])}, "run from 0 to 2, but 2 classes are numbered"),
        ({"targets": np.array([0, -1, 1, 0])}, "run from -1 to 1"),
        (
            {"targets": np.array([0.0, 1.0, 1.0, 0.0])},
            "are float64 of shape (4,), but must be class",
        ),
        ({"test_inputs": np.zeros((2, 3))}, "only one of test_inputs and test_targets"),
        (
            {"test_inputs": np.zeros((2, 5)), "test_targets": np.array([0, 1])},
            "of shape (5,) each, but the inputs of (3,)",
        ),
        (
            {"test_inputs": np.zeros((2, 3)), "test_targets": np.array([0, 7])},
            "test_targets run from 0 to 7",
        ),
    ],
)
def test_a_source_whose_parts_do_not_fit_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        Source(**GOOD | changed)
    assert message in str(refusal.value)
