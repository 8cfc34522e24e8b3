"""Conditions on runs, such as `model=cnn` and `val/accuracy>0.9`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from dlrun.errors import ConfigError, did_you_mean
from dlrun.runs import RunSummary

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

    def holds(self, run: RunSummary) -> bool:
        """Whether `run` meets it.

        Raises:
            ConfigError: an order is asked of text.
        """
        found = fields(run).get(self.key)
        if self.sign in _ORDER:
            return found is not None and _ORDER[self.sign](self._number(found), float(self.value))
        equal = found is not None and _equal(found, self.value)
        return equal if self.sign == "=" else not equal

    def _number(self, found: str | float) -> float:
        if isinstance(found, str):
            raise ConfigError(
                f"--filter {self.text}: {self.key} is text ({found}); compare it with = or !="
            )
        return found


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
    if sign in _ORDER and not _is_number(value):
        raise ConfigError(f"--filter {text}: {sign} needs a number, as in '{key}>0.9'")
    return Condition(text, key, "=" if sign == "==" else sign, value)


def check_keys(keys: Iterable[str], runs: Iterable[RunSummary], option: str) -> None:
    """Refuse a key that no run has, since nothing could ever match it.

    Raises:
        ConfigError: naming the nearest key, or all.
    """
    known = {key for run in runs for key in fields(run)}
    for key in keys:
        if known and key not in known:
            raise ConfigError(f"{option} {key}: no run has {key}{did_you_mean(key, known)}")


def fields(run: RunSummary) -> dict[str, str | float]:
    """All that runs can be filtered by: status, name, choices, a few numbers, and every metric."""
    numbers = {name: run.number(name) for name in _NUMBERS}
    texts = {"status": run.status, "name": run.name, "run": run.short_name, **run.choices}
    present = {name: value for name, value in numbers.items() if value is not None}
    return {**texts, "device": run.text("device"), **present, **run.metrics}


def _equal(found: str | float, value: str) -> bool:
    if isinstance(found, str):
        return fnmatchcase(found, value)
    return _is_number(value) and found == float(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
