"""A table as it was published: columns of numbers and of words, and one to predict. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np

from dlrun.config.schema import NonNegativeInt
from dlrun.data.fingerprint import Fingerprint
from dlrun.data.fingerprint import Rows as Numbers
from dlrun.data.tables.column import Column, Values
from dlrun.data.tables.csv_format import CsvFormat, SkipLines
from dlrun.data.tables.dates import DateForm
from dlrun.data.tables.number_format import Notation

Fill = Literal["mean", "median", "zero"]
RareBelow = Literal["auto"] | NonNegativeInt
_MANY, _FEW_ROWS = (
    1000,
    10,
)  # auto: categories of a column, above which those of fewer rows are joined


@dataclass(frozen=True)
class Words:
    """A column of words, N of them.

    Attributes:
        codes: (N,) the place of each word in `kinds`, -1 where it is missing.
        kinds: the different words, as they are written in the file.
        values: of each of them, the one spelling of what it stands for, by which words are equal.
    """

    codes: Values
    kinds: list[str]
    values: list[str]

    @classmethod
    def of(cls, column: Column, spelled: Callable[[str], str] | None = None) -> Words:
        """Those of a column of a file; each stands for itself where `spelled` is None."""
        kinds = column.distinct
        return cls(
            column.kept_codes, kinds, kinds if spelled is None else list(map(spelled, kinds))
        )

    def take(self, rows: np.ndarray | slice) -> Words:
        """The words of these rows."""
        return Words(self.codes[rows], self.kinds, self.values)

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
        decimal, thousands: the notation of numbers; decimal is auto where the training file has types.
        skip_lines, comment: as in `CsvFormat`.
        dressings: what stands before and after the numbers of a column, as in (12 kg) or ($5).
        targets: the columns that are predicted; empty where an earlier version of dlrun did not write them.
        strip_label, merge_labels: how its labels are read, as `Labelling`.
        yes_no: those of `numbers` whose words yes and no are 1 and 0.
        dates: columns that are read as dates, each with the fields of its `DateForm`.
        by_value: those of `words` whose words are equal by what they stand for, as 1 and 1.0; empty where an earlier
            version of dlrun did not write it.
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
    targets: list[str] = field(default_factory=list)
    strip_label: str = ""
    merge_labels: bool = False
    yes_no: list[str] = field(default_factory=list)
    dates: dict[str, dict[str, Any]] = field(default_factory=dict)
    by_value: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Self:
        """What a run kept; an earlier version of dlrun had one target."""
        values = dict(plain)
        if target := values.pop("target", ""):
            values["targets"] = [target]
        return cls(**values)

    @property
    def date_forms(self) -> dict[str, DateForm]:
        """How each column of dates becomes numbers."""
        return {name: DateForm(**form) for name, form in self.dates.items()}

    @property
    def used(self) -> list[str]:
        """The columns of the file that are read, the targets left out."""
        return [*self.numbers, *self.dates, *self.words]

    @property
    def features(self) -> list[str]:
        """What a model reads, in its order: numbers, parts of dates, words."""
        parts = [f"{name}.{part}" for name, form in self.dates.items() for part in form["parts"]]
        return [*self.numbers, *parts, *self.words]

    @property
    def notation(self) -> Notation:
        """How the training file writes numbers."""
        return Notation("point" if self.decimal == "auto" else self.decimal, self.thousands)

    @property
    def format(self) -> CsvFormat:
        """How a file of new rows is written, with a header or without."""
        return CsvFormat.of(vars(self), header="auto")


@dataclass(frozen=True)
class Table:
    """A table before it is split.

    Attributes:
        targets: (N,) class numbers or regression targets; (N, D) of several targets.
        class_names: of a single target.
        test, test_targets: the test part, where there is a file of its own.
        fill: what stands in for a missing number; fitted on the training part.
        rare_below: as of `rare_bound`.
        labels: as `Spec.labels`.
    """

    reading: Reading
    rows: Rows
    targets: np.ndarray
    class_names: tuple[str, ...]
    test: Rows | None
    test_targets: np.ndarray | None
    fill: Fill
    rare_below: RareBelow = 0
    labels: tuple[str, ...] = ()

    @property
    def traits(self) -> dict[str, tuple[Any, ...]]:
        """As `Raw.traits`."""
        words, columns = tuple(self.reading.words), tuple(self.reading.features)
        return {
            "classes": self.class_names,
            "columns": columns,
            "columns of words": words,
            "targets": self.target_names,
            "labels": self.labels,
        }

    @property
    def target_names(self) -> tuple[str, ...]:
        """As `Spec.target_names`."""
        return tuple(self.reading.targets) if self.targets.ndim > 1 else ()

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


def rare_bound(rare_below: RareBelow, categories: int) -> int:
    """How many rows a category must have to get a code of its own, in a column of so many categories."""
    if rare_below != "auto":
        return rare_below
    return _FEW_ROWS if categories > _MANY else 0
