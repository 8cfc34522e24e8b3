"""From raw arrays to normalised training, validation and test parts, and the spec models are given."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from dlrun.config import DataSettings
from dlrun.data.source import Source
from dlrun.errors import ConfigError

TaskKind = Literal["binary", "multiclass", "regression"]


@dataclass(frozen=True)
class Spec:
    """All that a model may know of its data.

    `input_shape` leaves the batch axis out: (F,) for features, (C, H, W) for images and (T, F)
    for sequences. Outputs are raw scores: one for binary (the logit of the second class), one a
    class for multiclass, one a target for regression.
    """

    task: TaskKind
    kind: Literal["features", "image", "sequence"]
    input_shape: tuple[int, ...]
    num_outputs: int
    class_names: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()

    @property
    def num_features(self) -> int:
        """How many numbers one input has, flattened."""
        return int(np.prod(self.input_shape))

    @property
    def num_classes(self) -> int:
        """Classes to tell apart; 0 for regression."""
        return len(self.class_names)


@dataclass(frozen=True)
class Preprocessing:
    """The scaling fitted on the training part: what a new input must go through, kept with a run.

    Attributes:
        mean, std: of the inputs; per channel for images, per feature otherwise, shaped to broadcast.
        target_mean, target_std: of regression targets; empty for classification.
        pixel_max: raw value of a fully bright pixel, for reading image files; 0 where not an image.
    """

    mean: list[Any]
    std: list[Any]
    target_mean: list[float]
    target_std: list[float]
    pixel_max: float

    def inputs(self, raw: np.ndarray) -> Tensor:
        """Normalised float32 tensor of raw inputs, same shape."""
        scaled = np.subtract(raw, np.asarray(self.mean, np.float32), dtype=np.float32)
        scaled /= np.asarray(self.std, np.float32)
        return torch.from_numpy(np.ascontiguousarray(scaled))

    def targets(self, raw: np.ndarray) -> Tensor:
        """Standardised float32 regression targets, (N, D)."""
        mean, std = np.asarray(self.target_mean), np.asarray(self.target_std)
        return torch.from_numpy(((raw.reshape(len(raw), -1) - mean) / std).astype(np.float32))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as a checkpoint may hold them."""
        return asdict(self)


@dataclass(frozen=True)
class Split:
    """One part of the data, in memory: `inputs` (N, *input_shape), `targets` (N,) or (N, D)."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def first(self, count: int) -> Split:
        """The first `count` samples."""
        return Split(self.inputs[:count], self.targets[:count])

    def to(self, device: torch.device, dtype: torch.dtype, *, channels_last: bool) -> Split:
        """The same samples on `device`, floating point as `dtype`."""
        memory = (
            torch.channels_last
            if channels_last and self.inputs.ndim == 4
            else torch.preserve_format
        )
        inputs = self.inputs.to(device, dtype).to(memory_format=memory)
        floating = self.targets.is_floating_point()
        return Split(inputs, self.targets.to(device, dtype if floating else None))


@dataclass(frozen=True)
class Dataset:
    """A data set ready to train on."""

    spec: Spec
    preprocessing: Preprocessing
    train: Split
    val: Split
    test: Split

    def split(self, name: str) -> Split:
        """The part called `name`.

        Raises:
            ConfigError: no such part, or an empty one.
        """
        if name not in ("train", "val", "test"):
            raise ConfigError(f"split is {name}, but must be one of train, val, test")
        part: Split = getattr(self, name)
        if not len(part):
            raise ConfigError(
                f"split is {name}, but this run has no {name} part (its fraction is 0)"
            )
        return part

    def to(self, device: torch.device, dtype: torch.dtype, *, channels_last: bool) -> Dataset:
        """The same data on `device`, floating point as `dtype`."""
        parts = {
            name: getattr(self, name).to(device, dtype, channels_last=channels_last)
            for name in ("train", "val", "test")
        }
        return replace(self, **parts)

    def limited(self, *, train: int, evaluation: int) -> Dataset:
        """At most the first `train` training and `evaluation` other samples, for a quick check."""
        return replace(
            self,
            train=self.train.first(train),
            val=self.val.first(evaluation),
            test=self.test.first(evaluation),
        )

    def overfit(self, count: int) -> Dataset:
        """The first `count` training samples as all three parts: a model that learns reaches zero loss."""
        part = self.train.first(count)
        return replace(self, train=part, val=part, test=part)


def prepare(source: Source, settings: DataSettings) -> Dataset:
    """Split `source`, fit the normalisation on the training part alone and apply it to all parts.

    Raises:
        ConfigError: a split that leaves a part with too few rows, or a test part asked for twice.
    """
    train, val, test = split_rows(source, settings)
    preprocessing = _fit(source, train, normalize=settings.normalize == "standard")
    parts = []
    for rows in (train, val):
        parts.append(_split(source, preprocessing, source.inputs[rows], source.targets[rows]))
    if source.test_inputs is not None and source.test_targets is not None:
        parts.append(_split(source, preprocessing, source.test_inputs, source.test_targets))
    else:
        parts.append(_split(source, preprocessing, source.inputs[test], source.targets[test]))
    return Dataset(_spec(source), preprocessing, *parts)


def split_rows(source: Source, settings: DataSettings) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row numbers of the training, validation and test part, disjoint; test is empty where the source has its own.

    Classes keep their shares in every part.
    """
    has_test = source.test_inputs is not None
    if has_test and settings.test_fraction is not None:
        raise ConfigError(
            f"dataset.test_fraction is {settings.test_fraction}, but this data set has a test part of its own; "
            "leave it at null"
        )
    if not has_test and settings.test_fraction is None:
        raise ConfigError(
            "dataset.test_fraction is null, but this data set has no test part: set it, as in 0.2"
        )
    rng = np.random.default_rng(settings.split_seed)
    rows = rng.permutation(len(source.targets))
    strata = source.targets if source.task == "classification" else np.zeros(len(rows), np.int64)
    test, rest = _take(rows, strata, settings.test_fraction or 0.0)
    val, train = _take(rest, strata, settings.val_fraction)
    if (
        len(train) < 2
        or (settings.val_fraction and not len(val))
        or (settings.test_fraction and not len(test))
    ):
        raise ConfigError(
            f"dataset.val_fraction is {settings.val_fraction} and dataset.test_fraction is {settings.test_fraction}: "
            f"of {len(rows)} rows that leaves {len(train)} to train, {len(val)} to validate and {len(test)} to test; "
            "change the fractions so that at least 2 are left to train and 1 in each other part asked for"
        )
    # Once more: where a class is rare, its share of the first part taken leaves it late in the rest.
    train, val, test = (rng.permutation(part) for part in (train, val, test))
    return train, val, test


