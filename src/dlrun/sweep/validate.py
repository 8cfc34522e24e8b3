"""What is wrong with a sweep, found before its first trial."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

from dlrun.config import settings
from dlrun.config.trust import refuse_untrusted
from dlrun.data.share import Share
from dlrun.errors import ConfigError
from dlrun.sweep.comparability import Comparison
from dlrun.sweep.compose import Composer
from dlrun.sweep.repetitions import Repetitions
from dlrun.sweep.space.parse import Interval, Parameter, Space
from dlrun.sweep.spec import SweepSpec
from dlrun.training.build import Experiment, Loader, assemble
from dlrun.training.device import count_processes
from dlrun.training.engine_state import let_go
from dlrun.training.ranks import ALONE, Ranks


def check_settings_one_by_one(
    space: Space,
    composer: Composer,
    first: dict[str, Any],
    *,
    load: Loader,
    here: bool,
    comparison: Comparison,
) -> Experiment:
    """Build what each option and each bound of the space would make, the other values as in `first`.

    `here`: the trials run on this machine, so its devices count. `comparison` looks at all that is built.
    Exceptions other than ConfigError, as the user's own model may raise for some values, are left for the
    trials to meet and record.

    Returns:
        The experiment of the first setting that can be built.

    Raises:
        ConfigError: an option or a bound does not fit, naming the key and the value.
        Exception: what the first setting raised, where none can be built.
    """
    experiment, bug = None, None
    for parameter, changed, words in _settings(space, first):
        try:
            built = _assemble(words, composer, load=load, here=here)
        except ConfigError as error:
            where = f"{changed}: " if changed else ""
            raise ConfigError(f"{where}{error}{_whole_numbers(error, space)}") from error
        except Exception as error:
            bug = bug or error
            continue
        experiment = experiment or built
        name, keys = (parameter.bare_key, parameter.sets) if parameter else ("", ())
        comparison.look(name, keys, built)
        if built is not experiment:
            let_go(built.engine)
    if experiment is None:
        assert bug is not None
        raise bug
    return experiment


def check_objective(
    objective: str, experiment: Experiment, *, pruning: bool, directed: bool
) -> None:
    """Refuse an objective that no trial will log, or one of which it is not known how it improves.

    Raises:
        ConfigError: naming those that are.
    """
    logged = _logged(experiment)
    if objective not in logged:
        hint = experiment.task.declared.remedy(objective, logged)
        known = f"{hint} (logged are {', '.join(logged)})" if hint.endswith("?") else hint
        raise ConfigError(f"sweep.objective is {objective}, which no trial logs{known}")
    if not directed:
        raise ConfigError(
            f"sweep.objective is {objective}, of which no task says whether lower or higher is better: "
            "set sweep.direction=minimize or sweep.direction=maximize"
        )
    if pruning and objective.startswith("test/"):
        raise ConfigError(
            f"sweep.objective is {objective}, which is measured at the end alone, so that sweep.pruner has "
            "nothing to go by: choose a val/ metric, or sweep.pruner=none"
        )


def check_columns(columns: list[str], experiment: Experiment) -> None:
    """Refuse a column of the table at the end that no trial will fill.

    Raises:
        ConfigError: naming it, and those that are.
    """
    logged = _logged(experiment)
    for place, name in enumerate(columns):
        if name not in logged:
            raise ConfigError(
                f"sweep.columns[{place}] is {name}, which no trial logs"
                f"{experiment.task.declared.remedy(name, logged)}"
            )


def check_patience(spec: SweepSpec) -> None:
    """Refuse patience where a single trial cannot be the best.

    Raises:
        ConfigError: the trials repeat settings, or cannot be compared.
    """
    patience, seeds = spec.strategy.settings.patience, spec.strategy.settings.seeds
    if patience is None:
        return
    said = f"sweep.patience is {patience}, and counts trials without a better result"
    repetitions = Repetitions(spec.space.texts(), seeds)
    if repetitions.across_trials:
        raise ConfigError(
            f"{said}, but here several trials repeat one setting with other {repetitions.noun}: "
            "use sweep.seeds=N for repetitions, or leave sweep.patience out"
        )
    if not spec.comparable:
        raise ConfigError(f"{said}, but the trials cannot be compared: leave it out")


def check_measures(space: Space) -> None:
    """Refuse trials that are measured by different metrics: they could not be compared.

    Raises:
        ConfigError: naming the key.
    """
    if swept := next((p for p in space.parameters if p.bare_key == "metrics"), None):
        raise ConfigError(
            f"{swept} is swept, but decides what is measured and not what is learned: name all metrics in one list, "
            "as in metrics=[macro_f1,mcc]"
        )


def check_seeds(space: Space, seeds: int) -> None:
    """Refuse seeds that several trials would train with: their mean would count those twice.

    Raises:
        ConfigError: naming both keys.
    """
    swept = next((p for p in space.parameters if p.bare_key == "seed"), None)
    if swept is None or seeds == 1 or not swept.lists_its_values:
        return
    values = sorted(value for value in swept.grid() if isinstance(value, int))
    if any(after - before < seeds for before, after in pairwise(values)):
        raise ConfigError(
            f"{swept} is swept, and sweep.seeds is {seeds}, which repeats each trial with seed + 1 and so on: "
            "the same seeds would count twice; set sweep.seeds=1, or sweep no seed"
        )


def _logged(experiment: Experiment) -> list[str]:
    """The metrics that a run ends with."""
    data, task = experiment.data, experiment.task
    parts = [part for part in ("train", "val") if len(getattr(data, part))]
    logged = [name for part in parts for name in task.declared.logged(part)]
    if len(data.test):
        logged += [f"test/{name}" for name in task.declared.directions]
    return logged


def _settings(
    space: Space, first: dict[str, Any]
) -> Iterator[tuple[Parameter | None, str, list[str]]]:
    """The words of `first`, then those with one value changed, each after its parameter and the word for that value."""
    yield None, "", space.words(first)
    tried = {tuple(space.words(first))}
    for parameter in space.parameters:
        for value in _telling(parameter):
            words = space.words({**first, parameter.name: value})
            if tuple(words) not in tried:
                tried.add(tuple(words))
                yield parameter, parameter.word(value), words


def _whole_numbers(error: ConfigError, space: Space) -> str:
    """The remedy where an interval samples fractions for a key that takes whole numbers."""
    fractions = [p for p in space.parameters if isinstance(p, Interval) and not p.integer]
    wanted = "whole number" in str(error)
    if wanted and any(str(error).startswith(f"{p.bare_key} is ") for p in fractions):
        return "; an interval of whole numbers is int(interval(1,9))"
    return ""


def _telling(parameter: Parameter) -> Iterable[Any]:
    """The values that show what could be wrong: every choice, and of numbers the least and the greatest."""
    if not isinstance(parameter, Interval):
        values = list(parameter.grid(None))
        numbers = [value for value in values if not isinstance(value, str)]
        others = [value for value in values if isinstance(value, str)]
        return [*others, *({min(numbers), max(numbers)} if numbers else ())]
    values = list(parameter.grid(2))
    return [values[0], values[-1]]


def _assemble(words: list[str], composer: Composer, *, load: Loader, here: bool) -> Experiment:
    # As written: what an interpolation makes of a target may differ from trial to trial.
    refuse_untrusted(composer.unresolved(words).plain)
    parsed = settings.parse(composer.trial(words).plain)
    if here:
        # As the first of its ranks would, which needs the others only to part a model.
        count = count_processes(parsed.trainer)
        alone = parsed.trainer.strategy == "fsdp"
        return assemble(parsed, load=load, ranks=ALONE if alone else Ranks(Share(0, count)))
    return assemble(dataclasses.replace(parsed, trainer=_elsewhere(parsed.trainer)), load=load)


def _elsewhere(trainer: settings.TrainerSettings) -> settings.TrainerSettings:
    """Settings of trials on other machines, as far as this one can try them: it may have no GPU."""
    only_there = {"cuda_graph": "auto"} if trainer.cuda_graph is True else {}
    if trainer.precision in ("tf32", "fp16"):
        only_there["precision"] = "fp32"
    return dataclasses.replace(trainer, accelerator="cpu", **only_there)  # type: ignore[arg-type]
