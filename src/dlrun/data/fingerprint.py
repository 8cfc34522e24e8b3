"""What was in the data of a run: which rows each part has, and a hash of their content.

Hashed is what was read, before anything is fitted or scaled: the same file gives the same fingerprint on
any machine, however it is packed, and whatever its line ends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, Self

import numpy as np

# Numbers of the rows of one part: as drawn, or from a first one on; None for all rows of a part that the
# data bring themselves, as a test file.
Rows = np.ndarray | range | None
Parts = Mapping[str, Rows]  # of train, val and test

PARTS = {"train": "training", "val": "validation", "test": "test"}  # with what to call them

_AT_ONCE = (
    2**21
)  # bytes, few enough to stay in a processor's cache between being gathered and hashed
_WORDS = 2**14  # that are hashed together
_BYTES = 16  # of a hash
_BETWEEN, _MISSING = "\x1f", "\x1e"  # signs that no text is expected to hold


class Indexed(Protocol):
    """(N, ...) values, an array where they are indexed."""

    def __len__(self) -> int:
        """N."""

    def __getitem__(self, at: Any, /) -> Any:
        """Those of a slice or of row numbers."""


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

    def columns(self, columns: Sequence[Indexed], rows: Rows = None) -> Self:
        """Add these rows of columns of 64 bits (N,), as `numbers` adds a matrix of them."""
        self._hash.update(f"{(len(columns),)}".encode())
        count = len(rows) if rows is not None else len(columns[0]) if columns else 0
        size = max(1, _AT_ONCE // (8 * max(1, len(columns))))
        chunk = np.empty((len(columns), size), "<f8")
        joined = [np.empty((size, len(columns)), "<f8") for _ in range(2)]  # taken by turns
        with ThreadPoolExecutor(1) as hashing:  # while the next rows are gathered
            hashed = hashing.submit(lambda: None)
            for start in range(0, count if columns else 0, size):
                part = slice(start, min(start + size, count))
                length = part.stop - start
                at = part if rows is None else as_index(taken(rows, part))
                for values, column in zip(chunk[:, :length], columns, strict=True):
                    gather(column, at, values)
                matrix = joined[start // size % 2][:length]
                np.add(chunk[:, :length].T, 0, out=matrix)  # no difference between 0.0 and -0.0
                hashed.result()
                hashed = hashing.submit(self._hash.update, matrix.data)
        return self

    def words(self, words: Iterable[str | None]) -> Self:
        """Add texts, None where one is missing."""
        cells = iter(_MISSING if word is None else word for word in words)
        return self._joined(iter(lambda: list(islice(cells, _WORDS)), []))

    def coded_words(self, codes: Indexed, kinds: Sequence[str], rows: Rows = None) -> Self:
        """Add these rows of texts by their places in `kinds`, -1 where one is missing, as `words` adds them."""
        words = np.array([*kinds, _MISSING], object)
        return self._joined(words[chunk].tolist() for chunk in _chunks(codes, rows))

    def _joined(self, words: Iterable[list[str]]) -> Self:
        between = ""
        for some in words:
            for start in range(0, len(some), _WORDS):
                joined = between + _BETWEEN.join(some[start : start + _WORDS])
                self._hash.update(joined.encode("utf-8", "surrogatepass"))
                between = _BETWEEN
        self._hash.update(b"\x00")
        return self

    def content(self, content: bytes) -> Self:
        """Add bytes as they are."""
        self._hash.update(content)
        return self

    def __str__(self) -> str:
        return self._hash.hexdigest()


# One width for each kind of number: the same values are the same whatever holds them.
_WIDEST = {"f": "f8", "i": "i8", "u": "u8", "c": "c16"}


def gather(column: Indexed, at: np.ndarray | slice, to: np.ndarray) -> None:
    """Write the values at these rows into `to`."""
    if isinstance(column, np.ndarray) and isinstance(at, np.ndarray) and column.dtype == to.dtype:
        np.take(column, at, out=to, mode="clip")  # without a copy; no row is out of range
    else:
        to[:] = column[at]


def _chunks(values: Indexed, rows: Rows) -> Iterator[np.ndarray]:
    count = len(values) if rows is None else len(rows)
    size = max(1, _AT_ONCE // max(1, values[:1].nbytes))
    for start in range(0, count, size):
        part = slice(start, min(start + size, count))
        yield values[part] if rows is None else values[taken(rows, part)]


def taken(rows: np.ndarray | range, part: slice) -> np.ndarray | slice:
    """The part of `rows` as an index: a slice where they follow each other, which copies nothing."""
    some = rows[part]
    return slice(some.start, some.stop) if isinstance(some, range) else some


def as_index(rows: np.ndarray | slice) -> np.ndarray | slice:
    """Row numbers in the type that NumPy takes by: of another, each column converts them once more."""
    return rows if isinstance(rows, slice) else rows.astype(np.intp, copy=False)


def as_words(words: np.ndarray | Iterable[str | None], rows: Rows) -> list[str | None]:
    """These rows of a column of words."""
    column = np.asarray(words, object)
    return (column if rows is None else column[taken(rows, slice(None))]).tolist()


Majority = int | list[int] | None
Content = Mapping[str, Sequence[Any]]  # of each part, how many rows it has, and their fingerprint


class Raw(Protocol):
    """What every kind of raw data says of itself."""

    @property
    def traits(self) -> Mapping[str, tuple[Any, ...]]:
        """What must not change, by its name for a message: columns, classes, the shape of an input."""

    @property
    def own(self) -> tuple[str, ...]:
        """The parts that the data set has of its own, beside the rows that the others are split from."""

    def __len__(self) -> int:
        """The number of rows that parts are split from."""

    def fingerprint(self, part: str, rows: Rows) -> tuple[int, str]:
        """How many rows a part has and the hash of their content, `rows` being its row numbers.

        Where there are several hashes with + between them, the first ones are of less, and enough.
        """


@dataclass(frozen=True)
class Origin:
    """Where the parts of a data set come from.

    Attributes:
        count: rows that the parts are split from.
        parts: the row numbers of each part.
        content: how many rows each part has, and their fingerprint.
        majority: the number of the class that the training part has most of, or of that of each of several targets;
            None where there are no classes.
    """

    count: int
    parts: Parts
    content: Mapping[str, tuple[int, str]]
    majority: Majority = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values and a tensor, as a checkpoint may hold them."""
        import torch  # what reads data does without it

        drawn = [rows for rows in self.parts.values() if isinstance(rows, np.ndarray)]
        return {
            "count": self.count,
            "parts": {name: _plain(rows) for name, rows in self.parts.items()},
            # One tensor for all parts: each takes as long to write as a layer of a small model.
            "drawn": torch.from_numpy(np.concatenate(drawn)) if drawn else None,
            "content": {name: list(found) for name, found in self.content.items()},
            "majority": self.majority,
        }


