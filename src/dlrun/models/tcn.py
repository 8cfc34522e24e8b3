"""Temporal convolutional network: causal convolutions over ever longer stretches of a sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.config.schema import Depth, Probability, Side, Width
from dlrun.data.base import Spec
from dlrun.models.layers import (
    ActivationName,
    InitName,
    activation_layer,
    dropping,
    gain_of,
    initialized,
)
from dlrun.models.pooling import Pooling, PoolingName
from dlrun.models.requirements import require_sequence
from dlrun.models.tokens import TokenEmbedding, real_tokens

_SHORTEST = 1e-12  # length that a filter of zeros is taken for


class TCN(nn.Module):
    """Residual blocks of two causal convolutions, dilated twice as far in each block as in the one below.

    Bai, Kolter and Koltun (2018). With kernels of K steps, L blocks see the last 1 + 2 (K - 1) (2^L - 1) steps;
    `layers` auto is as few as see all of the longest input. A series is read step by step, a text word by word,
    an image row by row. What follows the end of a text changes nothing.

    Shapes: B batch, T time, F features, H channels, C outputs; tokens (B, T), sequences (B, T, F) or images
    (B, channels, T, W) to scores (B, C).

    Raises:
        ConfigError: data without an axis of time, or a text to continue.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        channels: Width,
        layers: Depth | Literal["auto"],
        kernel: Side,
        activation: ActivationName,
        negative_slope: float,
        weight_norm: bool,
        dropout: Probability,
        pooling: PoolingName,
        embedding_size: Width,
        embedding_dropout: Probability,
        init: InitName,
    ) -> None:
        features = require_sequence(spec, model="tcn")
        super().__init__()
        self.reads_images = spec.kind == "image"
        self.embedding: TokenEmbedding | None = None
        if spec.padded:
            features = embedding_size
            self.embedding = TokenEmbedding(
                spec.vocabulary, embedding_size, dropout=embedding_dropout
            )
        steps = spec.input_shape[1 if self.reads_images else 0]
        count = blocks_to_see(steps, kernel) if layers == "auto" else layers
        activate = partial(activation_layer, activation, negative_slope=negative_slope)
        convolution = partial(
            Convolution,
            kernel=kernel,
            weight_norm=weight_norm,
            init=init,
            gain=gain_of(activation, negative_slope=negative_slope),
        )
        self.blocks = nn.Sequential()
        for number in range(count):
            inputs = features if number == 0 else channels
            pair = [
                convolution(before, channels, dilation=2**number) for before in (inputs, channels)
            ]
            self.blocks.append(Block(pair, activate, dropout))
        self.pool = Pooling(pooling, channels)
        self.head = initialized(nn.Linear(channels, spec.num_outputs), init)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, C) of tokens (B, T), sequences (B, T, F) or images (B, channels, T, W)."""
        real_BT = None
        if self.embedding is not None:
            x, real_BT = self.embedding(x), real_tokens(x)
        elif self.reads_images:
            x = x.transpose(1, 2).flatten(2)
        outputs = self.blocks(x.transpose(1, 2)).transpose(1, 2)
        scores: Tensor = self.head(self.pool(outputs, real_BT))
        return scores


class Block(nn.Module):
    """Two convolutions, each with an activation and dropout, and their input added to that; then an activation.

    A convolution sees a step and those before it; zeros stand before the first.

    Shapes: B batch, H channels, T time; (B, H', T) to (B, H, T).
    """

    def __init__(
        self, pair: Sequence[nn.Conv1d], activate: Callable[[], nn.Module], dropout: float
    ) -> None:
        super().__init__()
        self.body = nn.Sequential()
        for convolution in pair:
            reach = convolution.dilation[0] * (convolution.kernel_size[0] - 1)
            before = nn.ZeroPad1d((reach, 0))
            self.body.extend([before, convolution, activate(), *dropping(dropout)])
        inputs, outputs = pair[0].in_channels, pair[0].out_channels
        self.shortcut = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.activation = activate()

    def forward(self, x_BHT: Tensor) -> Tensor:
        """(B, H, T)"""
        outputs: Tensor = self.activation(self.body(x_BHT) + self.shortcut(x_BHT))
        return outputs


class Convolution(nn.Conv1d):
    """A convolution whose filters, with `weight_norm`, have direction and length as separate weights.

    Salimans and Kingma (2016).

    Shapes: B batch, H channels, T time; (B, H', T) to (B, H, T - `dilation` * (`kernel` - 1)).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int,
        dilation: int,
        weight_norm: bool,
        init: InitName,
        gain: float,
    ) -> None:
        super().__init__(inputs, outputs, kernel, dilation=dilation)
        initialized(self, init, gain=gain)
        self.length = nn.Parameter(self._lengths().detach().flatten()) if weight_norm else None

    def forward(self, x_BHT: Tensor) -> Tensor:
        """(B, H, T - what the filters reach beyond one step)"""
        if self.length is None:
            return super().forward(x_BHT)
        weight = self.weight * (self.length[:, None, None] / self._lengths())
        return F.conv1d(x_BHT, weight, self.bias, dilation=self.dilation)

    def _lengths(self) -> Tensor:
        """(H, 1, 1)"""
        return self.weight.norm(dim=(1, 2), keepdim=True).clamp(min=_SHORTEST)


def blocks_to_see(steps: int, kernel: int) -> int:
    """How many blocks see `steps` steps; one where a kernel sees a single step, of which no number sees more."""
    count = 1
    while kernel > 1 and 1 + 2 * (kernel - 1) * (2**count - 1) < steps:
        count += 1
    return count
