"""What a trial tries: its parameters, drawn by a sampler that knows only the trial's number and the study."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import optuna

from dlrun.sweep.seeding import trial_seed
from dlrun.sweep.settings import Strategy
from dlrun.sweep.space import Space


class Draws:
    """The samplers of a sweep: what a trial draws follows from its number, in whatever process.

    Ours draw by number themselves, and one serves all trials. Optuna's draw from a generator, which in a
    resumed sweep would begin anew: each trial has one with a seed of its own. Only a scrambled sequence
    (quasi Monte Carlo) needs the same seed throughout.
    """

    def __init__(self, strategy: Strategy, space: Space) -> None:
        self.strategy, self.space = strategy, space
        self._names = set(inspect.signature(strategy.sampler.target).parameters)
        self._lasting: Any = None

    def sampler(self, number: int) -> Any:
        """The sampler for one trial."""
        seed = self.strategy.settings.seed
        if not {"distributions", "grid", "scramble"} & self._names:
            return self._make(trial_seed(seed, number))
        if self._lasting is None:
            self._lasting = self._make(seed)
        return self._lasting

    def next(self, study: optuna.Study, number: int) -> dict[str, Any]:
        """The parameters of the next trial of a `study` that is only for looking, where it is `number`."""
        study.sampler = self.sampler(number)
        return dict(study.ask(self.space.distributions()).params)

    def _make(self, seed: int) -> Any:
        plan = self.strategy.plan
        given: dict[str, Any] = {
            "seed": seed,
            "trials_per_round": plan.round_size,
            "compare": "last_round" if plan.epochs_per_round else "all",
            "distributions": self.space.distributions(),
            "grid": self.strategy.grid,
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            wanted = {name: value for name, value in given.items() if name in self._names}
            return self.strategy.sampler(**wanted)
