"""What a sweep varies without choosing by it: seeds and folds repeat a setting, and their mean is its result.

No Optuna and no Hydra here: `dlrun runs` reads it as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dlrun.tracking.numbers import spread_text

# The one place that says which settings are repetitions; all else that is swept is a setting to choose.
KEYS = ("seed", "dataset.seed", "dataset.split_seed", "dataset.fold")
FOLD = "dataset.fold"

Identity = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Repetitions:
    """How the trials of a sweep are told apart as settings and as repetitions of one.

    Attributes:
        space: what is swept, as sweep.yaml has it: text by key, or named cases.
        seeds: runs that each trial has by itself (`sweep.seeds`).
    """

    space: Mapping[str, Any]
    seeds: int = 1

    @cached_property
    def keys(self) -> list[str]:
        """The swept keys that do nothing but repeat; named cases do where all that they set is of this kind."""
        return [key for key, values in self._swept.items() if _settings(key, values) <= {*KEYS}]

    @cached_property
    def across_trials(self) -> bool:
        """Whether several trials may be repetitions of one setting."""
        return any(_settings(key, values) & {*KEYS} for key, values in self._swept.items())

    @property
    def are_all(self) -> bool:
        """Whether nothing but repetitions is swept, so that there is nothing to choose."""
        repeated = bool(self.keys) or self.seeds > 1
        return repeated and len(self.keys) == len(self._swept)

    @property
    def are_any(self) -> bool:
        """Whether a setting may have more than one run."""
        return self.across_trials or self.seeds > 1

    @property
    def noun(self) -> str:
        """What the repetitions are: seeds, folds, or several things."""
        settings = set().union(*(_settings(key, self._swept[key]) for key in self.keys))
        if settings == {FOLD} and self.seeds == 1:
            return "folds"
        return "repetitions" if FOLD in settings else "seeds"

    def setting(self, swept: Mapping[str, str]) -> Identity:
        """What makes one setting of the trials with these swept values: all of them but seeds and folds."""
        return tuple(
            (key, self._told(key, text)) for key, text in swept.items() if key not in self.keys
        )

    def labels(self, trials: Sequence[Mapping[str, str]]) -> dict[str, str]:
        """The swept values of a setting, of which these are the trials; of cases that differ in seeds all names."""
        keys = dict.fromkeys(key for swept in trials for key in swept if key not in self.keys)
        return {
            key: ", ".join(dict.fromkeys(swept[key] for swept in trials if key in swept))
            for key in keys
        }

    @cached_property
    def _swept(self) -> dict[str, Any]:
        return {str(key).lstrip("+"): values for key, values in self.space.items()}

    def _told(self, key: str, text: str) -> str:
        values = self._swept.get(key)
        case = values.get(text) if isinstance(values, Mapping) else None
        if not isinstance(case, Mapping) or not _keys(case) & {*KEYS}:
            return text
        return repr({name: case[name] for name in case if _bare(name) not in KEYS})


def without_repetitions(words: Iterable[str]) -> list[str]:
    """The overrides that make the setting, without those for seeds and folds."""
    return [word for word in words if _bare(word.partition("=")[0]) not in KEYS]


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and the sample standard deviation (n - 1), None of one value."""
    mean = sum(values) / len(values) if not _all_finite(values) else math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, None
    if not math.isfinite(mean):
        return mean, math.nan
    return mean, math.sqrt(
        math.fsum((value - mean) * (value - mean) for value in values) / (len(values) - 1)
    )


def means(each: Sequence[Mapping[str, float]], first: str = "") -> dict[str, str]:
    """Every metric as mean ± spread over the runs, `first` at the top, then test, validation and training.

    A metric that not all of the runs have says how many do.
    """
    names = {name: None for metrics in each for name in metrics}
    order = ("test/", "val/", "train/")
    rank = {part: place for place, part in enumerate(order)}

    def place(name: str) -> tuple[bool, int, str]:
        return name != first, rank.get(name.partition("/")[0] + "/", len(order)), name

    return {name: _mean_text(name, each) for name in sorted(names, key=place)}


def counted(count: int, missing: Mapping[str, int]) -> str:
    """`n = 3`, and of those that do not count how many there are: `n = 2; 1 of 3 is missing: 1 failed`."""
    lost = sum(missing.values())
    if not lost:
        return f"n = {count}"
    why = ", ".join(f"{number} {status}" for status, number in missing.items())
    return f"n = {count}; {lost} of {count + lost} {'is' if lost == 1 else 'are'} missing: {why}"


def _mean_text(name: str, each: Sequence[Mapping[str, float]]) -> str:
    values = [metrics[name] for metrics in each if name in metrics]
    text = spread_text(*mean_and_spread(values))
    return text if len(values) == len(each) else f"{text} (n = {len(values)})"


def _settings(key: str, values: Any) -> set[str]:
    """The settings that a swept key changes: itself, or those of its cases."""
    if isinstance(values, Mapping):
        return set().union(*(_keys(case) for case in values.values() if isinstance(case, Mapping)))
    return {key}


def _keys(case: Mapping[Any, Any]) -> set[str]:
    return {_bare(str(name)) for name in case}


def _bare(key: str) -> str:
    return key.lstrip("+")


def _all_finite(values: Iterable[float]) -> bool:
    return all(map(math.isfinite, values))
