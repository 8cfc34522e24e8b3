"""Single recurrent layers by name, their weights drawn gate by gate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import nn

from dlrun.errors import ConfigError
from dlrun.models.layers import InitName, fill_weight

CellName = Literal["rnn", "lstm", "gru"]

_CELLS: dict[CellName, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
_GATES: dict[CellName, int] = {"rnn": 1, "lstm": 4, "gru": 3}


def recurrent_layer(
    cell: CellName, inputs: int, hidden: int, *, init: InitName, forget_bias: float
) -> nn.RNNBase:
    """A layer that reads (B, T, inputs) forwards and puts out (B, T, hidden).

    `init` draws each gate's own matrices, which torch keeps stacked in one, and makes biases zero;
    `default` leaves all as torch made it. `forget_bias` is added to an LSTM's forget gates.

    Raises:
        ConfigError: a forget bias for a cell without a forget gate.
    """
    if forget_bias and cell != "lstm":
        raise ConfigError(
            f"model.forget_bias is {forget_bias}, but model.cell={cell} has no forget gate; set it to 0"
        )
    layer = _CELLS[cell](inputs, hidden, batch_first=True)
    for name, parameter in layer.named_parameters() if init != "default" else ():
        if name.startswith("bias"):
            nn.init.zeros_(parameter)
        else:
            for gate in parameter.detach().chunk(_GATES[cell]):
                fill_weight(gate, init)
    if forget_bias:
        # torch stacks the gates as input, forget, cell, output, and adds two biases: one is enough.
        layer.get_parameter("bias_ih_l0").detach().chunk(4)[1].add_(forget_bias)
    return layer
