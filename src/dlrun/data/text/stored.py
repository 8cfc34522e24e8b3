"""Texts larger than memory: encoded once into files of the cache, and read from there piece by piece. No torch here."""

from __future__ import annotations

import errno
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dlrun.data.cache import made_once
from dlrun.data.packed import unpacked_size
from dlrun.data.stored import file_of_cache, read_array
from dlrun.system.hardware import allowed_memory

LAYOUT = 1  # of the files: entries of another are not used
_DENSE = 4  # times what is wanted, up to which all between is read
_PACKED = (".gz", ".zst")
_TIMES = {".parquet": 4, ".xlsx": 4}  # times its bytes is what such a file holds, about


def exceeds(files: Sequence[Path], memory_limit: float | None, *, times: int) -> bool:
    """Whether what files hold takes more memory than `memory_limit` GiB; None is half of what is free.

    Args:
        times: how many bytes of memory each byte of a file takes.
    """
    return sum(map(_size, files)) * times > allowed_memory(memory_limit, 0.5)


def _size(file: Path) -> float:
    """About how many bytes a file holds."""
    form = file.suffix.lower()
    try:
        return unpacked_size(file) if form in _PACKED else file.stat().st_size * _TIMES.get(form, 1)
    except (OSError, EOFError, zlib.error):  # told by what reads it
        return 0.0