def _take(rows: np.ndarray, strata: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """(taken, left): `fraction` of the shuffled `rows` of each stratum, both in shuffled order."""
    taken = np.zeros(len(rows), bool)
    for stratum in np.unique(strata[rows]):
        members = np.flatnonzero(strata[rows] == stratum)
        taken[members[: round(fraction * len(members))]] = True
    return rows[taken], rows[~taken]


def _fit(source: Source, train: np.ndarray, *, normalize: bool) -> Preprocessing:
    rows = source.inputs[train]
    # Images share one scale a channel: per pixel, a border that is constant in training would explode.
    axes = (0, 2, 3) if source.kind == "image" else tuple(range(rows.ndim - 1))
    shape = [1 if axis in axes else size for axis, size in enumerate(rows.shape)][1:]
    mean, std = np.zeros(shape), np.ones(shape)
    if normalize:
        mean, std = (moment.reshape(shape) for moment in _moments(rows, axes))
        std = _without_constants(std, mean)
    target_mean, target_std = [], []
    if source.task == "regression":
        targets = source.targets[train].reshape(len(train), -1).astype(np.float64)
        target_mean = targets.mean(0).tolist()
        target_std = _without_constants(targets.std(0), targets.mean(0)).tolist()
    return Preprocessing(mean.tolist(), std.tolist(), target_mean, target_std, source.pixel_max)


def _without_constants(std: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """`std`, but 1 for a constant, which can only be centred: rounding alone may leave it a spread."""
    return np.where(std <= 1e-12 * np.abs(mean), 1.0, std)


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
    source: Source, preprocessing: Preprocessing, inputs: np.ndarray, targets: np.ndarray
) -> Split:
    if source.task == "regression":
        return Split(preprocessing.inputs(inputs), preprocessing.targets(targets))
    binary = len(source.class_names) == 2
    return Split(
        preprocessing.inputs(inputs),
        torch.from_numpy(targets.astype(np.float32 if binary else np.int64)),
    )


def _spec(source: Source) -> Spec:
    classes = len(source.class_names)
    if source.task == "regression":
        task: TaskKind = "regression"
        outputs = int(np.prod(source.targets.shape[1:]))
    else:
        task = "binary" if classes == 2 else "multiclass"
        outputs = 1 if classes == 2 else classes
    return Spec(
        task=task,
        kind=source.kind,
        input_shape=tuple(source.inputs.shape[1:]),
        num_outputs=outputs,
        class_names=source.class_names,
        feature_names=source.feature_names,
    )
