"""Parts of a check, each a process with a limit of time: one that crashes or hangs loses nothing but itself."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gpu_parts.figures import told, variables
from gpu_parts.report import Outcome, Report, suspicious

_LEAST = 8  # seconds, below which no part is begun
_GRACE = 5  # seconds from the request to end to the end
_SHOWN = 12  # lines of a log's end that are kept


@dataclass(frozen=True)
class Part:
    """What is run.

    Attributes:
        seconds: that it takes at most on a card.
    """

    name: str
    seconds: float
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


def run_all(parts: Sequence[Part], report: Report, *, limit: float, scale: float) -> bool:
    """Run parts in their order, as far as `limit` seconds go; whether all that were begun ended well.

    Args:
        scale: of the seconds that each part has; a rehearsal on a slow machine needs more.
    """
    started, good = time.monotonic(), True
    log = report.file.with_suffix(".log")
    for part in parts:
        left = limit - (time.monotonic() - started) - _GRACE
        if left < _LEAST:
            print(f"== {part.name}: left out, no time", flush=True)
            report.add(part.name, Outcome("left out"))
            continue
        seconds = min(left, part.seconds * scale)
        print(f"== {part.name}, {seconds:.0f} s at most", flush=True)
        outcome = run(part, seconds, log)
        print(f"-- {part.name}: exit code {outcome.code}, {outcome.seconds:.0f} s", flush=True)
        report.add(part.name, outcome)
        good = good and outcome.good
    return good


def run(part: Part, seconds: float, log: Path) -> Outcome:
    """Run one; its output goes on the screen as well as into the `log`."""
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures"
        environment = os.environ | variables(figures) | part.environment
        begun = time.monotonic()
        with subprocess.Popen(
            part.command,
            env=environment | {"PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # what it has started ends with it
        ) as process:
            with _ended_after(process, seconds) as late:
                lines = _followed(process)
                process.wait()
            code = "time was up" if late.is_set() else str(process.returncode)
        taken = time.monotonic() - begun
        with log.open("a") as stream:
            stream.write(f"== {part.name}\n{''.join(lines)}\n")
        found = told(figures)
    return Outcome(
        code, taken, found, suspicious("".join(lines)), [*map(str.rstrip, lines[-_SHOWN:])]
    )


def _followed(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line)
    return lines


@contextlib.contextmanager
def _ended_after(process: subprocess.Popen[str], seconds: float) -> Iterator[threading.Event]:
    """Within this, `process` and all that it has started end after so many seconds; the event is set if they had to."""
    over, late = threading.Event(), threading.Event()

    def watch() -> None:
        if not over.wait(seconds):
            late.set()
            _signal(process, signal.SIGINT)
            over.wait(_GRACE)
            _signal(process, signal.SIGKILL)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield late
    finally:
        over.set()
        watcher.join()
        _signal(process, signal.SIGKILL)


def _signal(process: subprocess.Popen[str], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
