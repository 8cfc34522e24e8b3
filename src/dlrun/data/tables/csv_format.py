"""How a CSV file is written: as its settings say, or as its lines show. No torch here."""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, Self

from dlrun.config.schema import NonNegativeInt
from dlrun.data.tables.number_format import Notation
from dlrun.errors import ConfigError

COMMENTS = {"hash": "#", "percent": "%", "slashes": "//"}  # what a command line cannot say well
DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "space": " ", "pipe": "|"}
# Decimal commas are commoner than tables cut at commas that have a tab or semicolon in every row.
_GUESSES = ("\t", ";", "|", ",", " ")
_HYDRAS = {"null", "true", "false", "nan", "inf"}  # what Hydra takes for no words
_GUESSED_BY = 20  # rows
_LONGEST = 2**31 - 1  # characters: what any system's C can hold

Header = Literal["auto"] | bool
SkipLines = Literal["auto"] | NonNegativeInt


@dataclass(frozen=True)
class CsvFormat:
    """How a file is written; each field is a setting of the datasets that read CSV files.

    Attributes:
        header: whether its first row names the columns; auto looks.
        delimiter: between cells: one character or its name in `DELIMITERS`; auto looks.
        missing: words that stand for a cell without a value.
        names: of the columns, where it is known that the file itself has none.
        decimal, thousands: of numbers, as `Notation`; a decimal of auto looks.
        skip_lines: first lines that are no part of the table; auto leaves out what is a comment or a title.
        comment: what lines to be left out begin with, or its name in `COMMENTS`; None for none.
    """

    header: Header
    delimiter: str
    encoding: str
    missing: Sequence[str]
    names: tuple[str, ...] = ()
    decimal: str = "point"
    thousands: str = "none"
    skip_lines: SkipLines = 0
    comment: str | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any], **others: Any) -> Self:
        """The format by those of a dataset's `settings`, or of those that a run kept, that are fields of it."""
        given = {**settings, **others}
        return cls(**{name: given[name] for name in cls.__dataclass_fields__ if name in given})

    def kept(self, notation: Notation) -> dict[str, Any]:
        """Plain values by which more files are read, with the notation that was found; without the header."""
        return {
            "skip_lines": self.skip_lines,
            "comment": self.comment,
            "delimiter": self.delimiter,
            "decimal": notation.decimal,
            "thousands": notation.thousands,
            "encoding": self.encoding,
            "missing": list(self.missing),
        }


@contextmanager
def cells_of_any_length() -> Iterator[None]:
    """Within it, the reader of csv takes cells of any length; its bound holds for the whole process."""
    usual = csv.field_size_limit(_LONGEST)
    try:
        yield
    finally:
        csv.field_size_limit(usual)


def delimiter_of(given: str, lines: Sequence[str]) -> str:
    """The character between the cells of `lines`; `given` is that of a format.

    Raises:
        ConfigError: `given` is none.
    """
    if given != "auto":
        delimiter = DELIMITERS.get(given, given)
        if len(delimiter) != 1 or delimiter in '"\n':
            raise ConfigError(
                f"dataset.delimiter is {given}, but must be auto, one character or one of {', '.join(DELIMITERS)}"
            )
        return delimiter
    lines = list(islice(filter(str.strip, lines), _GUESSED_BY))
    widths = {guess: _widths(lines, guess) for guess in _GUESSES}
    for guess, found in widths.items():
        if len({*found}) == 1 and found[0] > 1:
            return guess
    # Titles above a table have fewer cells than its rows.
    for begin in range(1, len(lines) - 1):
        for guess in _GUESSES[:-1]:
            rest = widths[guess][begin:]
            if len(rest) > 1 and len({*rest}) == 1 and rest[0] > max(widths[guess][:begin]):
                return guess
    return max(_GUESSES[:-1], key=lambda guess: lines[0].count(guess) if lines else 0)


def comment_of(given: str | None) -> str | None:
    """What a comment begins with; `given` is that of a format.

    Raises:
        ConfigError: an empty one.
    """
    if given is None:
        return None
    if not (mark := COMMENTS.get(given, given).strip()):
        raise ConfigError(
            f"dataset.comment is empty, but must be null, what a comment begins with, or one of {', '.join(COMMENTS)}"
        )
    return mark


def _widths(lines: list[str], delimiter: str) -> list[int]:
    """The number of cells of each row; a last one that `lines` end in the middle of is left out."""
    reader = csv.reader(
        [line.strip(" ") for line in lines], delimiter=delimiter, skipinitialspace=True, strict=True
    )
    widths: list[int] = []
    with cells_of_any_length(), suppress(csv.Error):  # the error comes as the file is read
        widths += (len(row) for row in reader)
    return widths


def missing_among(cells: Iterable[str], words: Iterable[object]) -> set[str]:
    """Those of `cells` that are among the `words` of `dataset.missing`, capitals or not."""
    known = {str(word).casefold() for word in words}
    longest = max(map(len, known), default=0)
    short = {cell for cell in cells if len(cell) <= longest}
    return {cell for cell in short if cell.casefold() in known}


def missing_setting(
    words: Iterable[object], *, more: Iterable[str] = (), less: Iterable[str] = ()
) -> str:
    """`dataset.missing=[…]` as it can be typed into a shell: `words` with some `more`, or without some."""
    without = {word.casefold() for word in less}
    kept = [word for word in map(str, words) if word.casefold() not in without]
    return shlex.quote(f"dataset.missing=[{','.join(map(quoted, [*kept, *more]))}]")


def quoted(word: str) -> str:
    """A word as it is typed in a list of Hydra's."""
    if re.fullmatch(r"\d+|[^\W\d][\w.-]*", word) and word.lower() not in _HYDRAS:
        return word
    return '"{}"'.format(word.replace('"', '\\"'))
