"""TabM: many networks in one, which share their weights and are trained side by side (Gorishniy et al., ICLR 2025)."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn

from dlrun.config.schema import Most, Probability, Width
from dlrun.data.base import Spec
from dlrun.models.columns import Embedding, vectors
from dlrun.models.layers import ActivationName, activation_layer, dropping
from dlrun.models.members import joined
from dlrun.models.numbers import PiecewiseLinear
from dlrun.models.requirements import require_numbers

Adapters = Literal["all", "first"]
Pieces = Annotated[int, Ge(0), Most(1000)]


class TabM(nn.Module):
    """M members: MLPs that differ in factors on inputs and outputs of each layer, in biases and in their last layer.

    Adapters "all" is TabM: of every layer's, those on the inputs of the first begin as random numbers, all others as 1.
    "first" is TabM-mini: only those on the inputs of the first layer, and the last layers, are a member's own.
    Layers with factors: BatchEnsemble (Wen et al., 2020).

    In training each member learns by itself: the scores of all are the outputs, and the loss is the mean of theirs.
    In evaluation the scores are those of their mean prediction.

    `pieces` above 0 describes each number by a piecewise-linear embedding of `number_size` numbers (`numbers.py`);
    0 takes numbers as they are. Categories are one-hot or embedded first, as `embedding` says.

    Shapes: B batch, M members, C outputs; input (B, *spec.input_shape), flattened, to scores (B, M, C) in training,
    (B, C) in evaluation.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        members: Width,
        adapters: Adapters,
        pieces: Pieces,
        number_size: Width,
        embedding: Embedding,
        hidden: list[Width],
        activation: ActivationName,
        negative_slope: float,
        dropout: Probability,
    ) -> None:
        require_numbers(spec, model="tabm")
        super().__init__()
        self.members, self.task, self.link = members, spec.task, spec.link
        columns, width = vectors(spec, embedding)
        numbers = spec.num_features - len(spec.categories)
        if pieces and numbers:
            columns.append(PiecewiseLinear(numbers, pieces=pieces, size=number_size))
            width += numbers * (number_size - 1)
        self.columns = nn.Sequential(*columns)
        self.start = Factors(members, width)
        # Signs would leave alike what is described by several numbers, of any sign, to begin with.
        self.start.draw("normal" if pieces else "signs")
        self.layers = nn.Sequential()
        for number, (inputs, outputs) in enumerate(pairwise([width, *hidden])):
            shared = nn.Linear(inputs, outputs, bias=adapters == "first")
            if adapters == "first":
                self.layers.append(shared)
            else:
                before = [Factors(members, inputs)] if number else []
                self.layers.extend([*before, shared, Affine(members, outputs, fan_in=inputs)])
            self.layers.append(activation_layer(activation, negative_slope=negative_slope))
            self.layers.extend(dropping(dropout))
        self.heads = Heads(members, [width, *hidden][-1], spec.num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, M, C) in training, (B, C) in evaluation."""
        vectors_BF = self.columns(x)
        scores_BMC: Tensor = self.heads(self.layers(self.start(vectors_BF.unsqueeze(1))))
        return scores_BMC if self.training else joined(scores_BMC, self.task, self.link)


# The parameters of members have three axes: two have only the matrices that all members share, which an optimizer
# for matrices is for.


class Factors(nn.Module):
    """Each member's own factors on F inputs, 1 at first: (B, M or 1, F) to (B, M, F)."""

    def __init__(self, members: int, features: int) -> None:
        super().__init__()
        self.factors = nn.Parameter(torch.ones(1, members, features))

    def draw(self, how: Literal["normal", "signs"]) -> None:
        """Begin with random numbers: what makes members differ."""
        with torch.no_grad():
            self.factors.normal_()
            if how == "signs":
                self.factors.sign_()

    def forward(self, x: Tensor) -> Tensor:
        """(B, M, F)"""
        return x * self.factors


class Affine(nn.Module):
    """Each member's own factors on F outputs of a layer, 1 at first, and biases, alike at first: (B, M, F) to the same.

    Args:
        fan_in: inputs of the layer that the biases belong to.
    """

    def __init__(self, members: int, features: int, *, fan_in: int) -> None:
        super().__init__()
        self.factors = nn.Parameter(torch.ones(1, members, features))
        bias = torch.empty(1, 1, features).uniform_(-(fan_in**-0.5), fan_in**-0.5)
        self.bias = nn.Parameter(bias.repeat(1, members, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, M, F)"""
        return torch.addcmul(self.bias, x, self.factors)


class Heads(nn.Module):
    """A linear layer of its own for each member: (B, M, inputs) to (B, M, outputs)."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """(B, M, outputs)"""
        return torch.baddbmm(self.bias, x.transpose(0, 1), self.weight).transpose(0, 1)
