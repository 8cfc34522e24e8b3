"""What is wrong with a column of numbers: words among them, another notation, no bounds. No torch here."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dlrun.data.tables.cells import Cells
from dlrun.data.tables.column_kinds import stray_words, usual_dressing
from dlrun.data.tables.csv_format import missing_setting, quoted
from dlrun.data.tables.number_format import (
    Notation,
    dressing_of,
    is_infinite,
    looks_like_number,
    may_be_grouped,
    reads_with_other_decimal,
    says,
)
from dlrun.errors import BadFile, ConfigError, note

_SHOWN = 3  # columns, in words
_PLAIN = re.compile(r"[\w.-]+")  # needs no quotes
_HELD = {
    "date": "dates or times",
    "identifier": "identifiers",
    "text": "texts",
    "serial": "numbers of the rows",
    "constant": "one value in all rows",
    "odd_date": "dates or times",
    "ambiguous_date": "dates or times",
}
# What reads the columns that are left out, where it is not dataset.categorical.
_READ = {
    "serial": "{numeric}",
    "text": "dataset=text_csv dataset.text={first}",
    "date": "{dates}",
    "odd_date": "{dates}",
    "ambiguous_date": "{dates}",
}
_TYPED = 20  # columns, in what is to be typed

# What is so of the columns, and what to set. In both {columns} are named, and verbs agree with their number.
_FACTS = {
    "date": (
        "{columns} {holds} dates or times, as in {example}, and {is} left out",
        "{dates} reads {them} as numbers",
    ),
    "read_date": (
        "{columns} {holds} dates or times, as in {example}, and {is} read as year, month, day of the week, hour and "
        "days since 1970, as far as these differ",
        "{categorical} reads each different one as a category, {drop} leaves {them} out",
    ),
    "ambiguous_date": (
        "{columns} {holds} dates, as in {example}, whose form may be one of several, and {is} left out",
        "{dates} reads {them} in the form that it names",
    ),
    "odd_date": (
        "{columns} {holds} dates or times, but {example} is none in their form, and {is} left out",
        "mend it or set {missing} if it stands for a missing value, or {dates} with their format",
    ),
    "yes_no": (
        "{columns} {has} {example} alone, and {is} read as numbers, 1 for yes and 0 for no",
        "{categorical} reads {them} as categories",
    ),
    "identifier": (
        "{columns} {has} {levels} different words in {rows} rows, too many to learn from, and {is} left out",
        "{categorical} reads {them} all the same, {drop} turns this message off",
    ),
    "text": (
        "{columns} {holds} texts, and {is} left out",
        "dataset=text_csv dataset.text={first} learns from texts, {drop} turns this message off",
    ),
    "serial": (
        "{columns} {has} a whole number of its own for each row, as an index or an identifier does, and {is} left out",
        "{numeric} reads {them} as quantities, {drop} turns this message off",
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
        "{columns} {has} the same value in all rows, as {example}, and {is} left out",
        "{numeric} or categorical reads {them}, {drop} turns this message off",
    ),
    "one_value": (
        "{columns} {has} the same value in all rows, {example}, of which nothing can be learned",
        "{drop} leaves {them} out",
    ),
    "numbered": (
        "{columns} {holds} whole numbers and {is} named as identifiers are, but read as quantities",
        "{categorical} reads {them} as categories, {drop} leaves {them} out, {numeric} turns this message off",
    ),
    "outlying": (
        "{columns} {has} {example}, far from all other numbers",
        "if it stands for a missing one, set {missing}",
    ),
    "levels": (
        "{columns} {has} {levels} different words in {rows} rows: many to learn from, and new ones mean nothing",
        "dataset.rare_below=10 joins those of fewer rows to one, {drop} leaves {them} out",
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
        form: of dates, a format that they may have.
    """

    fact: str
    column: str
    example: str = ""
    levels: int = 0
    form: str = ""


def note_columns(
    path: Path, rows: int, remarks: list[Remark], given: Given, missing: Sequence[str]
) -> None:
    """Note each fact of the `remarks` in a line; `given` and `missing` are what the settings have already."""
    for of in _by_fact(remarks):
        what, remedy = _FACTS[of[0].fact]
        words = _words(of, given)
        words["rows"] = f"{rows:,}"
        word = of[0].example.split(" ")[0] if of[0].fact == "outlying" else of[0].example
        words["missing"] = missing_setting(missing, more=[word])
        note(f"{path}: {f'{what}; {remedy}'.format(**words)}")


def left_out(remarks: list[Remark], given: Given) -> str:
    """Why columns are left out, and which settings read them, for an error where none is left."""
    said = []
    for of in _by_fact(remarks):
        words = _words(of, given)
        read = _READ.get(of[0].fact, "{categorical}").format(**words)
        said.append(f"{words['columns']} {words['holds']} {_HELD[of[0].fact]}, which {read} reads")
    return "; ".join(said)


def setting(key: str, columns: Sequence[str], given: Given) -> str:
    """`dataset.KEY=[COLUMNS]` as it can be typed into a shell, with those `given`; of many columns the first ones."""
    columns = [*dict.fromkeys([*given.get(key, ()), *columns])]
    shown = [quoted(column) for column in columns[:_TYPED]]
    words = f"dataset.{key}=[{','.join([*shown, '…'] if len(columns) > _TYPED else shown)}]"
    return words if all(map(_PLAIN.fullmatch, shown)) else shlex.quote(words)


