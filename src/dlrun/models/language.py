"""A recurrent model of language: after each token, how likely each is to come next."""

from __future__ import annotations

from typing import Literal, cast

from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.config.schema import Depth, Probability, Width
from dlrun.data.base import Spec
from dlrun.errors import ConfigError
from dlrun.models.cells import CellName, recurrent_layer
from dlrun.models.dropout import Dropout
from dlrun.models.layers import InitName, initialized
from dlrun.models.requirements import require_language
from dlrun.models.unroll import read_on

# Of each layer: (1, S, H), or hidden state and memory of an LSTM.
LayerState = Tensor | tuple[Tensor, ...]
State = tuple[LayerState, ...]


class RecurrentLanguageModel(nn.Module):
    """Read token by token; from what is remembered, score each token as the next.

    Tokens come in as learned vectors (Bengio et al., 2003), or one-hot where `embedding_size` is
    null. `tied` scores a token by the same vector that it comes in as (Press and Wolf, 2017), after
    a projection where the hidden size is another. Dropout acts on the vectors (`input_dropout`),
    between layers and before the scores (`dropout`), never along time (Zaremba et al., 2014).

    Layer norm is of what each layer puts out (Ba et al., 2016); `residual` adds what lies
    below it, where the sizes are the same.

    Whoever reads on from the state that is returned reads on as if there had been no break.

    Shapes: S streams, T time, E embedding, H hidden, V vocabulary; tokens (S, T) to scores (S, T, V).

    Raises:
        ConfigError: no text to model, a forget bias without forget gates, tied one-hot vectors, or
            residuals that nothing could be added by.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        cell: CellName,
        embedding_size: Width | None,
        hidden_size: Width,
        layers: Depth,
        input_dropout: Probability,
        dropout: Probability,
        tied: bool,
        layer_norm: Literal["none", "outputs"],
        residual: bool,
        forget_bias: float,
        init: InitName,
    ) -> None:
        vocabulary = require_language(spec, model=f"char_{cell}")
        size = embedding_size or vocabulary
        _check(embedding_size, size, hidden_size, layers, tied=tied, residual=residual)
        super().__init__()
        self.vocabulary = vocabulary
        self.embedding = nn.Embedding(vocabulary, size) if embedding_size else None
        self.residual = residual
        sizes = [size, *[hidden_size] * (layers - 1)]
        self.layers = nn.ModuleList(
            recurrent_layer(cell, inputs, hidden_size, init=init, forget_bias=forget_bias)
            for inputs in sizes
        )
        normalised = layers if layer_norm == "outputs" else 0
        self.norms = nn.ModuleList(nn.LayerNorm(hidden_size) for _ in range(normalised))
        self.input_dropout, self.dropout = Dropout(input_dropout), Dropout(dropout)
        projected = tied and size != hidden_size
        self.projection = initialized(nn.Linear(hidden_size, size), init) if projected else None
        self.head = initialized(nn.Linear(size if tied else hidden_size, vocabulary), init)
        if tied and self.embedding is not None:
            # As scores, vectors of torch's unit variance would be far too sure at the start.
            nn.init.normal_(self.embedding.weight, std=size**-0.5)
            self.head.weight = self.embedding.weight

    def forward(self, x_ST: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Scores (S, T, V) of the token after each, and the state to read on from; none is all zeros."""
        after: list[LayerState] = []
        outputs = self.input_dropout(self._vectors(x_ST))
        for number, layer in enumerate(self.layers):
            below = outputs
            outputs, left = read_on(
                cast(nn.RNNBase, layer),
                self.dropout(below) if number else below,
                None if state is None else state[number],
            )
            after.append(left)
            if self.norms:
                outputs = self.norms[number](outputs)
            if self.residual and outputs.shape == below.shape:
                outputs = outputs + below
        outputs = self.dropout(outputs)
        if self.projection is not None:
            outputs = self.projection(outputs)
        return self.head(outputs), tuple(after)

    def _vectors(self, x_ST: Tensor) -> Tensor:
        """(S, T, E), of any integer type."""
        if self.embedding is not None:
            return cast(Tensor, self.embedding(x_ST))
        return F.one_hot(x_ST.long(), self.vocabulary).to(self.head.weight.dtype)


def _check(
    embedding_size: int | None, size: int, hidden: int, layers: int, *, tied: bool, residual: bool
) -> None:
    if tied and embedding_size is None:
        raise ConfigError(
            "model.tied is true, but model.embedding_size is null, and one-hot vectors are not learned; "
            "give an embedding_size or set tied to false"
        )
    if residual and layers == 1 and size != hidden:
        raise ConfigError(
            f"model.residual is true, but the only layer reads {size} values and puts out {hidden}; "
            f"set model.embedding_size={hidden}, or more than one layer, or residual to false"
        )
