"""Whether the cells of a column are dates or times of day, in any of the forms of `times`. No torch here."""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import islice

from dlrun.data.times import compact, dated

_MOST = 0.9  # share of the different cells
_SOME = 50  # cells that are looked at first
_COMPACT = 5  # different numbers, from which on it is no chance that all of them read as dates
_TIME = re.compile(
    r"(?:[01]?\d|2[0-4]):[0-5]\d(?::[0-6]\d(?:[.,]\d+)?)?(?:\s*[ap]\.?m\.?)?", re.IGNORECASE
)


def is_date(cell: str) -> bool:
    """Whether a cell is a date, with a time of day or not, or a time of day."""
    return bool(dated().fullmatch(cell) or _TIME.fullmatch(cell))


def are_dates(cells: Collection[str]) -> bool:
    """Whether most of the different `cells` of a column that are not all numbers are dates or times."""
    some = list(islice(cells, _SOME))
    dates = any(map(is_date, some))  # or there is no need to look at all
    return dates and sum(map(is_date, cells)) >= _MOST * len(cells)


def are_compact_dates(cells: Collection[str]) -> bool:
    """Whether the different `cells` of a column of numbers are all dates, as in 20240131, or months, as in 202401."""
    return len(cells) >= _COMPACT and all(map(compact().fullmatch, cells))
