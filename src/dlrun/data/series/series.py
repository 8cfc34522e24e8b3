"""What a series is before it is split: columns in the order of time, with their meaning. No torch here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from dlrun.data.fingerprint import Fingerprint, Rows, as_words
from dlrun.data.series.windows import Cutting, FillRule
from dlrun.errors import ConfigError

_KINDS = 50  # different words in a column: more are no categories


@dataclass(frozen=True)
class Series:
    """A series as it was published.

    Attributes:
        numbers: (R,) by the column's name, NaN where missing.
        words: (R,) by the column's name, None where missing.
        inputs: names of the columns that forecasts are made from.
        targets: names of the columns that are forecast, of numbers.
        season: rows in a period, of the seasonal baseline; None for none.
        reading: how more of this series is read from a file, plain values.
        source: what it is called in errors.
        known_future: names of inputs that are known of the rows to be forecast as well.
        computed: whether its numbers were worked out, rather than read.
        members: name and number of rows of each of several series, whose rows follow one another; empty for one.
        times: (R,) as they stand in the file, None at a step without a row; empty without a column of times.
    """

    numbers: Mapping[str, np.ndarray]
    words: Mapping[str, tuple[str | None, ...]]
    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    cutting: Cutting
    fill: FillRule
    season: int | None
    reading: Mapping[str, Any]
    source: str = "the series"
    computed: bool = False
    known_future: tuple[str, ...] = ()
    members: tuple[tuple[str, int], ...] = ()
    times: tuple[str | None, ...] = ()

    def __post_init__(self) -> None:
        """Refuse words of too many kinds.

        Raises:
            ConfigError: naming the column and what to do with it.
        """
        for name in self.words:
            kinds = len(set(self.words[name]))
            if kinds > _KINDS:
                raise ConfigError(
                    f"dataset.inputs takes the column {name}, which holds {kinds} different words, but at most "
                    f"{_KINDS} can be encoded; leave it out"
                )

    def __len__(self) -> int:
        return len(self.numbers[self.targets[0]])

    @property
    def traits(self) -> dict[str, tuple[Any, ...]]:
        """As `Raw.traits`."""
        words = tuple(name for name in self.inputs if name in self.words)
        return {"columns": self.inputs, "targets": self.targets, "columns of words": words}

    @property
    def own(self) -> tuple[str, ...]:
        """As `Raw.own`: the parts of a series are its own past and future."""
        return ()

    def fingerprint(self, part: str, rows: Rows) -> tuple[int, str]:
        """As `Raw.fingerprint`, where rows are those that a part is to forecast."""
        assert rows is not None, "a series is cut where it stands"
        found = Fingerprint()
        if self.members:
            found.words(f"{name} {count}" for name, count in self.members)
        for name in dict.fromkeys((*self.inputs, *self.targets)):
            if name in self.words:
                found.words(as_words(self.words[name], rows))
            else:
                found.numbers(self.numbers[name], rows, computed=self.computed)
        return len(rows), str(found)

    @property
    def bounds(self) -> dict[str, tuple[int, int]]:
        """The first row of each of several series, and the row after its last, by name."""
        ends = accumulate(count for _, count in self.members)
        return {
            name: (end - count, end) for (name, count), end in zip(self.members, ends, strict=True)
        }

    def span(self, rows: Rows) -> tuple[str, str] | None:
        """The first and the last time of these rows; None where series differ in it, or without a column of times."""
        assert rows is not None, "a series is cut where it stands"
        spans = set()
        for first, end in (self.bounds or {"": (0, len(self))}).values() if self.times else ():
            begin, stop = np.searchsorted(np.asarray(rows), [first, end])
            if begin < stop:
                own = self.times[int(rows[begin]) : int(rows[stop - 1]) + 1]
                spans.add((_first(own), _first(own[::-1])))
        found = spans.pop() if len(spans) == 1 else (None, None)
        return None if found[0] is None or found[1] is None else (found[0], found[1])

    def layout(self, training: Iterable[int]) -> Layout:
        """Where its columns go, with the kinds of words in the rows `training`."""
        words = {name: self.words[name] for name in self.inputs if name in self.words}
        rows = list(training) if words else []
        kinds = {
            name: sorted({word for row in rows if (word := column[row]) is not None})
            for name, column in words.items()
        }
        return Layout(list(self.inputs), list(self.targets), kinds)


def _first(times: Sequence[str | None]) -> str | None:
    return next((time for time in times if time is not None), None)


@dataclass(frozen=True)
class Layout:
    """Where named columns go in one array (R, C).

    First the F inputs: numbers, then a column of 0 and 1 for each kind of word; then targets that are no inputs.

    Attributes:
        kinds: the words of each column of words; any other one is 0 in all its columns.
    """

    inputs: list[str]
    targets: list[str]
    kinds: dict[str, list[str]]

    @property
    def features(self) -> list[str]:
        """Names of the F inputs; a kind of word is called column=word."""
        numbers = [name for name in self.inputs if name not in self.kinds]
        return numbers + [f"{name}={word}" for name, words in self.kinds.items() for word in words]

    def places_of(self, columns: Collection[str]) -> list[int]:
        """Where among the F inputs those of some columns are."""
        owners = [name for name in self.inputs if name not in self.kinds]
        owners += [name for name, words in self.kinds.items() for _ in words]
        return [place for place, owner in enumerate(owners) if owner in columns]

    @property
    def names(self) -> list[str]:
        """Names of the C columns."""
        return self.features + [name for name in self.targets if name not in self.inputs]

    @property
    def target_places(self) -> list[int]:
        """Where among the C columns the targets are."""
        return [self.names.index(name) for name in self.targets]

    def encode(
        self, numbers: Mapping[str, np.ndarray], words: Mapping[str, Sequence[str | None]]
    ) -> np.ndarray:
        """The columns as one array (R, C), NaN where a number is missing."""
        columns = {**numbers}
        for name, kinds in self.kinds.items():
            for kind in kinds:
                columns[f"{name}={kind}"] = np.array([word == kind for word in words[name]], float)
        return np.stack([columns[name] for name in self.names], axis=1)
