"""What SIGINT, SIGTERM and a hang-up do: before training they end dlrun, during training they ask it to save and stop.

Before training, and outside of it, `ended_by_signals` turns SIGTERM and a hang-up into an exception, as Python
does with SIGINT, so that nothing half made is left behind. During training, `StopRequest` only notes the first
signal, which the training loop answers between two steps: it saves a checkpoint and ends the run as stopped.

In a job of Slurm the warning that its time is up, SIGUSR1 or SIGUSR2, does the same. Where the program that dlrun
runs in has handlers of its own, `hand_on` calls the one for the signal at the end: submitit's requeues its job.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

_received: list[int] = []  # the signal that is ending dlrun


def ending_signals() -> list[signal.Signals]:
    """Those that ask for an end. A hang-up is none where it is ignored, as nohup has it."""
    numbers = [signal.SIGINT, signal.SIGTERM, *_heeded("HUP"), *warning_signals()]
    return [*dict.fromkeys(numbers)]  # a warning may be SIGTERM, too


def warning_signals() -> list[signal.Signals]:
    """Those by which a queue warns of the end of a job; none outside of a job.

    Elsewhere they are for somebody else: a handler may show, say, where the program is.
    """
    if not {"SLURM_JOB_ID", "SUBMITIT_EXECUTOR"} & os.environ.keys():
        return []
    chosen = os.environ.get("SUBMITIT_PREEMPT_SIGNAL", "USR2")
    return _heeded(*dict.fromkeys(("USR1", "USR2", chosen)))


def _heeded(*names: str) -> list[signal.Signals]:
    """The signals of these names, without those that are ignored, or that the system has not."""
    found = [number for name in names if (number := getattr(signal, f"SIG{name}", None))]
    return [number for number in found if signal.getsignal(number) is not signal.SIG_IGN]


def hand_on(code: int) -> None:
    """Answer the signal that `code`, an exit code, tells of as the program does that dlrun runs in, if it does."""
    if (number := code - 128) not in signal.valid_signals():
        return
    handler = signal.getsignal(number)
    if callable(handler) and handler is not signal.default_int_handler:
        signal.raise_signal(number)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """While entered, SIGTERM and SIGHUP raise SystemExit with 128 + the signal's number."""
    _received.clear()

    def end(number: int, frame: FrameType | None) -> None:
        _received.append(number)
        raise SystemExit(128 + number)

    before: dict[signal.Signals, Any] = {}
    # SIGINT is an exception already.
    _handle([one for one in ending_signals() if one != signal.SIGINT], end, before)
    try:
        yield
    except BaseException:
        end_if_signalled()  # in the middle of an import the exception may have become another one
        raise
    finally:
        _restore(before)


def end_if_signalled() -> None:
    """Raise SystemExit if a signal has come that asks for an end: an import may have swallowed the first exception."""
    if _received:
        raise SystemExit(128 + _received[0]) from None


@contextmanager
def answered(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """While entered, `handler` answers every ending signal."""
    before: dict[signal.Signals, Any] = {}
    _handle(ending_signals(), handler, before)
    try:
        yield
    finally:
        _restore(before)


def ignore_signals() -> None:
    """From now on no signal ends this process, which is about to end."""
    _handle(ending_signals(), signal.SIG_IGN, {})


class StopRequest:
    """While entered, the first of the ending signals is only noted in `signal`; a second one ends at once.

    A warning never does: a queue sends it besides SIGTERM, before or after.

    Attributes:
        ends_at_second: false of a rank, which gets a signal from its launcher and perhaps from elsewhere as well.
    """

    ends_at_second = True

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        _handle(ending_signals(), self._note, self._before)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _restore(self._before)

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as a shell reports it: 130 for SIGINT, 143 for SIGTERM, 138 for SIGUSR1."""
        return 128 + self.signal if self.signal else 0

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        if not self.ends_at_second:
            return
        warnings = warning_signals()
        _restore({one: handler for one, handler in self._before.items() if one not in warnings})


def _handle(numbers: list[signal.Signals], handler: Any, before: dict[signal.Signals, Any]) -> None:
    """Have `handler` answer the signals; each one's handler until now goes into `before`."""
    if threading.current_thread() is threading.main_thread():  # Python sets handlers nowhere else
        for number in numbers:
            before[number] = signal.signal(number, handler)


def _restore(handlers: dict[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
