"""Cells of CSV files that a spreadsheet opens: text, never a formula that it would compute."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

_BEGIN = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def cells(row: Iterable[Any], *, raw: bool = False) -> list[Any]:
    """The row with an apostrophe before each text that a spreadsheet would take for a formula; `raw`: as it is."""
    return list(row) if raw else [_cell(value) for value in row]


def _cell(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(_BEGIN):
        return value
    with suppress(ValueError):
        float(value)  # a negative number, say
        return value
    return f"'{value}"
