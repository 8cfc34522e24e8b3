"""What one round samples a parameter from: a span of a number's own scale, or options of a choice."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

EDGE = 0.1  # of a span's width: a value so near to an end sits on it
_FEWEST_WITH_EDGES = 4  # of fewer steps most are the first or the last
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Span:
    """A stretch of a number's scale: of its logarithm where that is how it is sampled.

    A step, or a whole number, is a cell that reaches halfway to its neighbours. So a span narrows by
    any factor, and a step at its end, only partly inside, is sampled more rarely.
    """

    distribution: FloatDistribution | IntDistribution
    low: float
    high: float

    def value(self, share: float) -> float:
        """The value at a share of the width, from 0 to 1."""
        distribution = self.distribution
        raw = self._raw(self.low + share * (self.high - self.low))
        if distribution.step is None:
            return _clamp(raw, distribution.low, distribution.high)
        first, last = self._steps()
        step = math.floor((raw - distribution.low) / distribution.step + 0.5)
        return distribution.low + min(max(step, first), last) * distribution.step

    def even(self, count: int) -> list[float]:
        """The middles of `count` equal parts, fewer where whole numbers or steps coincide."""
        return list(dict.fromkeys(self.value((i + 0.5) / count) for i in range(count)))

    def shown(self) -> tuple[float, float]:
        """The lowest and the highest value that may be sampled."""
        limits = whole_span(self.distribution)  # there, without what log and exp round
        low = self.distribution.low if self.low == limits.low else self.value(0)
        high = self.distribution.high if self.high == limits.high else self.value(1)
        return low, high

    def around(self, best: Sequence[float], *, shrink: float) -> Span:
        """The span of the next round, around the values of the best settings, the very best first.

        Narrower by the factor `shrink`; wider by as much if the best sits on an end beyond which the
        distribution goes on. In the middle is the mean of the values, those of better settings
        weighing more; but the best is kept off the ends.
        """
        limits = whole_span(self.distribution)
        width = (self.high - self.low) * (1 / shrink if self._is_on_edge(best[0]) else shrink)
        width = min(width, limits.high - limits.low)
        positions = [self._position(value) for value in best]
        low = _mean_by_rank(positions) - width / 2
        low = _clamp(low, positions[0] - (1 - EDGE) * width, positions[0] - EDGE * width)
        low = _clamp(low, limits.low, limits.high - width)
        return Span(self.distribution, low, min(low + width, limits.high))

    def _is_on_edge(self, value: float) -> bool:
        limits, margin = whole_span(self.distribution), EDGE * (self.high - self.low)
        rounding = _ROUNDING * (limits.high - limits.low)
        position, stepped = self._position(value), self._has_inner_steps()
        on_low = position <= self.low + margin or (stepped and value <= self.value(0))
        on_high = position >= self.high - margin or (stepped and value >= self.value(1))
        goes_on_below = self.low > limits.low + rounding
        goes_on_above = self.high < limits.high - rounding
        return (on_low and goes_on_below) or (on_high and goes_on_above)

    def _has_inner_steps(self) -> bool:
        if self.distribution.step is None:
            return False
        first, last = self._steps()
        return last - first + 1 >= _FEWEST_WITH_EDGES

    def _steps(self) -> tuple[int, int]:
        """The first and the last step of which a part lies inside, counted from the lowest of all."""
        assert self.distribution.step is not None
        ends = (self._raw(position) - self.distribution.low for position in (self.low, self.high))
        low, high = (end / self.distribution.step for end in ends)
        return math.floor(low + 0.5 + _ROUNDING), math.ceil(high - 0.5 - _ROUNDING)

    def _position(self, value: float) -> float:
        inside = _clamp(value, self.distribution.low, self.distribution.high)
        return math.log(inside) if self.distribution.log else inside

    def _raw(self, position: float) -> float:
        return math.exp(position) if self.distribution.log else position


@dataclass(frozen=True)
class Options:
    """Those options of a choice that are still sampled, by their places in the distribution."""

    distribution: CategoricalDistribution
    left: tuple[int, ...]

    def value(self, share: float) -> Any:
        """The option at a share of the list, from 0 to 1."""
        place = min(int(share * len(self.left)), len(self.left) - 1)
        return self.distribution.choices[self.left[place]]

    def shown(self) -> tuple[Any, ...]:
        """The options, in the distribution's order."""
        return tuple(self.distribution.choices[place] for place in self.left)

    def among(self, best: Sequence[Any], *, tried: Collection[Any]) -> Options:
        """The options of the next round: those of the best settings, and those never tried."""
        in_best, in_tried = self._places(best), self._places(tried)
        kept = [place for place in self.left if place in in_best or place not in in_tried]
        return Options(self.distribution, tuple(kept) or self.left)

    def _places(self, options: Collection[Any]) -> set[int]:
        return {int(self.distribution.to_internal_repr(option)) for option in options}


def whole(distribution: BaseDistribution) -> Span | Options:
    """All that the distribution has."""
    if isinstance(distribution, CategoricalDistribution):
        return Options(distribution, tuple(range(len(distribution.choices))))
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return whole_span(distribution)


def whole_span(distribution: FloatDistribution | IntDistribution) -> Span:
    """The whole scale of a number."""
    half_a_step = (distribution.step or 0) / 2
    low, high = distribution.low - half_a_step, distribution.high + half_a_step
    if distribution.log:
        low, high = math.log(low), math.log(high)
    return Span(distribution, low, high)


def _mean_by_rank(positions: Sequence[float]) -> float:
    """The mean of positions, best first, with the weights that CMA-ES gives to ranks."""
    count = len(positions)
    weights = [math.log((count + 0.5) / (rank + 1)) for rank in range(count)]
    return math.fsum(w * p for w, p in zip(weights, positions, strict=True)) / math.fsum(weights)


def _clamp(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)
