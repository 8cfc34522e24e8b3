"""Images larger than memory: decoded once into a file of the cache, and read from there. No torch here."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from dlrun.data.cache import made_once
from dlrun.data.images.archive import file_of
from dlrun.data.images.image_format import ImageFormat
from dlrun.data.stored import read_ahead, read_rows
from dlrun.system.terminal import itself

# (rows of each batch) -> the pixels of each in turn
Decode = Callable[[Sequence[list[int]]], Iterator[np.ndarray]]
_LAYOUT = 1  # of the file; a change makes entries of before unused
_PIXELS = "pixels"
_BATCH, _BYTES = 256, 2**24  # images that are decoded together, at most, and their bytes


@dataclass(frozen=True)
class CachedPixels:
    """The pixels of N images in a file, each (channels, height, width) from 0 to 255.

    Attributes:
        rows: (N,) the place of each in the file.
    """

    file: Path
    format: ImageFormat
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, rows: Sequence[int]) -> np.ndarray:
        """The pixels of these images, (N, channels, height, width).

        Raises:
            RunFailed: the file has been deleted.
        """
        form = self.format
        shape = (form.channels, form.height, form.width)
        return read_rows(self.file, form.dtype, shape, self.rows[np.asarray(rows, np.int64)])

    def batches(self, rows: Sequence[list[int]]) -> Iterator[np.ndarray]:
        """The pixels of each list of rows, each read while the one before it is used."""
        return read_ahead(map(self.read, rows))


def cached_pixels(paths: Sequence[str], format: ImageFormat, decode: Decode) -> CachedPixels:
    """The pixels of these files, from the cache. The first time `decode` gives them, for each list of rows in turn.

    Raises:
        ConfigError: a file that is no image, or that is changed while it is read; no space in the cache.
    """
    files = dict.fromkeys(file_of(Path(path)) for path in paths)
    found = made_once(
        Path(os.path.commonpath(paths)),
        files,
        chain((_LAYOUT, format), map(os.path.abspath, paths)),
        lambda place: _write(place / _PIXELS, len(paths), format, decode),
        act="decoded",
        by_content=False,  # of some it would be all of the file, of which there may be millions
    )
    return CachedPixels(found / _PIXELS, format, np.arange(len(paths)))


def _write(
    place: Path,
    count: int,
    format: ImageFormat,
    decode: Decode,
) -> None:
    size = format.channels * format.height * format.width * np.dtype(format.dtype).itemsize
    many = max(1, min(_BATCH, _BYTES // size))
    rows = [list(range(start, min(start + many, count))) for start in range(0, count, many)]
    done = 0
    with place.open("wb") as file:
        for pixels in decode(rows):
            file.write(np.ascontiguousarray(pixels).data)
            done += len(pixels)
            _show(f"{done:,} of {count:,} images decoded")
    _show("")


def _show(progress: str) -> None:
    """Write the line of progress in place of the one before, on a terminal alone."""
    if sys.stderr is not None and sys.stderr.isatty():
        stream = itself(sys.stderr)
        stream.write(f"\r\x1b[K{progress}")
        stream.flush()
