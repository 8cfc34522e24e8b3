"""Settings that change together, each set of them under a name: what a comparison compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.errors import HydraException

from dlrun.errors import ConfigError
from dlrun.sweep.grammar import text_of, value_of
from dlrun.sweep.parameters import External, Parameter

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True)
class Cases(Parameter):
    """Named cases, of which a trial takes one: its overrides. The key is no setting, but what the cases are called."""

    overrides: Mapping[str, Mapping[str, Any]]  # key and value, by the name of the case

    @property
    def expression(self) -> str:
        return ",".join(self.overrides)

    @property
    def lists_its_values(self) -> bool:
        return True

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.grid())

    def text(self, external: External) -> str:
        return str(external)

    def grid(self, points: int | None = None) -> list[External]:
        return [*self.overrides]

    def words(self, external: External) -> list[str]:
        case = self.overrides[str(external)]
        return [f"{key}={text_of(value)}" for key, value in case.items()]

    @property
    def sets(self) -> set[str]:
        return {key.lstrip("+") for case in self.overrides.values() for key in case}


def read_cases(where: str, key: str, cases: Mapping[Any, Any]) -> Cases:
    """The cases that a config's mapping `where` describes: name: {key: value, …}.

    Raises:
        ConfigError: a case is no mapping of keys to plain values, or there is only one.
    """
    if len(cases) < 2:
        raise ConfigError(f"{where} has {len(cases)} case: name at least two, or none")
    for name, case in cases.items():
        if not isinstance(case, Mapping):
            raise ConfigError(
                f"{where}.{name} is {case}, but must be a case as its siblings are: "
                f"the settings it changes, as in {name}: {{optimizer.lr: 0.1}}"
            )
        for setting, value in case.items():
            _check_value(f"{where}.{name}", setting, value)
    return Cases(key, {str(name): dict(case) for name, case in cases.items()})


def _check_value(where: str, setting: Any, value: Any) -> None:
    if isinstance(value, Mapping):
        raise ConfigError(
            f"{where}.{setting} is a mapping; write {setting}.NAME: … for what is in it"
        )
    try:
        if value_of(text_of(value)) == value:
            return
    except (TypeError, HydraException):
        pass
    raise ConfigError(
        f"{where}.{setting} is {value!r}, which cannot be typed as an override; make it an option of a group"
    )
