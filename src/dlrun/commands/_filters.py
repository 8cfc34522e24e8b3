"""Conditions on runs, such as `model=cnn` and `val/accuracy>0.9`."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from dlrun.errors import ConfigError, did_you_mean
from dlrun.storage.run_summary import RunSummary
from dlrun.tracking.numbers import is_number

_CONDITION = re.compile(r"([^<>=!]+)(!=|<=|>=|==|=|<|>)(.*)", re.DOTALL)
_ORDER: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_NUMBERS = ("seed", "parameters", "step", "epoch", "max_epochs", "seconds")


@dataclass(frozen=True)
class Condition:
    """One comparison that a run meets or not; one without the field meets only `!=`."""

    text: str
    key: str
    sign: str
    value: str

    def holds(self, fields: Mapping[str, str | float]) -> bool:
        """Whether a run with these fields meets it. Text is neither above nor below a number."""
        found = fields.get(self.key)
        if self.sign in _ORDER:
            return isinstance(found, float) and _ORDER[self.sign](found, float(self.value))
        equal = found is not None and _equal(found, self.value)
        return equal if self.sign == "=" else not equal

    def check(self, every: Sequence[Mapping[str, str | float]]) -> None:
        """Refuse what none of the runs with these fields could ever meet.

        Raises:
            ConfigError: no run has the key; or an order is asked where all have text.
        """
        known = {key for fields in every for key in fields}
        if known and self.key not in known:
            hint = did_you_mean(self.key, known)
            raise ConfigError(f"--filter {self.key}: no run has {self.key}{hint}")
        found = [fields[self.key] for fields in every if self.key in fields]
        if self.sign in _ORDER and found and all(isinstance(value, str) for value in found):
            raise ConfigError(
                f"--filter {self.text}: {self.key} is text ({found[0]}); compare it with = or !="
            )
        if (
            found
            and not is_number(self.value)
            and not any(isinstance(value, str) for value in found)
        ):
            raise ConfigError(
                f"--filter {self.text}: {self.key} is a number ({found[0]:g}); compare it with one"
            )


def parse_condition(text: str) -> Condition:
    """The condition that `text` writes.

    Raises:
        ConfigError: it has no comparison, or compares by size with something that is no number.
    """
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"--filter {text} is not a condition: write KEY=VALUE, KEY!=VALUE or 'KEY>NUMBER' "
            "(also < <= >=; quoted, or the shell takes the sign)"
        )
    key, sign, value = (part.strip() for part in match.groups())
    if not key or not value:
        missing = "a key" if not key else "a value"
        raise ConfigError(
            f"--filter {text} lacks {missing}: write it as in model=cnn or status!=failed"
        )
    if sign in _ORDER and (not is_number(value) or math.isnan(float(value))):
        raise ConfigError(f"--filter {text}: {sign} needs a number, as in '{key}>0.9'")
    return Condition(text, key, "=" if sign == "==" else sign, value)


def filtered(runs: list[RunSummary], conditions: Sequence[Condition]) -> list[RunSummary]:
    """The runs that meet all conditions.

    Raises:
        ConfigError: a condition is of a kind that none of them could meet.
    """
    if not conditions:
        return runs
    every = [fields(run) for run in runs]
    for condition in conditions:
        condition.check(every)
    return [
        run
        for run, found in zip(runs, every, strict=True)
        if all(condition.holds(found) for condition in conditions)
    ]


def fields(run: RunSummary) -> dict[str, str | float]:
    """All that runs can be filtered by: status, name, choices, what a sweep varies, a few numbers, metrics."""
    numbers = {name: run.number(name) for name in _NUMBERS}
    texts = {"status": run.status, "name": run.name, "run": run.short_name, **run.choices}
    swept = {key: float(text) if is_number(text) else text for key, text in run.swept.items()}
    present = {name: value for name, value in numbers.items() if value is not None}
    return {**swept, **texts, "device": run.text("device"), **present, **run.metrics}


def _equal(found: str | float, value: str) -> bool:
    if isinstance(found, str):
        return found == value or fnmatchcase(found, value)  # [64] itself is also a pattern
    return is_number(value) and found == float(value)
