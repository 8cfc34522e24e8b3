"""What the user should know of the columns of a table: a line a fact, however many columns share it. No torch here."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from dlrun.hints import note

_SHOWN = 3  # columns

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
        "if it stands for a missing one, add it to dataset.missing",
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


def note_columns(path: Path, rows: int, remarks: list[Remark]) -> None:
    """A line on the error stream for each fact of the `remarks`."""
    facts: dict[str, list[Remark]] = defaultdict(list)
    for remark in remarks:
        facts[remark.fact].append(remark)
    for fact, (what, remedy) in _FACTS.items():
        if of := facts.get(fact):
            words = _words(of)
            words["rows"] = f"{rows:,}"
            note(f"{path}: {f'{what}; {remedy}'.format(**words)}")


def setting(key: str, columns: list[str]) -> str:
    """`dataset.KEY=[COLUMNS]` as it can be typed into a shell; of many columns the first ones."""
    shown = [
        column if re.fullmatch(r"[\w.-]+", column) else f'"{column}"' for column in columns[:_SHOWN]
    ]
    words = f"dataset.{key}=[{','.join([*shown, '…'] if len(columns) > _SHOWN else shown)}]"
    return f"'{words}'" if '"' in words else words


def _words(remarks: list[Remark]) -> dict[str, str]:
    columns = [remark.column for remark in remarks]
    one = len(columns) == 1
    more = f" and {len(columns) - _SHOWN} more" if len(columns) > _SHOWN else ""
    least, most = (end(remark.levels for remark in remarks) for end in (min, max))
    return {
        "columns": f"column{'' if one else 's'} {', '.join(columns[:_SHOWN])}{more}",
        **{key: setting(key, columns) for key in ("categorical", "numeric", "drop")},
        "first": columns[0],
        "example": remarks[0].example,
        "levels": f"{most:,}" if least == most else f"{least:,} to {most:,}",
        "holds": "holds" if one else "hold",
        "has": "has" if one else "have",
        "is": "is" if one else "are",
        "them": "it" if one else "them",
    }
