"""Trials of a sweep trained together in this process, where that is possible and pays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import islice

from dlrun.errors import ConfigError
from dlrun.stacked.grouping import shape_of, why_alone
from dlrun.sweep.crew import Crew, Judgement
from dlrun.sweep.launching import Watcher
from dlrun.sweep.opened import Sweep, is_over
from dlrun.sweep.trial import Attempt

_SUSPECT = 2  # times in a row that a trial was begun without getting further: it may kill others


class Stacking:
    """Trains trials in stacks of one shape each, and in turn what does not fit into any.

    Args:
        forced: stack whatever can be stacked, without asking whether it pays.
    """

    def __init__(self, sweep: Sweep, watcher: Watcher, *, forced: bool) -> None:
        self.sweep, self.watcher = sweep, watcher
        self.judgement = Judgement(forced=forced)
        self.said: set[str] = set()

    def run(self, numbers: Sequence[int]) -> list[int]:
        """Train what can be drawn now; the numbers of the trials that are left.

        Raises:
            Interrupted: a signal came.
        """
        waiting = iter(self._drawable(numbers))
        size = self.sweep.strategy.settings.max_stack
        while batch := list(islice(waiting, size)):
            if self.sweep.stops_at_failures():
                break
            with ExitStack() as claims:
                with self.sweep.ledger.together():
                    attempts = [self._begin(number, claims) for number in batch]
                self._train([attempt for attempt in attempts if attempt is not None])
        trials = self.sweep.ledger.trials()
        return [n for n in numbers if n >= len(trials) or not is_over(trials[n])]

    def _drawable(self, numbers: Sequence[int]) -> list[int]:
        """Those that draw the same whatever comes out of the others."""
        if self.sweep.strategy.plan.round_size:  # the rounds before are over
            return list(numbers)
        return [n for n in numbers if n < self.sweep.draws.without_results]

    def _begin(self, number: int, claims: ExitStack) -> Attempt | None:
        """A go at the trial, unless another process is at it or it is over."""
        self.sweep.ledger.plan(number + 1)
        mine = claims.enter_context(self.sweep.claim(number))
        if not mine or is_over(self.sweep.ledger.trial(number)):
            return None
        return Attempt(self.sweep, number, observe=self.watcher.evaluated)

    def _train(self, attempts: Sequence[Attempt]) -> None:
        shapes: dict[str | None, list[Attempt]] = defaultdict(list)
        for attempt in attempts:
            shapes[self._shape(attempt)].append(attempt)
        for shape, alike in shapes.items():
            runs = len(alike) * self.sweep.strategy.settings.seeds
            if shape is None or runs < 2 or self.judgement.is_against(shape):
                self._train_in_turn(alike)
            else:
                Crew(self.sweep, self.watcher, self.judgement, shape).train(alike)

    def _shape(self, attempt: Attempt) -> str | None:
        """What trials must have in common to be stacked, or None for one that is best trained alone."""
        try:
            plain = attempt.config(0).plain
        except ConfigError:
            return None  # to be met, and recorded, when its turn comes
        if reason := why_alone(plain):
            self._say_once(f"trials with {reason} are trained in turn")
            return None
        return None if attempt.deaths >= _SUSPECT else shape_of(plain)

    def _say_once(self, line: str) -> None:
        if line not in self.said:
            self.said.add(line)
            print(line, flush=True)

    def _train_in_turn(self, attempts: Sequence[Attempt]) -> None:
        for attempt in attempts:
            if not self.sweep.stops_at_failures():
                attempt.run()
                self.watcher.look([self.sweep.ledger.trial(attempt.number)])
