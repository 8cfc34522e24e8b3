"""A text as a row of characters, for models that predict the next one. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from dlrun.config.schema import Count
from dlrun.data.files import locate_file, read_text
from dlrun.data.fingerprint import Fingerprint, Rows

_AT_ONCE = 2**20  # characters that are hashed together


@dataclass(frozen=True)
class Characters:
    """One text, to be read from its beginning to its end.

    Attributes:
        window: characters a stream is read between two updates of the weights.
        source: where it is from, for errors.
    """

    text: str
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
        for start in range(rows.start, rows.stop, _AT_ONCE):
            some = self.text[start : min(start + _AT_ONCE, rows.stop)]
            found.content(some.encode("utf-8", "surrogatepass"))
        return len(rows), str(found)


def char_lm(*, path: str, encoding: str, window: Count) -> Characters:
    """The characters of a text file, packed by gzip or not.

    Raises:
        ConfigError: there is no such file, it is empty or not in this encoding.
    """
    return Characters(read_text(locate_file("dataset.path", path), encoding), window, source=path)
