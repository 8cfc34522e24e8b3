"""Any number of locks in one file, and with one descriptor: a stack holds one for each of its trials.

The lock of a number is that of one byte of the file, which stays empty. The kernel gives it back when the process
ends, however it ends. It would do so as well if the process closed the file once more that it has open
here: what is done with such a file is done here. Standard library only.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from dlrun.errors import ConfigError
from dlrun.storage.links import open_here

_SECONDS = 0.5  # for which another process may be looking whether a number is claimed
_POLL_SECONDS = 0.001, 0.02  # the first wait and the longest
# What file systems without locks answer, and those that should pass them on to a server that is not there.
_WITHOUT = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}


@dataclass
class _Claims:
    """A file that is open, and how often this process holds which numbers."""

    file: IO[bytes]
    held: Counter[int] = field(default_factory=Counter)


_OPEN: dict[tuple[int, int], _Claims] = {}  # by device and number of the file
_MUTEX = threading.RLock()


@contextmanager
def claim(
    file: Path, number: int, *, reentrant: bool = False, seconds: float | None = None
) -> Iterator[bool]:
    """Try to hold the number for this process; whether that worked.

    Args:
        reentrant: it works as well where this process holds the number already.
        seconds: for how long to try; None for as long as a look takes.

    Raises:
        ConfigError: the file system has no locks.
    """
    until = time.monotonic() + (_SECONDS if seconds is None else seconds)
    pause, longest = _POLL_SECONDS
    while (claims := _take(file, number, reentrant)) is None and time.monotonic() < until:
        time.sleep(pause)
        pause = min(2 * pause, longest)
    try:
        yield claims is not None
    finally:
        if claims is not None:
            _give_back(claims, number)


def is_claimed(file: Path, number: int) -> bool:
    """Whether a process holds the number, this one or another; yes where that cannot be found out."""
    with _MUTEX:
        try:
            if not stat.S_ISREG(file.lstat().st_mode):  # a pipe would be waited for
                return False
            if claims := _OPEN.get(_identity(file)):
                return bool(claims.held[number]) or not _is_free(claims.file, number)
            with open_here(file, "rb", buffering=0) as stream:
                return not _is_free(stream, number)
        except FileNotFoundError:
            return False
        except (OSError, ConfigError):
            return True


def _take(file: Path, number: int, reentrant: bool) -> _Claims | None:
    with _MUTEX:
        claims = _opened(file)
        try:
            if (reentrant or not claims.held[number]) and (
                claims.held[number] or _lock(claims.file, number)
            ):
                claims.held[number] += 1
                return claims
            return None
        finally:
            _close_unless_held(claims)


def _give_back(claims: _Claims, number: int) -> None:
    with _MUTEX:
        claims.held[number] -= 1
        if not claims.held[number] and not claims.file.closed:
            _unlock(claims.file, number)
        _close_unless_held(claims)


def _opened(file: Path) -> _Claims:
    try:
        if claims := _OPEN.get(_identity(file)):
            return claims
    except FileNotFoundError:
        pass
    stream: IO[bytes] = open_here(file, "a+b", buffering=0)
    status = os.fstat(stream.fileno())
    return _OPEN.setdefault((status.st_dev, status.st_ino), _Claims(stream))


def _close_unless_held(claims: _Claims) -> None:
    claims.held = +claims.held
    if not claims.held:
        for identity in [key for key, other in _OPEN.items() if other is claims]:
            del _OPEN[identity]
        claims.file.close()


def _without(file: IO[bytes], error: OSError) -> str:
    return (
        f"{file.name} cannot be locked ({error.strerror}): runs and sweeps need a file system with POSIX locks; "
        "choose another folder, as in hydra.run.dir=DIR or hydra.sweep.dir=DIR"
    )


def _identity(file: Path) -> tuple[int, int]:
    status = file.lstat()
    return status.st_dev, status.st_ino


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes], number: int) -> bool:
        os.lseek(file.fileno(), number, os.SEEK_SET)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(file: IO[bytes], number: int) -> None:
        os.lseek(file.fileno(), number, os.SEEK_SET)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

    def _is_free(file: IO[bytes], number: int) -> bool:
        if free := _lock(file, number):
            _unlock(file, number)
        return free
else:
    import fcntl

    def _lock(file: IO[bytes], number: int, kind: int = fcntl.LOCK_EX) -> bool:
        try:
            fcntl.lockf(file, kind | fcntl.LOCK_NB, 1, number)
        except (BlockingIOError, PermissionError):  # as POSIX has it
            return False
        except OSError as error:
            if error.errno in _WITHOUT:
                raise ConfigError(_without(file, error)) from error
            error.filename = str(file.name)
            raise
        return True

    def _unlock(file: IO[bytes], number: int) -> None:
        fcntl.lockf(file, fcntl.LOCK_UN, 1, number)

    def _is_free(file: IO[bytes], number: int) -> bool:
        # Shared, which a file that can only be read allows, and two that look do not disturb each other.
        if free := _lock(file, number, fcntl.LOCK_SH):
            _unlock(file, number)
        return free


def _forget() -> None:
    """A process that is forked off holds nothing, and may close what it has."""
    global _MUTEX
    _OPEN.clear()
    _MUTEX = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
