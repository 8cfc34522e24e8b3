"""What a trial tries: its parameters, sampled from the trial's number and the study alone."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import optuna

from dlrun.errors import ConfigError, RunFailed, first_line
from dlrun.sweep.samplers.grid import trial_seed
from dlrun.sweep.settings import Strategy
from dlrun.sweep.space.parse import Space
from dlrun.sweep.study import Ledger


class TrialSamplers:
    """The samplers of a sweep: what a trial samples follows from its number, in whatever process.

    Ours sample by number themselves, and one serves all trials. Optuna's sample from a generator, which in a
    resumed sweep would begin anew: each trial has one with a seed of its own. Only a scrambled sequence
    (quasi Monte Carlo) needs the same seed throughout.
    """

    def __init__(self, strategy: Strategy, space: Space) -> None:
        self.strategy, self.space = strategy, space
        self._parameters = inspect.signature(strategy.sampler.target).parameters
        self._lasting: Any = None

    @property
    def without_results(self) -> int:
        """How many trials, from the first, sample the same whatever the results of those before them."""
        by_number = (
            optuna.samplers.RandomSampler,
            optuna.samplers.QMCSampler,
            optuna.samplers.BruteForceSampler,
        )
        sampler = self.strategy.sampler
        known = inspect.isclass(sampler.target) and issubclass(sampler.target, by_number)
        if known or {"distributions", "grid"} & set(self._parameters):
            return self.strategy.plan.total
        name = "n_startup_trials"
        if name not in self._parameters:
            return 1
        startup = sampler.arguments.get(name, self._parameters[name].default)
        return max(1, startup) if isinstance(startup, int) else 1

    def sampler(self, number: int) -> Any:
        """The sampler for one trial.

        Raises:
            ConfigError: it cannot be made.
        """
        seed = self.strategy.settings.seed
        if not {"distributions", "grid", "scramble"} & set(self._parameters):
            return self._make(trial_seed(seed, number))
        if self._lasting is None:
            self._lasting = self._make(seed)
        return self._lasting

    def rehearse(self, ledger: Ledger, number: int) -> dict[str, Any]:
        """What the trial samples, or has sampled, in a `ledger` that is only for looking; it ends there.

        Raises:
            ConfigError: the sampler cannot be made, or raised something.
        """
        ledger.plan(number + 1)
        try:
            ledger.study.sampler = self.sampler(number)
            params = dict(ledger.begin(number, self.space.distributions()).params)
            ledger.completed(number, 0.0, {})
        except RunFailed as error:
            raise self._refusal(error.__cause__ or error) from error
        return params

    def _refusal(self, error: BaseException) -> ConfigError:
        about = f"sweep._target_ is {self.strategy.node['_target_']}"
        if isinstance(error, ImportError):
            about += ", which needs a package that is not installed"
        return ConfigError(f"{about}: {first_line(error)}")

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
            wanted = {name: value for name, value in given.items() if name in self._parameters}
            try:
                return self.strategy.sampler(**wanted)
            except ConfigError as error:  # of a ValueError
                raise self._refusal(error.__cause__ or error) from error
            except Exception as error:  # whatever a sampler of somebody's own raises
                raise self._refusal(error) from error
