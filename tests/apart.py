"""Commands in processes of their own: forks of one that has imported and composed, which tests kill and stop."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from dlrun.cli import main

SECONDS = 120  # that no process of a test may take


@dataclass(frozen=True)
class Result:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


def be_dlrun(
    words: list[str],
    folder: str,
    variables: dict[str, str],
    sabotage: Callable[[], None] | None = None,
) -> None:
    """The body of a process of its own that runs one command and keeps what it says in files."""
    os.setsid()  # a group to be killed as a whole
    os.chdir(folder)
    os.environ.update(variables)
    says = variables.get("SAYS", "")  # of several at a time, each says it in files of its own
    for number, name in ((1, f"{says}out.txt"), (2, f"{says}err.txt")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if sabotage is not None:
        sabotage()
    code = main(words)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def ended(process: BaseProcess, folder: Path) -> Result:
    """Waits for a process; its code is minus the signal that killed it."""
    process.join(SECONDS)
    assert process.exitcode is not None, "still running"
    out, err = ((folder / name).read_text() for name in ("out.txt", "err.txt"))
    return Result(process.exitcode, out, err)


def kill_group(process: BaseProcess) -> None:
    """kill -9 for the process and all that it has started."""
    assert process.pid is not None
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.join(SECONDS)


def wait_for(condition: Callable[[], object]) -> None:
    """Returns when the condition holds."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
