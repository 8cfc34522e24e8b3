"""What stands around the numbers of a column: a unit, a currency, the parentheses of accounts. No torch here."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from dlrun.data.tables.notation import looks_like_number

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
