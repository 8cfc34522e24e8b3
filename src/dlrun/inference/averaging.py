"""What several models say together: their predictions averaged, as the scores of one.

Averaged are probabilities, not scores: of classes, of yes, and of the next token. The scores that come out mean the
averages: their softmax or sigmoid gives the mean probabilities back. Of a regression, values in the targets' own units
are averaged, and of quantiles each by itself, once they ascend.

Shapes: N samples, O outputs, D targets, Q quantiles, V tokens; S streams, T steps of time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.data.base import Preprocessing, Spec
from dlrun.data.loaders import Split
from dlrun.training.scores import sorted_quantiles


@dataclass(frozen=True)
class Order:
    """How the outputs of a member come into the order of the ensemble, that of its first member.

    Attributes:
        places: (O,) of each output of the ensemble, which of the member's it is.
        signs: (O,) -1 where the labels of a question of yes and no are swapped, else 1.
        sharing: (O,) how many outputs of the ensemble are that one of the member: tokens that the member does not know
            are all its unknown one, whose probability they share.
    """

    places: Tensor
    signs: Tensor
    sharing: Tensor

    @classmethod
    def of(cls, places: Sequence[int], signs: Sequence[int] | None = None) -> Order:
        """That of these places."""
        at = torch.tensor(places, dtype=torch.int64)
        return cls(
            at,
            torch.ones(len(at)) if signs is None else torch.tensor(signs, dtype=torch.float32),
            at.bincount(minlength=len(at))[at].float(),
        )


def mean_scores(
    outputs: Sequence[Tensor], shares: Sequence[float], orders: Sequence[Order], spec: Spec
) -> Tensor:
    """Scores (..., O) that mean the averages of what `outputs`, one of each member, mean; of tasks with classes."""
    if spec.task in ("binary", "multilabel"):
        aligned = [
            one[..., order.places] * order.signs.to(one)
            for one, order in zip(outputs, orders, strict=True)
        ]
        # Of yes and of no each by itself: where one of them is nearly 1, the other is not lost.
        yes, no = (
            _log_mean([F.logsigmoid(sign * one) for one in aligned], shares) for sign in (1, -1)
        )
        return yes - no
    return _log_mean(
        [
            F.log_softmax(one, -1)[..., order.places] - order.sharing.log().to(one)
            for one, order in zip(outputs, orders, strict=True)
        ],
        shares,
    )


def _log_mean(logs: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    """The logarithms of the means of numbers whose logarithms are given."""
    weighted = [one + math.log(share) for one, share in zip(logs, shares, strict=True)]
    return torch.stack(weighted).logsumexp(0)


@dataclass(frozen=True)
class Units:
    """From scores of a regression to values in the targets' own units: value = score * std + base.

    Where a score is the logarithm of a rate, value = (exp(score) - 1) * std + base.

    Attributes:
        std, base: (D,), or (N, D) where each sample has its own.
        quantiles: how many scores each target has; 0 where a score is a prediction itself.
        logarithms: whether scores are logarithms of rates, in units of `std`.
    """

    std: Tensor
    base: Tensor
    quantiles: int = 0
    logarithms: bool = False

    @classmethod
    def of(cls, preprocessing: Preprocessing, spec: Spec, part: Split | None = None) -> Units:
        """Those of the samples of `part`, or where they are the same for all."""
        std = torch.tensor(preprocessing.target_std, dtype=torch.float64)
        base = torch.tensor(preprocessing.target_mean, dtype=torch.float64)
        if part is not None and preprocessing.scaled_by_row:
            assert part.bases is not None, "of several series"
            std, base = part.targets.double().chunk(2, 1)[1], part.bases.double()
        elif part is not None and part.bases is not None:
            base = base + part.bases
        if spec.link == "log":
            std = torch.tensor(preprocessing.target_mean, dtype=torch.float64)
        return cls(std, base, len(spec.quantiles), spec.link == "log")

    def values(self, scores: Tensor) -> Tensor:
        """(..., D), or (..., D, Q) ascending, from scores (..., O)."""
        if not self.quantiles:
            points = scores.to(self.std)
            return (points.expm1() if self.logarithms else points) * self.std + self.base
        ascending = sorted_quantiles(scores, self.quantiles).to(self.std)
        return ascending * self.std.unsqueeze(-1) + self.base.unsqueeze(-1)

    def scores(self, values: Tensor) -> Tensor:
        """Scores (..., O) that mean these values."""
        if not self.quantiles:
            points = (values - self.base) / self.std
            return points.log1p() if self.logarithms else points
        return ((values - self.base.unsqueeze(-1)) / self.std.unsqueeze(-1)).flatten(-2)


def mean_values(
    outputs: Sequence[Tensor],
    shares: Sequence[float],
    orders: Sequence[Order],
    units: Sequence[Units],
) -> Tensor:
    """Scores in the first member's units that mean the averages of the values that `outputs` mean."""
    values = [
        share * unit.values(one)[:, order.places]
        for one, share, order, unit in zip(outputs, shares, orders, units, strict=True)
    ]
    return units[0].scores(torch.stack(values).sum(0))


