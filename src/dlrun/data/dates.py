"""Whether the cells of a column are dates or times of day, in any of the usual forms. No torch here."""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import islice

_MOST = 0.9  # share of the different cells
_SOME = 50  # cells that are looked at first
_COMPACT = 5  # different numbers, from which on it is no chance that all of them read as dates

_YEAR, _MONTH, _DAY = r"[12]\d{3}", r"(?:0?[1-9]|1[0-2])", r"(?:0?[1-9]|[12]\d|3[01])"
_NAME = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_NTH = rf"{_DAY}(?:st|nd|rd|th)?"
_SHORT = rf"(?:{_YEAR}|'?\d\d)"  # a year in full or by its last digits
_DATES = (
    rf"{_YEAR}([-/.]){_MONTH}(?:\1{_DAY})?",
    rf"(?:{_DAY}([-/.]){_MONTH}\2|{_MONTH}([-/.]){_DAY}\3){_SHORT}",
    rf"{_MONTH}[-/]{_YEAR}",
    rf"{_NTH}[-/ .]*{_NAME}(?:[-/ .,]*{_SHORT})?",
    rf"{_NAME}[-/ ]*{_NTH},?[-/ ]+{_SHORT}",
    rf"{_NAME}[-/ ,]*{_SHORT}",
    rf"{_YEAR}[-/ ]?{_NAME}(?:[-/ ]?{_DAY})?",
    rf"{_YEAR}[- ]?Q[1-4]|Q[1-4][- ]?{_YEAR}|{_YEAR}-?W[0-5]\d(?:-[1-7])?",
    r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])",
)
_CLOCK = (
    r"(?:[01]?\d|2[0-4]):?[0-5]\d(?::?[0-6]\d(?:[.,]\d+)?)?(?:\s*[ap]\.?m\.?)?"
    r"(?:\s*(?:z|utc|gmt|[a-z]{3,4}|[+-]\d\d:?\d\d))?"
)
_WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+)?"
_DATE = re.compile(rf"{_WEEKDAY}(?:{'|'.join(_DATES)})(?:(?:t|,?\s+){_CLOCK})?", re.IGNORECASE)
_TIME = re.compile(
    r"(?:[01]?\d|2[0-4]):[0-5]\d(?::[0-6]\d(?:[.,]\d+)?)?(?:\s*[ap]\.?m\.?)?", re.IGNORECASE
)
_NUMBER = re.compile(
    r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:(?:0[1-9]|[12]\d|3[01])(?:(?:[01]\d|2[0-3])[0-5]\d(?:[0-5]\d)?)?)?"
)


def is_date(cell: str) -> bool:
    """Whether a cell is a date, with a time of day or not, or a time of day."""
    return bool(_DATE.fullmatch(cell) or _TIME.fullmatch(cell))


def are_dates(cells: Collection[str]) -> bool:
    """Whether most of the different `cells` of a column that are not all numbers are dates or times."""
    some = list(islice(cells, _SOME))
    dates = any(map(is_date, some))  # or there is no need to look at all
    return dates and sum(map(is_date, cells)) >= _MOST * len(cells)


def are_compact_dates(cells: Collection[str]) -> bool:
    """Whether the different `cells` of a column of numbers are all dates, as in 20240131, or months, as in 202401."""
    return len(cells) >= _COMPACT and all(map(_NUMBER.fullmatch, cells))
