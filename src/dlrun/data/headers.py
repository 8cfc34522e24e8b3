"""Whether the first row of a table names its columns: pure functions on some rows of cells. No torch here.

A first row of data is like the rows below it; a header is not. It is one
- where it has words over a column of numbers, and no numbers, or numbers that are no chance (0, 1, 2, …; years);
- where such numbers stand over numbers that are nothing of the kind;
- where it has words alone, none of which occurs again in its column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dlrun.data.header_evidence import Column, are_labels, counts, kind_of

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
    columns = [Column.of(at, name, rows) for at, name in enumerate(first)]
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
    """The rows that are not as the first, as a header is that comes again; rows of numbers may well be alike."""
    others = [row for row in rows if row != first]
    again = len(rows) - len(others)
    return rows if again * 20 > len(rows) and "number" in map(kind_of, first) else others


def _beside_another_kind(
    columns: list[Column], numbers: list[Column], words: list[Column], rows: Sequence
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
    columns: list[Column], numbers: list[Column], words: list[Column], rows: Sequence
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


def _of_words(words: list[Column]) -> Verdict:
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
