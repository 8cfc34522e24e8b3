"""How long a step takes, of a stack and of a run alone.

On one thread of the CPU it is the processor's own time, which other processes on the machine hardly change.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch

from dlrun.stacked.stack import Stack
from dlrun.training.loop import Engine

_WARM_UP = 2
_STEPS = 7
_SECONDS = 0.25  # after which even one step has to do


def stack_step_seconds(stack: Stack) -> float:
    """Seconds of one step of all runs of `stack`, which is used up by this."""
    inputs, targets = next(stack.batches.epoch(0))
    return _seconds(lambda: stack.train_step(inputs, targets), stack.device.torch_device)


def step_seconds(engine: Engine) -> float:
    """Seconds of one step of `engine`, which is used up by this."""
    inputs, targets = next(engine.batches.epoch(0))
    engine.model.train()
    return _seconds(lambda: engine.train_step(inputs, targets), engine.device.torch_device)


def _seconds(step: Callable[[], None], device: torch.device) -> float:
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    taken: list[float] = []
    begun = clock()
    for _ in range(_WARM_UP + _STEPS):
        started = clock()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(clock() - started)
        if clock() - begun > _SECONDS:
            break
    return median(taken[_WARM_UP:] or taken[-1:])
