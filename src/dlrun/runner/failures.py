"""Why a run failed: in words for its user, and as its summary holds it."""

from __future__ import annotations

from typing import Any

from dlrun.errors import RunFailed, command, without_frames
from dlrun.runner.peers import explain_loss
from dlrun.storage import checkpoint
from dlrun.storage.run_directory import RunDirectory
from dlrun.training.build import Experiment
from dlrun.training.compilation import why_not_compiled
from dlrun.training.device import out_of_memory
from dlrun.training.device_errors import (
    device_lost,
    free_cache,
    lacks_memory,
    step_too_large,
)
from dlrun.training.divergence import Diverged
from dlrun.training.torch_state import is_not_repeatable, not_repeatable


def explain(error: Exception, experiment: Experiment, run: RunDirectory) -> RunFailed | None:
    """The one line that tells the user what to do, or None where only the traceback helps."""
    if isinstance(error, Diverged) and (run.checkpoints / checkpoint.LAST).exists():
        lower = "optimizer.lr=…"
        error.args = (
            f"{error}; the checkpoint before it is kept: `{command('resume', run.path)} {lower}`",
        )
        return error
    device = experiment.device.torch_device
    if broken := device_lost(error, device):
        return broken
    if isinstance(error, RunFailed):
        return error
    if lost := explain_loss(error):
        return lost
    if reason := why_not_compiled(error, experiment.engine.settings):
        return RunFailed(reason)
    if is_not_repeatable(error):
        return RunFailed(not_repeatable(error))
    if out_of_memory(error):
        rows = len(experiment.data.train)
        return step_too_large(experiment.config.trainer, rows, device)
    return None


def error_facts(error: Exception, step: int) -> dict[str, Any]:
    """`error` as summary.json holds it."""
    kind = type(error).__name__
    return {
        "kind": kind,
        "message": str(error),
        "step": error.step if isinstance(error, Diverged) else step,
    }


def kept(error: Exception) -> Exception:
    """The error of a run that is over, which others follow in this process: it keeps nothing of the run's memory."""
    error = without_frames(error)
    if lacks_memory(error):
        free_cache()
    return error
