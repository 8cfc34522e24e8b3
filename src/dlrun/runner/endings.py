"""The ways a run can end other than well, in words that say what to do next."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import Any

from dlrun.errors import RunFailed, command, new_run
from dlrun.storage import checkpoint
from dlrun.storage.run_directory import RunDirectory
from dlrun.system.signals import StopRequest
from dlrun.training.build import Experiment
from dlrun.training.device import out_of_memory
from dlrun.training.loop import Diverged

log = logging.getLogger(__name__)


def nothing_left(experiment: Experiment, run: RunDirectory) -> str:
    """Why a completed run cannot be resumed as it is, and what to change."""
    engine, settings = experiment.engine, experiment.config.trainer
    if settings.fast_dev_run:
        return new_run(f"{run.path} was only tried out, with trainer.fast_dev_run=true")
    if engine.stopped_early:
        patience = f"trainer.early_stopping.patience={2 * engine.waited}"
        return (
            f"{run.path} is complete: it stopped early after {engine.waited} evaluations without improvement; "
            f"to train on, raise the patience, as in `{command('resume', run.path, patience)}`"
        )
    by_steps = settings.max_steps == engine.total_steps
    name, done = ("max_steps", engine.step) if by_steps else ("max_epochs", engine.epoch)
    longer = f"trainer.{name}={2 * done}"
    return (
        f"{run.path} is complete: {done} of trainer.{name}={getattr(settings, name)} are done; "
        f"to train on, raise it, as in `{command('resume', run.path, longer)}`"
    )


def say_how_to_resume(experiment: Experiment, run: RunDirectory, stop: StopRequest) -> int:
    """Tell the user after a signal; the exit code that goes with it."""
    assert stop.signal is not None
    engine = experiment.engine
    message = (
        f"stopped by {stop.signal.name} at step {engine.step:,} of {engine.total_steps:,}, saved; "
        f"continue with `{command('resume', run.path)}`"
    )
    log.info(message)
    with suppress(OSError):  # of a terminal that is gone
        print(f"dlrun: {message}", file=sys.stderr)
    return stop.exit_code


def explain(error: Exception, experiment: Experiment, run: RunDirectory) -> RunFailed | None:
    """The one line that tells the user what to do, or None where only the traceback helps."""
    if isinstance(error, Diverged) and (run.checkpoints / checkpoint.LAST).exists():
        lower = "optimizer.lr=…"
        error.args = (
            f"{error}; the checkpoint before it is kept: `{command('resume', run.path)} {lower}`",
        )
        return error
    if isinstance(error, RunFailed):
        return error
    if out_of_memory(error):
        trainer = experiment.config.trainer
        samples = trainer.samples_per_step(len(experiment.data.train))
        return RunFailed(
            f"out of memory on {experiment.device.torch_device} with trainer.batch_size={trainer.batch_size}: try "
            f"trainer.batch_size={max(1, samples // 2)}, trainer.accumulate=2 (same gradient, half the memory), "
            "trainer.precision=bf16 or a smaller model"
        )
    return None


def error_facts(error: Exception, step: int) -> dict[str, Any]:
    """`error` as summary.json holds it."""
    kind = type(error).__name__
    return {
        "kind": kind,
        "message": str(error),
        "step": error.step if isinstance(error, Diverged) else step,
    }
