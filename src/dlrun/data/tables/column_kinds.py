"""What the cells of a column are: quantities, categories, dates, identifiers, a count of the rows. No torch here.

Functions of a column's name and its cells alone; `find_kind` is the one that says what a column is read as, and why.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Literal, NamedTuple

import numpy as np

from dlrun.data.tables.column import Column
from dlrun.data.tables.number_format import (
    NO,
    YES,
    Dressing,
    Notation,
    common_dressing,
    dressing_of,
)
from dlrun.data.times import are_compact_dates, are_dates, is_date

Kind = Literal[
    "number",
    "yes_no",
    "category",
    "code",
    "date",
    "identifier",
    "text",
    "serial",
    "constant",
    "empty",
]

_MANY = 20  # different words, from which on a column may be one of names
_EARLIEST = 100_000  # of dates in digits alone, as in 202401
_TEXT = 5  # words in a cell, on average, from which on a column is one of texts
_SCALE = 10  # different numbers, from which on a column is meant as one of quantities, whatever words are in it
_COUNTED = 50  # rows, from which on a column that counts them is no measurement
_LOOKED_AT = 2**14  # rows at a time
_YEARS = (1000, 2100)
_GAPS = 1.5  # times as many numbers as rows: some have been taken out since they were counted
_NAMED_COUNTED = 10  # the same where it is called so
_UNITS = 5  # different ones in a column of quantities
_THINGS = (
    "customer|user|passenger|patient|employee|order|product|student|client|account|item|session|case|row|record"
    "|person|member|sample|subject|transaction|invoice|house|loan|store|movie"
)
_ID = re.compile(
    rf"(?:.*[\W_])?(?:id|ids|uid|uuid|guid|identifier)|(?:{_THINGS})_?(?:id|no|nr|num|number)",
    re.IGNORECASE,
)
_COUNTER = re.compile(
    rf"(?:(?:{_THINGS})[\W_]*)?(?:index|idx)|unnamed[\W\d_]*|level_0|(?:s|sr|sl|serial|roll)[\W_]*(?:no|nr|num|number)\.?"
    rf"|rows?|nr|no\.?|num|number|n|#|serial|key|pk|obs|instance|{_THINGS}",
    re.IGNORECASE,
)
_OUTLYING = {f"{sign}{'9' * digits}" for sign in ("", "-") for digits in (3, 4, 5, 6)} | {"-99"}
_FAR = 5  # times the largest other number
_YES_NO = ({"true", "t", "false", "f"}, {"yes", "y", "no", "n"})  # words that go together
_CAMEL = re.compile(r"(?<=[a-z])(?=I[Dd]$)")  # as in PassengerId


class Finding(NamedTuple):
    """What a column is read as.

    Attributes:
        reason: why, in words that follow `it`, as in `holds dates or times, as in 2024-01-31`.
    """

    name: str
    kind: Kind
    reason: str


def find_kind(name: str, column: Column, notation: Notation) -> Finding:
    """What a column is read as where no setting names it; an empty `name` is one that the file does not give."""
    kind = _kind_of(name, column, notation)
    return Finding(name, kind, _reason(kind, column, notation))


def _kind_of(name: str, column: Column, notation: Notation) -> Kind:
    if not column.known.any():
        return "empty"
    values = column.numbers(notation)
    if values is not None:
        constant = len(values) > 1 and (values == values[0]).all()
        return "constant" if constant else kind_of_numbers(name, column, values)
    if len(column.distinct) == 1:
        return "constant" if column.known.all() and len(column) > 1 else "category"
    if are_yes_no(column.distinct):
        return "yes_no"
    return "number" if common_dressing(column.counts) else kind_of_words(column.counts)


def _reason(kind: Kind, column: Column, notation: Notation) -> str:
    if kind == "empty":
        return "has no value in any row"
    first = column.first
    if kind == "number":
        dressed = column.numbers(notation) is None
        return f"holds numbers with more around them, as in {first}" if dressed else "holds numbers"
    if kind == "constant":
        return f"has the same value in all rows, {first}"
    if kind == "serial":
        return "has a whole number of its own for each row"
    if kind == "date":
        return f"holds dates or times, as in {next(filter(is_date, column.distinct), first)}"
    if kind == "yes_no":
        return f"has the words {', '.join(column.distinct[:4])} alone"
    if kind == "code":
        return "has leading zeros"
    levels = f"has {len(column.distinct):,} different words in {int(column.known.sum()):,} rows"
    return f"{levels}, texts" if kind == "text" else levels


def are_yes_no(words: Collection[str]) -> bool:
    """Whether `words` are those of a question: true and false, yes and no, or their first letters, in any case."""
    if not 2 <= len(words) <= _MANY:
        return False
    folded = {word.lower() for word in words}
    return any(folded <= pair for pair in _YES_NO) and len({*map(is_yes, folded)}) == 2


def holds_values(column: Column, notation: Notation) -> bool:
    """Whether cells are equal as categories by what they stand for, as 1 and 1.0 or true and True."""
    if column.numbers(notation) is not None:
        return not column.any_leading_zero
    return are_yes_no(column.distinct)


def is_yes(word: str) -> bool | None:
    """Whether a word says yes; None where it says neither yes nor no."""
    folded = word.lower()
    return True if folded in YES else False if folded in NO else None


def kind_of_words(counts: Counter[str]) -> Kind:
    """What a column is that holds more than numbers; `counts` are its cells, missing ones left out."""
    if are_dates(counts):
        return "date"
    if not _tells_rows_apart(counts):
        return "category"
    words = sum(len(cell.split()) for cell in counts) / len(counts)
    return "text" if words >= _TEXT else "identifier"


def kind_of_numbers(name: str, column: Column, values: np.ndarray) -> Kind:
    """What a column of numbers is; an empty `name` is one that the file does not give."""
    if not any(_whole(part).any() for part in _parts(values)):
        return "number"
    if not (values < _EARLIEST).any() and are_compact_dates(column.distinct):
        return "date"
    if column.any_leading_zero and has_leading_zeros(column.distinct):
        return "identifier" if _tells_rows_apart(column.counts) else "code"
    return "serial" if _counts_rows(name, values) else "number"


def has_leading_zeros(cells: Collection[str]) -> bool:
    """Whether `cells` are digits alone, some of them after a zero, as in 00501."""
    return any(len(cell) > 1 and cell[0] == "0" and cell.isdecimal() for cell in cells) and all(
        map(str.isdecimal, cells)
    )


def is_named_identifier(name: str) -> bool:
    """Whether a column's name says that it identifies persons or things."""
    return bool(_ID.fullmatch(_CAMEL.sub("_", name)))


