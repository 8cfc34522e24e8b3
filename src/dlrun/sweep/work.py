"""A process at work on a sweep: it takes the trials that no other is at work on, until none is left."""

from __future__ import annotations

import time
from collections.abc import Sequence

from optuna.trial import TrialState

from dlrun.sweep.launch import Watcher
from dlrun.sweep.quota import Limits, Quota
from dlrun.sweep.stack_scheduler import StackScheduler
from dlrun.sweep.sweep import Sweep
from dlrun.sweep.trial import run_trial

_POLL_SECONDS, _LONGEST_POLL = 0.5, 5.0  # between two looks at trials that others are at work on


class Worker:
    """Trains the trials of a sweep, together with any number of other processes or alone.

    Args:
        forced: stack whatever can be stacked, whether it pays or not.
        limits: those of a process that helps; None of the driver.
    """

    def __init__(
        self, sweep: Sweep, watcher: Watcher, *, forced: bool, limits: Limits | None = None
    ) -> None:
        self.sweep, self.watcher = sweep, watcher
        self.quota = Quota(sweep, limits, watcher.here)
        asked = sweep.strategy.settings.stack
        self.stacks: StackScheduler | None = None
        if forced or asked != "off":
            on = forced or asked == "on"
            self.stacks = StackScheduler(sweep, watcher, forced=on, quota=self.quota)

    def run(self) -> None:
        """Round by round, until no trial is left or this process may take no more.

        A round ends with its last trial, whoever trains it: what a process that died has begun is taken over.

        Raises:
            Interrupted: a signal came.
            DiskFull: there is no room to go on.
            DeviceLost: this process can train no more.
        """
        for numbers in self.sweep.strategy.plan.rounds():
            pause = _POLL_SECONDS
            while (left := self._in_turn(numbers)) and self.quota.is_open:
                self._take(left)
                if len(self.sweep.left(numbers)) < len(left):
                    pause = _POLL_SECONDS
                elif self.quota.is_open:
                    time.sleep(pause)
                    pause = min(_LONGEST_POLL, 1.5 * pause)
                self.watcher.look()

    def _take(self, left: Sequence[int]) -> None:
        """Train what of these no other process is at work on."""
        if self.stacks and not all(map(self.sweep.is_claimed, left)):
            left = self.stacks.run(left)
        ledger, here = self.sweep.ledger, self.watcher.here
        for number in left:
            if not self.quota.is_open:
                return
            ledger.plan(number + 1)
            if self.sweep.is_claimed(number) or not self.sweep.may_train(number):
                continue
            here.add(number)
            if not run_trial(self.sweep, number, self.watcher.evaluated):
                here.discard(number)
            self.watcher.look([ledger.trial(number)])

    def _in_turn(self, numbers: Sequence[int]) -> list[int]:
        """The trials that are left; those begun once come first, those begun again and again last."""
        trials = self.sweep.ledger.trials()

        def turn(number: int) -> int:
            if number >= len(trials) or trials[number].state is TrialState.WAITING:
                return 1
            # One that takes this process down with it must not keep the others from their turn.
            return 0 if self.sweep.ledger.attempts(number) < 2 else 2

        return sorted(self.sweep.left(numbers), key=turn)
