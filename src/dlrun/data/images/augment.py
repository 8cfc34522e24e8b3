"""Random changes to a whole batch of images at once, on the device, from a generator of their own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from dlrun.config.settings import Augment
from dlrun.data.arrays.scaling import Scaling

FLIPS = {"flip": -1, "vertical_flip": -2}  # by name, the axis that is mirrored
_WHOLE_NUMBERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes


class Sides:
    """Whether each image of a batch is mirrored in this epoch: in every other one, from the first or the second on.

    With which of the two, a hash of its pixels decides, which a seed draws. So it is the same in any batch, on any rank
    and in a CUDA graph, none of which know the row of an image.

    Args:
        shape: of an image, (C, H, W).
    """

    def __init__(self, shape: tuple[int, ...], *, seed: int, device: torch.device) -> None:
        draws = torch.Generator().manual_seed(seed)
        self.factors = torch.randint(-(2**63), 2**63 - 1, shape, generator=draws).to(device)
        self.odd = torch.zeros((), dtype=torch.bool, device=device)

    def begin_epoch(self, epoch: int) -> None:
        """From now on, the sides are those of `epoch`, counted from 0."""
        self.odd.fill_(bool(epoch % 2))

    def __call__(self, x_BCHW: Tensor) -> Tensor:
        """(B,)"""
        # The sign of a sum of products modulo 2^64, each with a random factor: as a coin for each image.
        bits = x_BCHW.view(_WHOLE_NUMBERS[x_BCHW.element_size()])
        return ((bits * self.factors).sum((1, 2, 3)) < 0) ^ self.odd


@dataclass(frozen=True)
class Augmentation:
    """A randomly changed copy of a batch of images, each on its own draw, same shape.

    The order is policy, crop, colour, rotation, flips, shift, noise, cutout, erasing. What moves in from outside is
    zero, the mean of normalised data, but for shifts that are to reflect.

    Attributes:
        sides: of each flip that alternates, by its name.
    """

    how: Augment
    scaling: Scaling
    sides: Mapping[str, Sides] = field(default_factory=dict)

    def begin_epoch(self, epoch: int) -> None:
        """From now on, flips that alternate are those of `epoch`, counted from 0."""
        for sides in self.sides.values():
            sides.begin_epoch(epoch)

    def __call__(self, x_BCHW: Tensor, generator: Generator) -> Tensor:
        how, given = self.how, x_BCHW
        # Of the images as they are in every epoch, before anything changes them.
        alternating = {name: sides(x_BCHW) for name, sides in self.sides.items()}
        if how.policy or how.colour:
            x_BCHW = self._recoloured(x_BCHW, generator)
        if how.crop:
            x_BCHW = crop(x_BCHW, *_crops(x_BCHW, generator, how.crop))
        if how.rotation:
            x_BCHW = rotate(x_BCHW, _uniform(x_BCHW, generator, -how.rotation, how.rotation))
        for name, axis in FLIPS.items():
            if getattr(how, name):
                mirrored = alternating.get(name)
                if mirrored is None:
                    mirrored = _uniform(x_BCHW, generator, 0, 1) < 0.5
                x_BCHW = torch.where(mirrored[:, None, None, None], x_BCHW.flip(axis), x_BCHW)
        if how.shift:
            offsets = _integers(x_BCHW, generator, 2 * how.shift + 1, 2)
            x_BCHW = shift(x_BCHW, how.shift, offsets, reflect=how.shift_padding == "reflect")
        if how.noise:
            noise = torch.randn(
                x_BCHW.shape, generator=generator, device=x_BCHW.device, dtype=x_BCHW.dtype
            )
            x_BCHW = x_BCHW + how.noise * noise
        if how.cutout:
            height, width = x_BCHW.shape[-2:]
            centres = [_integers(x_BCHW, generator, side, 1)[0] for side in (height, width)]
            x_BCHW = cutout(x_BCHW, how.cutout, torch.stack(centres))
        if how.erase:
            x_BCHW = erase(x_BCHW, *_rectangles(x_BCHW, generator, how.erase))
        # Some of the operations lose the layout that convolutions are to have.
        last = given.is_contiguous(memory_format=torch.channels_last)
        return x_BCHW.contiguous(memory_format=torch.channels_last) if last else x_BCHW

    def _recoloured(self, x_BCHW: Tensor, generator: Generator) -> Tensor:
        """What is done to colours: on images from 0, black, to 1, as the operations are defined there."""
        mean, std = (
            _by_channel(x_BCHW, np.ravel(moment)) / self.scaling.pixel_max
            for moment in (self.scaling.mean, self.scaling.std)
        )
        x_BCHW = (x_BCHW * std + mean).clamp(0, 1)
        if self.how.policy:
            x_BCHW = by_policy(x_BCHW, self.how.policy, generator, fill=mean.flatten().tolist())
        if self.how.colour:
            factors = [
                _uniform(x_BCHW, generator, 1 - self.how.colour, 1 + self.how.colour)
                for _ in range(3)
            ]
            x_BCHW = recolour(x_BCHW, *factors)
        return (x_BCHW - mean) / std


def crop(x_BCHW: Tensor, sizes_2B: Tensor, places_2B: Tensor) -> Tensor:
    """A part of each image, enlarged to all of it, bilinear.

    Args:
        sizes_2B: of the part, as shares of height and width.
        places_2B: of its middle, from -1, as far up or left as it fits, to 1.
    """
    height, width = sizes_2B
    down, right = places_2B * (1 - sizes_2B)
    none = torch.zeros_like(height)
    rows = [torch.stack([width, none, right], 1), torch.stack([none, height, down], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(x_BCHW.shape), align_corners=False)
    return F.grid_sample(x_BCHW, grid, padding_mode="border", align_corners=False)


def recolour(x_BCHW: Tensor, brightness_B: Tensor, contrast_B: Tensor, colour_B: Tensor) -> Tensor:
    """Images from 0 to 1 with brightness, contrast and saturation times their factors, as torchvision changes them."""
    for factor_B, reference in (
        (brightness_B, torch.zeros_like),
        (contrast_B, lambda x: grey(x).mean((1, 2, 3), keepdim=True)),
        (colour_B, grey),
    ):
        other = reference(x_BCHW)
        x_BCHW = (other + factor_B[:, None, None, None] * (x_BCHW - other)).clamp(0, 1)
    return x_BCHW


def grey(x_BCHW: Tensor) -> Tensor:
    """The brightness (B, 1, H, W) of three colours; of any other number of channels all as they are."""
    if x_BCHW.shape[1] != 3:
        return x_BCHW
    return (x_BCHW * _by_channel(x_BCHW, [0.2989, 0.587, 0.114])).sum(1, keepdim=True)


def by_policy(x_BCHW: Tensor, policy: str, generator: Generator, *, fill: list[float]) -> Tensor:
    """Images from 0 to 1, each changed by operations drawn for it alone, as both methods ask.

    RandAugment (Cubuk et al., 2020) or TrivialAugment (Müller and Hutter, 2021), by torchvision. It draws from
    torch's global state, which is seeded from `generator` and put back.
    """
    from torchvision.transforms import v2

    change = {"rand_augment": v2.RandAugment, "trivial_augment": v2.TrivialAugmentWide}[policy]
    seed = torch.randint(2**31, (), generator=generator, device=x_BCHW.device).item()
    before = torch.get_rng_state()
    try:
        torch.default_generator.manual_seed(int(seed))
        # Of bytes, as the operations posterize and equalize are made for.
        images = (x_BCHW * 255).round().to(torch.uint8)
        apply = change(fill=[255 * share for share in fill])
        changed = torch.stack([apply(image) for image in images])
    finally:
        torch.set_rng_state(before)
    return changed.to(x_BCHW.dtype) / 255


def rotate(x_BCHW: Tensor, degrees_B: Tensor) -> Tensor:
    """Each image turned counter-clockwise about its centre by its angle, bilinear."""
    angles = degrees_B * (math.pi / 180)
    cos, sin = torch.cos(angles), torch.sin(angles)
    height, width = x_BCHW.shape[-2:]
    zero = torch.zeros_like(cos)
    # Sampling coordinates run from -1 to 1 on both axes, so a turn must undo the aspect ratio.
    rows = [
        torch.stack([cos, -sin * height / width, zero], 1),
        torch.stack([sin * width / height, cos, zero], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), list(x_BCHW.shape), align_corners=False)
    return F.grid_sample(x_BCHW, grid, align_corners=False)


def shift(x_BCHW: Tensor, padding: int, offsets_2B: Tensor, *, reflect: bool) -> Tensor:
    """Each image padded by `padding`, then cropped to its old size at its offset (0 to 2*padding, down and right).

    Args:
        reflect: pad with the image mirrored at its edge, whose own pixels are not repeated; else with zeros.
    """
    batch, _, height, width = x_BCHW.shape
    padded = F.pad(x_BCHW, [padding] * 4, mode="reflect" if reflect else "constant")
    rows = offsets_2B[0, :, None] + torch.arange(height, device=x_BCHW.device)
    columns = offsets_2B[1, :, None] + torch.arange(width, device=x_BCHW.device)
    images = torch.arange(batch, device=x_BCHW.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[images, rows[:, :, None], columns[:, None, :]].permute(
        0, 3, 1, 2
    )


def cutout(x_BCHW: Tensor, side: int, centres_2B: Tensor) -> Tensor:
    """Each image with a square of `side` pixels about its centre set to zero (DeVries and Taylor, 2017)."""
    first_2B = centres_2B - side // 2
    return x_BCHW.masked_fill(boxes(x_BCHW, first_2B, first_2B + side), 0.0)


def erase(x_BCHW: Tensor, first_2B: Tensor, beyond_2B: Tensor) -> Tensor:
    """Each image with a rectangle set to zero (Zhong et al., 2020)."""
    return x_BCHW.masked_fill(boxes(x_BCHW, first_2B, beyond_2B), 0.0)


def boxes(x_BCHW: Tensor, first_2B: Tensor, beyond_2B: Tensor) -> Tensor:
    """(B, 1, H, W): whether a pixel lies in the rectangle of its image, from row and column `first` to `beyond`."""
    inside = []
    for axis, side in enumerate(x_BCHW.shape[-2:]):
        at = torch.arange(side, device=x_BCHW.device)
        inside.append((at >= first_2B[axis, :, None]) & (at < beyond_2B[axis, :, None]))
    rows, columns = inside
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def _crops(x: Tensor, generator: Generator, most: float) -> tuple[Tensor, Tensor]:
    """Sizes and places of random crops (2, B) each, as shares: of GoogLeNet (Szegedy et al., 2015)."""
    area = _uniform(x, generator, 1 - most, 1)
    ratio = _uniform(x, generator, math.log(3 / 4), math.log(4 / 3)).exp()
    sizes = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()]).clamp(max=1)
    return sizes, torch.stack([_uniform(x, generator, -1, 1) for _ in range(2)])


def _rectangles(x: Tensor, generator: Generator, probability: float) -> tuple[Tensor, Tensor]:
    """First row and column, and those beyond, of random rectangles (2, B); empty in some of the images.

    Of 2 to 33 % of the area, and sides in a ratio of 0.3 to 3.3, as Zhong et al. have them.
    """
    drawn = _uniform(x, generator, 0, 1) < probability
    area = _uniform(x, generator, 0.02, 0.33)
    ratio = _uniform(x, generator, math.log(0.3), math.log(3.3)).exp()
    shares = ((area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1))
    first, beyond = [], []
    for share, whole in zip(shares, x.shape[-2:], strict=True):
        side = (share * whole).round()
        first.append((_uniform(x, generator, 0, 1) * (whole - side)).round())
        beyond.append(first[-1] + side * drawn)
    return torch.stack(first), torch.stack(beyond)


def _by_channel(like: Tensor, values: Iterable[float]) -> Tensor:
    """(C, 1, 1), filled on the device: a copy from the CPU could be no part of a CUDA graph."""
    return torch.stack([like.new_full((1, 1), float(value)) for value in values])


def _uniform(x: Tensor, generator: Generator, low: float, high: float) -> Tensor:
    draw = torch.rand(len(x), generator=generator, device=x.device, dtype=x.dtype)
    return low + (high - low) * draw


def _integers(x: Tensor, generator: Generator, high: int, count: int) -> Tensor:
    return torch.randint(high, (count, len(x)), generator=generator, device=x.device)
