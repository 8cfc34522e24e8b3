"""The simplest classifier of texts: the words, whatever their order."""

from __future__ import annotations

from torch import Tensor, nn

from dlrun.config.schema import Probability, Width
from dlrun.data.base import Spec
from dlrun.models.layers import InitName, dropping, initialized
from dlrun.models.pooling import mean_over_time
from dlrun.models.requirements import require_texts
from dlrun.models.tokens import TokenEmbedding, real_tokens


class BagOfWords(nn.Module):
    """A linear layer over the mean of a text's word vectors (Joulin et al., 2017, without their n-grams).

    Shapes: B batch, T time, C outputs; tokens (B, T) to scores (B, C).

    Raises:
        ConfigError: the data has no texts.
    """

    def __init__(
        self, spec: Spec, *, embedding_size: Width, dropout: Probability, init: InitName
    ) -> None:
        vocabulary = require_texts(spec, model="bag_of_words")
        super().__init__()
        self.embedding = TokenEmbedding(vocabulary, embedding_size, dropout=0.0)
        head = initialized(nn.Linear(embedding_size, spec.num_outputs), init)
        self.head = nn.Sequential(*dropping(dropout), head)

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Scores (B, C) of tokens (B, T)."""
        mean_BE = mean_over_time(self.embedding(ids_BT), real_tokens(ids_BT))
        scores: Tensor = self.head(mean_BE)
        return scores
