"""Columns of categories as numbers that a layer can read: one-hot, embedded or crossed.

Shapes: B batch, F columns as in `Spec` (numbers, then codes of categories), C outputs. Code 0 is a category that
training has not seen: it says nothing, as zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import prod
from typing import Literal, cast

import torch
from torch import Tensor, nn

from dlrun.config.schema import Width
from dlrun.data.base import Spec
from dlrun.errors import ConfigError, did_you_mean
from dlrun.models.layers import flattening

Embedding = Literal["auto", "one_hot"] | Width

_LARGEST = 50  # numbers that a category is described by, unless it is said how many
_MIXER, _32_BITS = 2654435761, 2**32 - 1  # Knuth (1973), section 6.4: 2**32 / golden ratio


def vectors(spec: Spec, embedding: Embedding) -> tuple[list[nn.Module], int]:
    """What turns one input into a vector, and how long that is; nothing where it is one already."""
    if not spec.categories:
        return flattening(spec), spec.num_features
    layer = OneHot(spec) if embedding == "one_hot" else Embedded(spec, size=embedding)
    return [layer], layer.width


class OneHot(nn.Module):
    """The numbers, and for each category that training has seen 1 where it is this row's and 0 elsewhere.

    Shapes: input (B, F), output (B, width).
    """

    columns: Tensor
    codes: Tensor

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.numbers = spec.num_features - len(spec.categories)
        pairs = [
            (self.numbers + column, code)
            for column, count in enumerate(spec.categories)
            for code in range(1, count)
        ]
        self.width = self.numbers + len(pairs)
        columns, codes = torch.tensor(pairs).reshape(-1, 2).unbind(1)
        self.register_buffer("columns", columns.clone(), persistent=False)
        self.register_buffer("codes", codes.clone(), persistent=False)

    def forward(self, x_BF: Tensor) -> Tensor:
        """(B, width)"""
        seen = x_BF.index_select(1, self.columns) == self.codes
        return torch.cat([x_BF[:, : self.numbers], seen.to(x_BF.dtype)], 1)


class Embedded(nn.Module):
    """The numbers, and for each column of categories the learned vector of this row's (Guo and Berkhahn, 2016).

    Args:
        size: how long the vectors are; auto is min(50, (n + 1) // 2) for n codes.

    Shapes: input (B, F), output (B, width).
    """

    def __init__(self, spec: Spec, *, size: Embedding) -> None:
        super().__init__()
        self.numbers = spec.num_features - len(spec.categories)
        self.tables = nn.ModuleList(
            nn.Embedding(
                count, size if isinstance(size, int) else vector_size(count), padding_idx=0
            )
            for count in spec.categories
        )
        self.width = self.numbers + sum(table.embedding_dim for table in self._each())

    def forward(self, x_BF: Tensor) -> Tensor:
        """(B, width)"""
        codes = x_BF[:, self.numbers :].long()
        found = [table(codes[:, column]) for column, table in enumerate(self._each())]
        return torch.cat([x_BF[:, : self.numbers], *found], 1)

    def _each(self) -> list[nn.Embedding]:
        return [table for table in self.tables if isinstance(table, nn.Embedding)]


class FeatureVectors(nn.Module):
    """A vector for each column: a number scales its column's, a category has one, and each column adds its own.

    Gorishniy et al. (2021), section 3.3. All begin uniform in +-1 / sqrt(D), as there.

    Shapes: input (B, F), output (B, F, D).
    """

    def __init__(self, spec: Spec, width: int) -> None:
        super().__init__()
        self.numbers = spec.num_features - len(spec.categories)
        self.scaled = nn.Parameter(torch.empty(self.numbers, width))
        self.added = nn.Parameter(torch.empty(spec.num_features, width))
        self.tables = nn.ModuleList(
            nn.Embedding(count, width, padding_idx=0) for count in spec.categories
        )
        for weights in self.parameters():
            nn.init.uniform_(weights, -(width**-0.5), width**-0.5)
        for table in self.tables:
            nn.init.zeros_(cast(nn.Embedding, table).weight[0].detach())

    def forward(self, x_BF: Tensor) -> Tensor:
        """(B, F, D)"""
        parts = [x_BF[:, : self.numbers, None] * self.scaled]
        codes = x_BF[:, self.numbers :].long()
        parts += [table(codes[:, [column]]) for column, table in enumerate(self.tables)]
        return torch.cat(parts, dim=1) + self.added


def vector_size(count: int) -> int:
    """How many numbers describe one of `count` codes: half as many, at most 50."""
    return min(_LARGEST, (count + 1) // 2)


class Cross(nn.Module):
    """A score for each combination of what some columns of categories say (Cheng et al., 2016, section 3.1).

    Combinations have a row each in a table of `buckets` rows, those that do not fit in share them by a hash.

    Shapes: input (B, F), output (B, C).
    """

    def __init__(self, spec: Spec, names: Sequence[str], *, key: str, buckets: int) -> None:
        super().__init__()
        self.columns = _columns(spec, names, key=key)
        first = spec.num_features - len(spec.categories)
        counts = [spec.categories[column - first] for column in self.columns]
        self.strides = [prod(counts[number + 1 :]) for number in range(len(counts))]
        self.combinations = prod(counts)
        self.table = nn.Embedding(min(self.combinations, buckets), spec.num_outputs)
        nn.init.zeros_(self.table.weight)

    def forward(self, x_BF: Tensor) -> Tensor:
        """(B, C)"""
        scores: Tensor = self.table(self.rows(x_BF))
        return scores

    def rows(self, x_BF: Tensor) -> Tensor:
        """(B,) the row in the table of each combination."""
        parts = [
            x_BF[:, column].long() * stride
            for column, stride in zip(self.columns, self.strides, strict=True)
        ]
        combination = list(accumulate(parts, torch.add))[-1]
        buckets = self.table.num_embeddings
        if self.combinations == buckets:
            return combination
        return ((combination * _MIXER & _32_BITS) * buckets) >> 32


def _columns(spec: Spec, names: Sequence[str], *, key: str) -> list[int]:
    """Where the columns of categories called `names` are among all."""
    first = spec.num_features - len(spec.categories)
    known = list(spec.feature_names[first:])
    if len(names) < 2:
        raise ConfigError(f"{key} is {list(names)}, but a cross is of two columns or more")
    for name in names:
        if name not in known:
            raise ConfigError(
                f"{key} names {name}, which is no column of categories of this data set"
                f"{did_you_mean(name, known)}"
            )
    return [first + known.index(name) for name in names]
