"""How numbers are written in a file: the sign before decimals, what groups thousands, units around them.

No torch here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dlrun.errors import ConfigError

Decimal = Literal["auto", "point", "comma"]
Thousands = Literal["none", "point", "comma", "space", "apostrophe"]

_SIGNS = {"point": ".", "comma": ",", "space": " \u00a0\u202f", "apostrophe": "'’"}
_NUMBERLIKE = re.compile(
    r"[^\w.,]*[\d.,][\d.,'’\s\u200b-\u200f\u2060\ufeff\uff0c\uff0e]*(?:e\S?\d+)?\W*", re.IGNORECASE
)
_OTHER = {"point": "comma", "comma": "point"}
# Signs as word processors and spreadsheets set them, and ones that no screen shows.
_TYPED = {
    **dict.fromkeys(map(ord, "\u2212\u2010\u2011\u2013\ufe63\uff0d"), "-"),
    **{0xFF0B: "+", 0xFF0E: ".", 0xFF0C: ","},
    **dict.fromkeys((0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF)),
}
Column = Sequence[str | None]
EXACT = 2**53  # up to which a float holds each whole number
YES, NO = ("true", "t", "yes", "y"), ("false", "f", "no", "n")


@dataclass(frozen=True)
class Notation:
    """How numbers are written.

    Attributes:
        decimal: point or comma.
        thousands: what stands between groups of three digits, where anything does.
    """

    decimal: str = "point"
    thousands: str = "none"

    def number(self, cell: str) -> float | None:
        """The finite number that a cell holds, None where it holds none."""
        return as_number(self._plain(cell))

    def value(self, cell: str) -> int | float | None:
        """As `number`, exact also of a whole number that no float holds."""
        plain = self._plain(cell)
        number = as_number(plain)
        if number is None or abs(number) < EXACT:
            return number
        try:
            return int(plain)
        except ValueError:
            return number

    def spelled(self, cell: str) -> str:
        """The one spelling of what a cell holds: 1 of 1.0, true of TRUE; of any other cell itself."""
        value = self.value(cell)
        if value is not None:
            return str(value) if isinstance(value, int) else written(value + 0.0)  # -0 as 0
        folded = cell.lower()
        return folded if folded in YES or folded in NO else cell

    def numbers(self, cells: Iterable[str]) -> list[float] | None:
        """The finite numbers that all of `cells` hold, or None."""
        cells = list(cells)
        found = as_numbers(cells) if self == Notation() else None
        return as_numbers(map(self._plain, cells)) if found is None else found

    def hint(self, cell: str) -> str:
        """What to set so that `cell` is a number, as `X for 1.5, or Y for 15`; empty where nothing does."""
        settings: dict[float, str] = {}
        # Of two that read the same number, the one that changes less.
        for other in sorted(_ALL, key=lambda other: other.decimal != self.decimal):
            if (number := other.number(cell)) is not None:
                settings.setdefault(number, self._change(other))
        return ", or ".join(f"{change} for {number:.15g}" for number, change in settings.items())

    def _change(self, other: Notation) -> str:
        keys = [
            key for key in ("decimal", "thousands") if getattr(self, key) != getattr(other, key)
        ]
        return " ".join(f"dataset.{key}={getattr(other, key)}" for key in keys)

    def _plain(self, cell: str) -> str:
        """A number as Python writes it; what Python cannot read where the cell holds none."""
        if not cell.isascii():
            cell = cell.translate(_TYPED)
        if self.thousands != "none" and any(sign in cell for sign in _SIGNS[self.thousands]):
            decimal = re.escape(_SIGNS[self.decimal])
            if not re.fullmatch(f"{_grouped(self.thousands)}({decimal}.*)?", cell):
                return ""
            cell = re.sub(f"[{_SIGNS[self.thousands]}]", "", cell)
        if self.decimal == "point":
            return cell
        return "" if "." in cell else cell.replace(",", ".")


def _grouped(thousands: str) -> str:
    """Digits in groups of three, with a sign before them or not."""
    return rf"[+-]?[1-9]\d{{0,2}}([{_SIGNS[thousands]}]\d{{3}})+"


_ALL = [Notation(decimal) for decimal in _OTHER] + [
    Notation(decimal, thousands)
    for decimal in _OTHER
    for thousands in _SIGNS
    if thousands != decimal
]


def notation_of(decimal: str, thousands: str, columns: Iterable[Column], *, look: bool) -> Notation:
    """The notation of a file; where `decimal` is auto and nothing else decides, its `columns` are looked at.

    A comma is one before decimals where all of a column are numbers with it, not all of which might be
    grouped by it (12,345), and no column says as much of the point.

    Args:
        look: whether commas may stand before decimals at all.

    Raises:
        ConfigError: the same sign for both.
    """
    if decimal == thousands:
        raise ConfigError(
            f"dataset.thousands is {thousands}, and dataset.decimal as well; set one of them to {_OTHER[decimal]}"
        )
    if decimal != "auto":
        return Notation(decimal, thousands)
    if thousands in _OTHER:
        return Notation(_OTHER[thousands], thousands)
    point, comma = Notation("point", thousands), Notation("comma", thousands)
    columns = list(columns) if look else []
    said = any(says(column, comma) for column in columns)
    return comma if said and not any(says(column, point) for column in columns) else point


def says(column: Column, notation: Notation) -> bool:
    """Whether a column holds numbers with the decimal sign of `notation` that cannot all group thousands."""
    cells = {cell for cell in column if cell is not None}
    marked = [cell for cell in cells if _SIGNS[notation.decimal] in cell]
    grouped = re.compile(_grouped(notation.decimal))
    return not all(map(grouped.fullmatch, marked)) and notation.numbers(cells) is not None


def may_be_grouped(column: Iterable[str]) -> str | None:
    """A cell whose point may also group thousands, as may those of all other cells; None otherwise."""
    cells = {*column}
    pointed = [cell for cell in cells if "." in cell]
    grouped = re.compile(_grouped("point"))
    if not pointed or len(pointed) == len(cells) or not all(map(grouped.fullmatch, pointed)):
        return None
    whole = all(re.fullmatch(r"[+-]?\d{1,3}", cell) for cell in cells.difference(pointed))
    return min(pointed) if whole else None


def reads_with_other_decimal(cell: str, notation: Notation) -> bool:
    """Whether a cell is a number only where the sign before decimals is not that of `notation`."""
    found = {other.decimal for other in _ALL if other.number(cell) is not None}
    return found == {_OTHER[notation.decimal]}


def is_infinite(cell: str) -> bool:
    """Whether a cell holds an infinite number in Python's notation."""
    try:
        return math.isinf(float(cell))
    except ValueError:
        return False


