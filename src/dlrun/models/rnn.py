"""Recurrent classifiers: Elman's network, LSTM and GRU."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dlrun.config.schema import Depth, Probability, Width
from dlrun.data.base import Spec
from dlrun.models.cells import CELLS, CellName, CellNorm, initialize_cell
from dlrun.models.dropout import Dropout
from dlrun.models.layers import InitName, dropping, initialized
from dlrun.models.pooling import AttentionPooling, PoolingName, ends, max_over_time, mean_over_time
from dlrun.models.requirements import require_sequence
from dlrun.models.tokens import TokenEmbedding, real_tokens
from dlrun.models.unroll import must_unroll, unrolled


def read(
    rnn: nn.RNNBase,
    x_BTF: Tensor,
    real_BT: Tensor | None = None,
    norms: Mapping[str, CellNorm] | None = None,
) -> Tensor:
    """Outputs (B, T, D * H) of the top layer of `rnn` (batch_first) for sequences (B, T, F) padded at the end.

    `real_BT` is false at padding, where outputs mean nothing.
    """
    if norms is not None or must_unroll(rnn, x_BTF):
        return unrolled(rnn, x_BTF, real_BT=real_BT, norms=norms)[0]
    if real_BT is None or not rnn.bidirectional:
        # Forwards, padding is read after all else and changes none of it; to pack would take longer.
        outputs: Tensor = rnn(x_BTF)[0]
        return outputs
    if x_BTF.device.type not in ("cpu", "mps") and rnn.num_layers == 1:
        return read_both_ways(rnn, x_BTF, real_BT)
    lengths_B = real_BT.sum(1).cpu()
    packed = pack_padded_sequence(x_BTF, lengths_B, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(rnn(packed)[0], batch_first=True, total_length=x_BTF.shape[1])[0]


def read_both_ways(rnn: nn.RNNBase, x_BTF: Tensor, real_BT: Tensor) -> Tensor:
    """What `read` gives of one layer in both directions, without lengths on the CPU, which a GPU would have to tell.

    The sequences are read twice, side by side: padded at the end, of which the outputs forwards count, and padded at
    the beginning, of which those backwards do. So each direction comes to padding after all else.
    """
    count, steps = real_BT.shape
    at_T, lengths_B1 = torch.arange(steps, device=x_BTF.device), real_BT.sum(1, keepdim=True)

    def moved(sequences: Tensor, by_B1: Tensor) -> Tensor:
        places_BT1 = ((at_T + by_B1) % steps).unsqueeze(2)
        return sequences.gather(1, places_BT1.expand(-1, -1, sequences.shape[2]))

    outputs: Tensor = rnn(torch.cat([x_BTF, moved(x_BTF, lengths_B1)]))[0]
    forwards, backwards = outputs.split(rnn.hidden_size, 2)
    return torch.cat([forwards[:count], moved(backwards[count:], -lengths_B1)], 2)


LayerNormPlace = Literal["none", "outputs", "gates"]


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
    (Jozefowicz et al., 2015). `init` initialises each gate's matrices by themselves, with gain 1.

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
        hidden_size: Width,
        layers: Depth,
        bidirectional: bool,
        dropout: Probability,
        pooling: PoolingName,
        layer_norm: LayerNormPlace,
        residual: bool,
        forget_bias: float,
        embedding_size: Width,
        embedding_dropout: Probability,
        init: InitName,
    ) -> None:
        features = require_sequence(spec, model=cell)
        super().__init__()
        self.reads_images, self.pooling, self.residual = spec.kind == "image", pooling, residual
        self.embedding: TokenEmbedding | None = None
        if spec.padded:
            features = embedding_size
            self.embedding = TokenEmbedding(
                spec.vocabulary, embedding_size, dropout=embedding_dropout
            )
        outputs = hidden_size * (1 + bidirectional)
        make = partial(CELLS[cell], batch_first=True, bidirectional=bidirectional)
        # Torch's own dropout between layers draws from the global state: ours stands between single
        # layers. With nothing between them one call to torch is faster.
        single = dropout or residual or layer_norm != "none"
        self.rnn = make(features, hidden_size, 1 if single else layers)
        above = [make(outputs, hidden_size) for _ in range(layers - self.rnn.num_layers)]
        self.between, self.above = Dropout(dropout), nn.ModuleList(above)
        for rnn in (self.rnn, *above):
            initialize_cell(rnn, cell, init=init, forget_bias=forget_bias)
        self.cell_norms, self.output_norms = nn.ModuleList(), nn.ModuleList()
        if layer_norm == "gates":
            self.cell_norms.extend(_cell_norms(rnn) for rnn in (self.rnn, *above))
        elif layer_norm == "outputs":
            self.output_norms.extend(nn.LayerNorm(outputs) for _ in (self.rnn, *above))
        if pooling == "attention":
            self.attention = AttentionPooling(outputs)
        head = initialized(nn.Linear(outputs, spec.num_outputs), init)
        self.head = nn.Sequential(*dropping(dropout), head)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, C) of tokens (B, T), sequences (B, T, F) or images (B, channels, T, W)."""
        real_BT = None
        if self.embedding is not None:
            x, real_BT = self.embedding(x), real_tokens(x)
        elif self.reads_images:
            x = x.transpose(1, 2).flatten(2)
        outputs = self._layer(0, self.rnn, x, real_BT)
        for number, rnn in enumerate(self.above, 1):
            above = self._layer(number, cast(nn.RNNBase, rnn), self.between(outputs), real_BT)
            outputs = outputs + above if self.residual else above
        scores: Tensor = self.head(self._pooled(outputs, real_BT))
        return scores

    def _layer(self, number: int, rnn: nn.RNNBase, x_BTF: Tensor, real_BT: Tensor | None) -> Tensor:
        """What layer `number` makes of its input (B, T, D * H), normalised where that is asked for."""
        norms = self.cell_norms[number] if self.cell_norms else None
        outputs = read(rnn, x_BTF, real_BT, cast(Mapping[str, CellNorm] | None, norms))
        return self.output_norms[number](outputs) if self.output_norms else outputs

    def _pooled(self, outputs_BTH: Tensor, real_BT: Tensor | None) -> Tensor:
        """(B, D * H): the top layer's outputs, all of them or where they end."""
        match self.pooling:
            case "mean":
                return mean_over_time(outputs_BTH, real_BT)
            case "max":
                return max_over_time(outputs_BTH, real_BT)
            case "attention":
                return self.attention(outputs_BTH, real_BT)
        return ends(outputs_BTH, real_BT, bidirectional=self.rnn.bidirectional)


def _cell_norms(rnn: nn.RNNBase) -> nn.ModuleDict:
    """For each layer and direction of `rnn`, by torch's suffix."""
    suffixes = [
        name.removeprefix("weight_ih_")
        for name, _ in rnn.named_parameters()
        if name.startswith("weight_ih")
    ]
    return nn.ModuleDict({suffix: CellNorm(rnn.mode, rnn.hidden_size) for suffix in suffixes})
