"""What SIGINT, SIGTERM and a hang-up do: before training they end dlrun, during training they ask it to save and stop.

Before training, and outside of it, `ended_by_signals` turns SIGTERM and a hang-up into an exception, as Python
does with SIGINT, so that nothing half made is left behind. During training, `StopRequest` only notes the first
signal, which the training loop answers between two steps: it saves a checkpoint and ends the run as stopped.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

_received: list[int] = []  # the signal that is ending dlrun


def ending_signals() -> list[signal.Signals]:
    """Those that ask for an end. A hang-up is none where it is ignored, as nohup has it."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    hang_up = getattr(signal, "SIGHUP", None)  # Windows has none
    if hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN:
        numbers.append(hang_up)
    return numbers


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
    """While entered, the first of the ending signals is only noted in `signal`; a second one ends at once."""

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
        """130 for SIGINT, 143 for SIGTERM, 129 for SIGHUP, as a shell reports them."""
        return 128 + self.signal if self.signal else 0

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        _restore(self._before)


def _handle(numbers: list[signal.Signals], handler: Any, before: dict[signal.Signals, Any]) -> None:
    """Have `handler` answer the signals; each one's handler until now goes into `before`."""
    if threading.current_thread() is threading.main_thread():  # Python sets handlers nowhere else
        for number in numbers:
            before[number] = signal.signal(number, handler)


def _restore(handlers: dict[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
