"""A transformer that reads a whole text, series, image or row of a table, and scores it."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from dlrun.config.schema import Depth, Positive, Probability, Width
from dlrun.data.base import Spec
from dlrun.models.attention import (
    LONGEST_WAVE,
    FeedForwardName,
    in_autocast,
    require_heads,
    rotations,
    stacked_blocks,
)
from dlrun.models.columns import FeatureVectors
from dlrun.models.dropout import Dropout
from dlrun.models.layers import dropping
from dlrun.models.pooling import Pooling
from dlrun.models.requirements import require_sequence
from dlrun.models.tokens import TokenEmbedding, real_tokens

PositionsName = Literal["sinusoidal", "rotary", "none"]
PoolingOrCls = Literal["mean", "max", "attention", "cls"]


class Transformer(nn.Module):
    """Steps that all look at each other, in layers, and a score of what they have become.

    The encoder of Vaswani et al. (2017) with norms in front of its parts (`Block`). The steps are the words of a text,
    the steps of a series, the rows of an image, or the columns of a table (Gorishniy et al., 2021), where a number
    scales a vector of its column and a category has a vector of its own. The padding of a text is seen by none.

    `positions` tell steps apart: waves that are added to them (sinusoidal), or turns of queries and keys by which their
    products depend on distances (rotary: Su et al., 2021). Columns of a table have none, they have
    their own vectors. Pooling "cls" takes what a learned vector, put in front, has become (Devlin et al., 2019).

    Shapes: B batch, T time, F features, D width, C outputs; tokens (B, T), sequences (B, T, F), images
    (B, channels, T, W) or features (B, F) to scores (B, C).

    Raises:
        ConfigError: a text to continue, or a width that heads cannot share.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        width: Width,
        layers: Depth,
        heads: Depth,
        activation: FeedForwardName,
        expansion: Positive,
        dropout: Probability,
        positions: PositionsName,
        pooling: PoolingOrCls,
    ) -> None:
        table = spec.kind == "features"
        features = 0 if table else require_sequence(spec, model="transformer")
        require_heads(width, heads, rotary=positions == "rotary" and not table)
        super().__init__()
        self.positions = "none" if table else positions
        self.size = width // heads
        self.padded, self.reads_images = spec.padded, spec.kind == "image"
        self.vectors: nn.Module
        if table:
            self.vectors = FeatureVectors(spec, width)
        elif spec.padded:
            self.vectors = TokenEmbedding(spec.vocabulary, width, dropout=0.0)
        else:
            self.vectors = nn.Linear(features, width)
        self.dropout = Dropout(dropout) if dropout else nn.Identity()
        self.blocks = stacked_blocks(
            width,
            layers=layers,
            heads=heads,
            expansion=expansion,
            activation=activation,
            dropout=dropout,
        )
        self.norm = nn.LayerNorm(width)
        self.first = nn.Parameter(torch.randn(width)) if pooling == "cls" else None
        self.pool = None if pooling == "cls" else Pooling(pooling, width)
        self.head = nn.Sequential(*dropping(dropout), nn.Linear(width, spec.num_outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, C)."""
        real_BT = real_tokens(x) if self.padded else None
        x_BTD = self._steps(x)
        if self.first is not None:
            x_BTD = torch.cat((self.first.expand(x_BTD.shape[0], 1, -1), x_BTD), dim=1)
            real_BT = None if real_BT is None else nn.functional.pad(real_BT, (1, 0), value=True)
        x_BTD = self.dropout(in_autocast(x_BTD))
        places = torch.arange(x_BTD.shape[1], device=x.device)
        turns = rotations(places, self.size, like=x_BTD) if self.positions == "rotary" else None
        mask = None
        if real_BT is not None:
            nothing = torch.zeros_like(real_BT, dtype=x_BTD.dtype)
            mask = nothing.masked_fill(~real_BT, -torch.inf)[:, None, None]
        for block in self.blocks:
            x_BTD, _ = block(x_BTD, mask, turns)
        x_BTD = self.norm(x_BTD)
        scores: Tensor = self.head(x_BTD[:, 0] if self.pool is None else self.pool(x_BTD, real_BT))
        return scores

    def _steps(self, x: Tensor) -> Tensor:
        """(B, T, D)"""
        if self.reads_images:
            x = x.transpose(1, 2).flatten(2)
        x_BTD: Tensor = self.vectors(x)
        if self.padded:  # beside waves of size 1
            x_BTD = x_BTD * x_BTD.shape[2] ** 0.5
        if self.positions == "sinusoidal":
            x_BTD = x_BTD + waves(x_BTD.shape[1], x_BTD.shape[2], like=x_BTD)
        return x_BTD


def waves(steps: int, width: int, like: Tensor) -> Tensor:
    """Sines and cosines (T, D) of each position at D / 2 wave lengths (Vaswani et al., 2017, section 3.5)."""
    numbers = torch.arange(0, width, 2, device=like.device)
    speeds = torch.exp(numbers * (-math.log(LONGEST_WAVE) / width))
    angles = torch.arange(steps, device=like.device)[:, None] * speeds
    return torch.cat((angles.sin(), angles.cos()), dim=1)[:, :width].to(like.dtype)
