"""A text as a row of characters, for models that predict the next one. No torch here."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from dlrun.config.schema import Count, Positive
from dlrun.data.files import locate_file
from dlrun.data.fingerprint import Fingerprint, Rows
from dlrun.data.text.stored import StoredText, around, exceeds
from dlrun.data.text_files import read_text, text_pieces

_AT_ONCE = 2**20  # characters that are looked at together
_TIMES = 3  # times its bytes of memory are what a text takes: as it is read, as text, as numbers


@dataclass(frozen=True)
class Characters:
    """One text, to be read from its beginning to its end.

    Attributes:
        window: characters a stream is read between two updates of the weights.
        source: where it is from, for errors.
    """

    text: str | StoredText
    window: int
    source: str = "the text"
    traits: ClassVar[dict[str, tuple[Any, ...]]] = {}  # as of `Raw`: a text has none
    own: ClassVar[tuple[str, ...]] = ()

    def __len__(self) -> int:
        """Characters."""
        return len(self.text)

    def fingerprint(self, part: str, rows: Rows) -> tuple[int, str]:
        """As `Raw.fingerprint`, where rows are characters."""
        assert isinstance(rows, range), "a text is cut where it stands"
        found = Fingerprint()
        for some in self.pieces(rows):
            found.content(some.encode("utf-8", "surrogatepass"))
        return len(rows), str(found)

    def pieces(self, rows: range) -> Iterator[str]:
        """These characters, some at a time; after the end of the text comes its beginning again."""
        for first, last in around(rows.start, rows.stop, len(self.text)):
            for start in range(first, last, _AT_ONCE):
                yield self.text[start : min(start + _AT_ONCE, last)]


def char_lm(
    *, path: str, encoding: str, window: Count, memory_limit: Positive | None
) -> Characters:
    """The characters of a text file, packed by gzip or not.

    Args:
        memory_limit: GiB; a text that takes more is read from files of the cache; null: half of what is free.

    Raises:
        ConfigError: there is no such file, it is empty or not in this encoding.
    """
    file = locate_file("dataset.path", path)
    return Characters(read_characters(file, encoding, memory_limit), window, source=path)


def read_characters(file: Path, encoding: str, memory_limit: float | None) -> str | StoredText:
    """The text of a file, from the cache where it takes more memory than `memory_limit`, as of `exceeds`."""
    if exceeds([file], memory_limit, times=_TIMES):
        pieces = partial(text_pieces, file, encoding, unfolds_to=math.inf)
        return StoredText.of(file, encoding, pieces)
    return read_text(file, encoding)
