"""A table as it was published: columns of numbers and of words, and one to predict. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from dlrun.data.fingerprint import Fingerprint
from dlrun.data.fingerprint import Rows as Numbers
from dlrun.data.tables.column import Column, Values
from dlrun.data.tables.csv_format import CsvFormat, SkipLines
from dlrun.data.tables.dates import DateForm
from dlrun.errors import ConfigError

Fill = Literal["mean", "median", "zero"]


@dataclass(frozen=True)
class Words:
    """A column of words, N of them.

    Attributes:
        codes: (N,) the place of each word in `kinds`, -1 where it is missing.
        kinds: the different words.
    """

    codes: Values
    kinds: list[str]

    @classmethod
    def of(cls, column: Column) -> Words:
        """Those of a column of a file."""
        return cls(column.kept_codes, column.distinct)

    def take(self, rows: np.ndarray | slice) -> Words:
        """The words of these rows."""
        return Words(self.codes[rows], self.kinds)

    def as_list(self) -> list[str | None]:
        """(N,) each word, None where it is missing."""
        return np.array([*self.kinds, None], object)[self.codes[:]].tolist()


@dataclass(frozen=True)
class Rows:
    """The values of N rows.

    Attributes:
        numbers: columns of numbers, (N,) float64 each, nan where missing.
        words: columns of words.
    """

    numbers: list[Values]
    words: list[Words]

    @property
    def stored(self) -> bool:
        """Whether they stay in files."""
        return not isinstance(self._first, np.ndarray)

    @property
    def _first(self) -> Values:
        return self.numbers[0] if self.numbers else self.words[0].codes

    def __len__(self) -> int:
        return len(self._first)

    def __getitem__(self, rows: slice) -> Rows:
        return Rows(
            [column[rows] for column in self.numbers], [column.take(rows) for column in self.words]
        )


@dataclass(frozen=True)
class Reading:
    """How new rows are read from a file as the training rows were; plain values.

    Attributes:
        columns: all that the file has, in its order; numbers from 1 where it does not name them.
        named: whether it names them.
        numbers, words: the columns that are read as the one and as the other.
        zero_is_missing: columns of numbers in which 0 stands for a value that is not known.
        missing: words that stand for it anywhere.
        decimal, thousands: the notation of numbers.
        skip_lines, comment: as in `CsvFormat`.
        dressings: what stands before and after the numbers of a column, as in (12 kg) or ($5).
        target: the column that is predicted; empty where an earlier version of dlrun did not write it.
        strip_label, merge_labels: how its labels are read, as `Labelling`.
        yes_no: those of `numbers` whose words yes and no are 1 and 0.
        dates: columns that are read as dates, each with the fields of its `DateForm`.
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
    skip_lines: SkipLines = 0
    comment: str | None = None
    dressings: dict[str, list[str]] = field(default_factory=dict)
    target: str = ""
    strip_label: str = ""
    merge_labels: bool = False
    yes_no: list[str] = field(default_factory=list)
    dates: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def date_forms(self) -> dict[str, DateForm]:
        """How each column of dates becomes numbers."""
        return {name: DateForm(**form) for name, form in self.dates.items()}

    @property
    def used(self) -> list[str]:
        """The columns of the file that are read, the target left out."""
        return [*self.numbers, *self.dates, *self.words]

    @property
    def features(self) -> list[str]:
        """What a model reads, in its order: numbers, parts of dates, words."""
        parts = [f"{name}.{part}" for name, form in self.dates.items() for part in form["parts"]]
        return [*self.numbers, *parts, *self.words]

    @property
    def format(self) -> CsvFormat:
        """How a file of new rows is written, with a header or without."""
        return CsvFormat.of(vars(self), header="auto")


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
            if self.fold:
                raise ConfigError(
                    f"dataset.fold is {self.fold}, but dataset.folds is null: set dataset.folds as well, or no fold"
                )
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

    @property
    def traits(self) -> dict[str, tuple[Any, ...]]:
        """As `Raw.traits`."""
        words, columns = tuple(self.reading.words), tuple(self.reading.features)
        return {"classes": self.class_names, "columns": columns, "columns of words": words}

    @property
    def own(self) -> tuple[str, ...]:
        """As `Raw.own`."""
        return () if self.test is None else ("test",)

    def __len__(self) -> int:
        return len(self.rows)

    def fingerprint(self, part: str, rows: Numbers) -> tuple[int, str]:
        """As `Raw.fingerprint`."""
        table, targets = self.rows, self.targets
        if rows is None and self.test is not None and self.test_targets is not None:
            table, targets = self.test, self.test_targets
        found = Fingerprint().columns(table.numbers, rows).numbers(targets, rows)
        for column in table.words:
            found.coded_words(column.codes, column.kinds, rows)
        return len(targets) if rows is None else len(rows), str(found)


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
