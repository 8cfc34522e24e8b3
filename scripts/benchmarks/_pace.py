"""How long a step takes, of a stack and of a run alone.

On one thread of the CPU it is the processor's own time, which other processes on the machine hardly change. On a
GPU many steps are made without waiting, as in training, by CUDA graphs where dlrun takes them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median

import torch

from _accelerator import now
from dlrun.stacked.stack import Stack
from dlrun.stacked.stretches import Stretches
from dlrun.training.cuda_graph import may_be_stacked
from dlrun.training.logged_points import Pending
from dlrun.training.loop import Engine

Advance = Callable[[], int]  # makes a step or some; how many
_WARM_UP = 2
_STEPS = 7
_SECONDS = 0.25  # after which even one step has to do
_BLOCK = 200  # steps on a GPU without waiting for it


def stack_step_seconds(stack: Stack) -> float:
    """Seconds of one step of all runs of `stack`, which is used up by this."""
    return _seconds(_advance_of_stack(stack), stack.device.torch_device.type)


def step_seconds(engine: Engine) -> float:
    """Seconds of one step of `engine`, which is used up by this."""
    steps = _steps_of(engine)
    return _seconds(lambda: next(steps), engine.device.torch_device.type)


def _advance_of_stack(stack: Stack) -> Advance:
    """Makes steps as the loop of a stack does; what they leave for a logged point is let go."""
    lead = stack.lead
    stretches = Stretches(stack, by_graphs=may_be_stacked(lead))

    def advance() -> int:
        before = lead.step
        stretches.advance()
        if lead.intervals.logging_due(lead.step):
            stack.pending = Pending()
        return lead.step - before

    return advance


def _steps_of(engine: Engine) -> Iterator[int]:
    """Steps one by one of the same batch, or graphs of several, which read their batches themselves."""
    batch = next(engine.batches.epoch(0))
    engine.freezing.train(engine.model)
    while True:
        epoch, position = divmod(engine.step, engine.steps_per_epoch)
        if engine.captured is None:
            engine.train_step(*batch)
            engine.pending = Pending()
            yield 1
            continue
        for count in engine.captured.epoch(epoch, position):
            engine.step += count
            if engine.intervals.logging_due(engine.step):
                engine.pending = Pending()
            yield count


def _seconds(advance: Advance, kind: str) -> float:
    block = 1 if kind == "cpu" else _BLOCK
    alone = kind == "cpu" and torch.get_num_threads() == 1
    taken: list[float] = []
    begun = time.perf_counter()
    for _ in range(_WARM_UP + _STEPS):
        started, steps = time.process_time() if alone else now(kind), 0
        while steps < block:
            steps += advance()
        ended = time.process_time() if alone else now(kind)
        taken.append((ended - started) / steps)
        if kind == "cpu" and time.perf_counter() - begun > _SECONDS:
            break
    return median(taken[_WARM_UP:] or taken[-1:])
