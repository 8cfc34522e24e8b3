"""Residual network for small images (He et al., 2016, section 4.2)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated, Literal

from annotated_types import Ge
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.config.schema import Most, Width
from dlrun.data.base import Spec
from dlrun.errors import ConfigError
from dlrun.models.layers import InitName, gain_of, initialized
from dlrun.models.requirements import require_image

Shortcut = Literal["identity", "projection"]
_STAGES = 3
_CONVOLUTIONS = 2  # of a block


class ResNet(nn.Sequential):
    """A convolution, three stages of n blocks, the mean of each map, and a linear layer: 6 n + 2 layers with weights.

    The stages have `width`, 2 `width` and 4 `width` maps; the second and third halve the sides of the image in their
    first block. Convolutions are 3x3 and followed by batch norm. Where a block changes the shape, `shortcut` "identity"
    skips pixels and has zeros for new maps (option A, the paper's on CIFAR-10); "projection" is a 1x1 convolution (B).

    `zero_last_norm` starts the last gain of each block at 0: a block begins as its shortcut (Goyal et al., 2017).

    Shapes: B batch, C outputs; images (B, channels, H, W) of any size to scores (B, C).

    Raises:
        ConfigError: no images, or a depth that is not 6 n + 2.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        depth: Annotated[int, Ge(8), Most(1202)],
        width: Width,
        shortcut: Shortcut,
        zero_last_norm: bool,
        init: InitName,
    ) -> None:
        channels, _, _ = require_image(spec, model="resnet")
        counts = _blocks_a_stage(depth)
        body = nn.Sequential()
        maps = width
        for stage in range(_STAGES):
            wider = width * 2**stage
            for stride in [2 if stage else 1, *[1] * (counts - 1)]:
                body.append(
                    Block(
                        maps,
                        wider,
                        stride=stride,
                        shortcut=shortcut,
                        zero_last_norm=zero_last_norm,
                        init=init,
                    )
                )
                maps = wider
        super().__init__(
            OrderedDict(
                stem=nn.Sequential(*_convolution(channels, width, init=init), nn.ReLU()),
                blocks=body,
                head=nn.Sequential(
                    nn.AdaptiveAvgPool2d(1),
                    nn.Flatten(),
                    initialized(nn.Linear(maps, spec.num_outputs), init),
                ),
            )
        )


class Block(nn.Module):
    """relu(shortcut(x) + second(relu(first(x)))), of two convolutions with batch norm."""

    def __init__(
        self,
        maps: int,
        wider: int,
        *,
        stride: int,
        shortcut: Shortcut,
        zero_last_norm: bool,
        init: InitName,
    ) -> None:
        super().__init__()
        self.first = nn.Sequential(*_convolution(maps, wider, stride=stride, init=init))
        last, norm = _convolution(wider, wider, init=init)
        if zero_last_norm:
            nn.init.zeros_(norm.weight)
        self.second = nn.Sequential(last, norm)
        self.stride, self.more = stride, wider - maps
        projects = shortcut == "projection" and (stride > 1 or self.more)
        self.projection = (
            nn.Sequential(*_convolution(maps, wider, stride=stride, kernel=1, init=init))
            if projects
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, wider, H / stride, W / stride), rounded up, from (B, maps, H, W)."""
        found: Tensor = self.second(F.relu(self.first(x)))
        return F.relu(found + self._short(x))

    def _short(self, x: Tensor) -> Tensor:
        if self.projection is not None:
            projected: Tensor = self.projection(x)
            return projected
        if self.stride > 1 or self.more:
            before = self.more // 2
            return F.pad(
                x[:, :, :: self.stride, :: self.stride],
                (0, 0, 0, 0, before, self.more - before),
            )
        return x


def _convolution(
    maps: int, wider: int, *, init: InitName, stride: int = 1, kernel: int = 3
) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    # Batch norm subtracts the mean, and with it any bias.
    conv = nn.Conv2d(maps, wider, kernel, stride, padding=kernel // 2, bias=False)
    gain = gain_of("relu", negative_slope=0.0)
    return initialized(conv, init, gain=gain), nn.BatchNorm2d(wider)


def _blocks_a_stage(depth: int) -> int:
    """n of a network of 6 n + 2 layers."""
    blocks, rest = divmod(depth - 2, _STAGES * _CONVOLUTIONS)
    if rest:
        raise ConfigError(
            f"model.depth is {depth}, but a residual network of this kind has 6 n + 2 layers: choose "
            f"{depth - rest} or {depth - rest + 6}"
        )
    return blocks
