"""The setting `metrics`: what a run is measured by beside the usual metrics of its task. No torch here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dlrun.config.metrics import Direction, direction, is_known, known_names
from dlrun.config.schema import check
from dlrun.errors import ConfigError, did_you_mean

KEY = "metrics"
_NAME = re.compile(r"\w[\w.-]*")
_SHARED = ("direction", "name")  # of a metric of the user's own; all else belongs to its target


@dataclass(frozen=True)
class Choice:
    """One metric that the setting names.

    Attributes:
        key: where it stands, for errors: `metrics[1]`.
        node: of the user's own, `_target_` and its parameters.
    """

    key: str
    name: str
    direction: Direction | None
    node: Mapping[str, Any] | None = None


def check_choices(value: Any) -> tuple[Choice, ...]:
    """The metrics that the setting names, in its order.

    Raises:
        ConfigError: one that is unknown or named twice, or one of the user's own that is not described.
    """
    entries = check(KEY, value, list[str | dict[str, Any]])
    choices = tuple(_choice(f"{KEY}[{place}]", entry) for place, entry in enumerate(entries))
    seen: dict[str, Choice] = {}
    for choice in choices:
        if earlier := seen.get(choice.name):
            other = "; give one of them another name" if choice.node or earlier.node else ""
            raise ConfigError(
                f"{choice.key} is {choice.name}, as {earlier.key} is already: leave one out{other}"
            )
        seen[choice.name] = choice
    return choices


def own_metrics(value: Any) -> Iterator[tuple[str, Any]]:
    """Key and node of each metric of the user's own in a value that need not be checked yet."""
    if isinstance(value, list):
        for place, entry in enumerate(value):
            if isinstance(entry, Mapping):
                yield f"{KEY}[{place}]", entry


def own_directions(value: Any) -> dict[str, Direction | None]:
    """By name, the directions of the user's own metrics in a checked value of the setting."""
    return {choice.name: choice.direction for choice in check_choices(value) if choice.node}


def _choice(key: str, entry: str | dict[str, Any]) -> Choice:
    if not isinstance(entry, str):
        return _own(key, entry)
    if not is_known(entry):
        raise ConfigError(
            f"{key} is {entry}, which is no metric{did_you_mean(entry, known_names())}"
        )
    return Choice(key, entry, direction(entry))


def _own(key: str, entry: Mapping[str, Any]) -> Choice:
    if not isinstance(entry.get("_target_"), str):
        raise ConfigError(
            f"{key} has no _target_: name a function or class, as in "
            f"{KEY}=[{{_target_: mymetrics.cost, direction: min}}]"
        )
    if "direction" not in entry:
        raise ConfigError(f"{key}.direction is missing: set it to min or max, whichever is better")
    way: Direction = check(f"{key}.direction", entry["direction"], Literal["min", "max"])
    last = entry["_target_"].rpartition(".")[2]
    name: str = check(f"{key}.name", entry.get("name", last), str)
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{key}.name is {name or 'empty'}, but must consist of letters, digits, _, - and ."
        )
    if is_known(name):
        raise ConfigError(
            f"{key} is called {name}, as a metric of dlrun's own: set {key}.name to another"
        )
    return Choice(key, name, way, {k: v for k, v in entry.items() if k not in _SHARED})