def looks_like_number(cell: str) -> bool:
    """Whether a cell holds a number in any notation."""
    if not _NUMBERLIKE.fullmatch(cell):  # sooner for most words
        return False
    return any(notation.number(cell) is not None for notation in _ALL)


def written(number: float, *, single: bool = False) -> str:
    """What a number looks like: a whole one has all its digits; "" for nan.

    Args:
        single: of one that had 32 bits, the digits that those bits mean.
    """
    if math.isnan(number):
        return ""
    if number.is_integer() and abs(number) < EXACT:
        return f"{number:.0f}"
    return str(np.float32(number)) if single else repr(number)


def as_number(cell: str) -> float | None:
    """The finite number that a cell holds in Python's notation, None where it holds none."""
    try:
        number = float(cell)
    except ValueError:
        return None
    # Python reads 1_000 as a number; no table means it so.
    return number if math.isfinite(number) and "_" not in cell else None


def as_numbers(cells: Iterable[str]) -> list[float] | None:
    """The finite numbers that all of `cells` hold, or None: `as_number` of each, but faster."""
    cells = list(cells)
    try:
        numbers = list(map(float, cells))
    except ValueError:
        return None
    return None if "_" in "".join(cells) or not all(map(math.isfinite, numbers)) else numbers


_CURRENCY = "$€£¥₹₩₽₺₫₪฿₴₱¢"
_BEFORE = rf"[~≈±<>≤≥]?\s*(?:[A-Z]{{0,3}}\s*[{_CURRENCY}]|(?:USD|EUR|GBP|CHF|JPY|CNY|INR|CAD|AUD|Rs\.?)\s*)?"
_DIGITS = r"[\d.][\d.,'’\s]*?(?:e[+-]?\d+)?"
_AFTER = rf"\s*(?:[%‰°²³/{_CURRENCY}+]|[^\W\d_])(?:[^\d()]*[^\d()-])?(?:(?<=[mtn])[23])?"
_DRESSED = re.compile(
    rf"(?P<open>\()?\s*(?P<sign>[-+\u2212]?)\s*(?P<before>{_BEFORE})\s*(?P<inner>[-+\u2212]?)"
    rf"(?P<digits>{_DIGITS})(?P<after>{_AFTER})?\s*(?P<trailing>[-\u2212])?\s*(?P<close>\))?"
)
_NO_PLURAL = 2  # letters: the s of so short a unit is a part of it


@dataclass(frozen=True)
class Dressing:
    """What stands before and after the digits of all cells of a column; both empty for accounts' (5) or 5-."""

    before: str
    after: str

    def number(self, cell: str) -> str:
        """The number alone that a cell of the column holds; the cell itself where it is not dressed like this."""
        parts = _parts(cell)
        return parts[1] if parts and parts[0] == self else cell

    def __str__(self) -> str:
        around = [
            f"{what} {where} them"
            for what, where in ((self.before, "before"), (self.after, "after"))
            if what
        ]
        return " and ".join(around) or "the minus of accounts"


_ACCOUNTS = Dressing("", "")  # positive numbers of an account are plain


def dressing_of(cell: str) -> Dressing | None:
    """What stands around the number in a cell; None where nothing does, or where it is no number with a unit."""
    parts = _parts(cell)
    return parts[0] if parts else None


def common_dressing(cells: Collection[str]) -> Dressing | None:
    """What stands around the numbers of all `cells`; of accounts' negative numbers, of those alone."""
    found: set[Dressing | None] = set()
    plain = 0
    for cell in cells:
        is_plain = looks_like_number(cell)
        plain += is_plain
        found.add(_ACCOUNTS if is_plain else dressing_of(cell))
        if len(found) > 1:
            return None
    return None if plain == len(cells) else next(iter(found))


def _parts(cell: str) -> tuple[Dressing, str] | None:
    """(what stands around it, the number) of a dressed cell."""
    if not any(map(str.isdigit, cell)) or (match := _DRESSED.fullmatch(cell)) is None:
        return None
    part = {name: text or "" for name, text in match.groupdict().items()}
    minus = [part[name] in ("-", "\u2212") for name in ("sign", "inner", "trailing")]
    digits = part["digits"].strip()
    around = Dressing(part["before"].strip(), _singular(part["after"].strip()))
    accounts = bool(part["open"] or part["trailing"])
    if bool(part["open"]) != bool(part["close"]) or sum(minus) + bool(part["open"]) > 1:
        return None
    if not looks_like_number(digits) or not (around.before or around.after or accounts):
        return None
    return around, f"-{digits}" if any(minus) or part["open"] else digits


def _singular(unit: str) -> str:
    return unit.removesuffix("s") if len(unit) > _NO_PLURAL else unit
