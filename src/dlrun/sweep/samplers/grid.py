"""Every combination of listed values, each once: the sampler of a grid search."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from dlrun.errors import ConfigError
from dlrun.sweep.optuna_internals import is_within


def trial_seed(seed: int, number: int) -> int:
    """A seed of 32 bits for the trial `number` of a sweep with `seed`, unrelated to its neighbours'."""
    return int(_sequence(seed, number).generate_state(1)[0])


def generator(seed: int, *purpose: int | str) -> np.random.Generator:
    """A generator of its own for each purpose, such as a round and the name of a parameter."""
    # Python's own hash of a text differs from process to process.
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in purpose]
    return np.random.default_rng(_sequence(seed, *words))


def _sequence(seed: int, *words: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=words)


T = TypeVar("T")


class GridSampler(BaseSampler):
    """Gives each trial the combination of its number; the first parameter varies slowest.

    Nothing depends on other trials, so that any number of them may run at once, in any order.
    """

    def __init__(self, *, grid: Mapping[str, list[Any]]) -> None:
        for name, values in grid.items():
            if not values:
                raise ConfigError(f"{name} has no values to try; list at least one")
        self._grid = dict(grid)

    @property
    def total(self) -> int:
        """The number of combinations."""
        return math.prod(map(len, self._grid.values()))

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Nothing: a combination needs no distributions."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing: each parameter is asked for on its own."""
        return {}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The parameter's value in the combination of the trial.

        Raises:
            ConfigError: the trial is one too many, the parameter has no values in the grid, or this
                value lies outside its distribution.
        """
        if trial.number >= self.total:
            raise ConfigError(
                f"the grid has {self.total} combinations, but trial {trial.number} (counted from 0)"
                f" is asked for; ask for at most {self.total} trials"
            )
        if param_name not in self._grid:
            raise ConfigError(f"{param_name} has no values in the grid; list them")
        value = combination(self._grid, trial.number)[param_name]
        internal = param_distribution.to_internal_repr(value)
        if not is_within(param_distribution, internal):
            raise ConfigError(
                f"{param_name} is {value} in the grid, which is not within {param_distribution}"
            )
        return param_distribution.to_external_repr(internal)


def combination(grid: Mapping[str, Sequence[T]], number: int) -> dict[str, T]:
    """The one at place `number`, counted from 0, of all combinations; the first key varies slowest."""
    places = {}
    for name in reversed(list(grid)):
        number, places[name] = divmod(number, len(grid[name]))
    return {name: values[places[name]] for name, values in grid.items()}
