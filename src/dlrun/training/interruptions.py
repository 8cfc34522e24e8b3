"""What may come between two steps, a signal or the time for a checkpoint: known to one rank, answered by all."""

from __future__ import annotations

import signal
import time

from dlrun.system.signals import StopRequest
from dlrun.training.intervals import Intervals
from dlrun.training.ranks import Ranks

_SECONDS = 0.1  # at most, from one exchange to the next


class Interruptions:
    """Whether to stop or to save after a step, the same on all ranks.

    Alone, a run asks its signal and its clock after each step. Several ranks tell each other every so many steps, which
    rank 0 decides by its clock: an exchange at each step would slow small models down.

    Args:
        stop: of this process; where another notes a signal, this one has it too.
    """

    def __init__(self, ranks: Ranks, intervals: Intervals, stop: StopRequest) -> None:
        self.ranks, self.intervals, self.stop = ranks, intervals, stop
        self._exchanged = self._saved = time.perf_counter()
        self._stopping = self._saving = False
        self._steps = self._left = 1  # from one exchange to the next, and until then

    @property
    def stopping(self) -> bool:
        """Whether a signal asks for an end."""
        return self.stop.signal is not None if self.ranks.size == 1 else self._stopping

    def stepped(self) -> None:
        """A step was made: all ranks exchange what they know, where it is time for that."""
        if self.ranks.size == 1:
            return
        self._left -= 1
        if self._left == 0:
            self._exchange()

    def saving_due(self, step: int) -> bool:
        """Whether a checkpoint is due after `step` steps."""
        if self.ranks.size == 1:
            return self.intervals.saving_due(step, self._saved)
        return self._saving or self.intervals.saving_due(step, float("inf"))

    def saved(self) -> None:
        """A checkpoint was written."""
        self._saving, self._saved = False, time.perf_counter()

    def _exchange(self) -> None:
        now = time.perf_counter()
        signalled, saving, steps = int(self.stop.signal or 0), 0, 0
        if self.ranks.first:
            saving = int(now - self._saved >= self.intervals.saving.every_seconds)
            seconds = min(_SECONDS, self.intervals.saving.every_seconds)
            fitting = int(seconds * self._steps / (now - self._exchanged))
            steps = max(
                1, min(fitting, 2 * self._steps)
            )  # one that was quick by chance counts little
        signalled, saving, self._steps = self.ranks.most([signalled, saving, steps])
        self._left, self._exchanged = self._steps, now
        self._saving = bool(saving)
        if signalled:
            self.stop.signal, self._stopping = signal.Signals(signalled), True
