"""Whether runs can be trained as one at all: found out by trying, once for each shape."""

from __future__ import annotations

from collections.abc import Hashable

import torch

from dlrun.engine import Engine
from dlrun.errors import first_line
from dlrun.stacked.rules import has_rule
from dlrun.stacked.stack import Stack

_TOLERANCE = 1e-3  # of outputs in mixed precision; a wrong forward pass is off by far more


def layout(engine: Engine) -> Hashable:
    """Equal for engines that fit into one stack: in sizes, and in how far they are."""
    data, weights = engine.data, engine.model.state_dict()
    return (
        engine.step,
        engine.total_steps,
        tuple(engine.pending.sizes),
        (len(data.train), len(data.val), data.spec),
        tuple((name, tensor.shape, tensor.dtype) for name, tensor in weights.items()),
    )


def why_not(stack: Stack) -> str | None:
    """What keeps these runs from being trained as one, or None; they are as they were afterwards."""
    optimizer = stack.lead.descent.optimizer
    if not has_rule(optimizer):
        return f"there is no rule for {type(optimizer).__name__} on many runs at once"
    inputs, targets = next(stack.batches.epoch(0))
    try:
        with stack.as_it_was():
            stack.train_step(inputs, targets)
        alike = [_agree(stack, row) for row in {0, len(stack.engines) - 1}]
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError) as error:
        return f"the model cannot be batched: {first_line(error)}"
    return None if all(alike) else "the model gives other outputs in a batch of models than alone"


def _agree(stack: Stack, row: int) -> bool:
    """Whether a run's outputs are the same in the stack and from its own model."""
    engine = stack.engines[row]
    samples = engine.data.train.first(4)
    rows = torch.arange(len(samples), device=samples.inputs.device).unsqueeze(0)
    together = stack.outputs(samples, rows)[row]
    alone = engine.outputs(samples)
    return torch.allclose(together, alone, rtol=_TOLERANCE, atol=_TOLERANCE)
