"""Why a run failed: in words for its user, and as its summary holds it."""

from __future__ import annotations

from typing import Any

from dlrun.errors import RunFailed, command
from dlrun.runner.peers import explain_loss
from dlrun.storage import checkpoint
from dlrun.storage.run_directory import RunDirectory
from dlrun.training.build import Experiment
from dlrun.training.compilation import why_not_compiled
from dlrun.training.device import out_of_memory
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
    if isinstance(error, RunFailed):
        return error
    if lost := explain_loss(error):
        return lost
    if reason := why_not_compiled(error, experiment.engine.settings):
        return RunFailed(reason)
    if is_not_repeatable(error):
        return RunFailed(not_repeatable(error))
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
