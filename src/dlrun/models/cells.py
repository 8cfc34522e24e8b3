"""Single recurrent layers by name, their weights drawn gate by gate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import nn

from dlrun.errors import ConfigError
from dlrun.models.layers import InitName, fill_weight

CellName = Literal["rnn", "lstm", "gru"]

CELLS: dict[CellName, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
_GATES: dict[CellName, int] = {"rnn": 1, "lstm": 4, "gru": 3}


def recurrent_layer(
    cell: CellName, inputs: int, hidden: int, *, init: InitName, forget_bias: float
) -> nn.RNNBase:
    """A layer that reads (B, T, inputs) forwards and puts out (B, T, hidden), as `initialize_cell` draws it.

    Raises:
        ConfigError: a forget bias for a cell without a forget gate.
    """
    layer = CELLS[cell](inputs, hidden, batch_first=True)
    initialize_cell(layer, cell, init=init, forget_bias=forget_bias)
    return layer


def initialize_cell(rnn: nn.RNNBase, cell: CellName, *, init: InitName, forget_bias: float) -> None:
    """Draw each gate's own (H, inputs) matrix, which torch keeps stacked in one, and make biases zero.

    `default` leaves all as torch made it. `forget_bias` is added to an LSTM's forget gates.

    Raises:
        ConfigError: a forget bias for a cell without a forget gate.
    """
    if forget_bias and cell != "lstm":
        raise ConfigError(
            f"model.forget_bias is {forget_bias}, but model.cell={cell} has no forget gate; set it to 0"
        )
    for name, parameter in rnn.named_parameters():
        if init != "default" and name.startswith("bias"):
            nn.init.zeros_(parameter)
        elif init != "default":
            for gate in parameter.detach().chunk(_GATES[cell]):
                fill_weight(gate, init)
        # torch stacks the gates as input, forget, cell, output, and adds two biases: one is enough.
        if forget_bias and name.startswith("bias_ih"):
            parameter.detach().chunk(4)[1].add_(forget_bias)
