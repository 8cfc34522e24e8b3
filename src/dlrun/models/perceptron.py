"""A perceptron that starts from weights written down in the config, and may keep them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dlrun.data.base import Spec
from dlrun.models.requirements import require_features


class Perceptron(nn.Module):
    """score = w x + b for two classes, with the first w and b given; the loss takes its sigmoid.

    Shapes: B batch, F features; input (B, F) to scores (B, 1).
    """

    def __init__(self, spec: Spec, *, weights: list[float], bias: float, trainable: bool) -> None:
        super().__init__()
        require_features(spec, len(weights), model="perceptron", setting="model.weights")
        self.weight = nn.Parameter(torch.tensor([weights]))
        self.bias = nn.Parameter(torch.tensor([bias]))
        self.trainable = trainable

    def forward(self, x_BF: Tensor) -> Tensor:
        return nn.functional.linear(x_BF.flatten(1), self._own(self.weight), self._own(self.bias))

    def _own(self, parameter: Tensor) -> Tensor:
        # An optimizer needs gradients: those of weights that are to stay are zero.
        return parameter if self.trainable else parameter.detach() + 0 * parameter
