"""What tells that data are still what they were: a hash of the content of some of their rows. No torch here.

Hashed is what was read, before anything is fitted or scaled: the same file gives the same fingerprint on
any machine, however it is packed, and whatever its line ends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Self

import numpy as np

# Numbers of the rows of one part: as drawn, or from a first one on; None for all rows of a part that the
# data bring themselves, as a test file.
Rows = np.ndarray | range | None
Parts = Mapping[str, Rows]  # of train, val and test

PARTS = {"train": "training", "val": "validation", "test": "test"}  # with what to call them
# What folders of parts are called, in any case.
PART_NAMES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip

_AT_ONCE = (
    2**21
)  # bytes, few enough to stay in a processor's cache between being gathered and hashed
_BYTES = 16  # of a hash
_BETWEEN, _MISSING = "\x1f", "\x1e"  # signs that no text is expected to hold


class Fingerprint:
    """A hash that grows with what it is given; the order counts."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=_BYTES)

    def numbers(self, values: np.ndarray, rows: Rows = None, *, computed: bool = False) -> Self:
        """Add these rows of `values` (N, ...); None is all of them.

        `computed`: they are not read but worked out, so that their last bits may be the machine's
        own; of numbers of 64 bits those beyond the precision of 32 then do not count.
        """
        kind = "f4" if computed and values.dtype.kind == "f" else _WIDEST.get(values.dtype.kind)
        self._hash.update(f"{values.shape[1:]}".encode())
        for chunk in _chunks(values, rows):
            if values.dtype.itemsize > 1 and kind:
                with np.errstate(over="ignore"):  # what is too large for 32 bits is infinite
                    chunk = chunk.astype(f"<{kind}") + 0  # no difference between 0.0 and -0.0
            self._hash.update(np.ascontiguousarray(chunk).data)
        return self

    def words(self, words: Iterable[str | None]) -> Self:
        """Add texts, None where one is missing."""
        joined = _BETWEEN.join([_MISSING if word is None else word for word in words])
        self._hash.update(joined.encode("utf-8", "surrogatepass") + b"\x00")
        return self

    def content(self, content: bytes) -> Self:
        """Add bytes as they are."""
        self._hash.update(content)
        return self

    def __str__(self) -> str:
        return self._hash.hexdigest()


# One width for each kind of number: the same values are the same whatever holds them.
_WIDEST = {"f": "f8", "i": "i8", "u": "u8", "c": "c16"}


def _chunks(values: np.ndarray, rows: Rows) -> Iterator[np.ndarray]:
    count = len(values) if rows is None else len(rows)
    size = max(1, _AT_ONCE // max(1, values[:1].nbytes))
    for start in range(0, count, size):
        part = slice(start, min(start + size, count))
        yield values[part] if rows is None else values[taken(rows, part)]


def taken(rows: np.ndarray | range, part: slice) -> np.ndarray | slice:
    """The part of `rows` as an index: a slice where they follow each other, which copies nothing."""
    some = rows[part]
    return slice(some.start, some.stop) if isinstance(some, range) else some


def as_words(words: np.ndarray | Iterable[str | None], rows: Rows) -> list[str | None]:
    """These rows of a column of words."""
    column = np.asarray(words, object)
    return (column if rows is None else column[taken(rows, slice(None))]).tolist()
