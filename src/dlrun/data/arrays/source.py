"""What every data set is before splitting: raw arrays with their meaning. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from dlrun.data.fingerprint import Fingerprint, Rows
from dlrun.errors import ConfigError

_AXES = {
    "features": ("N", "F"),
    "image": ("N", "C", "H", "W"),
    "sequence": ("N", "T", "F"),
}


@dataclass(frozen=True)
class Source:
    """A data set as it was published.

    Attributes:
        inputs: (N, F) features, (N, C, H, W) images or (N, T, F) sequences, raw values.
        targets: (N,) class numbers, or (N,) or (N, D) regression targets.
        test_inputs, test_targets: the test part, where the data set comes with one.
        pixel_max: raw value of a fully bright pixel; 0 where the inputs are not images.
        group_names, groups, test_groups: groups that are measured one by one, and the number of that of each input.
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
    group_names: tuple[str, ...] = ()
    groups: np.ndarray | None = None
    test_groups: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Refuse what could only fail later, in words that no longer say why.

        Raises:
            ConfigError: shapes, classes or values that do not fit each other.
        """
        self._check_part("", self.inputs, self.targets)
        self._check_groups("", self.groups, self.targets)
        if (self.test_inputs is None) != (self.test_targets is None):
            raise ConfigError(
                "dataset has only one of test_inputs and test_targets: give both, or none"
            )
        if self.test_inputs is not None and self.test_targets is not None:
            self._check_part("test_", self.test_inputs, self.test_targets)
            self._check_groups("test_", self.test_groups, self.test_targets)
            if self.test_inputs.shape[1:] != self.inputs.shape[1:]:
                raise ConfigError(
                    f"dataset.test_inputs are of shape {self.test_inputs.shape[1:]} each, but the inputs of "
                    f"{self.inputs.shape[1:]}; make them alike"
                )

    @property
    def traits(self) -> dict[str, tuple[Any, ...]]:
        """As `Raw.traits`."""
        shape = tuple(self.inputs.shape[1:])
        return {"classes": self.class_names, "columns": self.feature_names, "shape": shape}

    @property
    def own(self) -> tuple[str, ...]:
        """As `Raw.own`."""
        return () if self.test_targets is None else ("test",)

    def __len__(self) -> int:
        return len(self.targets)

    def fingerprint(self, part: str, rows: Rows) -> tuple[int, str]:
        """As `Raw.fingerprint`; what code gives may have been computed."""
        inputs, targets = self.inputs, self.targets
        if rows is None and self.test_inputs is not None and self.test_targets is not None:
            inputs, targets = self.test_inputs, self.test_targets
        found = Fingerprint().numbers(inputs, rows, computed=True)
        found.numbers(targets, rows, computed=True)
        return len(targets) if rows is None else len(rows), str(found)

    def _check_part(self, part: str, inputs: np.ndarray, targets: np.ndarray) -> None:
        axes = _AXES[self.kind]
        if inputs.ndim != len(axes):
            raise ConfigError(
                f"dataset.{part}inputs have the shape {inputs.shape}, but kind={self.kind} is ({', '.join(axes)})"
            )
        if len(inputs) != len(targets):
            raise ConfigError(
                f"dataset has {len(inputs)} {part}inputs, but {len(targets)} {part}targets; give one for each"
            )
        for name, values in ((f"{part}inputs", inputs), (f"{part}targets", targets)):
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                row = int(np.argwhere(~np.isfinite(values))[0][0])
                raise ConfigError(
                    f"dataset.{name} are not finite in row {row}: fill in or leave out what is missing"
                )
        if self.task == "classification":
            self._check_classes(part, targets)

    def _check_groups(self, part: str, groups: np.ndarray | None, targets: np.ndarray) -> None:
        if groups is None:
            return
        if groups.dtype.kind not in "iu" or groups.shape != (len(targets),):
            raise ConfigError(
                f"dataset.{part}groups are {groups.dtype} of shape {groups.shape}, but must be whole numbers, one for "
                f"each of {len(targets)} inputs"
            )
        count = len(self.group_names)
        if len(groups) and not 0 <= groups.min() <= groups.max() < count:
            raise ConfigError(
                f"dataset.{part}groups run from {groups.min()} to {groups.max()}, but dataset.group_names has "
                f"{count} names"
            )

    def _check_classes(self, part: str, targets: np.ndarray) -> None:
        classes = len(self.class_names)
        if classes < 2:
            raise ConfigError(
                f"dataset.class_names has {classes} names, but a classifier needs two classes or more"
            )
        if targets.ndim != 1 or targets.dtype.kind not in "iu":
            raise ConfigError(
                f"dataset.{part}targets are {targets.dtype} of shape {targets.shape}, but must be class numbers, "
                "whole and one a row"
            )
        if len(targets) and not 0 <= targets.min() <= targets.max() < classes:
            raise ConfigError(
                f"dataset.{part}targets run from {targets.min()} to {targets.max()}, but {classes} classes are "
                f"numbered from 0 to {classes - 1}"
            )
