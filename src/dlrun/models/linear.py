"""A linear model of numbers, categories and crosses of categories."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlrun.config.schema import Buckets
from dlrun.data.base import Spec
from dlrun.models.columns import Cross, vectors
from dlrun.models.requirements import require_numbers


class Linear(nn.Module):
    """Scores = W x + b + a score for each combination of categories that `crosses` names.

    x are the numbers, flattened, and the categories one-hot. Everything starts at zero: without hidden
    layers there is no symmetry to break, and what has not been seen adds nothing.

    Shapes: B batch, C outputs; input (B, *spec.input_shape) to scores (B, C).
    """

    def __init__(
        self, spec: Spec, *, bias: bool, crosses: list[list[str]], cross_buckets: Buckets
    ) -> None:
        super().__init__()
        require_numbers(spec, model="linear")
        layers, width = vectors(spec, "one_hot")
        linear = nn.Linear(width, spec.num_outputs, bias=bias)
        for parameter in linear.parameters():
            nn.init.zeros_(parameter)
        self.linear = nn.Sequential(*layers, linear)
        self.crosses = crossed(spec, crosses, cross_buckets)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C)"""
        return torch.stack([self.linear(x), *(cross(x) for cross in self.crosses)]).sum(0)


def crossed(spec: Spec, crosses: list[list[str]], buckets: int) -> nn.ModuleList:
    """A layer for each of `crosses`, lists of names of columns."""
    return nn.ModuleList(
        Cross(spec, names, key=f"model.crosses[{number}]", buckets=buckets)
        for number, names in enumerate(crosses)
    )
