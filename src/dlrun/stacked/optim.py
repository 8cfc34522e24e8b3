"""From the gradients of K runs to new weights, each run with penalties, limits and a schedule of its own.

Shapes: K runs, P weights a run; weights and gradients are (K, P), settings (K, 1) or (K, P).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dlrun.stacked.rules import Part, Rule
from dlrun.training.loop import Engine
from dlrun.training.schedules import Multiplier, WarmedUp


class StackedDescent:
    """What `Descent` does for one run: penalties, clipping, the schedule and the optimizer's rules.

    Args:
        weights: (K, P), of the runs of `engines`.
    """

    def __init__(self, engines: Sequence[Engine], weights: Tensor, rules: Sequence[Rule]) -> None:
        descents = [engine.descent for engine in engines]
        settings = [descent.rules for descent in descents]

        def column(numbers: Sequence[float]) -> Tensor:
            return weights.new_tensor(numbers).unsqueeze(1)

        groups = [_groups_by_name(engine) for engine in engines]
        self.rules = rules
        self.rates = [_by_weight(groups, rule.parts, "lr", weights) for rule in rules]
        self.decays = [_by_weight(groups, rule.parts, "weight_decay", weights) for rule in rules]
        self.l1 = column([one.l1 for one in settings])
        self.clip_value = column([_or_infinity(one.clip_value) for one in settings])
        self.clip_norm = column([_or_infinity(one.clip_norm) for one in settings])
        self._schedules, self._which = _distinct([descent.multiplier for descent in descents])
        # Asked here and not at each step, where a device would have to be waited for.
        self._has_l1 = bool(self.l1.any())
        self._has_decay = [bool(decay.any()) for decay in self.decays]
        self._clips_values = bool(self.clip_value.isfinite().any())
        self._clips_norms = bool(self.clip_norm.isfinite().any())

    @torch.no_grad()
    def update(self, weights: Tensor, gradients: Tensor, step: int) -> None:
        """Move all weights by their gradients, at the learning rates of `step`."""
        if self._has_l1:
            gradients.addcmul_(self.l1, weights.sign())
        if self._clips_values:
            gradients.clamp_(-self.clip_value, self.clip_value)
        if self._clips_norms:
            norms = gradients.norm(dim=1, keepdim=True)
            # The 1e-6 as in torch.nn.utils.clip_grad_norm_.
            gradients.mul_((self.clip_norm / (norms + 1e-6)).clamp_(max=1.0))
        multiplier = self._multiplier(step)
        settings = zip(self.rules, self.rates, self.decays, self._has_decay, strict=True)
        for rule, rates, decay, has_decay in settings:
            rule.update(
                rule.columns(weights),
                rule.columns(gradients),
                rates * multiplier,
                decay if has_decay else None,
            )

    def _multiplier(self, step: int) -> Tensor | float:
        multipliers = [schedule(step) for schedule in self._schedules]
        if len(multipliers) == 1:
            return multipliers[0]
        return self.l1.new_tensor(multipliers)[self._which].unsqueeze(1)


def _groups_by_name(engine: Engine) -> dict[str, dict[str, Any]]:
    """The configured settings of each parameter."""
    names = {id(p): name for name, p in engine.model.named_parameters()}
    descent = engine.descent
    return {
        names[id(p)]: configured
        for group, configured in zip(
            descent.optimizer.param_groups, descent.configured, strict=True
        )
        for p in group["params"]
    }


def _by_weight(
    groups: Sequence[dict[str, dict[str, Any]]], parts: Sequence[Part], name: str, like: Tensor
) -> Tensor:
    """A setting of K runs: (K, P), or (K, 1) where each run has the same for all its weights."""
    values = like.new_tensor([[by_name[part.name][name] for part in parts] for by_name in groups])
    if bool((values == values[:, :1]).all()):
        return values[:, :1]
    sizes = torch.tensor([part.stop - part.start for part in parts], device=like.device)
    return values.repeat_interleave(sizes, dim=1)


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
