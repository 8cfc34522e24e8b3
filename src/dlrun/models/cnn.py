"""Convolutional network of any depth: blocks of convolution and pooling, then dense layers."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal

from annotated_types import Ge
from torch import nn

from dlrun.config.schema import Most, Probability, Side, Width
from dlrun.data.base import Spec
from dlrun.errors import ConfigError
from dlrun.models.layers import (
    ActivationName,
    InitName,
    activation_layer,
    dropping,
    gain_of,
    initialized,
    is_nondecreasing,
)
from dlrun.models.requirements import require_image

Padding = Literal["same", "valid"] | Annotated[int, Ge(0), Most(10_000)]
Pool = Literal["max", "average", "none"]


class CNN(nn.Sequential):
    """Blocks of convolution, batch norm, activation, pooling and dropout; then dense layers.

    `kernel`, `stride`, `padding`, `pool`, `pool_size` and `dropout` are one value for all blocks,
    or a list with one a block. Padding "same" gives ceil(size / stride); pooling windows do not
    overlap. Batch norm and dropout are there only where asked for. Max pooling goes before an
    activation that never falls: the same outputs, from a fraction of the numbers.

    Shapes: B batch, C outputs; images (B, channels, H, W) to scores (B, C).

    Raises:
        ConfigError: no images, lists of unequal length, or an image that shrinks to nothing.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        filters: list[Width],
        kernel: Side | list[Side],
        stride: Side | list[Side],
        padding: Padding | list[Padding],
        pool: Pool | list[Pool],
        pool_size: Side | list[Side],
        batch_norm: bool,
        dropout: Probability | list[Probability],
        dense: list[Width],
        dense_dropout: Probability,
        activation: ActivationName,
        negative_slope: float,
        init: InitName,
    ) -> None:
        channels, height, width = require_image(spec, model="cnn")
        blocks = plan_blocks(
            filters,
            kernel=kernel,
            stride=stride,
            padding=padding,
            pool=pool,
            pool_size=pool_size,
            dropout=dropout,
        )
        _refuse_wide_margins(blocks, max(height, width))
        height, width = image_sizes(blocks, (height, width))[-1]
        gain = gain_of(activation, negative_slope=negative_slope)

        body = nn.Sequential()
        for inputs, block in zip([channels, *filters], blocks, strict=False):
            # Batch norm subtracts the mean, and with it any bias given just before.
            pad, conv = block.convolution(inputs, bias=not batch_norm)
            layers = [*pad, initialized(conv, init, gain=gain)]
            layers += [nn.BatchNorm2d(block.filters)] if batch_norm else []
            pooled = [activation_layer(activation, negative_slope=negative_slope), *block.pooling()]
            if block.pool == "max" and is_nondecreasing(activation, negative_slope=negative_slope):
                pooled.reverse()
            layers += [*pooled, *dropping(block.dropout)]
            body.append(nn.Sequential(*layers))

        last_maps = filters[-1] if filters else channels
        widths = [last_maps * height * width, *dense]
        head = nn.Sequential(nn.Flatten())
        for inputs, outputs in pairwise(widths):
            head.append(initialized(nn.Linear(inputs, outputs), init, gain=gain))
            head.append(activation_layer(activation, negative_slope=negative_slope))
            head.extend(dropping(dense_dropout))
        head.append(initialized(nn.Linear(widths[-1], spec.num_outputs), init))
        super().__init__(OrderedDict(blocks=body, head=head))


@dataclass(frozen=True)
class Block:
    """The numbers of one block, and what they make of one side of an image."""

    filters: int
    kernel: int
    stride: int
    padding: Padding
    pool: Pool
    pool_size: int
    dropout: float

    @property
    def margins(self) -> tuple[int, int]:
        """Zeros before and after each row and column; an even kernel's odd one comes after."""
        if self.padding == "same":
            return (self.kernel - 1) // 2, self.kernel // 2
        return (0, 0) if self.padding == "valid" else (self.padding, self.padding)

    def convolved(self, size: int) -> int:
        """floor((size + padding - kernel) / stride) + 1, or 0 where the kernel does not fit."""
        return max(0, (size + sum(self.margins) - self.kernel) // self.stride + 1)

    def pooled(self, size: int) -> int:
        """Whole windows in `size`."""
        return size if self.pool == "none" else size // self.pool_size

    def convolution(self, channels: int, *, bias: bool) -> tuple[list[nn.Module], nn.Conv2d]:
        """The convolution, and the layer it needs first where the two margins differ."""
        before, after = self.margins
        shape = (channels, self.filters, self.kernel, self.stride)
        if before == after:
            return [], nn.Conv2d(*shape, padding=before, bias=bias)
        # Conv2d pads both sides alike; its own "same" does not, but refuses strides.
        return [nn.ZeroPad2d((before, after, before, after))], nn.Conv2d(*shape, bias=bias)

    def pooling(self) -> list[nn.Module]:
        """The pooling layer, if any."""
        if self.pool == "none":
            return []
        layer = nn.MaxPool2d if self.pool == "max" else nn.AvgPool2d
        return [layer(self.pool_size)]


def plan_blocks(filters: list[int], **knobs: Any) -> list[Block]:
    """One Block for each of `filters`; each other knob is one value for all, or a list.

    Raises:
        ConfigError: a list that has not one value a block.
    """
    for name, value in knobs.items():
        if isinstance(value, list) and len(value) != len(filters):
            raise ConfigError(
                f"model.{name} is {value}, {_counted(len(value), 'value')} for the "
                f"{_counted(len(filters), 'block')} of model.filters={filters}; "
                f"give one value for all blocks, or a list of {len(filters)}"
            )
    columns = {
        name: value if isinstance(value, list) else [value] * len(filters)
        for name, value in knobs.items()
    }
    return [
        Block(count, **{name: column[i] for name, column in columns.items()})
        for i, count in enumerate(filters)
    ]


def image_sizes(blocks: list[Block], size: tuple[int, int]) -> list[tuple[int, int]]:
    """(height, width) before the first block and after each.

    Raises:
        ConfigError: nothing is left of the image; says where, the sizes until there and the remedy.
    """
    sizes = [size]
    for number, block in enumerate(blocks, start=1):
        height, width = (block.convolved(side) for side in sizes[-1])
        left = block.pooled(height), block.pooled(width)
        if not all(left):
            step, remedy = f"pooling by {block.pool_size}", "pool=none or a smaller pool_size"
            if not (height and width):
                step, remedy = f"a kernel of {block.kernel}", "padding=same or a smaller kernel"
            way = " -> ".join("x".join(map(str, passed)) for passed in sizes)
            raise ConfigError(
                f"model.filters is {[b.filters for b in blocks]}, but block {number} leaves "
                f"nothing of the image ({way}, then {step}); choose fewer blocks, or {remedy} there"
            )
        sizes.append(left)
    return sizes


def _refuse_wide_margins(blocks: list[Block], side: int) -> None:
    """Refuse margins of zeros as wide as the whole image: weights would see nothing else, at a high price."""
    for block in blocks:
        if max(block.margins) >= side:
            key, most = (
                ("kernel", 2 * side - 1) if block.padding == "same" else ("padding", side - 1)
            )
            raise ConfigError(
                f"model.{key} is {getattr(block, key)}, but the image has {side} pixels a side, and only zeros beyond; "
                f"choose {most} at most"
            )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
