"""Words that stand for a value that is not there, in capitals or not. No torch here."""

from __future__ import annotations

from collections.abc import Container, Iterable


class MissingWords(Container[str]):
    """The words of `dataset.missing`: NA, na and Na are the same of them."""

    def __init__(self, words: Iterable[str]) -> None:
        self._words = {word.casefold() for word in words}
        self._longest = max(map(len, self._words), default=0)

    def __contains__(self, cell: object) -> bool:
        # Few cells are as short as these words, and lengths are compared sooner than words.
        return (
            isinstance(cell, str) and len(cell) <= self._longest and cell.casefold() in self._words
        )
