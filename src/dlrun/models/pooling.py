"""From the outputs at every time step to one vector: ways to pool that padding does not change.

Shapes: B batch, T time, H width; outputs (B, T, H), real (B, T) booleans or None where all steps are.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

PoolingName = Literal["last", "mean", "max", "attention"]


def ends(outputs_BTH: Tensor, real_BT: Tensor | None, *, bidirectional: bool) -> Tensor:
    """(B, H): where reading ended: at the last real step; the half that was read backwards at the first."""
    if real_BT is None:
        last_BH = outputs_BTH[:, -1]
    else:
        rows = torch.arange(outputs_BTH.shape[0], device=outputs_BTH.device)
        last_BH = outputs_BTH[rows, real_BT.sum(1) - 1]
    if not bidirectional:
        return last_BH
    half = outputs_BTH.shape[2] // 2
    return torch.cat((last_BH[:, :half], outputs_BTH[:, 0, half:]), dim=1)


def mean_over_time(outputs_BTH: Tensor, real_BT: Tensor | None) -> Tensor:
    """(B, H): the mean of the real steps."""
    if real_BT is None:
        return outputs_BTH.mean(1)
    weights_BT = real_BT.to(outputs_BTH.dtype)
    total_BH = (outputs_BTH * weights_BT.unsqueeze(2)).sum(1)
    return total_BH / weights_BT.sum(1, keepdim=True)


def max_over_time(outputs_BTH: Tensor, real_BT: Tensor | None) -> Tensor:
    """(B, H): of each value the largest among the real steps."""
    if real_BT is not None:
        outputs_BTH = outputs_BTH.masked_fill(~real_BT.unsqueeze(2), float("-inf"))
    return outputs_BTH.amax(1)


class AttentionPooling(nn.Module):
    """The mean of the real steps, weighted by how much each matters.

    The weights are the softmax over time of v . tanh(W h_t + b): additive attention (Bahdanau et al.,
    2015) with one learned question v for all texts (Yang et al., 2016, equations 5 to 7).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, width)
        self.question = nn.Linear(width, 1, bias=False)

    def forward(self, outputs_BTH: Tensor, real_BT: Tensor | None) -> Tensor:
        weights_BT = self.weights(outputs_BTH, real_BT)
        return (weights_BT.unsqueeze(2) * outputs_BTH).sum(1)

    def weights(self, outputs_BTH: Tensor, real_BT: Tensor | None) -> Tensor:
        """(B, T): sum to one over the real steps, zero elsewhere."""
        scores_BT: Tensor = self.question(torch.tanh(self.hidden(outputs_BTH))).squeeze(2)
        if real_BT is not None:
            scores_BT = scores_BT.masked_fill(~real_BT, float("-inf"))
        return scores_BT.softmax(1)


class Pooling(nn.Module):
    """One of the ways by its name, of outputs of width H; `last` is that of reading forwards."""

    def __init__(self, name: PoolingName, width: int) -> None:
        super().__init__()
        self.name = name
        self.attention = AttentionPooling(width) if name == "attention" else None

    def forward(self, outputs_BTH: Tensor, real_BT: Tensor | None) -> Tensor:
        if self.attention is not None:
            return self.attention(outputs_BTH, real_BT)
        if self.name == "last":
            return ends(outputs_BTH, real_BT, bidirectional=False)
        return {"mean": mean_over_time, "max": max_over_time}[self.name](outputs_BTH, real_BT)
