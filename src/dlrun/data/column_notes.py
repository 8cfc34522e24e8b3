"""What the user should know of the columns of a table: a line a fact, however many columns share it. No torch here."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dlrun.data.missing_words import missing_setting, quoted
from dlrun.hints import note

_SHOWN = 3  # columns, in words
_PLAIN = re.compile(r"[\w.-]+")  # needs no quotes
_HELD = {
    "date": "dates or times",
    "identifier": "identifiers",
    "text": "texts",
    "serial": "numbers of the rows",
}
_TYPED = 20  # columns, in what is to be typed

# What is so of the columns, and what to set. In both {columns} are named, and verbs agree with their number.
_FACTS = {
    "date": (
        "{columns} {holds} dates or times, as in {example}, and {is} left out",
        "{categorical} reads each different one as a category",
    ),
    "identifier": (
        "{columns} {has} {levels} different words in {rows} rows, too many to learn from, and {is} left out",
        "{categorical} reads {them} all the same, {drop} is silent",
    ),
    "text": (
        "{columns} {holds} texts, and {is} left out",
        "dataset=text_csv dataset.text={first} learns from texts, {drop} is silent",
    ),
    "serial": (
        "{columns} {has} a whole number of its own for each row, as an index or an identifier does, and {is} left out",
        "{numeric} reads {them} as quantities, {drop} is silent",
    ),
    "code": (
        "{columns} {has} leading zeros, as in {example}, and {is} read as categories",
        "{numeric} reads {them} as quantities",
    ),
    "dressed": (
        "{columns}: they are numbers with more around them, as in {example}, and read as the numbers alone",
        "{categorical} reads {them} as categories",
    ),
    "constant": (
        "{columns} {has} the same value in all rows, {example}, of which nothing can be learned",
        "{drop} leaves {them} out",
    ),
    "numbered": (
        "{columns} {holds} whole numbers and {is} named as identifiers are, but read as quantities",
        "{categorical} reads {them} as categories, {drop} leaves {them} out, {numeric} is silent",
    ),
    "outlying": (
        "{columns} {has} {example}, far from all other numbers",
        "if it stands for a missing one, set {missing}",
    ),
    "levels": (
        "{columns} {has} {levels} different words in {rows} rows: many to learn from, and new ones mean nothing",
        "{drop} leaves {them} out",
    ),
    "alike": (
        "{columns} {has} words that differ in capitals or blanks alone, as in {example}, each a category",
        "mend them in the file if they are the same",
    ),
}

Given = Mapping[str, Sequence[str]]  # the columns that settings name already, by key


class Remark(NamedTuple):
    """A fact of a column.

    Attributes:
        fact: which, a key of `_FACTS`.
        example: a cell, or what else shows it.
        levels: how many different cells the column has.
    """

    fact: str
    column: str
    example: str = ""
    levels: int = 0


def note_columns(
    path: Path, rows: int, remarks: list[Remark], given: Given, missing: Sequence[str]
) -> None:
    """A line on the error stream for each fact of the `remarks`; `given` and `missing` are set already."""
    for of in _by_fact(remarks):
        what, remedy = _FACTS[of[0].fact]
        words = _words(of, given)
        words["rows"] = f"{rows:,}"
        words["missing"] = missing_setting(missing, more=[of[0].example.split(" ")[0]])
        note(f"{path}: {f'{what}; {remedy}'.format(**words)}")


def left_out(remarks: list[Remark], given: Given) -> str:
    """Why columns are left out, and what reads them all the same; for where none is left."""
    said = []
    for of in _by_fact(remarks):
        remedy = {"serial": "{numeric}", "text": "dataset=text_csv dataset.text={first}"}
        words = _words(of, given)
        read = remedy.get(of[0].fact, "{categorical}").format(**words)
        said.append(f"{words['columns']} {words['holds']} {_HELD[of[0].fact]}, which {read} reads")
    return "; ".join(said)


def setting(key: str, columns: Sequence[str], given: Given) -> str:
    """`dataset.KEY=[COLUMNS]` as it can be typed into a shell, with those `given`; of many columns the first ones."""
    columns = [*dict.fromkeys([*given.get(key, ()), *columns])]
    shown = [quoted(column) for column in columns[:_TYPED]]
    words = f"dataset.{key}=[{','.join([*shown, '…'] if len(columns) > _TYPED else shown)}]"
    return words if all(map(_PLAIN.fullmatch, shown)) else shlex.quote(words)


def _by_fact(remarks: list[Remark]) -> list[list[Remark]]:
    facts: dict[str, list[Remark]] = {fact: [] for fact in _FACTS}
    for remark in remarks:
        facts[remark.fact].append(remark)
    return [of for of in facts.values() if of]


def _words(remarks: list[Remark], given: Given) -> dict[str, str]:
    columns = [remark.column for remark in remarks]
    one = len(columns) == 1
    more = f" and {len(columns) - _SHOWN} more" if len(columns) > _SHOWN else ""
    least, most = (end(remark.levels for remark in remarks) for end in (min, max))
    return {
        "columns": f"column{'' if one else 's'} {', '.join(columns[:_SHOWN])}{more}",
        **{key: setting(key, columns, given) for key in ("categorical", "numeric", "drop")},
        "first": columns[0] if _PLAIN.fullmatch(columns[0]) else shlex.quote(quoted(columns[0])),
        "example": remarks[0].example,
        "levels": f"{most:,}" if least == most else f"{least:,} to {most:,}",
        "holds": "holds" if one else "hold",
        "has": "has" if one else "have",
        "is": "is" if one else "are",
        "them": "it" if one else "them",
    }
