"""What goes wrong on a device while a run is under way: too little memory, or no answer any more; said in one line."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import torch

from dlrun.config.settings import TrainerSettings
from dlrun.errors import RunFailed, causes
from dlrun.training.device import DeviceLost, memory_share, out_of_memory

# Errors after which "any further CUDA work will return the same error" until the process has ended, as the
# documentation of CUDA's runtime says of them, in the words of cudaGetErrorString.
_LOST = (
    "device-side assert triggered",
    "an illegal memory access was encountered",
    "unspecified launch failure",
    "misaligned address",
    "an illegal instruction was encountered",
    "invalid program counter",
    "hardware stack error",
    "operation not supported on global/shared address space",
    "the launch timed out and was terminated",
    "uncorrectable ECC error encountered",
)


def device_lost(error: BaseException, device: torch.device) -> DeviceLost | None:
    """`error` in words where it, or one behind it, says that nothing goes on `device` any more; else None.

    Asks the device nothing.
    """
    for one in causes(error):
        if isinstance(one, DeviceLost):
            return one
        # AcceleratorError of newer versions of torch is a RuntimeError, which it was before.
        said = str(one) if isinstance(one, RuntimeError) else ""
        if reason := next((words for words in _LOST if words in said), None):
            return DeviceLost(
                f"an operation on {device} has failed ({reason}), after which this process can compute nothing more "
                "there; run it again with the environment variable CUDA_LAUNCH_BLOCKING=1 or with "
                "trainer.accelerator=cpu to see which operation it was"
            )
    return None


def lacks_memory(error: BaseException) -> bool:
    """Whether `error`, or one that it comes from, says that there is no memory left."""
    return any(map(out_of_memory, causes(error)))


def step_too_large(trainer: TrainerSettings, rows: int, device: torch.device) -> RunFailed:
    """What to say where a training step needs more memory than there is; of a training part of so many `rows`."""
    samples, parts = trainer.samples_per_step(rows), 2 * trainer.accumulate
    remedies = [
        f"trainer.batch_size={max(1, samples // 2)}" if samples > 1 else "",
        f"trainer.accumulate={parts} (same gradient, half the memory)" if parts <= samples else "",
        "trainer.precision=bf16" if trainer.precision in ("fp32", "fp64") else "",
    ]
    tried = ", ".join(filter(None, remedies))
    share = memory_share(device)
    part = (
        f", of which this process may take {share:.0%} (sweep.trials_per_gpu)," if share < 1 else ""
    )
    return RunFailed(
        f"out of memory on {device}{part} with trainer.batch_size={trainer.batch_size}: try "
        f"{tried}{' or ' if tried else ''}a smaller model"
    )


def memory_for_steps(
    trainer: TrainerSettings, rows: int, device: torch.device
) -> AbstractContextManager[None]:
    """While steps are trained that no session follows.

    Raises:
        RunFailed: there is too little memory for one; what to change.
    """
    return _memory_or(lambda: step_too_large(trainer, rows, device))


def memory_for_evaluation(size: int, rows: int) -> AbstractContextManager[None]:
    """While a model is evaluated on so many `rows`, `size` at a time.

    Raises:
        RunFailed: there is too little memory for that; what to change.
    """
    fewer = min(size, rows) // 2
    smaller = f"trainer.eval_batch_size={fewer} or " if fewer else ""
    return _memory_or(
        lambda: RunFailed(
            f"out of memory in an evaluation with trainer.eval_batch_size={size}: try {smaller}a smaller model"
        )
    )


@contextmanager
def _memory_or(failure: Callable[[], RunFailed]) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if isinstance(error, RunFailed) or not out_of_memory(error):
            raise
        raise failure() from error


def free_cache() -> None:
    """Give back what torch keeps of a GPU's memory without need: the next run of this process may want it whole."""
    if torch.cuda.is_initialized():
        gc.collect()  # a model of the user's own may name itself
        with suppress(RuntimeError):  # of a device that is lost
            torch.cuda.empty_cache()
