"""From the gradients of K runs to new weights, each by its own settings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dlrun.stacked.weights import StackedWeights
from dlrun.training.loop import Engine
from dlrun.training.schedules import Multiplier, WarmedUp


class StackedDescent:
    """What `Descent` does for one run: penalties, clipping, the schedule and the optimizer's rule.

    Shapes: (K, 1) settings, (K, P) weights and gradients.
    """

    def __init__(self, engines: Sequence[Engine], weights: StackedWeights) -> None:
        descents = [engine.descent for engine in engines]
        rules = [descent.rules for descent in descents]
        column = partial(_column, like=weights.values)
        self.rates = column([descent.configured[0]["lr"] for descent in descents])
        self.l1 = column([rule.l1 for rule in rules])
        self.clip_value = column([_or_infinity(rule.clip_value) for rule in rules])
        self.clip_norm = column([_or_infinity(rule.clip_norm) for rule in rules])
        self.decay = column([rule.weight_decay for rule in rules])
        if not rules[0].decay_biases_and_norms:
            self.decay = self.decay * weights.is_matrix()
        self._schedules, self._which = _distinct([descent.multiplier for descent in descents])
        # Asked here and not at each step, where a device would have to be waited for.
        self._has_l1, self._has_decay = bool(self.l1.any()), bool(self.decay.any())
        self._clips_values = bool(self.clip_value.isfinite().any())
        self._clips_norms = bool(self.clip_norm.isfinite().any())

    @torch.no_grad()
    def update(self, weights: StackedWeights, step: int) -> None:
        """Move all weights by their gradients, at the learning rates of `step`."""
        values, gradients = weights.values, weights.gradients
        if self._has_l1:
            gradients.addcmul_(self.l1, values.sign())
        if self._clips_values:
            gradients.clamp_(-self.clip_value, self.clip_value)
        if self._clips_norms:
            norms = gradients.norm(dim=1, keepdim=True)
            # The 1e-6 as in torch.nn.utils.clip_grad_norm_.
            gradients.mul_((self.clip_norm / (norms + 1e-6)).clamp_(max=1.0))
        decay = self.decay if self._has_decay else None
        weights.rule.update(values, gradients, self._learning_rates(step), decay)

    def _learning_rates(self, step: int) -> Tensor:
        multipliers = [schedule(step) for schedule in self._schedules]
        if len(multipliers) == 1:
            return self.rates * multipliers[0]
        return self.rates * self.rates.new_tensor(multipliers)[self._which].unsqueeze(1)


def _column(numbers: list[float], *, like: Tensor) -> Tensor:
    return like.new_tensor(numbers).unsqueeze(1)


def _or_infinity(limit: float | None) -> float:
    return float("inf") if limit is None else limit


def _distinct(multipliers: Sequence[Multiplier]) -> tuple[list[Multiplier], Tensor]:
    """The different schedules, and for each run which of them is its own."""
    keys = [_key(multiplier) for multiplier in multipliers]
    different = dict(zip(keys, multipliers, strict=True))
    order = list(different)
    return list(different.values()), torch.tensor([order.index(key) for key in keys])


def _key(multiplier: Multiplier) -> Any:
    """Equal for schedules that give the same at every step; one with a state is only like itself."""
    if isinstance(multiplier, WarmedUp):
        return multiplier.warmup_steps, _key(multiplier.main)
    if isinstance(multiplier, partial):
        return multiplier.func, tuple(sorted(multiplier.keywords.items()))
    return id(multiplier)
