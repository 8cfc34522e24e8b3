"""The ways a run can end other than well, in words that say what to do next."""

from __future__ import annotations

import logging
import sys
from typing import Any

from dlrun.assemble import Experiment
from dlrun.device import out_of_memory
from dlrun.engine import Diverged
from dlrun.errors import RunFailed
from dlrun.runs import PROGRAM, RunDirectory
from dlrun.signals import StopRequest

log = logging.getLogger(__name__)


def nothing_left(experiment: Experiment, run: RunDirectory) -> str:
    """Why a completed run cannot be resumed as it is, and what to change."""
    engine, settings = experiment.engine, experiment.config.trainer
    if engine.stopped_early:
        return (
            f"{run.path} is complete: it stopped early after {engine.waited} evaluations without improvement; "
            f"to train on, raise the patience, as in `{PROGRAM} resume {run.path} trainer.early_stopping.patience=…`"
        )
    limit, value = (
        ("max_epochs", settings.max_epochs)
        if settings.max_epochs
        else ("max_steps", settings.max_steps)
    )
    return (
        f"{run.path} is complete: trainer.{limit} is {value}; to train on, raise it, as in "
        f"`{PROGRAM} resume {run.path} trainer.{limit}={2 * (value or 1)}`"
    )


def say_how_to_resume(experiment: Experiment, run: RunDirectory, stop: StopRequest) -> int:
    """Tell the user after a signal; the exit code that goes with it."""
    assert stop.signal is not None
    engine = experiment.engine
    message = (
        f"stopped by {stop.signal.name} at step {engine.step:,} of {engine.total_steps:,}, saved; "
        f"continue with `{PROGRAM} resume {run.path}`"
    )
    log.info(message)
    print(f"dlrun: {message}", file=sys.stderr)
    return stop.exit_code


def explain(error: Exception, experiment: Experiment) -> RunFailed | None:
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


def error_facts(error: Exception, step: int) -> dict[str, Any]:
    """`error` as summary.json holds it."""
    kind = type(error).__name__
    return {
        "kind": kind,
        "message": str(error),
        "step": error.step if isinstance(error, Diverged) else step,
    }
