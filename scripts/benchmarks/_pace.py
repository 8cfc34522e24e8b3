"""How long a step takes, of a stack and of a run alone.

On one thread of the CPU it is the processor's own time, which other processes on the machine hardly change. On a
GPU many steps are made without waiting, as in training, by the graph where dlrun takes one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch

from _accelerator import now
from dlrun.stacked.stack import Stack
from dlrun.training.logged_points import Pending
from dlrun.training.loop import Engine

_WARM_UP = 2
_STEPS = 7
_SECONDS = 0.25  # after which even one step has to do
_BLOCK = 50  # steps on a GPU without waiting for it


def stack_step_seconds(stack: Stack) -> float:
    """Seconds of one step of all runs of `stack`, which is used up by this."""
    inputs, targets = next(stack.batches.epoch(0))
    return _seconds(lambda: stack.train_step(inputs, targets), stack)


def step_seconds(engine: Engine) -> float:
    """Seconds of one step of `engine`, which is used up by this."""
    inputs, targets = next(engine.batches.epoch(0))
    engine.model.train()
    step = engine.captured or engine.train_step
    return _seconds(lambda: step(inputs, targets), engine)


def _seconds(step: Callable[[], None], trained: Engine | Stack) -> float:
    kind = trained.device.torch_device.type
    count = 1 if kind == "cpu" else _BLOCK
    alone = kind == "cpu" and torch.get_num_threads() == 1
    taken: list[float] = []
    begun = time.perf_counter()
    for _ in range(_WARM_UP + _STEPS):
        started = time.process_time() if alone else now(kind)
        for _ in range(count):
            step()
        ended = time.process_time() if alone else now(kind)
        taken.append((ended - started) / count)
        trained.pending = Pending()  # as after a logged point
        if time.perf_counter() - begun > _SECONDS and len(taken) > (kind != "cpu"):
            break
    return median(taken[_WARM_UP:] or taken[-1:])
