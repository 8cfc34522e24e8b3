"""One swept key: the values it may have, for Optuna, as override words and on a grid."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

from hydra.errors import HydraException

from dlrun.errors import ConfigError
from dlrun.sweep.space.grammar import number_of, text_of, value_of

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Scale = Literal["linear", "log", "one_minus_log"]
External = str | int | float  # a value as Optuna's params hold it

_MOST_ON_A_GRID = 100_000  # values of one key, before it is taken for a mistake


@dataclass(frozen=True)
class Parameter(ABC):
    """A swept key; its values are called external as long as they are Optuna's."""

    key: str  # as typed, a leading + or ++ included

    @property
    def bare_key(self) -> str:
        """The key without the + before it."""
        return self.key.lstrip("+")

    @property
    def name(self) -> str:
        """Optuna's name for the parameter."""
        return self.bare_key

    @property
    def sets(self) -> set[str]:
        """Every setting that a value changes."""
        return {self.bare_key}

    @property
    @abstractmethod
    def expression(self) -> str:
        """All values as one would type them after `key=`."""

    @property
    def lists_its_values(self) -> bool:
        """Whether a grid of them needs no number of points."""
        return True

    def distribution(self) -> BaseDistribution:
        """Optuna's distribution of the external values."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.grid())

    @abstractmethod
    def text(self, external: External) -> str:
        """One value as one would type it after `key=`."""

    @abstractmethod
    def grid(self, points: int | None = None) -> list[External]:
        """External values to try one after the other, `points` of them unless they are listed.

        Raises:
            ConfigError: `points` is missing or below 2, or the values are too many.
        """

    def word(self, external: External) -> str:
        """The override to type for one value."""
        return f"{self.key}={self.text(external)}"

    def words(self, external: External) -> list[str]:
        """All overrides that one value stands for."""
        return [self.word(external)]

    def __str__(self) -> str:
        return f"{self.key}={self.expression}"


@dataclass(frozen=True)
class Choices(Parameter):
    """A key with a list of values: numbers to Optuna where all are, and no two are equal, else texts."""

    texts: tuple[str, ...]  # each as one would type it after `key=`

    @property
    def expression(self) -> str:
        return ",".join(self.texts) if len(self.texts) > 1 else f"choice({self.texts[0]})"

    def text(self, external: External) -> str:
        return self.texts[self.grid().index(external)]

    def grid(self, points: int | None = None) -> list[External]:
        numbers = [number for text in self.texts if (number := number_of(text)) is not None]
        return [*(numbers if len(set(numbers)) == len(self.texts) else self.texts)]


@dataclass(frozen=True)
class Interval(Parameter):
    """A key with the numbers from `low` to `high`, both included, of the value itself.

    `step` makes it low, low + step, …, high; a negative one counts down from high. On the scale
    one_minus_log the external value is 1 - value, on a log scale.
    """

    low: float
    high: float
    scale: Scale = "linear"
    integer: bool = False
    step: float | None = None

    @property
    def name(self) -> str:
        return f"1-{self.bare_key}" if self.scale == "one_minus_log" else self.bare_key

    @property
    def expression(self) -> str:
        if self.step is not None:
            first, last = (self.low, self.high) if self.step > 0 else (self.high, self.low)
            stop = self._number(exact(last) + exact(self.step))
            return f"range({first!r},{stop!r},{self.step!r})"
        interval = f"interval({self.low!r},{self.high!r})"
        interval = f"int({interval})" if self.integer else interval
        return interval if self.scale == "linear" else f"tag({self.scale},{interval})"

    @property
    def lists_its_values(self) -> bool:
        return self.step is not None

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import FloatDistribution, IntDistribution

        low, high = self._external_bounds()
        log = self.scale != "linear"
        if self.integer:
            return IntDistribution(int(low), int(high), log=log, step=int(abs(self.step or 1)))
        return FloatDistribution(low, high, log=log, step=self.step and abs(self.step))

    def text(self, external: External) -> str:
        """Within the bounds; between them rounded to 6 significant digits, of 1 - value where that is sampled."""
        sampled = float(external)
        if self.step is not None:
            return repr(self._value(round((sampled - self.low) / abs(self.step))))
        if self.integer:
            return str(min(max(round(sampled), int(self.low)), int(self.high)))
        low, high = self._external_bounds()
        value = _rounded(sampled, low, high)
        if self.scale == "one_minus_log":
            complement = {low: self.high, high: self.low}.get(value, float(1 - exact(value)))
            value = min(max(complement, self.low), self.high)
        return repr(value)

    def grid(self, points: int | None = None) -> list[External]:
        """A range in its order; else ascending values, evenly spread on the own scale, both bounds among them."""
        if points is not None and not self.lists_its_values:
            return [*self._spread(points)]
        if not self.integer and not self.lists_its_values:
            raise ConfigError(
                f"{self}: a grid of a continuous interval needs a number of points; give it points,"
                f" or values as in {self.key}={self.low!r},{self.high!r}"
            )
        values = [self._value(k) for k in range(self._count())]
        return [*(reversed(values) if self.step is not None and self.step < 0 else values)]

    def _external_bounds(self) -> tuple[float, float]:
        if self.scale != "one_minus_log":
            return self.low, self.high
        return float(1 - exact(self.high)), float(1 - exact(self.low))

    def _number(self, value: Fraction) -> float:
        return int(value) if self.integer else float(value)

    def _value(self, step: int) -> float:
        """The value so many steps above the lowest, as exact as a float can be."""
        return self._number(exact(self.low) + step * abs(exact(self.step or 1)))

    def _count(self) -> int:
        count = 1 + int((exact(self.high) - exact(self.low)) / abs(exact(self.step or 1)))
        if count > _MOST_ON_A_GRID:
            remedy = "give it points" if self.step is None else "widen its step"
            raise ConfigError(f"{self}: {count} values are too many for a grid; {remedy}")
        return count

    def _spread(self, points: int) -> list[float]:
        if points < 2:
            raise ConfigError(
                f"{self}: a grid has both bounds and so at least 2 points, not {points};"
                f" for one value write {self.key}=VALUE"
            )
        low, high = self._external_bounds()
        spread = [self._between(low, high, i / (points - 1)) for i in range(1, points - 1)]
        rounded = [round(v) if self.integer else _rounded(v, low, high) for v in spread]
        values = list(dict.fromkeys([low, *rounded, high]))
        return values[::-1] if self.scale == "one_minus_log" else values

    def _between(self, low: float, high: float, share: float) -> float:
        if self.scale == "linear":
            return low * (1 - share) + high * share
        return math.exp(math.log(low) * (1 - share) + math.log(high) * share)


def exact(number: float) -> Fraction:
    """The number as it is printed: 1/10 for 0.1, which as a float is a little more."""
    return Fraction(repr(number))


def _rounded(value: float, low: float, high: float) -> float:
    """Rounded to 6 significant digits, unless it is one of the bounds, and kept within them."""
    return value if value in (low, high) else min(max(float(f"{value:.6g}"), low), high)


@dataclass(frozen=True)
class Cases(Parameter):
    """Named cases, of which a trial takes one: its overrides. The key is no setting, but what the cases are called."""

    overrides: Mapping[str, Mapping[str, Any]]  # key and value, by the name of the case

    @property
    def expression(self) -> str:
        return ",".join(self.overrides)

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
    # Patterns of names, as {features.*: 0.1}, are one value; names of settings are not.
    if isinstance(value, Mapping) and all(str(name).isidentifier() for name in value):
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
