"""A run from its config to its last word."""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from dlrun import checkpoint, config, record
from dlrun.assemble import Experiment, assemble
from dlrun.device import out_of_memory
from dlrun.engine import Diverged
from dlrun.errors import ConfigError, RunFailed
from dlrun.profiling import profiled
from dlrun.progress import Progress
from dlrun.report import closing_table, metrics_only, settings_row, summarise
from dlrun.runs import RunDirectory, lock, truncate_metrics
from dlrun.signals import StopRequest
from dlrun.tasks import class_confusion
from dlrun.tracking import Tracker
from dlrun.views import Views

log = logging.getLogger(__name__)

_SUMMARY_SECONDS = 2.0  # between two summaries of a run under way


@dataclass(frozen=True)
class Identity:
    """What a run carries from its first process to its last."""

    plain: Mapping[str, Any]  # the composed config
    choices: Mapping[str, str]
    overrides: list[str]  # all that the command line ever changed
    created: str


def train(
    plain: Mapping[str, Any], run: RunDirectory, *, overrides: list[str], choices: Mapping[str, str]
) -> int:
    """Train a new run in the directory `run`; the exit code: 0, or 130 and 143 after SIGINT and SIGTERM.

    Raises:
        ConfigError: nothing was done yet.
        RunFailed: training failed; the run's summary says so too.
    """
    experiment = assemble(config.parse(plain))
    with lock(run):
        record.write_start(run, plain, overrides, _device_facts(experiment))
        return _carry_on(experiment, run, Identity(plain, choices, overrides, record.now()))


def resume(plain: Mapping[str, Any], run: RunDirectory, *, overrides: list[str]) -> int:
    """Continue the run in `run` from its last whole checkpoint, with `plain` as its config from now on.

    Returns and raises as `train` does.
    """
    experiment = assemble(config.parse(plain))
    with lock(run), record.logging_to(run):
        summary = run.read_summary() or {}
        run.checkpoints.mkdir(exist_ok=True)
        state = checkpoint.load_latest(run.checkpoints)
        if state is not None:
            _restore(experiment, state)
        if summary.get("status") == "completed" and experiment.engine.finished:
            raise ConfigError(_nothing_left(experiment, run))
        truncate_metrics(run, state["metrics_size"] if state else 0)
        overrides = [*record.read_overrides(run), *overrides]
        record.write_config(run, plain, overrides)
        created, choices = summary.get("created", record.now()), summary.get("choices", {})
        print(
            f"resuming {run.path} at step {experiment.engine.step:,} of {experiment.engine.total_steps:,}"
        )
        return _carry_on(experiment, run, Identity(plain, choices, overrides, created))


def _carry_on(experiment: Experiment, run: RunDirectory, identity: Identity) -> int:
    """Train from wherever the engine stands, and write down how it ended."""
    engine, tracking = experiment.engine, experiment.config.tracking
    summary = _SummaryWriter(experiment, run, identity)
    tracker = Tracker(
        run.metrics_file, run.tensorboard, tensorboard=tracking.tensorboard, start_step=engine.step
    )
    saver = _Saver(experiment, run, tracker)
    with record.logging_to(run), StopRequest() as stop:
        summary.write("running")
        try:
            _fit(experiment, saver, summary, tracker, stop)
            if not engine.finished:
                summary.write("stopped")
                return _say_how_to_resume(experiment, run, stop)
            confusion = _conclude(experiment, tracker, identity)
            summary.write("completed", confusion=confusion)
        except Exception as error:
            failure = _explain(error, experiment)
            saver.save_best()
            summary.write("failed", error=_error_facts(failure or error, engine.step))
            log.error("%s", failure or traceback.format_exc())
            if failure is None:
                raise
            raise failure from error
        finally:
            tracker.close()
        table = closing_table(experiment, run)
        log.info("completed\n%s", table)
        print(table)
        return 0


def _fit(
    experiment: Experiment,
    saver: _Saver,
    summary: _SummaryWriter,
    tracker: Tracker,
    stop: StopRequest,
) -> None:
    engine = experiment.engine
    views = Views(experiment.data, experiment.config.tracking)
    if engine.step == 0:
        views.at_start(tracker)
    progress = Progress(
        start_step=engine.step,
        total_steps=engine.total_steps,
        steps_per_epoch=engine.steps_per_epoch,
    )
    log.info(
        "training on %s, %s steps of %s",
        experiment.device.torch_device,
        engine.total_steps,
        experiment.config.name,
    )
    profile = profiled(saver.run.path / "profile", enabled=engine.settings.profile)
    try:
        with profile as after_step:
            engine.fit(
                save=saver.save,
                after_step=after_step,
                after_evaluation=summary.write_running,
                tracker=tracker,
                progress=progress,
                views=views,
                stop=stop,
            )
    finally:
        progress.close()


def _conclude(
    experiment: Experiment, tracker: Tracker, identity: Identity
) -> list[list[int]] | None:
    """Test the chosen weights and show what they do; the confusion matrix of a classifier."""
    engine, data, task = experiment.engine, experiment.data, experiment.task
    if engine.settings.early_stopping.restore_best:
        engine.restore_best()
    name = "test" if len(data.test) else "val" if len(data.val) else "train"
    part = data.split(name)
    outputs = engine.outputs(part)
    metrics = task.final_metrics(outputs, part.targets)
    values = {f"test/{key}": value for key, value in metrics.items()} if name == "test" else {}
    engine.latest |= values
    if values:
        tracker.log(engine.step, engine.epoch, values)
    Views(data, experiment.config.tracking).at_end(engine, tracker, part, outputs)
    tracker.hparams(
        settings_row(identity.plain, identity.choices, identity.overrides),
        metrics_only(engine.latest),
    )
    return class_confusion(outputs, part.targets, data.spec)


