"""Which random changes a run makes to its batches, and which of them do not fit its data."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Generator, Tensor

from dlrun.config.settings import Augment
from dlrun.data.arrays.scaling import Scaling
from dlrun.data.base import Dataset
from dlrun.data.images.augment import FLIPS, Sides
from dlrun.data.images.augment import Augmentation as ImageAugmentation
from dlrun.data.images.mixing import Mixing
from dlrun.data.text.tokens import UNKNOWN
from dlrun.errors import ConfigError

_OF_TEXTS = ("word_dropout",)
_OF_MIXING = ("mixup", "cutmix")
_OF_COLOURS = ("colour", "policy")
_OF_SHIFTS = ("shift_padding",)  # which changes nothing by itself


class Augmentation(Protocol):
    """Random changes to a batch of inputs, all on their device, from a generator there."""

    def begin_epoch(self, epoch: int) -> None:
        """Batches are those of `epoch` from now on, counted from 0."""

    def __call__(self, inputs: Tensor, generator: Generator, /) -> Tensor:
        """The inputs, changed."""


@dataclass(frozen=True)
class WordDropout:
    """Each word of a batch of texts (B, T) unknown with a probability (Iyyer et al., 2015); padding stays."""

    probability: float

    def begin_epoch(self, epoch: int) -> None:
        """All epochs are alike."""

    def __call__(self, tokens_BT: Tensor, generator: Generator) -> Tensor:
        drawn = torch.rand(tokens_BT.shape, generator=generator, device=tokens_BT.device)
        dropped = (drawn < self.probability) & (tokens_BT != 0)
        return tokens_BT.masked_fill(dropped, UNKNOWN)


def make_augmentation(how: Augment | None, data: Dataset, seed: int) -> Augmentation | None:
    """The batch operation for `dataset.augment`, or None where all of it is off.

    Args:
        seed: by which flips that alternate begin.

    Raises:
        ConfigError: a part of it does not fit the data.
    """
    if how is None or not (asked := _asked(how)):
        return None
    _check(how, asked, data)
    if how.word_dropout:
        return WordDropout(how.word_dropout)
    if set(asked) <= set(_OF_MIXING):
        return None
    scaling = data.preprocessing
    assert isinstance(scaling, Scaling)
    device = data.train.inputs.device
    sides = {
        name: Sides(data.spec.input_shape, seed=seed + place, device=device)
        for place, name in enumerate(FLIPS)
        if getattr(how, name) == "alternating"
    }
    return ImageAugmentation(how, scaling, sides)


def make_mixing(how: Augment | None, data: Dataset) -> Mixing | None:
    """The operation that mixes the samples of a batch, where `dataset.augment` asks for one."""
    if how is None or not (how.mixup or how.cutmix):
        return None
    return Mixing(how.mixup, how.cutmix)


def is_on_device(augmentation: Augmentation | None) -> bool:
    """Whether it leaves all that it does to the device: a policy is drawn on the CPU."""
    return not (isinstance(augmentation, ImageAugmentation) and augmentation.how.policy)


def _asked(how: Augment) -> list[str]:
    names = [field.name for field in fields(how) if field.name not in _OF_SHIFTS]
    return [name for name in names if getattr(how, name)]


def _check(how: Augment, asked: list[str], data: Dataset) -> None:
    spec = data.spec
    if spec.kind != "image":
        others = [name for name in asked if name not in _OF_TEXTS or not spec.padded]
        if others:
            of = "texts, read as words," if others[0] in _OF_TEXTS else "images,"
            raise ConfigError(
                f"dataset.augment.{others[0]} is for {of} but the inputs are {spec.kind}; "
                f"set it to {_off(others[0])}"
            )
        return
    for name in _OF_TEXTS:
        if name in asked:
            raise ConfigError(
                f"dataset.augment.{name} is for texts, but the inputs are images; set it to 0"
            )
    height, width = spec.input_shape[1:]
    if how.cutout > min(height, width) or how.shift >= min(height, width):
        raise ConfigError(
            f"dataset.augment has shift {how.shift} and cutout {how.cutout}, too much for images of "
            f"{height}x{width} pixels; lower them"
        )
    if spec.task == "reconstruction" and (mixes := [n for n in _OF_MIXING if n in asked]):
        raise ConfigError(
            f"dataset.augment.{mixes[0]} is for targets, but the images themselves are to be reconstructed; set it to 0"
        )
    if how.cutmix and spec.task == "regression":
        raise ConfigError(
            "dataset.augment.cutmix is for classes, but the targets are numbers, of which a part of an image has no "
            "share; set it to 0, or take mixup"
        )
    _check_colours(how, asked, data)


def _check_colours(how: Augment, asked: list[str], data: Dataset) -> None:
    scaling, channels = data.preprocessing, data.spec.input_shape[0]
    for name in (name for name in _OF_COLOURS if name in asked):
        if not getattr(scaling, "pixel_max", 0):
            raise ConfigError(
                f"dataset.augment.{name} is for images whose brightest value is known, and of these it is not; "
                f"set it to {_off(name)}"
            )
    if how.policy and channels not in (1, 3):
        raise ConfigError(
            f"dataset.augment.policy is for images with 1 or 3 channels, but these have {channels}; set it to null"
        )


def _off(name: str) -> str:
    return {"policy": "null", "flip": "false", "vertical_flip": "false"}.get(name, "0")
