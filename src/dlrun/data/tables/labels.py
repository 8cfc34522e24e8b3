"""Which labels are one class: equal as numbers, or but for capitals and blanks. No torch here."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dlrun.data.tables.notation import Notation

_OTHER = {"null", "true", "false", "nan", "inf"}  # what Hydra takes for no words


def missing_among(cells: Iterable[str], words: Iterable[object]) -> set[str]:
    """Those of `cells` that are one of the `words` of `dataset.missing`: NA, na and Na are the same of them."""
    known = {str(word).casefold() for word in words}
    longest = max(map(len, known), default=0)
    return {cell for cell in {*cells} if len(cell) <= longest and cell.casefold() in known}


def missing_setting(
    words: Iterable[object], *, more: Iterable[str] = (), less: Iterable[str] = ()
) -> str:
    """`dataset.missing=[…]` as it can be typed into a shell: `words` with some `more`, or without some."""
    without = {word.casefold() for word in less}
    kept = [word for word in map(str, words) if word.casefold() not in without]
    return shlex.quote(f"dataset.missing=[{','.join(map(quoted, [*kept, *more]))}]")


def quoted(word: str) -> str:
    """A word as Hydra reads it in a list, as that word."""
    if re.fullmatch(r"\d+|[^\W\d][\w.-]*", word) and word.lower() not in _OTHER:
        return word
    return '"{}"'.format(word.replace('"', '\\"'))


_SHOWN = 3  # classes of several spellings


class Classes(NamedTuple):
    """Classes in order: as numbers where all labels are, by spelling otherwise.

    Attributes:
        names: of each class, the one of its spellings that stands for all: of numbers the shortest, of
            words the commonest.
        spellings: the labels of each class, its name first.
    """

    names: tuple[str, ...]
    spellings: list[list[str]]


def classes_of(labels: Iterable[str], *, merge: bool, notation: Notation) -> Classes:
    """The classes of `labels`; where `merge` is false each spelling is one."""
    counts = Counter(labels)
    groups: dict[str | float, list[str]] = {}
    for label in sorted(counts, key=lambda label: (-counts[label], label)):
        groups.setdefault(_key(label, notation) if merge else label, []).append(label)
    numbers = {label: notation.number(label) for label in counts}
    if None not in numbers.values():
        ordered = [sorted(group, key=len) for group in groups.values()]
        ordered.sort(key=lambda group: (numbers[group[0]], group[0]))
    else:
        ordered = sorted(groups.values())
    return Classes(tuple(group[0] for group in ordered), ordered)


def class_numbers(
    labels: Sequence[str], names: Sequence[str], *, merge: bool, notation: Notation
) -> list[int | None]:
    """(N,) the number of the class of each label, None where it is in none of those that `names` names."""
    exact = {name: number for number, name in enumerate(names)}
    alike = {_key(name, notation): number for number, name in enumerate(names)} if merge else {}

    def number(label: str) -> int | None:
        found = exact.get(label)
        return alike.get(_key(label, notation)) if found is None and merge else found

    known = {label: number(label) for label in {*labels}}
    return [known[label] for label in labels]


def merged(classes: Classes) -> str:
    """What became one class, as in `0 and 0.0, 1 and 1.0`; empty where nothing did."""
    several = [group for group in classes.spellings if len(group) > 1]
    said = ", ".join(" and ".join(group) for group in several[:_SHOWN])
    return f"{said} and others" if len(several) > _SHOWN else said


def _key(label: str, notation: Notation) -> str | float:
    """What labels of one class have in common."""
    number = notation.number(label)
    if number is not None:
        return number
    return " ".join(unicodedata.normalize("NFC", label).split()).casefold()
