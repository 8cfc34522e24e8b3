"""The two halves of an autoencoder: from an input to numbers that describe it, and its mirror image back.

Shapes: B batch, L numbers of a code, F numbers of an input given again; C channels, H height, W width.
"""

from __future__ import annotations

from itertools import pairwise
from math import prod

from torch import nn

from dlrun.data.base import Spec
from dlrun.models.columns import vectors
from dlrun.models.layers import ActivationName, activation_layer

_KERNEL, _STRIDE, _PADDING = 3, 2, 1  # of convolutions: ceil(size / 2) a side
_SLOPE = 0.01  # of leaky_relu

Shape = tuple[int, int, int]


def encoder(
    spec: Spec, outputs: int, *, filters: list[int], hidden: list[int], activation: ActivationName
) -> nn.Sequential:
    """From inputs (B, *spec.input_shape) to (B, outputs).

    Of images a convolution for each of `filters`, which halves both sides; then a linear layer for each of
    `hidden`, and one to the outputs; an activation between each two. Categories are one-hot first.
    """
    maps = _maps(spec, filters)
    layers, width = vectors(spec, "one_hot")
    if len(maps) > 1:
        layers, width = [nn.Flatten()], prod(maps[-1])
    convolutions: list[nn.Module] = []
    for (before, *_), (after, *_) in pairwise(maps):
        convolutions.append(nn.Conv2d(before, after, _KERNEL, _STRIDE, _PADDING))
        convolutions.append(activation_layer(activation, negative_slope=_SLOPE))
    return nn.Sequential(*convolutions, *layers, *_dense([width, *hidden, outputs], activation))


def decoder(
    spec: Spec, latent: int, *, filters: list[int], hidden: list[int], activation: ActivationName
) -> nn.Sequential:
    """From codes (B, latent) to inputs given again, (B, spec.reconstructed); its layers mirror those of `encoder`."""
    maps = _maps(spec, filters)[::-1]
    if len(maps) < 2:
        widths = [latent, *reversed(hidden), spec.reconstructed]
        return nn.Sequential(*_dense(widths, activation))
    layers = [*_dense([latent, *reversed(hidden), prod(maps[0])], activation)]
    layers.append(nn.Unflatten(1, maps[0]))
    for before, after in pairwise(maps):
        layers.append(activation_layer(activation, negative_slope=_SLOPE))
        layers.append(_doubling(before, after))
    return nn.Sequential(*layers, nn.Flatten())


def _maps(spec: Spec, filters: list[int]) -> list[Shape]:
    """(C, H, W) before the first convolution and after each; empty where there are no images."""
    if spec.kind != "image":
        return []
    channels, height, width = spec.input_shape
    maps = [(channels, height, width)]
    for count in filters:
        height, width = -(-height // _STRIDE), -(-width // _STRIDE)
        maps.append((count, height, width))
    return maps


def _doubling(before: Shape, after: Shape) -> nn.Module:
    """The transposed convolution that undoes the halving of `after`, whether its sides are even or odd."""
    (inputs, *sizes), (outputs, *wanted) = before, after
    margins = [want - (_STRIDE * size - 1) for size, want in zip(sizes, wanted, strict=True)]
    return nn.ConvTranspose2d(
        inputs, outputs, _KERNEL, _STRIDE, _PADDING, output_padding=(margins[0], margins[1])
    )


def _dense(widths: list[int], activation: ActivationName) -> list[nn.Module]:
    """Linear layers between each two widths, an activation between each two layers."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers.append(nn.Linear(inputs, outputs))
        layers.append(activation_layer(activation, negative_slope=_SLOPE))
    return layers[:-1]
