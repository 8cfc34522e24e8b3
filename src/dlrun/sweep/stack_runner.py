"""The stack runner: opens trials of one shape as far as memory allows, and trains them as one or in turn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from dlrun.runner.failures import kept
from dlrun.runner.session import Pruned, Session
from dlrun.stacked.grouping import data_bytes, layout, room, run_bytes, sample_bytes
from dlrun.stacked.loop import StackedFit
from dlrun.stacked.stack import Stack
from dlrun.storage.disk import DiskFull
from dlrun.sweep.launch import Watcher
from dlrun.sweep.sweep import Sweep
from dlrun.sweep.trial import Attempt, Interrupted
from dlrun.system.signals import StopRequest
from dlrun.training.device import out_of_memory
from dlrun.training.device_errors import refuse_lost_device, stack_too_large
from dlrun.training.loop import Engine

_EVALUATION_BYTES = 2**28  # that one forward pass of an evaluation may take


@dataclass(eq=False)
class _Member:
    """One run of a trial, ready to train."""

    attempt: Attempt
    session: Session

    @property
    def engine(self) -> Engine:
        return self.session.engine


class StackRunner:
    """Trains the trials of one shape, as many as one as memory allows.

    Args:
        reason: why they are stacked, for the line that says so.
    """

    def __init__(self, sweep: Sweep, watcher: Watcher, reason: str) -> None:
        self.sweep, self.watcher, self.reason = sweep, watcher, reason
        self.members: list[_Member] = []  # open now
        self.left: dict[Attempt, int] = {}  # runs that are not over, of each trial
        self.ended: list[Attempt] = []  # trials that are over, and not yet reported to the study

    def train(self, attempts: Sequence[Attempt]) -> None:
        """Bring all the trials to an end.

        Raises:
            Interrupted: a signal came; every run under way is saved.
            DiskFull: there is no room to go on; no trial has failed of that.
            DeviceFailed: the device was lost, or has too little memory for so many; the others can be resumed.
        """
        seeds = self.sweep.strategy.settings.seeds
        attempts = [attempt for attempt in attempts if not attempt.gives_up()]
        self.left = dict.fromkeys(attempts, seeds)
        waiting = [(attempt, index) for attempt in attempts for index in range(seeds)]
        at_once = min(len(waiting), self.sweep.strategy.settings.max_stack)
        while waiting and not self.sweep.stops_at_failures():
            self.members = []
            refuse_lost_device()
            with ExitStack() as opened:
                self._open(waiting, at_once, opened)
                self._report()
                self._train_open()

    def _open(self, waiting: list[tuple[Attempt, int]], at_once: int, opened: ExitStack) -> None:
        """Open runs, from the first that waits, as long as there is memory for one more."""
        while waiting and len(self.members) < at_once and self._has_room():
            attempt, index = waiting.pop(0)
            if self.left[attempt] == 0:  # over, because of another seed
                continue
            attempt.at_once = at_once
            try:
                session = attempt.open(index)
            except DiskFull:
                raise
            except Exception as error:
                self._over(attempt, error)
                continue
            if session is None:
                self._over(attempt, None)
            else:
                self.members.append(_Member(attempt, opened.enter_context(session)))

    def _has_room(self) -> bool:
        if not self.members:
            return True
        if len(self.members) == 1:
            engine = self.members[0].engine
            self.room = room(engine.device.torch_device)
            self.per_sample = sample_bytes(engine)
        share = (len(self.members) + 1) / len(self.members)
        return _needed(self.members, self.per_sample) * share <= self.room

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
        need = _text_of_bytes(_needed(members, self.per_sample))
        print(f"{len(members)} runs as one, about {need}: {self.reason}", flush=True)
        engines = [member.engine for member in members]
        try:
            stack = Stack(engines, eval_rows=max(1, min(settings.eval_batch_size, rows)))
        except Exception as error:
            if out_of_memory(error):
                raise stack_too_large(len(members)) from error
            raise
        self._fit(stack, members)

    def _fit(self, stack: Stack, members: Sequence[_Member]) -> None:
        by_session = {member.session: member for member in members}

        # Neither names the fit that it is given: they would hold each other, and the weights of all.
        def ended(fit: StackedFit, session: Session, error: Exception | None) -> None:
            member = by_session[session]
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
            refuse_lost_device()
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
            self._over(member.attempt, error or _pruned(member.session))
            self._report()

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


def _needed(members: Sequence[_Member], per_sample: int) -> int:
    """Bytes that a stack of these takes beside what is taken already."""
    engine = members[0].engine
    different = len({id(member.engine.data) for member in members})
    return len(members) * run_bytes(engine, per_sample) + (different - 1) * data_bytes(engine)


def _text_of_bytes(count: int) -> str:
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{max(1, round(count / 2**20))} MB"
