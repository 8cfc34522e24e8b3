"""The training loop of a stack: as `Engine.fit`, with every run at each event in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from dlrun.errors import RunFailed
from dlrun.runner.checkpoint_writer import save_all
from dlrun.runner.session import Session
from dlrun.stacked.memory import StackTooLarge
from dlrun.stacked.point import StackedPoint, Values
from dlrun.stacked.stack import Stack
from dlrun.stacked.stretches import Stretches
from dlrun.storage.disk import DiskFull, disk_full
from dlrun.system.signals import StopRequest
from dlrun.training.cuda_graph import may_be_stacked
from dlrun.training.device import require_device
from dlrun.training.device_errors import lacks_memory
from dlrun.training.divergence import Diverged
from dlrun.training.engine_state import let_go
from dlrun.training.loop import Engine

Ended = Callable[["StackedFit", Session, Exception | None], None]
AfterEvent = Callable[["StackedFit"], None]
Action = Callable[[Session], None]


class StackedFit:
    """Trains sessions together until the last of them has ended; each is closed as it ends.

    Those that a signal or a full disk stops are left to whoever opened them to close.

    Args:
        stack: of the sessions' engines, in the same order.
        ended: called with this, each session that is over, and its error if it failed.
        after_event: called with this when all runs were evaluated, logged or saved, and some may have ended.
    """

    def __init__(
        self,
        stack: Stack,
        sessions: Sequence[Session],
        *,
        ended: Ended,
        after_event: AfterEvent,
    ) -> None:
        self.stack, self.ended, self.after_event = stack, ended, after_event
        self.stretches = Stretches(stack, by_graphs=may_be_stacked(stack.lead))
        self.sessions = dict(zip(stack.engines, sessions, strict=True))
        self.over: list[Engine] = []  # since the stack was last arranged
        self.halted = False
        # While the host writes a point, a GPU goes on: what it waits for is there when the next is due.
        self.delayed = stack.device.torch_device.type == "cuda"
        self.waiting: StackedPoint | None = None
        self.clock = self.saved = time.perf_counter()

    def run(self, stop: StopRequest) -> None:
        """Train until all are over, or until `stop` notes a signal: then all are saved as they are.

        Raises:
            DiskFull: there is no room to go on; all that are not over can be resumed.
            StackTooLarge: there is not enough memory to train so many at a time.
            DeviceLost: nothing more can be computed in this process. After both, those that are not over stand where
                they were last saved, as after a kill.
        """
        try:
            self._start()
            while self.stack.engines and not self._must_stop(stop):
                self._train_epoch(stop)
                self._let_go()
            if self.stack.engines:
                self._save()
                self.after_event(self)
                self._let_go()
            for session in self.sessions.values():
                with session.log:
                    session.stopped(stop)
        except DiskFull as full:
            for session in self.sessions.values():
                with session.log, suppress(DiskFull):
                    if session.engine not in self.over:
                        session.halted_by(full)
            raise
        except Exception as error:
            if lacks_memory(error):
                raise StackTooLarge(len(self.stack.engines)) from None
            require_device()
            raise

    def _start(self) -> None:
        for session in list(self.sessions.values()):
            session.join_stack(len(self.sessions))
            self._guarded(session, Session.start)
        self.after_event(self)
        self._let_go()

    def _train_epoch(self, stop: StopRequest) -> None:
        """What is left of an epoch, or until a run has ended or a signal comes."""
        lead = self.stack.lead
        epoch, position = divmod(lead.step, lead.steps_per_epoch)
        for engine in self.stack.engines:
            engine.begin_epoch(epoch, position)
        while lead.step < (epoch + 1) * lead.steps_per_epoch:
            try:
                self.stretches.advance()
            except Exception as error:
                self._fail(error)
                return
            if lead.intervals.evaluation_due(lead.step):
                self._evaluate()
                self.after_event(self)
            elif lead.intervals.logging_due(lead.step):
                self._log()
                self.after_event(self)
            if self.over or self._must_stop(stop):
                return
            if lead.intervals.saving_due(lead.step, self.saved):
                self._save()
                self.after_event(self)

    def halt(self) -> None:
        """End as at a signal, before the next step."""
        self.halted = True

    def leave(self, session: Session, error: Exception) -> None:
        """End a session that another's end makes pointless."""
        if session.engine in self.sessions and session.engine not in self.over:
            self._write()
            if session.engine not in self.over:
                self._end(session, error)

    def _must_stop(self, stop: StopRequest) -> bool:
        return self.halted or stop.signal is not None

    def _fail(self, error: Exception) -> None:
        """A step could not be made: all that were to make it have failed, unless they were too many."""
        self._refuse_shared(error)
        self._write()
        for engine in self.stack.engines:
            self._end(self.sessions[engine], error)
        self.after_event(self)

    @staticmethod
    def _refuse_shared(error: Exception) -> None:
        """Raise what is no single run's fault: they all take the memory, and one GPU."""
        if lacks_memory(error):
            raise error
        require_device()

    def _evaluate(self) -> None:
        point = self.stack.point() if self.stack.pending.losses else None
        self._write()
        metrics = self.stack.validation_metrics()
        training = point.values() if point else None
        self._count_seconds()
        for row, engine in enumerate(list(self.stack.engines)):
            values = training[row] if training else {}
            judge = partial(_judge, values=values, metrics=metrics[row])
            self._guarded(self.sessions[engine], judge)
        done = [e for e in self.stack.engines if e.finished and e not in self.over]
        self._complete(done)

    def _log(self) -> None:
        point = self.stack.point()
        self._write()
        self.waiting = point
        if not self.delayed:
            self._write()

    def _write(self) -> None:
        """Write the point that waits for it, if there is one."""
        point, self.waiting = self.waiting, None
        if point is not None:
            for engine, values in zip(point.engines, point.values(), strict=True):
                log = partial(_log, step=point.step, values=values)
                self._guarded(self.sessions[engine], log)

    def _complete(self, engines: Sequence[Engine]) -> None:
        """The end of those that have nothing left to train."""
        if engines:
            self._save()
        for engine in engines:
            if engine not in self.over:
                session = self.sessions[engine]
                self._guarded(session, Session.completed)
                if engine not in self.over:
                    self._end(session, None)

    def _save(self) -> None:
        """A checkpoint of every run that is sound."""
        self._write()
        self.stack.share_pending()
        self._count_seconds()
        sound = []
        for engine, failure in zip(list(self.stack.engines), self.stack.not_finite(), strict=True):
            if engine in self.over:
                continue
            if failure is not None:
                self._end(self.sessions[engine], failure)
            else:
                sound.append(self.sessions[engine])
        try:
            save_all([session.checkpoints for session in sound])
        except DiskFull:
            raise
        except Exception:  # one by one it shows whose fault it is
            for session in sound:
                self._guarded(session, _save)
        self.saved = time.perf_counter()

    def _guarded(self, session: Session, action: Action) -> None:
        """Do something for one run; what goes wrong ends that run alone."""
        if session.engine in self.over:
            return
        try:
            with session.log:
                action(session)
        except Exception as error:
            if (full := disk_full(error)) is not None:
                raise full from error
            self._refuse_shared(error)
            self._end(session, error)

    def _end(self, session: Session, error: Exception | None) -> None:
        self.over.append(session.engine)
        with session.log:
            try:
                if error is not None:
                    session.ended_by(error)
                    error = None
            except DiskFull:
                raise
            except Exception as failure:
                error = failure
        session.close()
        self.ended(self, session, error)

    def _let_go(self) -> None:
        """Go on without those that are over."""
        if self.over:
            for engine in self.over:
                del self.sessions[engine]
            self.stack.keep([e for e in self.stack.engines if e not in self.over])
            self.stretches.begin_anew()
            for engine in self.over:  # whose weights look into those of all runs
                let_go(engine)
            self.over = []

    def _count_seconds(self) -> None:
        """Give each run its part of the time that has passed."""
        now = time.perf_counter()
        part = (now - self.clock) / len(self.stack.engines)
        for engine in self.stack.engines:
            engine.seconds += part
        self.clock = now


def _judge(session: Session, values: Values | Diverged, metrics: Values | RunFailed) -> None:
    if isinstance(values, Diverged):
        raise values
    if isinstance(metrics, RunFailed):
        raise metrics
    session.evaluated(session.engine.judge(values, metrics))


def _log(session: Session, step: int, values: Values | Diverged) -> None:
    if isinstance(values, Diverged):
        raise values
    session.engine.note(values)
    session.logged(step, values)


def _save(session: Session) -> None:
    session.checkpoints.save()
