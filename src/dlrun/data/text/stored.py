"""Texts larger than memory: encoded once into files of the cache, and read from there piece by piece. No torch here."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dlrun.data.cache import Source, cache_folder, entry
from dlrun.errors import ConfigError, RunFailed, note
from dlrun.system.hardware import free_memory

_LAYOUT = 1  # of the files: entries of another are not used
_PACKED_TIMES = 4  # that what is packed unfolds to, about
_PACKED = (".gz", ".zst")


def exceeds(files: Sequence[Path], memory_limit: float | None, *, times: int) -> bool:
    """Whether what files hold takes more memory than `memory_limit` GiB; None is half of what is free.

    Args:
        times: how many bytes of memory each byte of a file takes.
    """
    size = sum(
        file.stat().st_size * (_PACKED_TIMES ** (file.suffix.lower() in _PACKED)) for file in files
    )
    allowed = free_memory() / 2 if memory_limit is None else memory_limit * 2**30
    return size * times > allowed


def from_cache(
    what: Path, files: Sequence[Path], settings: Any, build: Callable[[Path], None]
) -> Path:
    """The folder of the cache in which `build` has written what is made of these files, in `what`, by these settings.

    Raises:
        ConfigError: the cache cannot be written, or a file was changed meanwhile.
    """
    sources = [Source.of(file) for file in files]
    told = [_LAYOUT, settings, *((str(one.path), one.size, one.changed) for one in sources)]
    stem = re.sub(r"\W+", "-", what.stem)[:40].strip("-") or "text"
    name = f"{stem}-{hashlib.blake2b(repr(told).encode(), digest_size=8).hexdigest()}"

    def checked(folder: Path) -> None:
        note(
            f"{what} exceeds dataset.memory_limit: it is encoded once, into the cache {cache_folder()}; "
            "`dlrun cache` lists it"
        )
        build(folder)
        if not all(source.is_current for source in sources):
            raise ConfigError(f"{what} was changed while it was read: start again")

    return entry(name, sources, checked).path


@contextmanager
def _in_cache(path: Path) -> Iterator[None]:
    """Within it, a file of the cache is read.

    Raises:
        RunFailed: it is gone.
    """
    try:
        yield
    except OSError as error:
        raise RunFailed(
            f"{path.parent}, the part of the cache that the data are read from, is gone: resume the run, which makes "
            "it anew"
        ) from error


def read_array(path: Path, kind: Any, start: int, stop: int) -> np.ndarray:
    """The numbers from `start` to `stop` in a file; read, not mapped, as what is mapped counts as the process's memory.

    Raises:
        RunFailed: the file is gone.
    """
    size = np.dtype(kind).itemsize
    with _in_cache(path):
        return np.fromfile(path, kind, count=stop - start, offset=start * size)


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
        folder = from_cache(file, [file], encoding, lambda folder: _write_text(folder, pieces))
        with _in_cache(folder / _CHARACTERS):
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
        """The numbers of the characters from `start` to `stop`."""
        return read_array(self.folder / _NUMBERS, smallest(len(self.characters)), start, stop)


def _write_text(folder: Path, pieces: Callable[[], Iterator[str]]) -> None:
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


CODE_POINTS = 0x110000  # that there are


def code_points(text: str) -> np.ndarray:
    """(N,) uint32, the code points of the characters of a text."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def smallest(largest: int) -> type[np.integer[Any]]:
    """The type of fewest bytes that torch computes with and that holds numbers up to `largest`."""
    types: tuple[type[np.integer[Any]], ...] = (np.uint8, np.int16, np.int32)
    return next(kind for kind in types if largest <= np.iinfo(kind).max)
