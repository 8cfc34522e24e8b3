"""What a sweep searches: override words, read by Hydra's grammar, as parameters and plain overrides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from dlrun.errors import ConfigError, did_you_mean
from dlrun.sweep.space.grammar import parse_word, text_of, value_of
from dlrun.sweep.space.override import bare_key, plain_word, read
from dlrun.sweep.space.parameters import (
    Cases,
    Choices,
    External,
    Interval,
    Parameter,
    Scale,
    read_cases,
)

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = ["Cases", "Choices", "Interval", "Parameter", "Scale", "Space", "parse"]

IN_CONFIG = "sweep.space"  # the key of a config under which it has what it searches


@dataclass(frozen=True)
class Space:
    """The plain overrides that all trials share, and the parameters that tell them apart."""

    fixed: tuple[str, ...]  # as typed, in order
    parameters: tuple[Cases | Choices | Interval, ...]

    def distributions(self) -> dict[str, BaseDistribution]:
        """Optuna's distribution of each parameter, by its name there."""
        return {parameter.name: parameter.distribution() for parameter in self.parameters}

    def words(self, params: Mapping[str, External]) -> list[str]:
        """The overrides of one trial, without the fixed ones, for Optuna's `params`."""
        return [word for p in self.parameters for word in p.words(params[p.name])]

    def labels(self, params: Mapping[str, External]) -> dict[str, str]:
        """What tells one trial from the others: each key and its value as typed, of cases the name."""
        return {p.bare_key: p.text(params[p.name]) for p in self.parameters}

    def grid(self, points: int | Mapping[str, int] | None = None) -> dict[str, list[External]]:
        """The values of each parameter on a grid; `points` are those of every interval, or by key.

        Raises:
            ConfigError: an interval has no points, or points are given by key to what takes none.
        """
        if isinstance(points, Mapping):
            self._check_points(points)
        return {
            parameter.name: parameter.grid(
                points.get(parameter.bare_key) if isinstance(points, Mapping) else points
            )
            for parameter in self.parameters
        }

    def listed(self) -> dict[str, list[str]]:
        """The values as typed of each parameter that lists them; of cases the names."""
        return {
            p.bare_key: [p.text(value) for value in p.grid()]
            for p in self.parameters
            if p.lists_its_values
        }

    def texts(self) -> dict[str, Any]:
        """A normal form that `parse` reads back as `in_config`: the same for the same parameters, however typed."""
        return {
            p.key: {name: dict(case) for name, case in p.overrides.items()}
            if isinstance(p, Cases)
            else p.expression
            for p in self.parameters
        }

    def _check_points(self, points: Mapping[str, int]) -> None:
        parameters = {parameter.bare_key: parameter for parameter in self.parameters}
        for key, count in points.items():
            if key not in parameters:
                hint = did_you_mean(key, parameters)
                raise ConfigError(f"{key} is given {count} points, but is not swept{hint}")
            if parameters[key].lists_its_values:
                raise ConfigError(
                    f"{parameters[key]}: it lists its values and takes no points; take the {count} away"
                )


def by_key(words: Iterable[str]) -> dict[str, str]:
    """The text of each override, by its key without a leading +."""
    return dict(word.lstrip("+").split("=", 1) for word in words)


def parse(
    words: Sequence[str],
    in_config: Mapping[str, Any] | None = None,
    *,
    config_loader: ConfigLoader | None = None,
    seed: int = 0,
) -> Space:
    """The space that the command line's `words` and the config's mapping `in_config` describe.

    In `in_config` a text is what one would type after `key=`, a list holds choices, and a mapping named
    cases; a word for the same key replaces it. Its parameters come first. glob() needs `config_loader`,
    and the orders that shuffle() makes follow from `seed`.

    Raises:
        ConfigError: a word is no override, or it sweeps what cannot be searched.
    """
    typed = [parse_word(word) for word in words]
    configured = _configured(in_config or {}, replaced={bare_key(override) for override in typed})
    overrides = [entry for entry in configured if isinstance(entry, Override)]
    _refuse_repeats([*overrides, *typed])
    swept = [override for override in typed if override.is_sweep_override()]
    parameters = tuple(
        entry if isinstance(entry, Cases) else read(entry, config_loader=config_loader, seed=seed)
        for entry in (*configured, *swept)
    )
    _refuse_in_two_places(parameters)
    return Space(
        fixed=tuple(plain_word(o) for o in typed if not o.is_sweep_override()),
        parameters=parameters,
    )


def _configured(in_config: Mapping[str, Any], replaced: set[str]) -> list[Override | Cases]:
    kept = {key: value for key, value in in_config.items() if str(key).lstrip("+") not in replaced}
    return [
        read_cases(f"{IN_CONFIG}.{key}", str(key), value)
        if _names_cases(value)
        else _configured_override(key, value)
        for key, value in kept.items()
    ]


def _names_cases(value: Any) -> bool:
    return isinstance(value, Mapping) and any(isinstance(v, Mapping) for v in value.values())


def _configured_override(key: Any, value: Any) -> Override:
    override = parse_word(_config_word(key, value))
    name, _, text = str(override.input_line).partition("=")
    if not override.is_sweep_override():
        raise ConfigError(
            f"{IN_CONFIG}.{name} is {text or 'empty'}, which is no sweep; give it several values,"
            f" or take it away here and write {name}={text}"
        )
    return override


def _config_word(key: Any, value: Any) -> str:
    """What does on the command line the same as `key: value` in the config."""
    where = f"{IN_CONFIG}.{key}"
    if isinstance(value, str):
        return f"{key}={value}"
    if isinstance(value, Mapping):
        raise ConfigError(
            f"{where} is a mapping, but must be text or a list; write {key}.NAME: … for what is in it"
        )
    if not isinstance(value, Sequence):
        raise ConfigError(
            f"{where} is {'null' if value is None else value}, but must be text such as interval(0,1)"
            " or a list of choices"
        )
    if len(value) == 0 or list(value) == [None]:
        raise ConfigError(f"{where} is {list(value)}, which leaves no choice; list several values")
    return str(Choices(str(key), tuple(_choice_text(where, choice) for choice in value)))


def _choice_text(where: str, choice: Any) -> str:
    try:
        text = text_of(choice)
        if value_of(text) == choice:
            return text
    except (TypeError, HydraException):
        pass
    raise ConfigError(
        f"{where} holds {choice!r}, which cannot be typed as an override; make it an option of a group"
    )


def _refuse_repeats(overrides: Sequence[Override]) -> None:
    """A swept key stands there once; plain values replace each other, as anywhere in Hydra."""
    first: dict[str, Override] = {}
    for override in overrides:
        other = first.setdefault(bare_key(override), override)
        if other is not override and (other.is_sweep_override() or override.is_sweep_override()):
            raise ConfigError(
                f"{bare_key(override)} is given twice, as {other.input_line} and as"
                f" {override.input_line}; keep one"
            )


def _refuse_in_two_places(parameters: Sequence[Parameter]) -> None:
    """A setting that cases change is theirs alone: else what a trial had would be a matter of order."""
    for cases in (p for p in parameters if isinstance(p, Cases)):
        for other in (p for p in parameters if p is not cases):
            if both := sorted(cases.sets & other.sets):
                raise ConfigError(
                    f"{both[0]} is swept in {IN_CONFIG}.{cases.key} and as {other.key}; keep one"
                )
