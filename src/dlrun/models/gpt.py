"""A transformer as a model of language: after each token, how likely each is to come next."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlrun.config.schema import Count, Depth, Positive, Probability, Width
from dlrun.data.base import Spec
from dlrun.models.attention import (
    START_STD,
    FeedForwardName,
    KeysValues,
    in_autocast,
    require_heads,
    rotations,
    stacked_blocks,
)
from dlrun.models.dropout import Dropout
from dlrun.models.requirements import require_language

# How many tokens were read, (1,), and of each layer keys and values of the last C, zeros where there were fewer.
State = tuple[Tensor, *tuple[KeysValues, ...]]


class GPT(nn.Module):
    """Read token by token; from it and the `context` tokens before it, score each token as the next.

    A transformer whose steps see what came before alone (Radford et al., 2019), with rotary positions (Su et al.,
    2021), which distances decide and not where a text is cut. Its memory is the keys and values of the last `context`
    tokens (Dai et al., 2019): each token has as many before it, however short the window, and one more
    token costs one step. A layer sees `context` tokens of the layer below, so the model up to `layers` times as many.

    Whoever reads on from the state that is returned reads on as if there had been no break.

    `tied` scores a token by the same vector that it comes in as (Press and Wolf, 2017). Dropout acts on those vectors
    and on what each part of a layer adds.

    Shapes: S streams, T time, C context, H heads, E numbers a head, D = H * E, V vocabulary; tokens (S, T) to
    scores (S, T, V).

    Raises:
        ConfigError: no text to model, or a width that heads cannot share.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        width: Width,
        layers: Depth,
        heads: Depth,
        context: Count,
        activation: FeedForwardName,
        expansion: Positive,
        dropout: Probability,
        tied: bool,
    ) -> None:
        vocabulary = require_language(spec, model="gpt")
        require_heads(width, heads, rotary=True)
        super().__init__()
        self.context, self.heads, self.size = context, heads, width // heads
        self.embedding = nn.Embedding(vocabulary, width)
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
        self.head = nn.Linear(width, vocabulary, bias=False)
        for layer in (self.embedding, self.head):
            nn.init.normal_(layer.weight, std=START_STD)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, x_ST: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Scores (S, T, V) of the token after each, and the state to read on from; none is a text's beginning."""
        state = self._beginning(x_ST) if state is None else state
        scores = []
        # Each token sees `context` others: of a longer window most pairs would be computed for nothing.
        for part in x_ST.split(self.context, dim=1):
            found, state = self._read(part, state)
            scores.append(found)
        return torch.cat(scores, dim=1), state

    def _beginning(self, x_ST: Tensor) -> State:
        nothing = self.norm.weight.new_zeros(len(x_ST), self.heads, self.context, self.size)
        return (nothing.new_zeros(1), *[(nothing, nothing)] * len(self.blocks))

    def _read(self, x_ST: Tensor, state: State) -> tuple[Tensor, State]:
        read, *memory = state
        steps = x_ST.shape[1]
        x = self.dropout(in_autocast(self.embedding(x_ST)))
        mask = self._mask(read, steps, x.dtype)
        turns = rotations(read + torch.arange(steps, device=x.device), self.size, like=x)
        kept: list[KeysValues] = []
        for block, earlier in zip(self.blocks, memory, strict=True):
            x, (k, v) = block(x, mask, turns, earlier)
            # A copy, or a checkpoint would hold all that this is a part of.
            kept.append((k[:, :, steps:].clone(), v[:, :, steps:].clone()))
        return self.head(self.norm(x)), (read + steps, *kept)

    def _mask(self, read: Tensor, steps: int, dtype: torch.dtype) -> Tensor:
        """(T, C + T): -inf at keys that come later, are too far back or before the text begins; 0 elsewhere."""
        keys = torch.arange(self.context + steps, device=read.device)
        distance = keys[self.context :, None] - keys
        seen = (distance >= 0) & (distance <= self.context) & (read + keys >= self.context)
        return torch.zeros_like(distance, dtype=dtype).masked_fill(~seen, -torch.inf)
