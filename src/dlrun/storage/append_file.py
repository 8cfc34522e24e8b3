"""A file that only grows: each addition written at once, or many of them in bulk."""

from __future__ import annotations

import os
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import IO

from dlrun.storage.disk import DiskFull, writing
from dlrun.storage.links import open_here


class Appender:
    """Appends to one file, which is made by the first write.

    Args:
        flush_seconds: how long additions may wait in memory for the next one; 0 writes each at once.
        keep_open: keeps the file open from one write to the next, where none wait. A process may hold few
            open files, and many runs at once have several each.
        needed: whether work must end where the file cannot be written. Otherwise what cannot be is left
            out, and a warning says so once.
    """

    def __init__(
        self,
        path: Path,
        *,
        flush_seconds: float = 0.0,
        keep_open: bool = True,
        needed: bool = True,
    ) -> None:
        self.path, self._flush_seconds, self._needed = path, flush_seconds, needed
        self._keep_open = keep_open and not flush_seconds
        self._size = path.stat().st_size if path.exists() else 0
        self._waiting: list[bytes] = []
        self._flushed = time.monotonic()
        self._open: IO[bytes] | None = None
        self._warned = False

    @property
    def size(self) -> int:
        """Bytes of the file once all is flushed."""
        return self._size

    def write(self, data: bytes) -> None:
        """Add `data`, which a flush writes out if not this."""
        self._waiting.append(data)
        self._size += len(data)
        if not self._flush_seconds or time.monotonic() - self._flushed >= self._flush_seconds:
            self.flush()

    def flush(self) -> None:
        """Write out all that waits, for every reader to see.

        Raises:
            DiskFull: there is no room for it, and the file is needed.
        """
        self._flushed = time.monotonic()
        if not self._waiting:
            return
        data = b"".join(self._waiting)
        self._waiting.clear()  # also where it fails: closing must not try again
        try:
            with writing(self.path):
                self._append(data)
        except (OSError, DiskFull) as error:
            self._size -= len(data)
            if self._needed:
                raise
            if not self._warned:
                self._warned = True
                warnings.warn(f"{error}; what it lacks is left out", stacklevel=2)
        finally:
            if not self._keep_open:
                self._let_go()

    def sync(self) -> None:
        """Write out all that waits, and have the whole file outlive a power cut."""
        self.flush()
        with suppress(FileNotFoundError), self.path.open("rb") as file:
            os.fsync(file.fileno())

    def close(self) -> None:
        """Write out what waits and let go of the file."""
        try:
            self.flush()
        finally:
            self._let_go()

    def _append(self, data: bytes) -> None:
        """All of `data` or nothing: with half an addition at its end the next would be lost as well."""
        if self._open is None:
            self._open = open_here(self.path, "ab", buffering=0)
        before, left = os.fstat(self._open.fileno()).st_size, memoryview(data)
        try:
            while left:
                left = left[self._open.write(left) :]
        except OSError:
            with suppress(OSError):
                self._open.truncate(before)
            raise

    def _let_go(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None
