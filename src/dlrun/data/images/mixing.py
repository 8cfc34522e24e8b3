"""Two images in one, and their losses in the same shares: mixup and cutmix, on the device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from dlrun.data.images.augment import boxes
from dlrun.system.torch_internals import gamma


@dataclass(frozen=True)
class Mixed:
    """What a batch has of a second one: its targets (B, ...), and the share of the first in all, a scalar."""

    targets: Tensor
    share: Tensor

    def parts(self, size: int | list[int], axis: int = 0) -> list[Mixed]:
        """Of each `size` samples in turn, or of so many, which are counted along `axis`."""
        return [Mixed(part, self.share) for part in self.targets.split(size, axis)]


@dataclass(frozen=True)
class Mixing:
    """Blends each image of a batch with another of it, chosen at random, in one share for the batch.

    Mixup (Zhang et al., 2018) weighs all pixels with the share; cutmix (Yun et al., 2019) takes a rectangle from the
    other image. The share is from Beta(alpha, alpha); with both alphas a batch has either, with equal chance. Of two
    images the one with the greater share counts as the first: its targets are those of the training metrics.
    """

    mixup: float
    cutmix: float

    def __call__(
        self, x_BCHW: Tensor, targets: Tensor, generator: Generator
    ) -> tuple[Tensor, Mixed]:
        """The mixed images, and what they have of their partners."""
        others = torch.rand(len(x_BCHW), generator=generator, device=x_BCHW.device).argsort()
        weights = [
            make(x_BCHW, _share(x_BCHW, generator, alpha), generator)
            for alpha, make in ((self.mixup, _everywhere), (self.cutmix, _outside_a_rectangle))
            if alpha
        ]
        weight = weights[0]
        if len(weights) > 1:
            second = torch.rand((), generator=generator, device=x_BCHW.device) < 0.5
            weight = torch.where(second, weights[1], weight)
        mixed = torch.where(weight == 1, x_BCHW, weight * x_BCHW + (1 - weight) * x_BCHW[others])
        return mixed, Mixed(targets[others], weight.mean())


def _share(x: Tensor, generator: Generator, alpha: float) -> Tensor:
    """From Beta(alpha, alpha), or one minus it: at least a half; a scalar."""
    # In float64, where small alphas do not give two zeros.
    shapes = torch.full((2,), alpha, device=x.device, dtype=torch.float64)
    first, second = gamma(shapes, generator=generator)
    total = first + second
    share = torch.where(total > 0, first / total, 1.0)
    return torch.maximum(share, 1 - share).to(x.dtype)


def _everywhere(x_BCHW: Tensor, share: Tensor, generator: Generator) -> Tensor:
    return share.expand(x_BCHW.shape[-2:])


def _outside_a_rectangle(x_BCHW: Tensor, share: Tensor, generator: Generator) -> Tensor:
    """1 outside a rectangle with a random middle and a part of the area: 1 - `share`, or what lies in the image."""
    places = torch.rand(2, generator=generator, device=x_BCHW.device, dtype=x_BCHW.dtype)
    first, beyond = [], []
    for place, whole in zip(places, x_BCHW.shape[-2:], strict=True):
        side = ((1 - share).sqrt() * whole).floor()
        first.append((place * whole).floor() - (side / 2).floor())
        beyond.append(first[-1] + side)
    inside = boxes(x_BCHW[:1], torch.stack(first)[:, None], torch.stack(beyond)[:, None])
    return 1 - inside[0, 0].to(x_BCHW.dtype)
