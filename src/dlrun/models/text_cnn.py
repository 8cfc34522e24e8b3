"""Convolutional network over the words of a text."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.config.schema import Depth, Positive, Probability, Width
from dlrun.data.base import Spec
from dlrun.errors import ConfigError
from dlrun.models.dropout import Dropout
from dlrun.models.layers import ActivationName, InitName, activation_layer, gain_of, initialized
from dlrun.models.pooling import max_over_time
from dlrun.models.requirements import require_texts
from dlrun.models.tokens import TokenEmbedding, real_tokens


class BoundedLinear(nn.Linear):
    """A linear layer in which weights of an output longer than `max_norm` count as if they were just as long.

    Shapes: B batch, F features, C outputs; input (B, F) to (B, C).
    """

    def __init__(self, features: int, outputs: int, *, max_norm: float | None) -> None:
        super().__init__(features, outputs)
        self.max_norm = max_norm

    def forward(self, x_BF: Tensor) -> Tensor:
        """(B, C)"""
        if self.max_norm is None:
            return super().forward(x_BF)
        norms_C1 = self.weight.norm(dim=1, keepdim=True)
        bounded_CF = self.weight * (self.max_norm / norms_C1.clamp(min=self.max_norm))
        return F.linear(x_BF, bounded_CF, self.bias)


class TextCNN(nn.Module):
    """Filters over several widths of neighbouring words, the strongest response of each, dropout, scores.

    Kim (2014), with vectors learned from nothing (his CNN-rand). A filter looks at every place where
    it meets a word, also over the ends, so padding and the shortness of a text change nothing.
    Where a class' weights are longer than `max_norm`, they count as if they were just as long.

    Shapes: B batch, T time, E embedding, K filters, C outputs; tokens (B, T) to scores (B, C).

    Raises:
        ConfigError: the data has no texts.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        embedding_size: Width,
        embedding_dropout: Probability,
        widths: list[Depth],
        filters: Width,
        activation: ActivationName,
        negative_slope: float,
        dropout: Probability,
        max_norm: Positive | None,
        init: InitName,
    ) -> None:
        vocabulary = require_texts(spec, model="text_cnn")
        if not widths:
            raise ConfigError("model.widths is empty: give one width or more, as in [3,4,5]")
        super().__init__()
        self.embedding = TokenEmbedding(vocabulary, embedding_size, dropout=embedding_dropout)
        gain = gain_of(activation, negative_slope=negative_slope)
        self.filters = nn.ModuleList(
            initialized(
                nn.Conv1d(embedding_size, filters, width, padding=width - 1), init, gain=gain
            )
            for width in widths
        )
        self.activation = activation_layer(activation, negative_slope=negative_slope)
        self.dropout = Dropout(dropout)
        head = BoundedLinear(len(widths) * filters, spec.num_outputs, max_norm=max_norm)
        self.head = initialized(head, init)

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Scores (B, C) of tokens (B, T)."""
        real_BT = real_tokens(ids_BT)
        x_BET = self.embedding(ids_BT).transpose(1, 2)
        responses = [self._strongest(filters, x_BET, real_BT) for filters in self.filters]
        scores: Tensor = self.head(self.dropout(torch.cat(responses, dim=1)))
        return scores

    def _strongest(self, filters: nn.Module, x_BET: Tensor, real_BT: Tensor) -> Tensor:
        """(B, K): the largest responses at places that meet a word."""
        responses_BKP = self.activation(filters(x_BET))
        beyond = responses_BKP.shape[2] - real_BT.shape[1]
        # The last place to meet a word comes `beyond` later than the word itself.
        meets_BP = F.pad(real_BT, (beyond, 0), value=True)
        return max_over_time(responses_BKP.transpose(1, 2), meets_BP)
