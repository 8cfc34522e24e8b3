"""Numbers as vectors: piecewise-linear embeddings, whose pieces are cut where the training part has its quantiles.

Shapes: B batch, F numbers, R what else a vector holds, Q pieces, E numbers that describe one.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from dlrun.models.layers import Fitted

_ROWS_A_PIECE = 100  # at least: fewer say too little of it
_FARTHEST = 0.999  # of a normal distribution: where pieces are cut before any data are seen


class PiecewiseLinear(Fitted, nn.Module):
    """Describe each of the first F numbers of a vector by E learned ones, and leave the rest as it is.

    A number is encoded by how far it goes through each piece of its column's range, from 0 to 1, and the code is
    multiplied by a matrix of the column (Gorishniy et al., 2022, section 3.2). A linear function of the number is
    added, with which training begins: the matrix is zero at first, as in version B of the authors' package.

    Shapes: input (B, F + R), output (B, F * E + R).
    """

    rows: ClassVar[int] = 10_000
    low: Tensor
    scale: Tensor

    def __init__(self, numbers: int, *, pieces: int, size: int) -> None:
        super().__init__()
        self.numbers = numbers
        # As large as the number that they describe: the next layer begins as one that reads the numbers themselves.
        self.slope = nn.Parameter(torch.randn(numbers, size))
        self.shift = nn.Parameter(torch.zeros(numbers, size))
        self.weight = nn.Parameter(torch.zeros(numbers, pieces, size))
        self.register_buffer("low", torch.zeros(numbers, pieces))
        self.register_buffer("scale", torch.zeros(numbers, pieces))
        standard = torch.linspace(1 - _FARTHEST, _FARTHEST, 10_000).mul(2).sub(1).erfinv() * 2**0.5
        self.fit(standard.unsqueeze(1).expand(-1, numbers))

    def fit(self, inputs: Tensor) -> None:
        """Cut each column of `inputs` (N, F, ...) into pieces of equally many rows, 100 or more, at its quantiles.

        Equal quantiles are one cut; the codes of pieces that are then left over stay at 0.
        """
        pieces = max(1, min(self.low.shape[1], len(inputs) // _ROWS_A_PIECE))
        shares = torch.linspace(0, 1, pieces + 1, dtype=torch.float64)
        columns = inputs.flatten(1)[:, : self.numbers].double().cpu()
        self.low.zero_()
        self.scale.zero_()
        for column, values in enumerate(columns.unbind(1)):
            cuts = torch.quantile(values, shares).unique()
            self.low[column, : len(cuts) - 1] = cuts[:-1]
            self.scale[column, : len(cuts) - 1] = 1 / cuts.diff()

    def forward(self, x: Tensor) -> Tensor:
        """(B, F * E + R)"""
        numbers = x[:, : self.numbers].unsqueeze(2)
        codes = ((numbers - self.low) * self.scale).clamp(0, 1)
        pieced = torch.bmm(codes.transpose(0, 1), self.weight).transpose(0, 1)
        embedded = torch.addcmul(self.shift, numbers, self.slope) + pieced
        return torch.cat([embedded.flatten(1), x[:, self.numbers :]], 1)
