"""Single recurrent layers by name, their weights drawn gate by gate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.errors import ConfigError
from dlrun.models.layers import InitName, fill_weight

# By torch's name of the cell, the widths normalised together, in units of the hidden size.
_GROUPS = {"RNN_TANH": (1,), "LSTM": (4,), "GRU": (2, 1)}


class CellNorm(nn.Module):
    """What is normalised at each step of one layer in one direction.

    Ba, Kiros and Hinton (2016), the appendix' equations for LSTM and GRU: the input's share of the
    gates and the hidden state's, each by itself, and an LSTM's memory where it is shown. All gates of
    an LSTM are normalised together; of a GRU both gates, and its candidate by itself; Elman's cell
    follows suit. Gains start at 1; the cell's own biases, added afterwards, are the shifts.
    """

    def __init__(self, mode: str, hidden_size: int) -> None:
        super().__init__()
        groups = [width * hidden_size for width in _GROUPS[mode]]
        self.of_input, self.of_hidden = GroupNorm(groups), GroupNorm(groups)
        self.of_memory = nn.LayerNorm(hidden_size) if mode == "LSTM" else nn.Identity()


class GroupNorm(nn.Module):
    """Layer norm of each group of neighbouring values, with one gain a value and no shift: (B, ..., sum) alike."""

    def __init__(self, groups: list[int]) -> None:
        super().__init__()
        self.groups = groups
        self.gain = nn.Parameter(torch.ones(sum(groups)))

    def forward(self, x: Tensor) -> Tensor:
        parts = [F.layer_norm(part, part.shape[-1:]) for part in x.split(self.groups, dim=-1)]
        return torch.cat(parts, dim=-1) * self.gain


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
