"""Layer norm inside a recurrent cell."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