class MeanModel(nn.Module):
    """The models of an ensemble as one model.

    Its inputs are those of the members: one tensor where all prepare raw inputs alike, else the first of several and
    the others as a list. Of language it takes the tokens and the states of all members, and returns the states too.

    Args:
        units: of each member, of a regression.
        reads: of each member, which of the inputs it takes; () where there is one.
        rescalings: of each member, the scale and shift that make its own input of that; () where they are the same.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        shares: Sequence[float],
        orders: Sequence[Order],
        spec: Spec,
        *,
        units: Sequence[Units] = (),
        reads: Sequence[int] = (),
        rescalings: Sequence[tuple[Any, Any] | None] = (),
    ) -> None:
        super().__init__()
        self.models, self.shares, self.spec = nn.ModuleList(models), list(shares), spec
        self.reads = list(reads) or [0] * len(models)
        for number, order in enumerate(orders):
            for name, value in vars(order).items():
                self.register_buffer(f"{name}_{number}", value)
        for number, rescaling in enumerate(rescalings):
            for name, value in zip(("scale", "shift"), rescaling or (1.0, 0.0), strict=True):
                self.register_buffer(f"{name}_{number}", torch.as_tensor(value).float())
        self.rescaled = [number for number, one in enumerate(rescalings) if _changes(one)]
        for number, unit in enumerate(units):  # in single precision, as the models
            self.register_buffer(f"std_{number}", unit.std.float())
            self.register_buffer(f"base_{number}", unit.base.float())

    def forward(self, inputs: Tensor, others: Any = None) -> Any:
        """Scores (N, O); of language (S, T, V) with the state, a tuple of those of the members."""
        if self.spec.carries_state:
            return self._read_on(inputs, others)
        every = [inputs, *(others or [])]
        found = [
            model(self._rescaled(every[at], number))
            for number, (model, at) in enumerate(zip(self.models, self.reads, strict=True))
        ]
        if self.spec.task != "regression":
            return mean_scores(found, self.shares, self._orders, self.spec)
        form = len(self.spec.quantiles), self.spec.link == "log"
        units = [
            Units(self._kept("std", number), self._kept("base", number), *form)
            for number in range(len(self.models))
        ]
        return mean_values(found, self.shares, self._orders, units)

    def _rescaled(self, inputs: Tensor, number: int) -> Tensor:
        if number not in self.rescaled:  # tokens have no scale
            return inputs
        return inputs * self._kept("scale", number) + self._kept("shift", number)

    def _read_on(self, tokens: Tensor, states: Any) -> tuple[Tensor, tuple[Any, ...]]:
        states = states or [None] * len(self.models)
        scores, after = [], []
        for model, state, order in zip(self.models, states, self._orders, strict=True):
            said, left = model(order.places[tokens], state)
            scores.append(said)
            after.append(left)
        return mean_scores(scores, self.shares, self._orders, self.spec), tuple(after)

    @property
    def _orders(self) -> list[Order]:
        names = ("places", "signs", "sharing")
        return [
            Order(*(self._kept(name, number) for name in names))
            for number in range(len(self.models))
        ]

    def _kept(self, name: str, number: int) -> Tensor:
        kept: Tensor = self.get_buffer(f"{name}_{number}")
        return kept


def _changes(rescaling: tuple[Any, Any] | None) -> bool:
    return rescaling is not None and not (np.all(rescaling[0] == 1) and np.all(rescaling[1] == 0))


def places_in(names: Sequence[str], own: Sequence[str]) -> list[int]:
    """Where each of `names` is among a member's own."""
    at: Mapping[str, int] = {name: place for place, name in enumerate(own)}
    return [at[name] for name in names]
