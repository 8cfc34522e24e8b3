"""Arrays in files of the cache, of which some rows are read where they are needed. No torch here."""

from __future__ import annotations

import errno
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dlrun.errors import RunFailed

_AT_ONCE = 2**23  # bytes that are read at a time
_NEAR = 2**12  # bytes between two rows, up to which all between is read
_PIECE = 2**11  # bytes, from which on a piece is worth a read of its own

T = TypeVar("T")


@contextmanager
def file_of_cache(path: Path) -> Iterator[None]:
    """Within it, `path` is read.

    Raises:
        RunFailed: it cannot be read, most often as its folder has been deleted.
    """
    try:
        yield
    except OSError as error:
        raise RunFailed(
            f"{path.parent}, which holds the data of the run in the cache, cannot be read ({error.strerror}): resume "
            "the run, which writes it once more"
        ) from error


def read_array(path: Path, kind: Any, start: int, stop: int) -> np.ndarray:
    """The numbers from `start` to `stop` in a file, -1 for its end.

    Raises:
        RunFailed: the file cannot be read.
    """
    size = np.dtype(kind).itemsize
    with file_of_cache(path):
        count = stop if stop < 0 else max(0, stop - start)
        # Read, not mapped: what is mapped counts as memory of the process for as long as there is any.
        return np.fromfile(path, kind, count=count, offset=start * size)


def read_rows(path: Path, kind: Any, shape: tuple[int, ...], rows: np.ndarray) -> np.ndarray:
    """These rows of an array (N, *shape) in a file, read in as few pieces as they lie in.

    Raises:
        RunFailed: the file cannot be read, or is too short.
    """
    found = np.empty((len(rows), *shape), kind)
    if not found.size:
        return found
    size = found[0].nbytes
    with file_of_cache(path):
        if path.stat().st_size < (int(rows.max()) + 1) * size:
            raise OSError(errno.EIO, "it has been cut off")
        many = max(1, _AT_ONCE // size)
        for start in range(0, len(rows), many):
            _gather(path, rows[start : start + many], found[start : start + many])
    return found


def _gather(path: Path, rows: np.ndarray, found: np.ndarray) -> None:
    size, width = found[0].nbytes, math.prod(found.shape[1:])
    near = max(1, _NEAR // size)
    bounds = [0, *(np.flatnonzero(np.abs(np.diff(rows)) > near) + 1).tolist(), len(rows)]
    if found.nbytes < _PIECE * (len(bounds) - 2):
        whole = np.memmap(path, found.dtype, "r")
        found[:] = whole[: len(whole) // width * width].reshape(-1, *found.shape[1:])[rows]
        return
    for begin, end in pairwise(bounds):
        some = rows[begin:end]
        low, high = int(some.min()), int(some.max()) + 1
        span = read_array(path, found.dtype, low * width, high * width)
        found[begin:end] = span.reshape(-1, *found.shape[1:])[some - low]


def read_ahead(items: Iterator[T]) -> Iterator[T]:
    """The same, each made by a thread while the one before it is used."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = reader.submit(next, items, None)
            yield item
