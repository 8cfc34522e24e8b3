"""What is wrong with a sweep, found before its first trial."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from dlrun import config
from dlrun.assemble import Experiment, Loader, assemble
from dlrun.errors import ConfigError, did_you_mean
from dlrun.restore import refuse_untrusted
from dlrun.sweep.composer import Composer
from dlrun.sweep.space import Choices, Parameter, Space


def check_settings_one_by_one(
    space: Space, composer: Composer, first: dict[str, Any], *, load: Loader, here: bool
) -> Experiment:
    """Build what each option and each bound of the space would make, the other values as in `first`.

    `here`: the trials run on this machine, so its devices count.

    Returns:
        The experiment of the first setting.

    Raises:
        ConfigError: an option or a bound does not fit, naming the key and the value.
    """
    experiment = _assemble(space.words(first), composer, load=load, here=here)
    tried = {tuple(space.words(first))}
    for parameter in space.parameters:
        for value in _telling(parameter):
            words = space.words({**first, parameter.name: value})
            if tuple(words) in tried:
                continue
            tried.add(tuple(words))
            try:
                _assemble(words, composer, load=load, here=here)
            except ConfigError as error:
                raise ConfigError(f"{parameter.word(value)}: {error}") from error
    return experiment


def check_objective(objective: str, experiment: Experiment, *, pruning: bool) -> None:
    """Refuse an objective that no trial will log.

    Raises:
        ConfigError: naming those that are.
    """
    parts = [part for part in ("train", "val", "test") if len(experiment.data.split(part))]
    logged = [f"{part}/{name}" for part in parts for name in experiment.task.metric_names]
    if objective not in logged:
        others = ", ".join(logged)
        hint = did_you_mean(objective, logged)
        known = hint if others in hint else f"{hint} (logged are {others})"
        raise ConfigError(f"sweep.objective is {objective}, which no trial logs{known}")
    if pruning and objective.startswith("test/"):
        raise ConfigError(
            f"sweep.objective is {objective}, which is measured at the end alone, so that sweep.pruner has "
            "nothing to go by: choose a val/ metric, or sweep.pruner=none"
        )


def _telling(parameter: Parameter) -> Iterable[Any]:
    """The values that show what could be wrong: every choice, and of numbers the least and the greatest."""
    if isinstance(parameter, Choices):
        values = list(parameter.grid(None))
        numbers = [value for value in values if not isinstance(value, str)]
        others = [value for value in values if isinstance(value, str)]
        return [*others, *({min(numbers), max(numbers)} if numbers else ())]
    values = list(parameter.grid(2))
    return [values[0], values[-1]]


def _assemble(words: list[str], composer: Composer, *, load: Loader, here: bool) -> Experiment:
    plain = composer.trial(words).plain
    refuse_untrusted(plain)
    parsed = config.parse(plain)
    if not here:  # the machine that starts a sweep may have no GPU
        trainer = dataclasses.replace(parsed.trainer, accelerator="cpu")
        parsed = dataclasses.replace(parsed, trainer=trainer)
    return assemble(parsed, load=load)