def dates_setting(formats: Mapping[str, str]) -> str:
    """`dataset.dates={COLUMN: FORMAT, …}` as it can be typed into a shell."""
    shown = [f'{quoted(column)}: "{format}"' for column, format in formats.items()]
    return shlex.quote(f"dataset.dates={{{', '.join(shown)}}}")


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
        "dates": dates_setting({remark.column: remark.form or "auto" for remark in remarks}),
        "first": columns[0] if _PLAIN.fullmatch(columns[0]) else shlex.quote(quoted(columns[0])),
        "example": remarks[0].example,
        "levels": f"{most:,}" if least == most else f"{least:,} to {most:,}",
        "holds": "holds" if one else "hold",
        "has": "has" if one else "have",
        "is": "is" if one else "are",
        "them": "it" if one else "them",
    }


_STRAYS = 3  # different words at most that may all stand for a missing number


def refuse_empty(cells: Cells, features: Sequence[int], dropped: Sequence[str]) -> None:
    """Refuse columns without any value; `dropped` is left out already.

    Raises:
        ConfigError: naming all of them.
    """
    empty = [at for at in features if not cells.columns[at].known.any()]
    if empty:
        names = [cells.names[at] for at in empty]
        raise ConfigError(
            f"{cells.place(0, empty[0])}: every value is missing, in this row and all others; "
            f"set {setting('drop', names, {'drop': dropped})}"
        )


def refuse_mixture(cells: Cells, position: int, otherwise: str) -> None:
    """Refuse a column of numbers with words among them, or in another notation than the file's.

    Args:
        otherwise: what to set where its words are meant.

    Raises:
        ConfigError: naming the first of these cells.
    """
    column = cells.columns[position]
    if column.numbers(cells.notation) is not None:
        return
    refuse_notation(cells, position, otherwise)
    counts = column.counts
    strays = stray_words(counts, cells.notation)
    if not strays:
        return
    row = int(column.where(strays)[0])
    word, place = str(cells.cell(row, position)), cells.place(row, position)
    if is_infinite(word):
        raise infinite(cells, row, position)
    usual = usual_dressing(counts)
    if usual and (dressing_of(word) or looks_like_number(word)):
        raise ConfigError(
            f"{place}: {word} is not written as most of the column are, which have {usual}; "
            f"write all in one unit, or {otherwise}"
        )
    numbers = [cell for cell in counts if cell not in strays]
    most = 2 * sum(counts[cell] for cell in numbers) > counts.total()
    but = (
        "most of the column are" if most else f"{len(numbers)} different numbers are in the column"
    )
    words = [stray for stray in strays if not stray.startswith("#")]  # #DIV/0! is none of numbers
    missing = len(strays) <= _STRAYS and not any(map(str.isdigit, "".join(words)))
    stands = f"{word} stands" if len(strays) == 1 else f"{', '.join(strays)} stand"
    remedy = f"set {cells.if_missing(strays)} if {stands} for a missing value"
    raise ConfigError(
        f"{place}: {word} is not a number, but {but}; {remedy if missing else 'mend it'}, or {otherwise}"
    )


def refuse_ambiguous(cells: Cells, position: int) -> None:
    """Refuse a column whose points may stand before decimals or between thousands alike.

    Raises:
        BadFile: naming what to set for either.
    """
    column = cells.columns[position]
    if cells.notation != Notation() or column.typed:
        return
    if cell := may_be_grouped(column.distinct):
        row = column.row_of(cell)
        grouped = Notation("comma", "point").number(cell)
        others = [other for other in cells.columns if other is not column]
        pointed = any(says(other.distinct, Notation()) for other in others)
        groups = "take the points out of the column" if pointed else "set dataset.thousands=point"
        raise BadFile(
            f"{cells.place(row, position)}: {cell} may be {grouped:.15g} as well, for all decimals of the column are "
            "three",
            f"{groups} for {grouped:.15g}, or set dataset.decimal=point for {cell}",
        )


def infinite(cells: Cells, row: int, position: int) -> BadFile:
    """The error of a cell that holds a number beyond all bounds."""
    word = str(cells.cell(row, position))
    said = f"{cells.place(row, position)}: {word} is not a finite number"
    remedy = f"mend it, or set {cells.if_missing([word])} if it stands for a missing value"
    return BadFile(said, remedy, "mend it")


def refuse_notation(cells: Cells, position: int, otherwise: str) -> None:
    """Refuse a column most rows of which hold numbers, in whatever notation, some in another than the file's."""
    column = cells.columns[position]
    counts = column.counts
    numbers = [cell for cell in counts if looks_like_number(cell)]
    if 2 * sum(counts[cell] for cell in numbers) <= counts.total():
        return
    for cell in numbers:
        if cells.notation.number(cell) is None:
            row = column.row_of(cell)
            refuse_two_notations(cells, row, position, otherwise)
            raise cells.no_number(row, position, otherwise)


def refuse_two_notations(cells: Cells, row: int, position: int, otherwise: str) -> None:
    """Refuse a cell whose decimal sign is not that of another column.

    Raises:
        BadFile: naming both columns; no setting reads them.
    """
    own = cells.notation
    cell = str(cells.cell(row, position))
    if not reads_with_other_decimal(cell, own):
        return
    for at, name in enumerate(cells.names):
        if at != position and says(cells.columns[at].distinct, own):
            raise BadFile(
                f"{cells.place(row, position)}: {cell} is not written as the numbers of column "
                f"{name} are, which have a decimal {own.decimal}",
                f"write both alike, or {otherwise}",
                "write both alike",
            )
