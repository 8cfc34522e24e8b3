"""The spec of a sweep: what it searches, how, and by which objective, read from command line and configs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dlrun import __version__
from dlrun.config.chosen_metrics import own_directions
from dlrun.config.metrics import direction_in_run
from dlrun.config.migrate import sweep_settings
from dlrun.config.moved import with_current_targets
from dlrun.config.schema import check
from dlrun.config.settings import Seed
from dlrun.config.trust import refuse_untrusted
from dlrun.errors import ConfigError, note
from dlrun.storage.run_directory import is_run
from dlrun.sweep.comparability import Comparison
from dlrun.sweep.compose import Composer, TrialConfig, as_composed, recipe_words
from dlrun.sweep.settings import Strategy, read_strategy
from dlrun.sweep.space.grammar import parse_word, value_of
from dlrun.sweep.space.parse import Space, parse
from dlrun.sweep.study import Direction

_SAMPLER_OF_OPTUNA = re.compile(r"optuna\.samplers\.[A-Z]\w*")


@dataclass(frozen=True)
class SweepSpec:
    """A sweep before its first trial."""

    space: Space
    strategy: Strategy
    objective: str
    direction: Direction
    composer: Composer
    config: dict[str, Any]  # that the fixed overrides make, interpolations as written
    comparable: bool = True  # whether one of the trials can be called the best

    @property
    def part(self) -> str:
        """The part of the data that the objective is measured on."""
        part = self.objective.partition("/")[0]
        return part if part in ("train", "val", "test") else "val"

    @property
    def on_cpu(self) -> bool:
        """Whether every trial is told to leave GPUs alone."""
        swept = {key for parameter in self.space.parameters for key in parameter.sets}
        swept &= {"trainer", "trainer.accelerator"}
        return self.config["trainer"]["accelerator"] == "cpu" and not swept

    def description(self) -> dict[str, Any]:
        """What sweep.yaml says of it, and what makes two sweeps the same."""
        return {
            "version": __version__,
            "objective": self.objective,
            "direction": self.direction,
            "comparable": self.comparable,
            "overrides": list(self.space.fixed),
            "space": self.space.texts(),
            "settings": self.strategy.node,
            "config": self.config,
        }


def read_spec(words: Sequence[str], config: DictConfig, config_loader: Any) -> SweepSpec:
    """The sweep that the overrides `words` ask for, of which Hydra has composed `config`.

    Raises:
        ConfigError: a word, a range or a setting of the strategy is wrong.
    """
    written: Any = OmegaConf.to_container(config.sweep, resolve=True)
    node = sweep_settings(written)
    seed = check("sweep.seed", node.get("seed"), Seed)
    in_config = check("sweep.space", node.get("space"), dict[str, Any])
    about_sweep = [word for word in words if _names_sweep(word)]
    _refuse_swept(about_sweep)
    task = [word for word in words if word not in about_sweep]
    space = parse(task, in_config, config_loader=config_loader, seed=seed)
    if not _SAMPLER_OF_OPTUNA.fullmatch(str(node.get("_target_"))):
        refuse_untrusted({"sweep": node}, groups=("sweep",))
    strategy = read_strategy(node, space)
    space = Space(_alone(space.fixed, as_composed(config), in_config), space.parameters)
    composer = Composer(space.fixed)
    base = with_current_targets(composer.unresolved().plain)
    _refuse_names_of_runs(space, base)
    objective = strategy.settings.objective or str(base["trainer"]["monitor"])
    direction = _direction(strategy.settings.direction, objective, base)
    return SweepSpec(space, strategy, objective, direction, composer, base)


def _refuse_names_of_runs(space: Space, base: Mapping[str, Any]) -> None:
    """Refuse init_from in a config that is no directory; a name on the command line has become one.

    Raises:
        ConfigError: naming it.
    """
    sweeping = [p for p in space.parameters if "init_from" in p.sets]
    words = [word for p in sweeping for value in p.grid(2) for word in p.words(value)]
    swept = [value_of(word.partition("=")[2]) for word in words if _is_initial(word)]
    for name in (base["init_from"], *swept):
        if isinstance(name, str) and not is_run(Path(name)):
            raise ConfigError(
                f"init_from is {name}, which is not the directory of a run: a sweep's config takes no part of a name "
                "and no last, which may come to mean another run while trials are trained"
            )


def _is_initial(word: str) -> bool:
    return word.lstrip("+").startswith("init_from=")


def with_comparable_objective(
    spec: SweepSpec, comparison: Comparison, *, by_results: bool
) -> SweepSpec:
    """The spec with an objective that compares its trials; what that changes is said in a line.

    Args:
        by_results: whether trials are sampled or pruned by the results of others.

    Raises:
        ConfigError: they would be, and there is nothing that compares them.
    """
    objective, asked = spec.objective, spec.strategy.settings.objective is not None
    if comparison.questions:
        why = f"{_change(comparison.questions)} the question (data set, target or horizon)"
        if asked:
            note(f"{why}: a better {objective} may only mean an easier question")
            return spec
        if by_results:
            raise ConfigError(
                f"{why}, so that results cannot be compared, but sweep._target_ or sweep.pruner goes by them: use "
                "sweep=grid or sweep=random without a pruner, or one sweep for each"
            )
        note(f"{why}, so that results cannot be compared: no trial is called the best")
        return replace(spec, comparable=False)
    if comparison.units and objective.endswith("/loss"):
        why = f"{_change(comparison.units)} the unit of {objective}"
        if asked:
            note(
                f"sweep.objective is {objective}, but {why}: its values cannot be compared; {comparison.metric} can"
            )
            return spec
        note(f"the objective is {comparison.metric} and not {objective}: {why}")
        direction = _direction("auto", comparison.metric, spec.config)
        return replace(spec, objective=comparison.metric, direction=direction)
    return spec


def _change(keys: Sequence[str]) -> str:
    """`a changes`, `a, b and c change`."""
    *others, last = keys
    return f"{', '.join(others)} and {last} change" if others else f"{last} changes"


def _names_sweep(word: str) -> bool:
    key = word.lstrip("+~").partition("=")[0]
    return key == "sweep" or key.startswith("sweep.")


def _refuse_swept(about_sweep: Sequence[str]) -> None:
    for word in about_sweep:
        if parse_word(word).is_sweep_override():
            raise ConfigError(
                f"{word}: a sweep has one strategy with one value a setting: name one"
            )


def _alone(
    fixed: Sequence[str], whole: TrialConfig, in_config: Mapping[str, Any]
) -> tuple[str, ...]:
    """The fixed overrides in a form that a single run can be trained with; `whole` is what Hydra made of them.

    They are spelled out where the option of the group sweep sets more than the sweep, and where an
    experiment describes one: neither is for a single run.
    """
    experiment = bool(in_config) and any(word.startswith("experiment=") for word in fixed)
    if not experiment and whole.plain == Composer(fixed).unresolved().plain:
        return tuple(fixed)
    return tuple(recipe_words(whole))


def _direction(asked: str, objective: str, config: Mapping[str, Any]) -> Direction:
    if asked != "auto":
        return "minimize" if asked == "minimize" else "maximize"
    trainer, own = config["trainer"], own_directions(config.get("metrics", []))
    way = direction_in_run(objective, monitor=trainer["monitor"], mode=trainer["mode"], own=own)
    # An objective of which nobody knows what is better is refused once it is known what trials log.
    return "minimize" if way == "min" else "maximize"
