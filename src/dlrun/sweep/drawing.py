"""What a trial tries: its parameters, drawn by a sampler that knows only the trial's number and the study."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import optuna

from dlrun.sweep.seeding import trial_seed
from dlrun.sweep.settings import Strategy
from dlrun.sweep.space import Space


def make_sampler(strategy: Strategy, space: Space, number: int) -> Any:
    """A new sampler for one trial: what it draws follows from the number, in whatever process."""
    settings, component = strategy.settings, strategy.sampler
    names = inspect.signature(component.target).parameters
    # Ours draw by number themselves; Optuna's draw from a generator that must not begin anew. A
    # scrambled sequence (quasi Monte Carlo) is one sequence only with one seed.
    by_number = {"distributions", "grid", "scramble"} & set(names)
    given: dict[str, Any] = {
        "seed": settings.seed if by_number else trial_seed(settings.seed, number),
        "trials_per_round": strategy.plan.round_size,
        "compare": "last_round" if strategy.plan.epochs_per_round else "all",
        "distributions": space.distributions(),
        "grid": strategy.grid,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return component(**{name: value for name, value in given.items() if name in names})


def draw(strategy: Strategy, space: Space, study: optuna.Study, number: int) -> dict[str, Any]:
    """The parameters of the next trial of a `study` that is only for looking, where it is `number`."""
    study.sampler = make_sampler(strategy, space, number)
    return dict(study.ask(space.distributions()).params)
