"""Recurrent classifiers: Elman's network, LSTM and GRU."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, nn

from dlrun.data.base import Spec
from dlrun.errors import ConfigError
from dlrun.models.dropout import Dropout
from dlrun.models.fit import require_sequence
from dlrun.models.layers import InitName, dropping, fill_weight, initialized
from dlrun.models.unroll import must_unroll, unrolled
from dlrun.schema import Count, Probability

CellName = Literal["rnn", "lstm", "gru"]

_CELLS: dict[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
_GATES = {"rnn": 1, "lstm": 4, "gru": 3}


class RecurrentClassifier(nn.Module):
    """Read a sequence step by step, an image row by row; score it by what is remembered.

    Cells: rnn with tanh (Elman, 1990), lstm (Hochreiter and Schmidhuber, 1997; with forget gates,
    Gers et al., 2000), gru (Cho et al., 2014). Pooling "last" takes the top layer's final state;
    with both directions the final states of both, the backward one after it has read step 0.
    "mean" averages the top layer's outputs over time. Dropout acts between layers and before the
    head.

    `forget_bias` is added to the LSTM's forget gates at the start, so that early on they stay open
    (Jozefowicz et al., 2015). `init` draws each gate's matrices by themselves, with gain 1.

    Shapes: B batch, T time, F features, H hidden, D directions, C outputs; sequences (B, T, F) or
    images (B, channels, T, W) to scores (B, C).

    Raises:
        ConfigError: plain features, or a forget bias for a cell without a forget gate.
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
        pooling: Literal["last", "mean"],
        forget_bias: float,
        init: InitName,
    ) -> None:
        features = require_sequence(spec, model=cell)
        if forget_bias and cell != "lstm":
            raise ConfigError(
                f"model.forget_bias is {forget_bias}, but model.cell={cell} has no forget gate; "
                "set it to 0"
            )
        super().__init__()
        self.reads_images = spec.kind == "image"
        self.takes_mean = pooling == "mean"
        outputs = hidden_size * (1 + bidirectional)
        make = partial(_CELLS[cell], batch_first=True, bidirectional=bidirectional)
        # Torch's own dropout between layers draws from the global state: ours stands between single
        # layers. With nothing between them one call to torch is faster.
        self.rnn = make(features, hidden_size, 1 if dropout else layers)
        above = [make(outputs, hidden_size) for _ in range(layers - self.rnn.num_layers)]
        self.between, self.above = Dropout(dropout), nn.ModuleList(above)
        for rnn in (self.rnn, *above):
            _initialize(rnn, init, gates=_GATES[cell])
            if forget_bias:
                _add_to_forget_gates(rnn, forget_bias)
        head = initialized(nn.Linear(outputs, spec.num_outputs), init)
        self.head = nn.Sequential(*dropping(dropout), head)

    def forward(self, x_BTF: Tensor) -> Tensor:
        """Scores (B, C) of sequences (B, T, F), or of images (B, channels, T, W)."""
        if self.reads_images:
            x_BTF = x_BTF.transpose(1, 2).flatten(2)
        outputs, final = _read(self.rnn, x_BTF)
        for rnn in self.above:
            outputs, final = _read(cast(nn.RNNBase, rnn), self.between(outputs))
        scores: Tensor = self.head(self._pooled(outputs, final))
        return scores

    def _pooled(self, outputs_BTH: Tensor, final_LBH: Tensor) -> Tensor:
        """(B, D * H), of the top layer's outputs over time or of all layers' final states."""
        if self.takes_mean:
            return outputs_BTH.mean(1)
        if self.rnn.bidirectional:
            return torch.cat((final_LBH[-2], final_LBH[-1]), dim=1)
        return final_LBH[-1]


def _read(rnn: nn.RNNBase, x_BTF: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs (B, T, D * H) of the top layer of `rnn`, final hidden states (L * D, B, H) of all."""
    if must_unroll(rnn, x_BTF):
        return unrolled(rnn, x_BTF)
    outputs, state = rnn(x_BTF)
    return outputs, state[0] if isinstance(state, tuple) else state  # an LSTM's is (h, c)


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
