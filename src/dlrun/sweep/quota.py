"""How many trials a process may take: what the command line asks of it, and its share beside other processes."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

from dlrun.storage.shared_locks import count_at_work
from dlrun.sweep.sweep import Sweep, open_sweep

_LEAST = 8  # trials in a share: smaller stacks gain little


class Limits:
    """How far a process helps in a sweep, as the options of `dlrun work` say.

    The minutes count from now on. At their end, while this is entered, the process gets a SIGTERM, which saves what it
    trains.

    Attributes:
        is_late: whether they are over.
    """

    def __init__(self, trials: int | None, minutes: float | None, *, forever: bool) -> None:
        self.trials, self.minutes, self.forever = trials, minutes, forever
        self.is_late, self._begun = False, time.monotonic()

    def __enter__(self) -> Limits:
        left = 60 * (self.minutes or 0) - (time.monotonic() - self._begun)
        self._timer = threading.Timer(max(0.0, left), self._end)
        self._timer.daemon = True
        if self.minutes is not None:
            self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _end(self) -> None:
        self.is_late = True
        signal.raise_signal(signal.SIGTERM)


@dataclass(frozen=True)
class Quota:
    """What a process may take of a sweep.

    Args:
        limits: those of a process that helps; None of the driver, which goes on until all is over.
        here: the trials that it has begun.
    """

    sweep: Sweep
    limits: Limits | None
    here: Collection[int]

    @property
    def is_open(self) -> bool:
        """Whether it may take another trial."""
        return not (self.is_used_up or self.is_outdated or self.sweep.stops_at_failures())

    @property
    def is_used_up(self) -> bool:
        """Whether it has come to its own limits."""
        limits = self.limits
        return limits is not None and (
            limits.is_late or len(self.here) >= (limits.trials or math.inf)
        )

    @property
    def is_outdated(self) -> bool:
        """Whether the sweep has been changed, as by a resume with more trials, so that it is to be opened anew."""
        if self.limits is None:  # the driver is who changes it
            return False
        return open_sweep(self.sweep.directory.path).ledger is not self.sweep.ledger

    def share(self, left: int) -> int:
        """How many of the trials that are `left` to take at a time, so that others find some too."""
        if not self.is_open:
            return 0
        present = count_at_work(self.sweep.directory)
        # Who helps expects others, and leaves a share for one that is about to come.
        others = max(0, present - 1) + 1 if self.limits or present > 1 else 0
        share = left if not others else max(_LEAST, math.ceil(left / (1 + others)))
        if patience := self.sweep.strategy.settings.patience:
            share = min(share, patience)  # more at a time would end after it has run out
        if self.limits and self.limits.trials:
            share = min(share, self.limits.trials - len(self.here))
        return share


_ROLE: ContextVar[Limits | Literal["drive", "prepare"]] = ContextVar("role", default="drive")


def role() -> Limits | Literal["drive", "prepare"]:
    """What this process is asked to do of a sweep: help within limits, drive it, or only prepare it."""
    return _ROLE.get()


@contextmanager
def acting_as(what: Limits | Literal["drive", "prepare"]) -> Iterator[None]:
    """Within this, a sweep that Hydra runs is for that."""
    before = _ROLE.set(what)
    try:
        yield
    finally:
        _ROLE.reset(before)
