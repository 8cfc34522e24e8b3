"""What models of text share: which tokens are real, and a vector for each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlrun.models.dropout import Dropout

PADDING = 0  # the id, as texts are filled up with it at the end
_START_STD = 0.1


def real_tokens(ids_BT: Tensor) -> Tensor:
    """(B, T) booleans: true where a token is not padding. The first counts as real even in an empty text."""
    first_T = torch.arange(ids_BT.shape[1], device=ids_BT.device) == 0
    return (ids_BT != PADDING) | first_T


class TokenEmbedding(nn.Module):
    """A learned vector for each token, zero for padding, with dropout.

    Shapes: B batch, T time, E embedding; ids (B, T) to vectors (B, T, E).
    """

    def __init__(self, vocabulary: int, size: int, *, dropout: float) -> None:
        super().__init__()
        self.vectors = nn.Embedding(vocabulary, size, padding_idx=PADDING)
        with torch.no_grad():
            # Rare words are seldom learned from: at torch's unit variance they would stay mere noise.
            self.vectors.weight.mul_(_START_STD)
        self.dropout = Dropout(dropout)

    def forward(self, ids_BT: Tensor) -> Tensor:
        vectors_BTE: Tensor = self.dropout(self.vectors(ids_BT))
        return vectors_BTE
