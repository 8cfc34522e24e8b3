"""Standard streams of a command that runs for long: it goes on when their reader is gone."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress

from dlrun.system.terminal import ControlCharactersShown, ShownStream


class Unbroken(io.FileIO):
    """A file descriptor whose reader may leave, or whose disk may be full: what is written then is dropped."""

    _lost = False

    def write(self, content: object) -> int:
        """Write all that can be written, and say that all was."""
        size = memoryview(content).nbytes  # type: ignore[arg-type]
        if self._lost:
            return size
        try:
            return super().write(content) or 0  # type: ignore[arg-type]
        except BlockingIOError:
            raise
        except OSError:
            self._lost = True
            return size


def open_closed() -> None:
    """Connect to the null device those streams that were closed (`>&-`), before a file takes their place."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
            os.set_inheritable(descriptor, True)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = _text(1, "utf-8")
    if sys.stderr is None:
        sys.stderr = _text(2, "utf-8")


def outlive_readers() -> None:
    """Let standard output and error be written to, whatever becomes of those who read them."""
    sys.stdout.flush()
    sys.stderr.flush()
    sys.stdout = _text(1, sys.stdout.encoding)
    sys.stderr = _text(2, sys.stderr.encoding)


def as_of_the_command() -> None:
    """Let this process, which helps a command, write to its standard streams as the command does."""
    if isinstance(sys.stdout, ShownStream):
        return
    if None in (sys.stdin, sys.stdout, sys.stderr):
        open_closed()
    with suppress(OSError, ValueError):  # as of streams that somebody has put in their place
        if (sys.stdout.fileno(), sys.stderr.fileno()) == (1, 2):
            outlive_readers()
    ControlCharactersShown().__enter__()


def _text(descriptor: int, encoding: str) -> io.TextIOWrapper:
    file = Unbroken(descriptor, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(file),
        encoding,
        "backslashreplace",
        line_buffering=True,
        write_through=descriptor == 2,
    )
