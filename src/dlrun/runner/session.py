"""One run under way: all that is open while it trains, and every way to end it.

Who trains it, alone or with others, enters it, calls `start`, then `stepped`, `logged` and `evaluated` (it
is the observer of the loop), then one of `completed`, `stopped` and `ended_by`. Leaving it closes it.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import NoReturn, Self

from torch import Tensor

from dlrun.diagnostics.model_summary import layer_table
from dlrun.diagnostics.profiler import profiled
from dlrun.diagnostics.views import Views, going_on
from dlrun.errors import RunFailed, command, first_line
from dlrun.runner.checkpoint_writer import CheckpointWriter
from dlrun.runner.failures import error_facts, explain
from dlrun.runner.hparams import show_hparams
from dlrun.runner.peers import RankLost
from dlrun.runner.run_log import RunLog
from dlrun.runner.summary import Identity, SummaryWriter, Training, closing_table
from dlrun.storage.disk import DiskFull, disk_full
from dlrun.storage.run_directory import RunDirectory
from dlrun.system.signals import StopRequest
from dlrun.tracking.class_table import ClassRow, class_table, facts
from dlrun.tracking.progress import Progress
from dlrun.tracking.tracker import Tracker
from dlrun.training import torch_state
from dlrun.training.build import Experiment, Loader
from dlrun.training.compilation import announcement
from dlrun.training.device import count_memory
from dlrun.training.engine_state import let_go
from dlrun.training.loop import Engine
from dlrun.training.metrics.classes import class_rows
from dlrun.training.scores import class_confusion
from dlrun.training.sharding import has_shards

log = logging.getLogger(__name__)

_TRIAL_FLUSH_SECONDS = 5.0  # for which points of a trial may wait in memory


class Pruned(Exception):
    """Raised by a watch to end a trial that has no hope: an end like any other, and no error."""


@dataclass(frozen=True)
class Watch:
    """What a sweep adds to a run that is one of its trials, which is then quiet.

    Attributes:
        swept: what the sweep varies, and the values of this trial.
        after_evaluation: sees the engine then; may raise Pruned.
        load: the data, which trials may share.
        at_once: how many runs this process trains at a time.
    """

    swept: Mapping[str, str]
    after_evaluation: Callable[[Engine], None]
    load: Loader
    at_once: int = 1


class Session:
    """A run from its first step in this process to its end, closed on leaving it.

    Args:
        opened: what is open already, the lock and the log. It is taken over last: where this fails, the
            caller still has it to close.
    """

    def __init__(
        self,
        experiment: Experiment,
        run: RunDirectory,
        identity: Identity,
        watch: Watch | None,
        *,
        log: RunLog,
        opened: ExitStack,
    ) -> None:
        config, self.engine = experiment.config, experiment.engine
        self.experiment, self.run, self.identity, self.watch = experiment, run, identity, watch
        self.log = log
        self.summary = SummaryWriter(experiment, run, identity)
        self.tracker = Tracker(
            run.metrics_file,
            run.tensorboard,
            tensorboard=config.tracking.tensorboard,
            start_step=self.engine.step,
            flush_seconds=_TRIAL_FLUSH_SECONDS if watch else 0.0,
        )
        self.checkpoints = CheckpointWriter(experiment, run, self.tracker)
        self.views = Views(
            experiment.data,
            config.tracking,
            model=config.model,
            sharded=has_shards(self.engine.model),
            trials_at_once=watch.at_once if watch else None,
        )
        self._open = opened.pop_all()
        self._open.callback(self._close_tracker)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.close()
        finally:
            let_go(self.engine)

    def train(self) -> int:
        """Train the run by itself, to its end or until a signal; the exit code.

        Raises:
            RunFailed: training failed; the run's summary says so too.
        """
        with self.log, StopRequest() as stop, self:
            try:
                self.start()
                self._fit(stop)
                if not self.engine.finished:
                    return self.stopped(stop)
                self.completed()
            except Exception as error:
                self.ended_by(error)
        return 0

    def join_stack(self, size: int) -> None:
        """Say, before the start, that the run is one of `size` that are trained as one."""
        self.summary.training = Training("stacked", size)

    def start(self) -> None:
        """Write that the run has started, and on what device."""
        count_memory(self.experiment.device.torch_device)
        self.summary.write("running")
        engine = self.engine
        # Once more: another run may have been built in this process since this one was.
        torch_state.configure(engine.settings, engine.device, engine.data)
        if self.watch is not None and self.experiment.begun_with:  # else it was noted
            log.info(self.experiment.begun_with)
        for remark in self.experiment.remarks:
            log.info(remark)
        if wait := announcement(engine.settings):
            self._say(wait)
        if engine.step == 0:
            config = self.run.config_file.read_text(encoding="utf-8")
            self.tracker.text("config", f"```yaml\n{config}```", 0)
            self.views.at_start(self.tracker)
            if self.watch is None:
                self._show_data_and_layers()
        self.progress = Progress(
            start_step=engine.step,
            total_steps=engine.total_steps,
            steps_per_epoch=engine.steps_per_epoch,
            quiet=self.watch is not None,
        )
        self._open.callback(self.progress.close)
        log.info(
            "training on %s, %s steps of %s, %s",
            self.experiment.device.torch_device,
            engine.total_steps,
            self.experiment.config.name,
            self._with_whom(),
        )

    def stepped(self, steps: int) -> None:
        """So many steps were made."""
        self.progress.advance(steps)
        self._profile_step()

    def logged(self, step: int, values: dict[str, float]) -> None:
        """Write a point down, and show it."""
        self._write(step, values)
        self.progress.show(step, values)

    def evaluated(self, values: dict[str, float]) -> None:
        """Write an evaluation down, and show what it gave.

        Raises:
            Pruned: the sweep wants no more of this run.
        """
        self._write(self.engine.step, values)
        self.progress.report(self.engine.step, values)
        self.views.at_evaluation(self.engine, self.tracker)
        self.summary.write_running()
        if self.watch is not None:
            self.watch.after_evaluation(self.engine)

    def completed(self) -> None:
        """The run has reached its end."""
        self.progress.close()
        confusion, rows = self._test()
        self.tracker.flush()  # a run that says it is complete has all its points
        self.summary.write("completed", confusion=confusion, per_class=facts(rows) or None)
        self._show_hparams()
        table = closing_table(self.experiment, self.run, rows)
        log.info("completed\n%s", table)
        if self.watch is None:
            print(table)

    def stopped(self, stop: StopRequest) -> int:
        """A signal came, and all is saved; the exit code that goes with it."""
        self.progress.close()
        self.summary.write("stopped")
        if self.watch is None:  # of a trial, the sweep as a whole is what to resume
            assert stop.signal is not None
            engine = self.engine
            message = (
                f"stopped by {stop.signal.name} at step {engine.step:,} of {engine.total_steps:,}, saved; "
                f"continue with `{command('resume', self.run.path)}`"
            )
            self._say(message)
        return stop.exit_code

    def ended_by(self, error: Exception) -> None:
        """The run was pruned, or has failed.

        Raises:
            RunFailed: the same failure in words for the user; any other error is raised as it is.
        """
        with suppress(Exception):  # of a device that is lost, or a loss that is not finite either
            self.engine.points.write(self.engine.latest, self)
        if isinstance(error, Pruned):
            try:
                self._pruned(error)
                return
            except DiskFull:
                raise
            except Exception as trouble:
                error = trouble
        if (full := disk_full(error)) is not None:
            self.halted_by(full)
        failure = explain(error, self.experiment, self.run)
        self._try(self.checkpoints.save_best)
        killed = isinstance(failure, RankLost) and not failure.failed
        status = "stopped" if killed else "failed"
        self.summary.write(status, error=error_facts(failure or error, self.engine.step))
        self._try(self._show_hparams)
        log.error("%s\n%s", failure or "failed", "".join(traceback.format_exception(error)))
        if failure is None:
            raise error
        raise failure from error

    def halted_by(self, reason: RunFailed) -> NoReturn:
        """The disk, or the memory for a whole stack, is too small to go on: the run can be resumed where it was saved.

        Raises:
            RunFailed: always, with what to do.
        """
        self.summary.write("stopped")
        log.error("%s", reason)
        if self.watch is not None:  # the sweep as a whole is what to resume
            raise reason
        raise type(reason)(
            f"{reason}; then continue with `{command('resume', self.run.path)}`"
        ) from reason

    def close(self) -> None:
        """Close progress, tracker and log, then give the lock back: each, whatever becomes of the others."""
        self._open.close()

    def _close_tracker(self) -> None:
        with suppress(OSError, DiskFull):  # all that counts was written before
            self.tracker.close()

    def _pruned(self, error: Pruned) -> None:
        log.info("pruned: %s", error)
        # Before the checkpoint, from which a run that is not over would train on.
        self.summary.write("pruned")
        self._show_hparams()
        self.engine.gather()
        self.checkpoints.save()

    @staticmethod
    def _try(action: Callable[[], None]) -> None:
        """Do what is of use after a failure; that it fails too, as on a device that is lost, is not what to report."""
        try:
            action()
        except Exception as error:
            log.warning("%s after the failure below", first_line(error))

    def _fit(self, stop: StopRequest) -> None:
        profile = profiled(
            self.run.path / "profile",
            self.experiment.device.torch_device,
            enabled=self.engine.settings.profile,
        )
        try:
            with profile as self._profile_step:
                self.engine.fit(save=self.checkpoints.save, observer=self, stop=stop)
        finally:  # a bar that is left open would share its line with what is said next
            self.progress.close()

    def _say(self, message: str) -> None:
        """In the log, and of a run that is no trial on the screen as well."""
        log.info(message)
        if self.watch is None:
            with suppress(OSError):  # of a terminal that is gone
                print(f"dlrun: {message}", file=sys.stderr)

    def _write(self, step: int, values: dict[str, float]) -> None:
        self.tracker.log(step, -(-step // self.engine.steps_per_epoch), values)

    def _with_whom(self) -> str:
        ranks, devices = self.engine.ranks.size, self.engine.settings.devices
        if size := self.summary.training.stack_size:
            return f"as one of a stack of {size} runs"
        if ranks == 1:
            return "alone"
        asked = len(devices) if isinstance(devices, list) else devices
        other = "" if asked in (ranks, "all") else f" (as started; trainer.devices is {devices})"
        return f"in {ranks} processes{other}, rank 0 is this one"

    def _show_data_and_layers(self) -> None:
        data = self.experiment.data
        sizes = (len(part) for part in (data.train, data.val, data.test))
        where = "in memory" if isinstance(data.train.inputs, Tensor) else "read from their files"
        log.info("%s samples to train on, %s to validate, %s to test, %s", *sizes, where)
        if has_shards(self.engine.model):
            log.info(
                "each device has a part of the model: the table of layers and views of the whole model are left out"
            )
            return
        with going_on("the table of layers"):
            table = layer_table(self.engine.model, data.spec)
            log.info("the model\n%s", table)
            self.tracker.text("model", f"```\n{table}\n```", 0)

    def _test(self) -> tuple[list[list[int]] | None, list[ClassRow]]:
        """Test the chosen weights and show what they do; the confusion matrix of a classifier, and its classes."""
        engine, data, task = self.engine, self.experiment.data, self.experiment.task
        outputs = engine.test()
        name = data.tested
        part = data.split(name)
        metrics = engine.chosen.final_metrics(task, outputs, part)
        values = {f"test/{key}": value for key, value in metrics.items()} if name == "test" else {}
        if values:
            engine.note(values)
            self._write(engine.step, values)
        self.views.at_end(engine, self.tracker, part, outputs)
        if rows := class_rows(outputs, part.targets, data.spec):
            self.tracker.text("per_class", f"```\n{class_table(rows)}\n```", engine.step)
        return class_confusion(outputs, part.targets, data.spec), rows

    def _show_hparams(self) -> None:
        show_hparams(self.tracker, self.identity, self.run, self.summary.status)
