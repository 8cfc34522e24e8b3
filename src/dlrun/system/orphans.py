"""Processes that help another one: they end with it, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dlrun.system.standard_streams import as_of_the_command

_LOOK_SECONDS = 1.0
_GRACE_SECONDS = 10.0  # to save what is under way
_HELPED = "DLRUN_HELPED"  # variable of the environment: the process that is helped
_WATCHING: list[
    int
] = []  # processes: one that was forked while its parent watched does not watch yet

_ORPHANED: list[bool] = []


@contextmanager
def helped_by_children() -> Iterator[None]:
    """Tell processes that are started within this whom they help, who may be gone before they can look."""
    os.environ[_HELPED] = str(os.getpid())
    try:
        yield
    finally:
        os.environ.pop(_HELPED, None)


@contextmanager
def helped_by_joblib() -> Iterator[None]:
    """Have processes that joblib starts within this be helpers from their start, and not from a first job on.

    They wait minutes for a job, and the one that has none yet does not come to know that nobody will send it.
    """
    from joblib.parallel import (  # type: ignore[import-untyped]
        BACKENDS,
        register_parallel_backend,
    )

    name = "loky"  # its processes; Hydra's launcher takes no others
    before = BACKENDS[name]

    class Helping(before):  # type: ignore[misc, valid-type]
        def configure(self, *settings: Any, **named: Any) -> Any:
            return super().configure(*settings, **{"initializer": begin_as_helper, **named})

    register_parallel_backend(name, Helping)
    try:
        yield
    finally:
        register_parallel_backend(name, before)


def begin_as_helper(grace: float = _GRACE_SECONDS) -> None:
    """First of all in a process that helps a command: end with it, and write as it does, to its streams."""
    if _is_the_helped():
        return
    end_with_parent(grace)
    as_of_the_command()


def end_with_parent(grace: float = _GRACE_SECONDS) -> None:
    """From now on, end once the process that started this one is gone: as at SIGTERM, then at once.

    Args:
        grace: seconds between the two; 0: at once.

    For processes of `multiprocessing`, whichever way they are started, and those that a program starts itself.
    """
    if _ORPHANED:  # between two jobs
        os._exit(128 + signal.SIGTERM)
    if os.getpid() in _WATCHING:
        return
    _WATCHING[:] = [os.getpid()]
    made_by, parent = multiprocessing.parent_process(), os.getppid()
    helped = os.environ.get(_HELPED, "")
    if _is_the_helped():
        return
    # A fork server's children are the system's children of the server, which lives as long as they do.
    by_server = made_by is not None and made_by.pid not in (parent, None)

    def wait() -> None:
        if made_by is not None and by_server:
            made_by.join()
        while not by_server and os.getppid() == parent and lives(helped):
            time.sleep(_LOOK_SECONDS)

    def watch() -> None:
        wait()
        _ORPHANED.append(True)
        if grace:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(grace)
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _is_the_helped() -> bool:
    """Whether this is the command itself: a launcher that needs no other process has none."""
    return os.environ.get(_HELPED) == str(os.getpid())


def lives(process: str) -> bool:
    """Whether there is such a process; yes where none is named."""
    if not process.isdigit():
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        pass
    return True
