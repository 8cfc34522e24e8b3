"""The recurrent cells: each by its name, with its gates, their initial weights, its norms and one step of it.

A new cell has a layer in `CELLS`, a number of gates in `_GATES`, widths in `_GROUPS` and a step in `STEPS`.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.errors import ConfigError
from dlrun.models.layers import InitName, fill_weight

# Hidden state first; an LSTM adds its memory.
State = tuple[Tensor, ...]

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


Model = TypeVar("Model", bound=nn.Module)


def copied(model: Model) -> Model:
    """A copy of a model, in which the weights of a recurrent layer are one piece of memory, as they are in the model.

    A plain copy has a piece for each: cuDNN then copies them together at every call, of which torch warns.
    """
    copy = deepcopy(model)
    for layer in copy.modules():
        if isinstance(layer, nn.RNNBase):
            layer.flatten_parameters()
    return copy


CellName = Literal["rnn", "lstm", "gru"]

CELLS: dict[CellName, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
_GATES: dict[CellName, int] = {"rnn": 1, "lstm": 4, "gru": 3}


def recurrent_layer(
    cell: CellName, inputs: int, hidden: int, *, init: InitName, forget_bias: float
) -> nn.RNNBase:
    """A layer that reads (B, T, inputs) forwards and puts out (B, T, hidden), with the weights of `initialize_cell`.

    Raises:
        ConfigError: a forget bias for a cell without a forget gate.
    """
    layer = CELLS[cell](inputs, hidden, batch_first=True)
    initialize_cell(layer, cell, init=init, forget_bias=forget_bias)
    return layer


def initialize_cell(rnn: nn.RNNBase, cell: CellName, *, init: InitName, forget_bias: float) -> None:
    """Initialise each gate's own (H, inputs) matrix, which torch keeps stacked in one; make biases zero.

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


def _rnn_step(
    from_input: Tensor, from_hidden: Tensor, state: State, norm: CellNorm | None
) -> State:
    return (torch.tanh(from_input + from_hidden),)


def _lstm_step(
    from_input: Tensor, from_hidden: Tensor, state: State, norm: CellNorm | None
) -> State:
    i, f, g, o = (from_input + from_hidden).chunk(4, dim=-1)
    memory = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
    shown = memory if norm is None else norm.of_memory(memory)
    return torch.sigmoid(o) * torch.tanh(shown), memory


def _gru_step(
    from_input: Tensor, from_hidden: Tensor, state: State, norm: CellNorm | None
) -> State:
    (r_x, z_x, n_x), (r_h, z_h, n_h) = from_input.chunk(3, dim=-1), from_hidden.chunk(3, dim=-1)
    update = torch.sigmoid(z_x + z_h)
    candidate = torch.tanh(n_x + torch.sigmoid(r_x + r_h) * n_h)
    return ((1 - update) * candidate + update * state[0],)


STEPS: dict[str, Callable[[Tensor, Tensor, State, CellNorm | None], State]] = {
    "RNN_TANH": _rnn_step,
    "LSTM": _lstm_step,
    "GRU": _gru_step,
}