@dataclass(frozen=True)
class RaggedFile:
    """Pieces of a file of numbers, read where they are asked for."""

    path: Path
    kind: Any

    def taken(self, begins: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """The numbers of N pieces, one after the other, by where each begins and how many numbers it has.

        Raises:
            RunFailed: the file is gone.
        """
        found, ends = np.empty(int(lengths.sum()), self.kind), lengths.cumsum()
        if not len(found):
            return found
        low, high = int(begins.min()), int((begins + lengths).max())
        if high - low <= _DENSE * len(found):
            span = read_array(self.path, self.kind, low, high)
            if (begins - low == ends - lengths).all():
                return span  # one after the other
            return span[np.repeat(begins - low - (ends - lengths), lengths) + np.arange(len(found))]
        order, size = begins.argsort(), found.itemsize
        view = found.data.cast("B")
        places = zip(
            (begins[order] * size).tolist(),
            ((ends - lengths)[order] * size).tolist(),
            (ends[order] * size).tolist(),
            strict=True,
        )
        with file_of_cache(self.path), self.path.open("rb", buffering=0) as file:
            for place, start, stop in places:
                file.seek(place)
                if file.readinto(view[start:stop]) != stop - start:
                    raise OSError(errno.EIO, "it has been cut off")
        return found


def in_budget(sizes: np.ndarray, budget: int, rows: int) -> Iterator[slice]:
    """Slices of at most so many rows whose `sizes` sum up to the budget at most; one row is always in."""
    ends, start = sizes.cumsum(), 0
    while start < len(sizes):
        before = int(ends[start - 1]) if start else 0
        stop = int(np.searchsorted(ends, before + budget, "right"))
        stop = max(start + 1, min(stop, start + rows))
        yield slice(start, stop)
        start = stop


_TEXTS, _SIZES, _TOKENS, _COUNTS = "texts", "sizes", "tokens", "counts"  # files of an entry
_LABELS, _ABOUT = "labels", "texts.json"
_MOST_BYTES = 4  # of a character
_BUDGET = 2**22  # bytes of texts that are read at a time


@dataclass(frozen=True)
class StoredTexts:
    """Texts in a folder of the cache, read where they are iterated over or indexed.

    Attributes:
        rows: (N,) which texts of the folder are meant.
    """

    folder: Path
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> str:
        return next(iter(self.take(self.rows[[row]])))

    def __iter__(self) -> Iterator[str]:
        sizes = self._sizes()
        begins = sizes.cumsum() - sizes
        begins, sizes = begins[self.rows], sizes[self.rows]
        texts = RaggedFile(self.folder / _TEXTS, np.uint8)
        for some in in_budget(sizes, _BUDGET, len(sizes)):
            content, end = texts.taken(begins[some], sizes[some]).tobytes(), 0
            for size in sizes[some].tolist():
                yield content[end : end + size].decode("utf-8", "surrogatepass")
                end += size

    def take(self, rows: np.ndarray) -> StoredTexts:
        """Those with these numbers in the folder."""
        return StoredTexts(self.folder, rows)

    def empty(self) -> list[int]:
        """The rows without a text."""
        return np.flatnonzero(self._sizes()[self.rows] == 0).tolist()

    def short(self, characters: int) -> StoredTexts:
        """Those of at most so many characters, and perhaps longer ones."""
        return self.take(self.rows[self._sizes()[self.rows] <= characters * _MOST_BYTES])

    def _sizes(self) -> np.ndarray:
        return read_array(self.folder / _SIZES, np.uint32, 0, -1).astype(np.int64)

    @property
    def tokens(self) -> tuple[RaggedFile, np.ndarray, list[str]]:
        """Of all texts of the folder, the codes of the tokens, how many each has, and what the codes stand for."""
        counts = read_array(self.folder / _COUNTS, np.uint32, 0, -1).astype(np.int64)
        return (
            RaggedFile(self.folder / _TOKENS, np.int32),
            counts,
            about_texts(self.folder)["words"],
        )


def about_texts(folder: Path) -> dict[str, Any]:
    """What `TextWriter` has written about the texts of a folder."""
    with file_of_cache(folder / _ABOUT):
        about: dict[str, Any] = json.loads((folder / _ABOUT).read_text())
    return about


def stored_labels(folder: Path, rows: np.ndarray) -> np.ndarray:
    """The codes of the labels of these texts."""
    return read_array(folder / _LABELS, np.int32, 0, -1)[rows]


class TextWriter(ExitStack):
    """Writes texts into a folder of the cache, with their tokens and labels as codes."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        names = (_TEXTS, _SIZES, _TOKENS, _COUNTS, _LABELS)
        self._open = {name: self.enter_context((folder / name).open("wb")) for name in names}

    def add(
        self, texts: Sequence[str], tokens: np.ndarray, counts: np.ndarray, labels: np.ndarray
    ) -> None:
        """More texts: their tokens, one after the other, how many each has, and their labels."""
        content = [text.encode("utf-8", "surrogatepass") for text in texts]
        sizes = np.fromiter(map(len, content), np.uint32, len(content))
        self._open[_TEXTS].write(b"".join(content))
        columns = {_SIZES: sizes, _TOKENS: tokens, _COUNTS: counts.astype(np.uint32)}
        for name, values in {**columns, _LABELS: labels.astype(np.int32)}.items():
            self._open[name].write(np.ascontiguousarray(values).data)

    def describe(self, about: Mapping[str, Any]) -> None:
        """What else is to be known of them all."""
        (self._folder / _ABOUT).write_text(json.dumps(about))


_NUMBERS, _CHARACTERS = "numbers", "characters.json"
_AT_ONCE = 2**22  # characters


@dataclass(frozen=True)
class StoredText:
    """A text in a folder of the cache; it stands where a text would: it has a length, and its slices are texts.

    Attributes:
        characters: its different characters; in the file each is the number of its place here.
    """

    folder: Path
    characters: str
    length: int

    @classmethod
    def of(cls, file: Path, encoding: str, pieces: Callable[[], Iterator[str]]) -> StoredText:
        """The text of a file. The first time it is read twice: for its characters, and to number them."""
        settings = (LAYOUT, encoding)
        folder = made_once(file, [file], settings, partial(_write_text, pieces), act="encoded")
        with file_of_cache(folder / _CHARACTERS):
            about = json.loads((folder / _CHARACTERS).read_text())
        return cls(folder, about["characters"], about["length"])

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, part: slice) -> str:
        start, stop, _ = part.indices(self.length)
        points, numbers = code_points(self.characters), self.numbers(start, stop)
        if self.characters.isascii():
            return points.astype(np.uint8)[numbers].tobytes().decode("ascii")
        return points[numbers].tobytes().decode("utf-32-le", "surrogatepass")

    def distinct(self, rows: range) -> str:
        """The different characters among these, in the order of their code points."""
        seen = np.zeros(len(self.characters), bool)
        for start in range(rows.start, rows.stop, _AT_ONCE):
            seen[self.numbers(start, min(start + _AT_ONCE, rows.stop))] = True
        return "".join(self.characters[at] for at in np.flatnonzero(seen).tolist())

    def numbers(self, start: int, stop: int) -> np.ndarray:
        """The numbers of the characters from `start` to `stop`, which may be `around` the end."""
        kind, file = smallest(len(self.characters)), self.folder / _NUMBERS
        found = [read_array(file, kind, *part) for part in around(start, stop, self.length)]
        return found[0] if len(found) == 1 else np.concatenate(found)


def _write_text(pieces: Callable[[], Iterator[str]], folder: Path) -> None:
    seen, length = np.zeros(CODE_POINTS, bool), 0
    for text in pieces():
        seen[code_points(text)] = True
        length += len(text)
    points = np.flatnonzero(seen)
    number_of = np.zeros(CODE_POINTS, smallest(len(points)))
    number_of[points] = np.arange(len(points))
    with (folder / _NUMBERS).open("wb") as file:
        for text in pieces():
            file.write(number_of[code_points(text)].data)
    about = {"characters": "".join(map(chr, points.tolist())), "length": length}
    (folder / _CHARACTERS).write_text(json.dumps(about))


def around(start: int, stop: int, size: int) -> list[tuple[int, int]]:
    """Where the characters from `start` to `stop` are in a text of `size`: after its end comes its beginning again."""
    if stop <= size:
        return [(start, stop)]
    if start >= size:
        return [(start - size, stop - size)]
    return [(start, size), (0, stop - size)]


CODE_POINTS = 0x110000  # that there are


def code_points(text: str) -> np.ndarray:
    """(N,) the code points of the characters of a text: uint8 of one in ASCII, uint32 of another."""
    if text.isascii():
        return np.frombuffer(text.encode(), np.uint8)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def smallest(largest: int) -> type[np.integer[Any]]:
    """The type of fewest bytes that torch computes with and that holds numbers up to `largest`."""
    types: tuple[type[np.integer[Any]], ...] = (np.uint8, np.int16, np.int32)
    return next(kind for kind in types if largest <= np.iinfo(kind).max)