def _restore(experiment: Experiment, state: Mapping[str, Any]) -> None:
    """Put the engine and every random state where the checkpoint took them.

    Raises:
        ConfigError: the config now describes a model or batches that the checkpoint does not fit.
    """
    engine = experiment.engine
    if state["steps_per_epoch"] != engine.steps_per_epoch:
        raise ConfigError(
            f"this run has {state['steps_per_epoch']} steps an epoch, but its config now makes "
            f"{engine.steps_per_epoch}: a resume cannot change the data or trainer.batch_size; "
            "start a new run with dlrun train"
        )
    try:
        engine.load_state_dict(dict(state))
    except (RuntimeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"the checkpoint does not fit the model or optimizer as configured now ({reason}): "
            "a resume cannot change their structure; start a new run with dlrun train"
        ) from error
    checkpoint.restore_random_states(state["random"], engine.generator)


def _nothing_left(experiment: Experiment, run: RunDirectory) -> str:
    engine, settings = experiment.engine, experiment.config.trainer
    if engine.stopped_early:
        return (
            f"{run.path} is complete: it stopped early after {engine.waited} evaluations without improvement; "
            f"to train on, raise the patience, as in `dlrun resume {run.path} trainer.early_stopping.patience=…`"
        )
    limit, value = (
        ("max_epochs", settings.max_epochs)
        if settings.max_epochs
        else ("max_steps", settings.max_steps)
    )
    return (
        f"{run.path} is complete: trainer.{limit} is {value}; to train on, raise it, as in "
        f"`dlrun resume {run.path} trainer.{limit}={2 * (value or 1)}`"
    )


def _say_how_to_resume(experiment: Experiment, run: RunDirectory, stop: StopRequest) -> int:
    assert stop.signal is not None
    engine = experiment.engine
    message = (
        f"stopped by {stop.signal.name} at step {engine.step:,} of {engine.total_steps:,}, saved; "
        f"continue with `dlrun resume {run.path}`"
    )
    log.info(message)
    print(f"dlrun: {message}", file=sys.stderr)
    return stop.exit_code


def _explain(error: Exception, experiment: Experiment) -> RunFailed | None:
    """The one line that tells the user what to do, or None where only the traceback helps."""
    if isinstance(error, RunFailed):
        return error
    if out_of_memory(error):
        size = experiment.config.trainer.batch_size
        shown = len(experiment.data.train) if size == "full" else size
        return RunFailed(
            f"out of memory on {experiment.device.torch_device} with trainer.batch_size={size}: try "
            f"trainer.batch_size={max(1, shown // 2)}, trainer.accumulate=2 (same gradient, half the memory), "
            "trainer.precision=bf16 or a smaller model"
        )
    return None


def _error_facts(error: Exception, step: int) -> dict[str, Any]:
    kind = type(error).__name__
    return {
        "kind": kind,
        "message": str(error),
        "step": error.step if isinstance(error, Diverged) else step,
    }


def _device_facts(experiment: Experiment) -> dict[str, Any]:
    place = experiment.device.torch_device
    name = torch.cuda.get_device_name(place) if place.type == "cuda" else place.type
    return {"device": str(place), "device_name": name, "threads": torch.get_num_threads()}


class _Saver:
    """Writes checkpoints of one run; best.pt only when there is a better model than the one on disk."""

    def __init__(self, experiment: Experiment, run: RunDirectory, tracker: Tracker) -> None:
        self.experiment, self.run, self.tracker = experiment, run, tracker
        self.best_step = -1

    def save(self) -> None:
        engine = self.experiment.engine
        random_states = checkpoint.random_states(engine.generator)
        extra = {
            "random": random_states,
            "metrics_size": self.tracker.metrics_size,
            **self.experiment.about,
        }
        checkpoint.save(self.run.checkpoints, engine.state_dict() | extra)
        self.save_best()

    def save_best(self) -> None:
        best = self.experiment.engine.best
        if best.step in (0, self.best_step):
            return
        facts = {"epoch": best.epoch, "step": best.step, "metrics": best.metrics}
        checkpoint.save_best(
            self.run.checkpoints, {"model": best.weights, **facts, **self.experiment.about}
        )
        self.best_step = best.step


class _SummaryWriter:
    """Keeps summary.json up to date."""

    def __init__(self, experiment: Experiment, run: RunDirectory, identity: Identity) -> None:
        self.experiment, self.run, self.identity = experiment, run, identity
        self.written = 0.0

    def write(self, status: str, **more: Any) -> None:
        summary = summarise(
            self.experiment,
            status=status,
            created=self.identity.created,
            choices=self.identity.choices,
            **more,
        )
        self.run.write_summary(summary)
        self.written = time.monotonic()

    def write_running(self) -> None:
        """After an evaluation: now and then is enough."""
        if time.monotonic() - self.written >= _SUMMARY_SECONDS:
            self.write("running")
