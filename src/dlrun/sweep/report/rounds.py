"""What each round of a search from coarse to fine drew from, and the trials that it drew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from dlrun.sweep.samplers.coarse_to_fine import CoarseToFineSampler
from dlrun.sweep.samplers.per_trial import TrialSamplers
from dlrun.sweep.settings import read_strategy
from dlrun.sweep.snapshot import Snapshot, is_log

_TARGET = f"{CoarseToFineSampler.__module__}.{CoarseToFineSampler.__qualname__}"
_WIDTH = 0.8  # of a round, so that there is air between two
_CHOICE_HEIGHT = 0.7


@dataclass(frozen=True)
class Dot:
    """A trial: where it was drawn from, how good it was from 0, worst, to 1, None without a result."""

    trial: int
    x: float
    y: float
    merit: float | None


@dataclass(frozen=True)
class Rounds:
    """The rounds so far, the first at x = 1, as rectangles and dots; a choice is at the number of its place.

    Attributes:
        size: trials in a round.
        ranges: for each round what each parameter was drawn from.
    """

    snapshot: Snapshot
    size: int
    ranges: Sequence[Mapping[str, tuple[Any, ...]]]

    def choices(self, name: str) -> list[Any] | None:
        """The options of a choice, None for a number."""
        distribution = self._distributions[name]
        if not isinstance(distribution, CategoricalDistribution):
            return None
        return list(distribution.choices)

    def is_log(self, name: str) -> bool:
        """Whether a number is spread over magnitudes."""
        return is_log(self._distributions[name])

    @property
    def names(self) -> list[str]:
        """Optuna's names of the parameters."""
        return list(self._distributions)

    def boxes(self, name: str) -> list[tuple[float, float, float, float]]:
        """Left, right, bottom and top of what was drawn from."""
        choices, boxes = self.choices(name), []
        for index, ranges in enumerate(self.ranges):
            left, right = index + 1 - _WIDTH / 2, index + 1 + _WIDTH / 2
            if choices is None:
                low, high = ranges[name]
                boxes.append((left, right, low, high))
                continue
            places = [choices.index(choice) for choice in ranges[name]]
            half = _CHOICE_HEIGHT / 2
            boxes += [(left, right, place - half, place + half) for place in places]
        return boxes

    def dots(self, name: str) -> list[Dot]:
        """The trials of the rounds, side by side in the order of their numbers."""
        begun = [trial for trial in self.snapshot.trials if name in trial.params]
        choices = self.choices(name)
        return [self._dot(trial, name, choices) for trial in begun]

    def _dot(self, trial: FrozenTrial, name: str, choices: list[Any] | None) -> Dot:
        round_, place = divmod(trial.number, self.size)
        x = round_ + 1 + _WIDTH * ((place + 0.5) / self.size - 0.5)
        value = trial.params[name]
        y = float(value) if choices is None else float(choices.index(value))
        return Dot(trial.number, x, y, self._merits.get(trial.number))

    @cached_property
    def _distributions(self) -> dict[str, BaseDistribution]:
        return self.snapshot.space.distributions()

    @cached_property
    def _merits(self) -> dict[int, float]:
        ranked = self.snapshot.ranked
        last = max(1, len(ranked) - 1)
        return {trial.number: 1 - rank / last for rank, trial in enumerate(ranked)}


def read_rounds(snapshot: Snapshot) -> Rounds | None:
    """The rounds of the sweep, None where it searched in another way."""
    if snapshot.settings.get("_target_") != _TARGET:
        return None
    strategy = read_strategy(snapshot.settings, snapshot.space)
    size = strategy.plan.round_size
    assert size is not None, "a search from coarse to fine has rounds"
    sampler = TrialSamplers(strategy, snapshot.space).sampler(0)
    begun = [trial for trial in snapshot.trials if trial.state is not TrialState.WAITING]
    ranges = sampler.ranges(snapshot.trials, minimize=snapshot.minimize) if begun else []
    return Rounds(snapshot, size, ranges)