def outlying_code(column: Column, values: np.ndarray) -> str | None:
    """The cell of a column of numbers that is likely to stand for a missing one, such as -999 among shares."""
    ends = float(np.fmin.reduce(values)), float(np.fmax.reduce(values))  # nan where all are missing
    code = min(ends, key=lambda end: -abs(end))
    cell = f"{code:.0f}"
    if cell not in _OUTLYING:
        return None
    known = values[~np.isnan(values)]
    others = np.abs(known[(known != code) & (known != 0)])
    far = len(others) and _FAR * others.max() <= abs(code)
    return cell if far and len(column.where([cell])) > 1 else None


def spelled_alike(cells: Collection[str]) -> list[str]:
    """The first cells that differ in capitals and blanks alone, [] where none do."""
    groups: dict[str, list[str]] = {}
    for cell in sorted(cells):
        groups.setdefault(" ".join(cell.split()).casefold(), []).append(cell)
    return next((group for group in groups.values() if len(group) > 1), [])


def stray_words(counts: Counter[str], notation: Notation) -> list[str]:
    """The different cells that are no numbers in a column that seems meant as one of numbers.

    That is where most rows hold numbers, or more different numbers than words; but many words with
    digits are codes, some of which are digits alone.
    """
    others = [cell for cell in counts if notation.number(cell) is None]
    numbers = len(counts) - len(others)
    dressed = {cell: found for cell in others if (found := dressing_of(cell))}
    bare = [cell for cell in others if cell not in dressed]
    several = len({*dressed.values()}) > _UNITS
    codes = [cell for cell in (others if several else bare) if any(map(str.isdigit, cell))]
    if len(codes) > max(_MANY, len(others) / 2):
        return []
    if 2 * sum(counts[cell] for cell in others) < counts.total() or numbers > max(
        _SCALE, len(others)
    ):
        return bare or others
    if numbers + len(dressed) <= max(_MANY, len(bare)) or several:
        return []
    usual = usual_dressing(counts)
    return bare or [cell for cell in counts if dressed.get(cell) != usual]


def usual_dressing(counts: Counter[str]) -> Dressing | None:
    """What stands around the numbers of most rows; None where that is nothing."""
    found: Counter[Dressing | None] = Counter()
    for cell, count in counts.items():
        found[dressing_of(cell)] += count
    return found.most_common(1)[0][0] if found else None


def _tells_rows_apart(counts: Counter[str]) -> bool:
    return len(counts) > max(_MANY, counts.total() / 2)


def _whole(values: np.ndarray) -> np.ndarray:
    return np.asarray(values == np.rint(values))


def _parts(values: np.ndarray) -> Iterator[np.ndarray]:
    """The values, some at a time: the first ones most often tell it already."""
    for start in range(0, len(values), _LOOKED_AT):
        yield values[start : start + _LOOKED_AT]


def _counts_rows(name: str, values: np.ndarray) -> bool:
    """Whether numbers, whole and each there once, say which row it is, not what is in it."""
    few = len(values) < _NAMED_COUNTED
    if few or not all(_whole(part).all() for part in _parts(values)):
        return False
    least, most = values.min(), values.max()
    if most - least < len(values) - 1 or len(np.unique(values)) < len(values):
        return False
    if not name or _COUNTER.fullmatch(name) or is_named_identifier(name):
        return True
    if len(values) < _COUNTED:
        return False
    if least >= 0 and most <= _GAPS * len(values):
        return True
    # Years go up by one as well.
    return bool((np.diff(values) == 1).all()) and not _YEARS[0] <= least < _YEARS[1]
