"""Random changes to a whole batch of images at once, on the device, from a generator of their own."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from dlrun.config.settings import Augment


def augment(x_BCHW: Tensor, generator: Generator, *, how: Augment) -> Tensor:
    """A randomly changed copy of the batch, each image on its own draw, same shape.

    The order is rotation, flip, shift, noise, cutout. What moves in from outside is zero, the mean of
    normalised data.
    """
    if how.rotation:
        x_BCHW = rotate(x_BCHW, _uniform(x_BCHW, generator, -how.rotation, how.rotation))
    if how.flip:
        mirrored = _uniform(x_BCHW, generator, 0, 1) < 0.5
        x_BCHW = torch.where(mirrored[:, None, None, None], x_BCHW.flip(-1), x_BCHW)
    if how.shift:
        x_BCHW = shift(x_BCHW, how.shift, _integers(x_BCHW, generator, 2 * how.shift + 1, 2))
    if how.noise:
        noise = torch.randn(
            x_BCHW.shape, generator=generator, device=x_BCHW.device, dtype=x_BCHW.dtype
        )
        x_BCHW = x_BCHW + how.noise * noise
    if how.cutout:
        height, width = x_BCHW.shape[-2:]
        centres = torch.stack(
            [_integers(x_BCHW, generator, height, 1)[0], _integers(x_BCHW, generator, width, 1)[0]]
        )
        x_BCHW = cutout(x_BCHW, how.cutout, centres)
    return x_BCHW


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


def shift(x_BCHW: Tensor, padding: int, offsets_2B: Tensor) -> Tensor:
    """Each image padded by `padding`, then cropped to its old size at its offset (0 to 2*padding, down and right)."""
    batch, _, height, width = x_BCHW.shape
    padded = F.pad(x_BCHW, [padding] * 4)
    rows = offsets_2B[0, :, None] + torch.arange(height, device=x_BCHW.device)
    columns = offsets_2B[1, :, None] + torch.arange(width, device=x_BCHW.device)
    images = torch.arange(batch, device=x_BCHW.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[images, rows[:, :, None], columns[:, None, :]].permute(
        0, 3, 1, 2
    )


def cutout(x_BCHW: Tensor, side: int, centres_2B: Tensor) -> Tensor:
    """Each image with a square of `side` pixels about its centre set to zero (DeVries and Taylor, 2017)."""
    height, width = x_BCHW.shape[-2:]
    rows = torch.arange(height, device=x_BCHW.device) - centres_2B[0, :, None] + side // 2
    columns = torch.arange(width, device=x_BCHW.device) - centres_2B[1, :, None] + side // 2
    hidden = ((rows >= 0) & (rows < side))[:, :, None] & ((columns >= 0) & (columns < side))[
        :, None, :
    ]
    return x_BCHW.masked_fill(hidden[:, None], 0.0)


def _uniform(x: Tensor, generator: Generator, low: float, high: float) -> Tensor:
    draw = torch.rand(len(x), generator=generator, device=x.device, dtype=x.dtype)
    return low + (high - low) * draw


def _integers(x: Tensor, generator: Generator, high: int, count: int) -> Tensor:
    return torch.randint(high, (count, len(x)), generator=generator, device=x.device)
