"""Images larger than memory: decoded once into a file of the cache, and read from there. No torch here."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dlrun.data.cache import Source, cache_folder, entry
from dlrun.data.images.archive import file_of
from dlrun.data.images.image_format import ImageFormat
from dlrun.errors import ConfigError, RunFailed, note
from dlrun.system.terminal import itself

# (rows of each batch) -> the pixels of each in turn
Decode = Callable[[Sequence[list[int]]], Iterator[np.ndarray]]
_LAYOUT = 1  # of the file; a change makes entries of before unused
_PIXELS = "pixels"
_SOURCES = 1000  # files that an entry names, of more some in even steps
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
        pixels = np.empty((len(rows), form.channels, form.height, form.width), form.dtype)
        places = self.rows[np.asarray(rows, np.int64)]
        ends = np.flatnonzero(np.diff(places, append=-1) != 1) + 1
        try:
            # Read, not mapped: what is mapped counts as memory of the process for as long as there is any.
            with self.file.open("rb") as file:
                for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True):
                    file.seek(int(places[start]) * pixels[0].nbytes)
                    if file.readinto(pixels[start:end].data) < pixels[start:end].nbytes:
                        raise OSError(errno.EIO, "it has been cut off")
        except OSError as error:
            raise RunFailed(
                f"{self.file.parent}, which holds the decoded images, cannot be read ({error.strerror}): resume the "
                "run, which decodes them into the cache once more"
            ) from error
        return pixels

    def batches(self, rows: Sequence[list[int]]) -> Iterator[np.ndarray]:
        """The pixels of each list of rows, each read by a thread while the one before it is used."""
        with ThreadPoolExecutor(1) as reader:
            coming = [reader.submit(self.read, some) for some in rows[:1]]
            for following in [*rows[1:], None]:
                batch = coming.pop().result()
                if following is not None:
                    coming.append(reader.submit(self.read, following))
                yield batch


def cached_pixels(paths: Sequence[str], format: ImageFormat, decode: Decode) -> CachedPixels:
    """The pixels of these files, from the cache. The first time `decode` gives them, for each list of rows in turn.

    Raises:
        ConfigError: a file that is no image, or that is changed while it is read; no space in the cache.
    """
    folder = Path(os.path.commonpath(paths))
    files = dict.fromkeys(file_of(Path(path)) for path in paths)
    sources = list(map(Source.of, files))
    stem = re.sub(r"[^A-Za-z0-9]+", "-", folder.name).strip("-")[:40] or "images"

    def build(place: Path) -> None:
        note(
            f"the images in {folder} exceed dataset.memory_limit and are decoded once, into the cache "
            f"{cache_folder()}; `dlrun cache` lists it"
        )
        _write(place / _PIXELS, len(paths), format, decode)
        if not all(source.is_current for source in sources):
            raise ConfigError(
                f"images in {folder} have been changed while they were read: begin again"
            )

    shown = sources[:: -(-len(sources) // _SOURCES)]
    name = f"{stem}-{_fingerprint(paths, format, sources)}"
    found = entry(name, shown, build)
    return CachedPixels(found.path / _PIXELS, format, np.arange(len(paths)))


def _fingerprint(paths: Sequence[str], format: ImageFormat, sources: Sequence[Source]) -> str:
    """Of the names, sizes and times of change of all files, and of how they are read."""
    found = hashlib.blake2b(repr((_LAYOUT, format)).encode(), digest_size=8)
    for path in paths:
        found.update(f"{os.path.abspath(path)}\0".encode(errors="surrogateescape"))
    for source in sources:
        found.update(f"{source.size} {source.changed}\n".encode())
    return found.hexdigest()


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
