"""Words that stand for a value that is not there, in capitals or not. No torch here."""

from __future__ import annotations

from collections.abc import Iterable


def missing_among(cells: Iterable[str], words: Iterable[object]) -> set[str]:
    """Those of `cells` that are one of the `words` of `dataset.missing`: NA, na and Na are the same of them."""
    known = {str(word).casefold() for word in words}
    longest = max(map(len, known), default=0)
    return {cell for cell in {*cells} if len(cell) <= longest and cell.casefold() in known}
