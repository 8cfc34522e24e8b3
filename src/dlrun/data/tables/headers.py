"""Whether the first row of a table names its columns: pure functions on some rows of cells. No torch here.

A first row of data is like the rows below it; a header is not. It is one
- where it has words over a column of numbers, and no numbers, or numbers that are no chance (0, 1, 2, …; years);
- where such numbers stand over numbers that are nothing of the kind;
- where it has words alone, none of which occurs again in its column.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import isclose

from dlrun.data.tables.number_format import as_number, looks_like_number

_NO_WORDS = {"na", "n/a", "nan", "null", "none", "unknown", "missing"}
_YEARS = range(1700, 2151)
_LONGEST_NUMBER = 50  # characters
_DIGIT = re.compile(r"\d")
_ENOUGH_STEPS = 4  # numbers in even steps, from which on a few rows are enough


@dataclass(frozen=True)
class Candidate:
    """The cell of a first row, with what stands below it, missing cells left out."""

    at: int
    name: str
    below: list[str]
    complete: bool

    @classmethod
    def of(cls, at: int, name: str, rows: Sequence[Sequence[str]]) -> Candidate:
        below = [row[at] for row in rows if at < len(row) and row[at]]
        return cls(at, name, below, len(below) == len(rows))

    @cached_property
    def kind(self) -> str:
        return kind_of(self.name)

    @cached_property
    def number(self) -> float:
        number = as_number(self.name)
        return float("nan") if number is None else number

    @cached_property
    def kinds(self) -> Counter[str]:
        """How many cells below are of each kind."""
        found: Counter[str] = Counter()
        for cell, count in Counter(self.below).items():
            found[kind_of(cell)] += count
        return found

    @cached_property
    def values(self) -> list[float]:
        """The numbers below."""
        return [number for cell in self.below if (number := as_number(cell)) is not None]

    @cached_property
    def recurs(self) -> bool:
        return self.name in self.below

    @property
    def novel(self) -> bool:
        """A word that stands once over a column whose words come again and again."""
        few = len({*self.below}) * 2 <= len(self.below)
        return self.kind in ("word", "coded") and len(self.below) >= 4 and few and not self.recurs

    @property
    def over_numbers(self) -> bool:
        return self.kinds["number"] * 2 > len(self.below)

    @property
    def over_another_kind(self) -> bool:
        if not self.below:
            return False
        match self.kind:
            case "word":  # dates and codes all have digits
                return self.over_numbers or self.kinds["coded"] == len(self.below) > 2
            case "coded":
                return self.over_numbers
            case "number":
                return self.kinds["number"] == 0 and len(self.below) > 2
        return False

    @property
    def continues(self) -> bool:
        """One more date or code, of the same form as those below."""
        return self.kind == "coded" and _shape(self.name) in map(_shape, self.below)

    @property
    def outside(self) -> bool:
        """A number that is none of those below and lies beyond them all."""
        return bool(self.values) and not min(self.values) <= self.number <= max(self.values)

    @property
    def is_index(self) -> bool:
        """No name over cells that are all there, each once: as pandas writes its index."""
        return not self.name and self.complete and len({*self.below}) == len(self.below)

    @property
    def serial(self) -> float | None:
        """The step by which the numbers below go on from row to row, None where they do not."""
        if len(self.values) < 3 or len(self.values) < len(self.below):
            return None
        return _step(self.values)


def are_labels(numbers: list[Candidate], rows: Sequence[Sequence[str]]) -> bool:
    """Whether numbers are a count or years, as names of columns are, while rows of data below are not."""
    values = [column.number for column in numbers]
    if any(column.over_numbers is False for column in numbers):
        return False
    for column in numbers:
        # The row before those below it, as of a column of times.
        step = column.serial
        if step is not None and isclose(column.number + step, column.values[0], abs_tol=1e-9):
            return False
    if _years(values):
        return not any(_in_years(column.values) for column in numbers)
    if len(values) == 1:
        # pandas calls a single column 0, and writes numbers that are not whole with a point.
        broken = all("." in cell for cell in numbers[0].below)
        return numbers[0].name == "0" and len(numbers[0].below) > 2 and broken
    step = _step(values)
    if step is None or step <= 0 or not (counts(values) or len(values) > 2):
        return False
    if len(values) < _ENOUGH_STEPS and len(rows) < 3:
        return False
    alike = sum(_step(_numbers_at(row, numbers)) == step for row in rows)
    return alike * 20 <= len(rows) if len(values) > 2 else not alike


def _numbers_at(row: Sequence[str], columns: list[Candidate]) -> list[float]:
    cells = [row[column.at] if column.at < len(row) else "" for column in columns]
    numbers = [number for cell in cells if (number := as_number(cell)) is not None]
    return numbers if len(numbers) == len(cells) else []


def _step(values: Sequence[float]) -> float | None:
    """The difference, not 0, of each value to the one before; None where there are several."""
    steps = [later - earlier for earlier, later in pairwise(values)]
    if (
        not steps
        or steps[0] == 0
        or not all(isclose(step, steps[0], rel_tol=1e-6) for step in steps)
    ):
        return None
    return round(steps[0], 9)


def counts(values: Sequence[float]) -> bool:
    """Whether the values are 0, 1, … or 1, 2, …"""
    return len(values) > 1 and _step(values) == 1 and values[0] in (0, 1)


def _years(values: Sequence[float]) -> bool:
    rising = all(earlier < later for earlier, later in pairwise(values))
    return len(values) > 1 and rising and all(value in _YEARS for value in values)


def _in_years(values: Sequence[float]) -> bool:
    return sum(value in _YEARS for value in values) * 2 > len(values)


def kind_of(cell: str) -> str:
    """number, word, coded (a word with digits in it, as a date has) or none."""
    if not cell or cell.lower() in _NO_WORDS:
        return "none"
    if len(cell) <= _LONGEST_NUMBER and (as_number(cell) is not None or looks_like_number(cell)):
        return "number"
    if _DIGIT.search(cell):
        return "coded"
    return "word" if any(map(str.isalpha, cell)) else "none"


def _shape(cell: str) -> str:
    return re.sub(r"\d+", "9", re.sub(r"[^\W\d_]+", "a", cell))


LOOKED_AT = 1000  # rows
_CERTAIN = 4  # numbers in sequence, from which on that is no chance


@dataclass(frozen=True)
class Verdict:
    """Whether a first row is a header.

    Attributes:
        sure: False where the rows would allow for the other answer as well.
    """

    header: bool
    sure: bool


def judge(first: Sequence[str], below: Sequence[Sequence[str]]) -> Verdict:
    """Whether the stripped cells of the row `first` name the columns of the rows `below`; empty cells are missing."""
    rows = _without(first, below[:LOOKED_AT])
    columns = [Candidate.of(at, name, rows) for at, name in enumerate(first)]
    numbers = [column for column in columns if column.kind == "number"]
    words = [column for column in columns if column.kind in ("word", "coded")]
    if not rows:
        return Verdict(not numbers and not below, sure=True)
    if len({column.number for column in numbers}) < len(numbers):
        return Verdict(header=False, sure=True)
    if any(column.over_another_kind for column in columns):
        return _beside_another_kind(columns, numbers, words, rows)
    if numbers:
        return _among_numbers(columns, numbers, words, rows)
    return _of_words(words)


def _without(first: Sequence[str], rows: Sequence[Sequence[str]]) -> Sequence[Sequence[str]]:
    """The rows without repeats of the first, as of a header; rows of numbers may well be alike."""
    others = [row for row in rows if row != first]
    again = len(rows) - len(others)
    return rows if again * 20 > len(rows) and "number" in map(kind_of, first) else others


def _beside_another_kind(
    columns: list[Candidate], numbers: list[Candidate], words: list[Candidate], rows: Sequence
) -> Verdict:
    """Where at least one cell stands over another kind, as a word over numbers."""
    likely = [column for column in numbers if not column.over_another_kind]
    several = sum(column.over_another_kind for column in columns) > 1
    recurring = any(column.recurs for column in words)
    if not likely or are_labels(likely, rows):
        return Verdict(header=True, sure=several or not recurring)
    # Numbers over numbers, as a row of data with one stray word has them.
    if several:
        return Verdict(header=True, sure=not recurring)
    whole = all(column.name.isdecimal() for column in likely)
    return Verdict(header=whole and not recurring, sure=False)


def _among_numbers(
    columns: list[Candidate], numbers: list[Candidate], words: list[Candidate], rows: Sequence
) -> Verdict:
    """Where numbers stand over numbers, and no word over any."""
    recurring = sum(column.recurs for column in words)
    novel = sum(column.novel for column in words)
    values = [column.number for column in numbers]
    whole = all(column.name.isdecimal() for column in numbers)
    if columns[0].is_index and whole:
        return Verdict(header=True, sure=counts(values) or values == [0])
    if are_labels(numbers, rows):
        if recurring > novel and len(numbers) < _CERTAIN:
            return Verdict(header=False, sure=False)
        alone = not any(column.number in column.values for column in numbers)
        certain = len(numbers) >= _CERTAIN or (alone and len(numbers) > 1)
        return Verdict(header=True, sure=certain and not recurring)
    if novel and not recurring:
        apart = all(column.outside for column in numbers)
        likely = apart or (novel > 1 and whole) or counts(values)
        return Verdict(header=likely, sure=False)
    return Verdict(header=False, sure=True)


def _of_words(words: list[Candidate]) -> Verdict:
    """Where there are words alone, over words."""
    recurring = sum(column.recurs for column in words)
    novel = sum(column.novel for column in words)
    if len({column.name for column in words}) < len(words):
        return Verdict(header=False, sure=True)
    if any(column.continues for column in words):
        return Verdict(header=False, sure=True)
    if not recurring:
        return Verdict(header=True, sure=bool(novel))
    mostly_new = novel > 1 and novel > recurring
    return Verdict(header=mostly_new, sure=not mostly_new)
