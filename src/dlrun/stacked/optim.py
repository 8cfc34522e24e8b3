"""From the gradients of K runs to new weights, each run with penalties, limits and a schedule of its own.

Shapes: K runs, P weights a run; weights and gradients are (K, P), settings (K, 1) or (K, P).
All that depends on the step is worked out on the CPU beforehand, by `advance`; `update` leaves the rest to the device.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dlrun.stacked.rules import Numbers, Part, Rates, Rule
from dlrun.training.device import send
from dlrun.training.loop import Engine
from dlrun.training.schedules import Multiplier, WarmedUp

StepNumbers = Sequence[Numbers]  # of one step, in parts


class StackedDescent:
    """What `Descent` does for one run: penalties, clipping, the schedule and the optimizer's rules.

    Args:
        weights: (K, P), of the runs of `engines`.
    """

    def __init__(self, engines: Sequence[Engine], weights: Tensor, rules: Sequence[Rule]) -> None:
        descents = [engine.descent for engine in engines]
        settings, device = [descent.rules for descent in descents], weights.device

        def column(numbers: Sequence[float]) -> Tensor:
            return torch.tensor(numbers, dtype=weights.dtype).unsqueeze(1)

        groups = [_groups_by_name(engine) for engine in engines]
        self.rules = rules
        rates = [_by_weight(groups, rule.parts, "lr", weights.dtype) for rule in rules]
        decays = [_by_weight(groups, rule.parts, "weight_decay", weights.dtype) for rule in rules]
        l1 = column([one.l1 for one in settings])
        clip_value = column([_or_infinity(one.clip_value) for one in settings])
        clip_norm = column([_or_infinity(one.clip_norm) for one in settings])
        self._schedules, self._which = _distinct([descent.multiplier for descent in descents])
        self._multiplied: tuple[list[float], Tensor] = [], l1  # the last multipliers
        self._first_rates = [of_rule[:, :1] for of_rule in rates]
        self.rates, self.decays = ([t.to(device) for t in each] for each in (rates, decays))
        self.l1, self.clip_value, self.clip_norm = (
            t.to(device) for t in (l1, clip_value, clip_norm)
        )
        # Asked here and not at each step, where a device would have to be waited for.
        self._has_l1 = bool(l1.any())
        self._has_decay = [bool(decay.any()) for decay in decays]
        self._clips_values = bool(clip_value.isfinite().any())
        self._clips_norms = bool(clip_norm.isfinite().any())

    def advance(self, step: int) -> StepNumbers:
        """Count one more step of each rule: what `update` needs of `step`, all on the CPU.

        First the multiplier of the learning rates, then the numbers of each rule.
        """
        multiplier = self._multiplier(step)
        each = zip(self.rules, self._first_rates, strict=True)
        return [[multiplier], *(rule.advance(rates, multiplier) for rule, rates in each)]

    @torch.no_grad()
    def update(self, weights: Tensor, gradients: Tensor, numbers: StepNumbers) -> None:
        """Move all weights by their gradients, at the learning rates of the step that has these `numbers`."""
        if self._has_l1:
            gradients.addcmul_(self.l1, weights.sign())
        if self._clips_values:
            gradients.clamp_(-self.clip_value, self.clip_value)
        if self._clips_norms:
            norms = gradients.norm(dim=1, keepdim=True)
            # The 1e-6 as in torch.nn.utils.clip_grad_norm_.
            gradients.mul_((self.clip_norm / (norms + 1e-6)).clamp_(max=1.0))
        [multiplier], *of_rules = numbers
        settings = zip(self.rules, self.rates, self.decays, self._has_decay, of_rules, strict=True)
        for rule, rates, decay, has_decay, own in settings:
            by = Rates(rates * multiplier, decay if has_decay else None, own)
            rule.update(rule.columns(weights), rule.columns(gradients), by)

    def _multiplier(self, step: int) -> Tensor:
        """Of the learning rates of `step`: (K, 1), or (1, 1) where all runs have one schedule."""
        multipliers = [schedule(step) for schedule in self._schedules]
        before, made = self._multiplied
        if multipliers != before:
            made = torch.tensor(multipliers, dtype=self.l1.dtype)[self._which].unsqueeze(1)
            self._multiplied = multipliers, made
        return made


class Table:
    """The numbers of some steps, on the device: what the host knows of all of them is sent at once.

    Args:
        steps: how many at most.
        like: the weights (K, P).
    """

    def __init__(self, steps: int, like: Tensor) -> None:
        self._steps, self._like = steps, like
        self._columns: list[int] = []  # of each part
        self._values: Tensor | None = None  # once there are any

    def fill(self, steps: Iterable[StepNumbers]) -> None:
        """Hold the numbers of these steps from now on; what reads `numbers` sees them.

        Each step's are copied before those of the next are asked for, which may be in the same memory.
        """
        runs, rows = len(self._like), []
        for one in steps:
            self._columns = [len(part) for part in one]
            rows.append(torch.stack([n.expand(runs, 1) for part in one for n in part]))
        if self._values is None:
            self._values = self._like.new_zeros(self._steps, *rows[0].shape)
        send(torch.stack(rows), self._values[: len(rows)])

    def numbers(self, at: int) -> StepNumbers:
        """Those of one of the steps, counted from 0: views (K, 1)."""
        assert self._values is not None
        columns = iter(self._values[at].unbind())
        return [[next(columns) for _ in range(count)] for count in self._columns]


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
    groups: Sequence[dict[str, dict[str, Any]]],
    parts: Sequence[Part],
    name: str,
    dtype: torch.dtype,
) -> Tensor:
    """A setting of K runs: (K, P), or (K, 1) where each run has the same for all its weights."""
    each = [[by_name[part.name][name] for part in parts] for by_name in groups]
    values = torch.tensor(each, dtype=dtype)
    if bool((values == values[:, :1]).all()):
        return values[:, :1]
    sizes = torch.tensor([part.stop - part.start for part in parts])
    return values.repeat_interleave(sizes, dim=1)


def _or_infinity(limit: float | None) -> float:
    return float("inf") if limit is None else limit


def _distinct(multipliers: Sequence[Multiplier]) -> tuple[list[Multiplier], Tensor]:
    """The different schedules, and for each run which of them is its own; one number where there is only one."""
    keys = [_key(multiplier) for multiplier in multipliers]
    different = dict(zip(keys, multipliers, strict=True))
    order = list(different)
    which = [order.index(key) for key in keys]
    return list(different.values()), torch.tensor(which if len(order) > 1 else which[:1])


def _key(multiplier: Multiplier) -> Any:
    """Equal for schedules that give the same at every step; one with a state is only like itself."""
    if isinstance(multiplier, WarmedUp):
        return multiplier.warmup_steps, _key(multiplier.main)
    if isinstance(multiplier, partial):
        return multiplier.func, tuple(sorted(multiplier.keywords.items()))
    return id(multiplier)
