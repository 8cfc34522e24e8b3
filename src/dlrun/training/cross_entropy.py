"""Cross-entropy of many rows with few classes, each row by itself.

torch's own kernel goes through one row after the other, which for ten classes takes many times as long
as going through all rows at once, a few times. Alone a run has few rows a step; K runs have K times as many.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class RowCrossEntropy(torch.autograd.Function):
    """-log softmax(scores)[target] of each row, as F.cross_entropy with reduction="none".

    Shapes: N rows, C classes; scores (N, C), targets (N,), label smoothing (N,) or None; losses (N,).
    """

    @staticmethod
    def forward(scores: Tensor, targets: Tensor, smoothing: Tensor | None) -> tuple[Tensor, Tensor]:
        shifted = scores - scores.amax(1, keepdim=True)
        chances = shifted.exp()
        total = chances.sum(1, keepdim=True)
        wanted = shifted.gather(1, targets.unsqueeze(1))
        if smoothing is not None:
            wanted = torch.lerp(wanted, shifted.mean(1, keepdim=True), smoothing.unsqueeze(1))
        losses = (total.log() - wanted).squeeze(1)
        return losses, chances.div_(total)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(output[1], inputs[1], inputs[2])
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor, None, None]:
        chances, targets, smoothing = ctx.saved_tensors
        share = -torch.ones_like(grad) if smoothing is None else smoothing - 1
        gradient = chances.scatter_add(1, targets.unsqueeze(1), share.unsqueeze(1))
        if smoothing is not None:
            gradient -= smoothing.unsqueeze(1) / chances.shape[1]
        return gradient.mul_(grad.unsqueeze(1)), None, None


def row_cross_entropy(scores: Tensor, targets: Tensor, smoothing: Tensor | None) -> Tensor:
    """The cross-entropy of each row (N,)."""
    losses: Tensor = RowCrossEntropy.apply(scores, targets, smoothing)[0]
    return losses