def origin_of(raw: Raw, parts: Parts) -> Origin:
    """The origin of these parts of `raw`."""
    compact = {name: _compact(rows) for name, rows in parts.items()}
    content = {name: raw.fingerprint(name, rows) for name, rows in compact.items()}
    return Origin(len(raw), compact, content)


def origin_from(plain: Mapping[str, Any]) -> Origin:
    """What `Origin.to_dict` gave, as an object again.

    Raises:
        KeyError, TypeError: it lacks values.
    """
    drawn, parts = plain["drawn"], dict[str, Rows]()
    for name in PARTS:
        rows = plain["parts"][name]
        if isinstance(rows, int):
            parts[name], drawn = np.asarray(drawn[:rows].numpy()), drawn[rows:]
        else:
            parts[name] = None if rows is None else range(*map(int, rows))
    content = {name: (int(rows), str(found)) for name, (rows, found) in plain["content"].items()}
    return Origin(int(plain["count"]), parts, content, plain["majority"])


def _compact(rows: Rows) -> Rows:
    return rows.astype(np.int32) if isinstance(rows, np.ndarray) else rows


def _plain(rows: Rows) -> Any:
    """The bounds of consecutive row numbers; of shuffled ones, how many there are."""
    if isinstance(rows, range):
        return [rows.start, rows.stop]
    return None if rows is None else len(rows)
