"""From arrays of numbers to normalised training, validation and test parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from dlrun.config.settings import DataSettings
from dlrun.data.arrays.source import Source
from dlrun.data.base import (
    Dataset,
    Preprocessing,
    Spec,
    class_targets,
    class_task,
    without_constants,
)
from dlrun.data.fingerprint import Parts
from dlrun.data.kind import Kind
from dlrun.data.loaders import Split, sent
from dlrun.data.splits import parted, split_rows


@dataclass(frozen=True)
class Scaling(Preprocessing):
    """The scaling of numbers.

    Attributes:
        mean, std: of the inputs; per channel for images, per feature otherwise, shaped to broadcast.
        pixel_max: raw value of a fully bright pixel, for reading image files; 0 where not an image.
        reading: how image files are read besides, as `Form.reading`; empty where the images were in none.
    """

    kind: ClassVar[str] = "scaling"
    mean: list[Any]
    std: list[Any]
    target_mean: list[float]
    target_std: list[float]
    pixel_max: float
    reading: dict[str, Any] = field(default_factory=dict)

    def inputs(self, raw: np.ndarray) -> Tensor:
        """Normalised float32 tensor of raw inputs, same shape."""
        scaled = np.subtract(raw, np.asarray(self.mean, np.float32), dtype=np.float32)
        scaled /= np.asarray(self.std, np.float32)
        return torch.from_numpy(np.ascontiguousarray(scaled))

    def on(self, device: torch.device) -> Callable[[Tensor], Tensor]:
        """What does for raw inputs on `device` as `inputs` does."""
        mean, std = (
            sent(torch.from_numpy(np.asarray(moment, np.float32)), device)
            for moment in (self.mean, self.std)
        )
        return lambda raw: (raw - mean).div_(std)

    def rescaling(self, other: Preprocessing) -> tuple[Any, Any] | None:
        scales = {
            name: getattr(other, name) for name in ("mean", "std", "target_mean", "target_std")
        }
        if not isinstance(other, Scaling) or replace(self, **scales) != other:
            return None
        mean, std = np.asarray(self.mean), np.asarray(self.std)
        return np.asarray(other.std) / std, (np.asarray(other.mean) - mean) / std


def split_source(source: Source, settings: DataSettings) -> Parts:
    """The rows of each part.

    Raises:
        ConfigError: a split that leaves a part with too few rows, or a test part asked for twice.
    """
    strata = source.targets if source.task == "classification" else None
    rows = split_rows(len(source), strata, settings, has_test="test" in source.own)
    return parted(rows, source.own)


def prepare_source(
    source: Source, settings: DataSettings, parts: Parts, scaling: Scaling | None
) -> Dataset:
    """Fit the normalisation on the training part alone, where there is none yet, and apply it to all parts."""
    if scaling is None:
        train = np.asarray(parts["train"])
        scaling = _fit(source, train, normalize=settings.normalize == "standard")

    def part(name: str) -> Split:
        rows = parts[name]
        if rows is None and source.test_inputs is not None and source.test_targets is not None:
            return _split(
                source, scaling, source.test_inputs, source.test_targets, source.test_groups
            )
        groups = None if source.groups is None else source.groups[rows]
        return _split(source, scaling, source.inputs[rows], source.targets[rows], groups)

    return Dataset(_spec(source), scaling, part("train"), part("val"), part("test"))


def fit_images(
    images_NCHW: np.ndarray, *, normalize: bool, pixel_max: float, reading: Mapping[str, Any]
) -> Scaling:
    """The scaling of the channels of these images, which were read from their files as `reading` says."""
    mean, std = _input_scale(images_NCHW, "image", normalize=normalize)
    return Scaling(mean.tolist(), std.tolist(), [], [], pixel_max, dict(reading))


def _fit(source: Source, train: np.ndarray, *, normalize: bool) -> Scaling:
    mean, std = _input_scale(source.inputs[train], source.kind, normalize=normalize)
    target_mean, target_std = [], []
    if source.task == "regression":
        targets = source.targets[train].reshape(len(train), -1).astype(np.float64)
        target_mean = targets.mean(0).tolist()
        target_std = without_constants(targets.std(0), targets.mean(0)).tolist()
    return Scaling(mean.tolist(), std.tolist(), target_mean, target_std, source.pixel_max)


def _input_scale(rows: np.ndarray, kind: str, *, normalize: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation, shaped to broadcast."""
    # Images share one scale a channel: per pixel, a border that is constant in training would explode.
    axes = (0, 2, 3) if kind == "image" else tuple(range(rows.ndim - 1))
    shape = [1 if axis in axes else size for axis, size in enumerate(rows.shape)][1:]
    if not normalize:
        return np.zeros(shape), np.ones(shape)
    mean, std = (moment.reshape(shape) for moment in _moments(rows, axes))
    return mean, without_constants(std, mean)


def _moments(rows: np.ndarray, axes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over `axes`, in float64, without a float64 copy of all rows."""
    chunks = np.array_split(rows, max(1, rows.nbytes // 2**23))
    count = rows.size // int(
        np.prod([size for axis, size in enumerate(rows.shape) if axis not in axes])
    )
    mean = sum(chunk.sum(axes, dtype=np.float64, keepdims=True) for chunk in chunks) / count
    variance = sum(((chunk - mean) ** 2).sum(axes) for chunk in chunks) / count
    return np.asarray(mean), np.sqrt(np.asarray(variance))


def _split(
    source: Source,
    preprocessing: Scaling,
    inputs: np.ndarray,
    targets: np.ndarray,
    groups: np.ndarray | None,
) -> Split:
    return Split(
        preprocessing.inputs(inputs),
        preprocessing.targets(targets)
        if source.task == "regression"
        else class_targets(targets, len(source.class_names)),
        groups=None if groups is None else torch.from_numpy(groups),
    )


def _spec(source: Source) -> Spec:
    task, outputs = class_task(len(source.class_names))
    if source.task == "regression":
        task, outputs = "regression", int(np.prod(source.targets.shape[1:]))
    return Spec(
        task=task,
        kind=source.kind,
        input_shape=tuple(source.inputs.shape[1:]),
        num_outputs=outputs,
        class_names=source.class_names,
        feature_names=source.feature_names,
        group_names=source.group_names,
    )


ARRAYS = Kind(
    raw=Source,
    split=split_source,
    encode=prepare_source,
    preprocessing=Scaling,
    units={"features": "rows", "sequence": "samples"},
    reader="dlrun.data.arrays.new_arrays.NewArrays",
)
