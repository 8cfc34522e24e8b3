"""Recurrent classifiers: Elman's network, LSTM and GRU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, cast

from torch import Tensor, nn

from dlrun.data.base import Spec
from dlrun.errors import ConfigError
from dlrun.models.cell_norm import CellNorm
from dlrun.models.dropout import Dropout
from dlrun.models.fit import require_sequence
from dlrun.models.layers import InitName, dropping, fill_weight, initialized
from dlrun.models.pooling import AttentionPooling, max_over_time, mean_over_time
from dlrun.models.recurrent import States, read
from dlrun.models.tokens import TokenEmbedding, real_tokens
from dlrun.schema import Count, Probability

CellName = Literal["rnn", "lstm", "gru"]
PoolingName = Literal["last", "mean", "max", "attention"]
LayerNormPlace = Literal["none", "outputs", "gates"]

_CELLS: dict[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
_GATES = {"rnn": 1, "lstm": 4, "gru": 3}


class RecurrentClassifier(nn.Module):
    """Read a sequence step by step, a text word by word, an image row by row; score it by what is remembered.

    Cells: rnn with tanh (Elman, 1990), lstm (Hochreiter and Schmidhuber, 1997; with forget gates,
    Gers et al., 2000), gru (Cho et al., 2014). Pooling "last" takes the top layer's final state;
    with both directions the final states of both, the backward one after it has read step 0.
    "mean" and "max" go over the top layer's outputs in time, "attention" learns which of them matter.
    The padding of a text changes nothing in any of this.

    Dropout acts between layers and before the head, `embedding_dropout` on the vectors of tokens.
    Layer norm of the outputs of each layer, or of the gates at each step. With `residual` each layer
    above the first adds what it makes of the one below to it.

    `forget_bias` is added to the LSTM's forget gates at the start, so that early on they stay open
    (Jozefowicz et al., 2015). `init` draws each gate's matrices by themselves, with gain 1.

    Shapes: B batch, T time, F features, H hidden, D directions, C outputs; tokens (B, T), sequences
    (B, T, F) or images (B, channels, T, W) to scores (B, C).

    Raises:
        ConfigError: data without an axis of time, or a forget bias for a cell without a forget gate.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        cell: CellName,
        hidden_size: Count,
        layers: Count,
        bidirectional: bool,
        dropout: Probability,
        pooling: PoolingName,
        layer_norm: LayerNormPlace,
        residual: bool,
        forget_bias: float,
        embedding_size: Count,
        embedding_dropout: Probability,
        init: InitName,
    ) -> None:
        features = require_sequence(spec, model=cell)
        if forget_bias and cell != "lstm":
            raise ConfigError(
                f"model.forget_bias is {forget_bias}, but model.cell={cell} has no forget gate; "
                "set it to 0"
            )
        super().__init__()
        self.reads_images, self.pooling, self.residual = spec.kind == "image", pooling, residual
        self.embedding: TokenEmbedding | None = None
        if spec.kind == "tokens":
            features = embedding_size
            self.embedding = TokenEmbedding(
                spec.vocabulary, embedding_size, dropout=embedding_dropout
            )
        outputs = hidden_size * (1 + bidirectional)
        make = partial(_CELLS[cell], batch_first=True, bidirectional=bidirectional)
        # Torch's own dropout between layers draws from the global state: ours stands between single
        # layers. With nothing between them one call to torch is faster.
        single = dropout or residual or layer_norm != "none"
        self.rnn = make(features, hidden_size, 1 if single else layers)
        above = [make(outputs, hidden_size) for _ in range(layers - self.rnn.num_layers)]
        self.between, self.above = Dropout(dropout), nn.ModuleList(above)
        for rnn in (self.rnn, *above):
            _initialize(rnn, init, gates=_GATES[cell])
            if forget_bias:
                _add_to_forget_gates(rnn, forget_bias)
        self.cell_norms, self.output_norms = nn.ModuleList(), nn.ModuleList()
        if layer_norm == "gates":
            self.cell_norms.extend(_cell_norms(rnn) for rnn in (self.rnn, *above))
        elif layer_norm == "outputs":
            self.output_norms.extend(nn.LayerNorm(outputs) for _ in (self.rnn, *above))
        self.attention = AttentionPooling(outputs) if pooling == "attention" else None
        head = initialized(nn.Linear(outputs, spec.num_outputs), init)
        self.head = nn.Sequential(*dropping(dropout), head)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, C) of tokens (B, T), sequences (B, T, F) or images (B, channels, T, W)."""
        real_BT = None
        if self.embedding is not None:
            x, real_BT = self.embedding(x), real_tokens(x)
        elif self.reads_images:
            x = x.transpose(1, 2).flatten(2)
        states = self._layer(0, self.rnn, x, real_BT)
        for number, rnn in enumerate(self.above, 1):
            below = self.between(states.outputs)
            above = self._layer(number, cast(nn.RNNBase, rnn), below, real_BT)
            if self.residual:
                above = States(states.outputs + above.outputs, states.final + above.final)
            states = above
        scores: Tensor = self.head(self._pooled(states, real_BT))
        return scores

    def _layer(self, number: int, rnn: nn.RNNBase, x_BTF: Tensor, real_BT: Tensor | None) -> States:
        """What layer `number` makes of its input, normalised where that is asked for."""
        norms = self.cell_norms[number] if self.cell_norms else None
        states = read(rnn, x_BTF, real_BT, cast(Mapping[str, CellNorm] | None, norms))
        if not self.output_norms:
            return states
        norm = self.output_norms[number]
        return States(norm(states.outputs), norm(states.final))

    def _pooled(self, states: States, real_BT: Tensor | None) -> Tensor:
        """(B, D * H): the top layer's final state, or its outputs pooled over time."""
        if self.pooling == "mean":
            return mean_over_time(states.outputs, real_BT)
        if self.pooling == "max":
            return max_over_time(states.outputs, real_BT)
        if self.attention is not None:
            pooled: Tensor = self.attention(states.outputs, real_BT)
            return pooled
        return states.final


def _cell_norms(rnn: nn.RNNBase) -> nn.ModuleDict:
    """For each layer and direction of `rnn`, by torch's suffix."""
    suffixes = [
        name.removeprefix("weight_ih_")
        for name, _ in rnn.named_parameters()
        if name.startswith("weight_ih")
    ]
    return nn.ModuleDict({suffix: CellNorm(rnn.mode, rnn.hidden_size) for suffix in suffixes})


def _initialize(rnn: nn.RNNBase, init: InitName, *, gates: int) -> None:
    """Draw each gate's own (H, inputs) matrix, which torch keeps stacked in one; biases zero."""
    if init == "default":
        return
    for name, parameter in rnn.named_parameters():
        if name.startswith("bias"):
            nn.init.zeros_(parameter)
        else:
            for gate in parameter.detach().chunk(gates):
                fill_weight(gate, init)


def _add_to_forget_gates(lstm: nn.RNNBase, bias: float) -> None:
    # torch stacks the gates as input, forget, cell, output, and adds two biases: one is enough.
    for name, parameter in lstm.named_parameters():
        if name.startswith("bias_ih"):
            parameter.detach().chunk(4)[1].add_(bias)
