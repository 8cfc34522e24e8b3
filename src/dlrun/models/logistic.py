"""Logistic and softmax regression, and linear regression where the targets are numbers."""

from __future__ import annotations

from torch import nn

from dlrun.data.base import Spec
from dlrun.models.columns import vectors
from dlrun.models.layers import InitName, initialized
from dlrun.models.requirements import require_numbers


class LogisticRegression(nn.Sequential):
    """One linear layer: scores = W x + b, categories one-hot.

    What is fitted is the loss's choice: its sigmoid makes this logistic regression (binary), its
    softmax softmax regression (multiclass), the squared error linear regression.

    Shapes: B batch, C outputs; input (B, *spec.input_shape), flattened, to scores (B, C).
    """

    def __init__(self, spec: Spec, *, bias: bool, init: InitName) -> None:
        require_numbers(spec, model="logistic")
        layers, width = vectors(spec, "one_hot")
        linear = nn.Linear(width, spec.num_outputs, bias=bias)
        super().__init__(*layers, initialized(linear, init))
