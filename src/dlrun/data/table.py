"""A table as it was published: columns of numbers and of words, and one to predict. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from dlrun.errors import ConfigError

Fill = Literal["mean", "median", "zero"]


@dataclass(frozen=True)
class Rows:
    """What is known of each of N rows.

    Attributes:
        numbers: (N, A) float64, nan where missing.
        words: (N, B) text, None where missing.
    """

    numbers: np.ndarray
    words: np.ndarray

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: np.ndarray) -> Rows:
        """Those with the numbers `rows`."""
        return Rows(self.numbers[rows], self.words[rows])


@dataclass(frozen=True)
class Reading:
    """How rows are read from a file of the same form again, to predict; plain values.

    Attributes:
        columns: all that the file has, in its order; numbers from 1 where it does not name them.
        named: whether it names them.
        numbers, words: the columns that are read as the one and as the other.
        zero_is_missing: columns of numbers in which 0 stands for a value that is not known.
        missing: words that stand for it anywhere.
        decimal, thousands: the notation of numbers.
        merge_labels: as in `Labelling`.
        dressings: what stands before and after the numbers of a column, as in (12 kg) or ($5).
    """

    columns: list[str]
    named: bool
    numbers: list[str]
    words: list[str]
    zero_is_missing: list[str]
    missing: list[str]
    delimiter: str
    encoding: str
    decimal: str = "point"
    thousands: str = "none"
    merge_labels: bool = False
    dressings: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table before it is split.

    Attributes:
        targets: (N,) class numbers or regression targets.
        test, test_targets: the test part, where there is a file of its own.
        fill: what stands in for a missing number; fitted on the training part.
        folds, fold: the test part is one of so many parts, where that is not None.
    """

    reading: Reading
    rows: Rows
    targets: np.ndarray
    class_names: tuple[str, ...]
    test: Rows | None
    test_targets: np.ndarray | None
    fill: Fill
    folds: int | None
    fold: int

    def __post_init__(self) -> None:
        """Refuse folds that cannot be.

        Raises:
            ConfigError: a fold that is none of them, more folds than rows, a test part asked for twice.
        """
        if self.folds is None:
            return
        if not 0 <= self.fold < self.folds:
            raise ConfigError(
                f"dataset.fold is {self.fold}, but dataset.folds is {self.folds}: "
                f"give one from 0 to {self.folds - 1}"
            )
        if self.folds > len(self.rows):
            raise ConfigError(
                f"dataset.folds is {self.folds}, but there are only {len(self.rows)} rows; lower it"
            )
        if self.test is not None:
            raise ConfigError(
                f"dataset.folds is {self.folds}, but the table has a test file of its own; set one of the two to null"
            )


def take_fold(
    count: int, strata: np.ndarray | None, *, folds: int, fold: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """(rest, test): row numbers of `fold` of `folds` parts, as alike in size and in classes as can be."""
    order = np.random.default_rng(seed).permutation(count)
    if strata is not None:
        order = order[np.argsort(strata[order], kind="stable")]
    of_row = np.empty(count, np.int64)
    of_row[order] = np.arange(count) % folds
    return np.flatnonzero(of_row != fold), np.flatnonzero(of_row == fold)
