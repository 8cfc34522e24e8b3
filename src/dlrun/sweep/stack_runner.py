"""The stack runner: opens trials of one shape as far as memory allows, and trains them as one or in turn."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Hashable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch

from dlrun.runner.failures import kept
from dlrun.runner.session import Pruned, Session
from dlrun.stacked.grouping import layout
from dlrun.stacked.loop import StackedFit
from dlrun.stacked.memory import (
    Memory,
    StackTooLarge,
    data_bytes,
    memory_of,
    room,
    run_bytes,
    sample_bytes,
)
from dlrun.stacked.stack import Stack
from dlrun.storage.disk import DiskFull
from dlrun.sweep.launch import Watcher
from dlrun.sweep.sweep import Sweep
from dlrun.sweep.trial import Attempt, Interrupted
from dlrun.system.signals import StopRequest
from dlrun.tracking.numbers import bytes_text
from dlrun.training.device import require_device
from dlrun.training.device_errors import lacks_memory
from dlrun.training.loop import Engine

_EVALUATION_BYTES = 2**28  # that one forward pass of an evaluation may take


@dataclass
class Size:
    """What is known by now of how many runs of one shape fit into memory.

    Attributes:
        most: runs that may be trained as one: more did not fit.
        each: bytes that one of them took, at most; 0 before that was measured.
        told: whether it was said in how many parts they are trained.
    """

    most: int = sys.maxsize
    each: int = 0
    told: bool = False


@dataclass(eq=False)
class _Member:
    """One run of a trial, ready to train."""

    attempt: Attempt
    index: int  # of its seed
    session: Session
    is_over: bool = False

    @property
    def engine(self) -> Engine:
        return self.session.engine


class StackRunner:
    """Trains the trials of one shape, as many as one as memory allows.

    Args:
        reason: why they are stacked, for the line that says so.
        size: of the same shape, from earlier trials; what is learned is noted there.
        expected: runs of this shape in all, as far as that is known.
    """

    def __init__(
        self, sweep: Sweep, watcher: Watcher, reason: str, size: Size, expected: int = 0
    ) -> None:
        self.sweep, self.watcher, self.reason, self.size = sweep, watcher, reason, size
        self.expected = expected
        self.members: list[_Member] = []  # open now
        self.left: dict[Attempt, int] = {}  # runs that are not over, of each trial
        self.ended: list[Attempt] = []  # trials that are over, and not yet reported to the study
        self.memory = Memory(torch.device("cpu"))  # before anything is open

    def train(self, attempts: Sequence[Attempt]) -> None:
        """Bring all the trials to an end.

        Raises:
            Interrupted: a signal came; every run under way is saved.
            DiskFull: there is no room to go on; no trial has failed of that.
            DeviceLost: this process can train no more.
        """
        seeds = self.sweep.strategy.settings.seeds
        attempts = [attempt for attempt in attempts if not attempt.gives_up()]
        self.left = dict.fromkeys(attempts, seeds)
        waiting = [(attempt, index) for attempt in attempts for index in range(seeds)]
        while waiting and not self.sweep.stops_at_failures():
            self.members = []
            with ExitStack() as opened:
                self._open(waiting, opened)
                self._report()
                try:
                    self._train_open()
                except StackTooLarge as stack:
                    self.size.most = max(1, stack.runs // 2)
                    waiting[:0] = [(m.attempt, m.index) for m in self.members if not m.is_over]
                    print(f"{stack}: going on with {self.size.most} at a time", flush=True)
            # Nothing may hold what those that are closed by now hold.
            self.members = []
            self.memory.give_back()

    def _open(self, waiting: list[tuple[Attempt, int]], opened: ExitStack) -> None:
        """Open runs, from the first that waits, as long as there is memory for one more."""
        asked = self.sweep.strategy.settings.max_stack
        at_once = min(len(waiting), asked, self.size.most)
        while waiting and len(self.members) < at_once and self._has_room():
            attempt, index = waiting.pop(0)
            if self.left[attempt] == 0:  # over, because of another seed
                continue
            attempt.at_once = at_once
            try:
                session = attempt.open(index, beside_others=bool(self.members))
            except StackTooLarge:  # those that are open have taken the memory
                waiting.insert(0, (attempt, index))
                self.size.most = len(self.members)
                return
            except DiskFull:
                raise
            except Exception as error:
                require_device()
                self._over(attempt, error)
                continue
            if session is None:
                self._over(attempt, None)
                continue
            self.members.append(_Member(attempt, index, opened.enter_context(session)))
            if len(self.members) == 1:
                self._look_at_memory(session.engine)
                self._say_parts(len(waiting) + 1, at_once)

    def _look_at_memory(self, engine: Engine) -> None:
        """Of the first run that is open: how much there is, now that the data are there."""
        self.memory = memory_of(engine.device.torch_device)
        self.room = room(self.memory, engine)
        self.per_sample = sample_bytes(engine)

    def _say_parts(self, runs: int, at_once: int) -> None:
        """Say beforehand that not all runs are trained at a time."""
        most = min(at_once, max(1, self.room // self._needed(self.members)))
        runs = max(runs, self.expected)
        if most < runs and not self.size.told:
            self.size.told = True
            need, there = self._needed(self.members) * most, self.room
            print(
                f"{runs} runs in {-(-runs // most)} parts, {most} as one at most: about {bytes_text(need)} of "
                f"{bytes_text(there)} that a stack may take",
                flush=True,
            )

    def _has_room(self) -> bool:
        if not self.members:
            return True
        share = (len(self.members) + 1) / len(self.members)
        return self._needed(self.members) * share <= self.room

    def _needed(self, members: Sequence[_Member]) -> int:
        """Bytes that a stack of these takes beside what is taken already."""
        if self.size.each:
            return len(members) * self.size.each
        engine = members[0].engine
        different = len({id(member.engine.data.train.inputs) for member in members})
        each = run_bytes(engine, self.per_sample)
        return len(members) * each + (different - 1) * data_bytes(engine)

    def _train_open(self) -> None:
        """Train the open runs: those that are equally far as one, the others in turn."""
        alike: dict[Hashable, list[_Member]] = defaultdict(list)
        for member in self.members:
            done = member.engine.finished
            alike[id(member) if done else layout(member.engine)].append(member)
        for members in alike.values():
            if len(members) < 2:
                self._train_in_turn(members)
            else:
                self._train_as_one(members)

    def _train_as_one(self, members: Sequence[_Member]) -> None:
        rows = _EVALUATION_BYTES // (len(members) * self.per_sample)
        settings = members[0].engine.settings
        need = self._needed(members)
        print(f"{len(members)} runs as one, about {bytes_text(need)}: {self.reason}", flush=True)
        engines = [member.engine for member in members]
        try:
            stack = Stack(engines, eval_rows=max(1, min(settings.eval_batch_size, rows)))
        except Exception as error:
            if not lacks_memory(error):
                raise
            raise StackTooLarge(len(members)) from None
        self._fit(stack, members)
        self._learn(len(members), need)

    def _learn(self, runs: int, expected: int) -> None:
        """Note what the first stack of a shape took, where that is counted: those to come are as large as fits."""
        taken = self.memory.taken()
        if taken is not None and not self.size.each:
            self.size.each = max(1, taken // runs)
            print(
                f"{runs} runs as one took {bytes_text(taken)} at most, {bytes_text(expected)} were expected",
                flush=True,
            )

    def _fit(self, stack: Stack, members: Sequence[_Member]) -> None:
        by_session = {member.session: member for member in members}

        # Neither names the fit that it is given: they would hold each other, and the weights of all.
        def ended(fit: StackedFit, session: Session, error: Exception | None) -> None:
            member = by_session[session]
            member.is_over = True
            self._over(member.attempt, error or _pruned(session))
            if self.left[member.attempt] == 0:
                self._leave(fit, members, member)

        def after_event(fit: StackedFit) -> None:
            self._report()
            if self.sweep.stops_at_failures():
                fit.halt()
            self.watcher.look_around()
            lead = stack.lead
            epochs = -(-lead.total_steps // lead.steps_per_epoch)
            text = f"and {len(stack.engines) - 1} more as one, epoch {lead.epoch}/{epochs}"
            self.watcher.display.trial_goes_on(members[0].attempt.number, text)

        fit = StackedFit(
            stack,
            [member.session for member in members],
            ended=ended,
            after_event=after_event,
        )
        # One log around all: to change from one run's to another's is cheap then.
        with members[0].session.log, StopRequest() as stop:
            for member in members:
                member.attempt.observe = None  # a line for each of them would be too much
            fit.run(stop)
        if stop.signal is not None:
            with self.sweep.ledger.together():
                for attempt in {m.attempt: None for m in members if self.left[m.attempt]}:
                    self.sweep.ledger.goes_on(attempt.number)
            raise Interrupted(stop.exit_code)

    def _leave(self, fit: StackedFit, members: Sequence[_Member], gone: _Member) -> None:
        """Where one seed of a trial was pruned or failed, the others need not go on."""
        for member in members:
            if member.attempt is gone.attempt and member is not gone:
                fit.leave(member.session, Pruned("another seed of the trial has ended it"))

    def _train_in_turn(self, members: Sequence[_Member]) -> None:
        for member in members:
            if self.left[member.attempt] == 0 or self.sweep.stops_at_failures():
                continue
            error: Exception | None = None
            code = 0
            try:
                code = member.session.train()
            except DiskFull:
                raise
            except Exception as failure:
                error = failure
            if code:
                self.sweep.ledger.goes_on(member.attempt.number)
                raise Interrupted(code)
            member.is_over = True
            self._over(member.attempt, error or _pruned(member.session))
            self._report()
            if error is not None:
                require_device()

    def _over(self, attempt: Attempt, error: Exception | None) -> None:
        """One run of a trial is over; the trial is, with the last of its runs or the first that did not complete."""
        if self.left[attempt] == 0:
            return
        if error is not None and not isinstance(error, Pruned):
            attempt.failure = kept(error)
        self.left[attempt] = 0 if error is not None else self.left[attempt] - 1
        if self.left[attempt] == 0:
            self.ended.append(attempt)

    def _report(self) -> None:
        """Report to the study and on the screen all trials that are over by now."""
        reported, self.ended = self.ended, []
        with self.sweep.ledger.together():
            for attempt in reported:
                attempt.report()
        for attempt in reported:
            self.watcher.look([self.sweep.ledger.trial(attempt.number)])


def _pruned(session: Session) -> Pruned | None:
    return Pruned() if session.summary.status == "pruned" else None
