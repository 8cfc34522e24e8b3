"""A file that only grows: each addition written at once, or many of them in bulk."""

from __future__ import annotations

import time
from pathlib import Path
from typing import IO

from dlrun.links import open_here


class Appender:
    """Appends to one file, which is made by the first write.

    Args:
        flush_seconds: how long additions may wait in memory for the next one. 0 writes each at once and
            keeps the file open; otherwise it is open only while it is written, since a process may hold
            few open files and many runs at once have several each.
    """

    def __init__(self, path: Path, *, flush_seconds: float = 0.0) -> None:
        self.path, self._flush_seconds = path, flush_seconds
        self._size = path.stat().st_size if path.exists() else 0
        self._waiting: list[bytes] = []
        self._flushed = time.monotonic()
        self._open: IO[bytes] | None = None

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
        """Write out all that waits, for every reader to see."""
        self._flushed = time.monotonic()
        if not self._waiting:
            return
        if self._open is None:
            self._open = open_here(self.path, "ab")
        self._open.write(b"".join(self._waiting))
        self._open.flush()
        self._waiting.clear()
        if self._flush_seconds:
            self.close()

    def close(self) -> None:
        """Write out what waits and let go of the file."""
        if self._waiting:
            self.flush()
        if self._open is not None:
            self._open.close()
            self._open = None
