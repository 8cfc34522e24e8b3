"""Whether runs can be trained as one at all: found out by trying, once for each shape."""

from __future__ import annotations

import pickle
import random
from collections.abc import Hashable

import numpy as np
import torch

from dlrun.data.bucketing import Buckets
from dlrun.data.loader import Batches
from dlrun.data.streaming import StreamedBatches
from dlrun.data.streams import Streams
from dlrun.engine import Engine
from dlrun.errors import first_line
from dlrun.stacked.rules import has_rule
from dlrun.stacked.stack import Stack

# What a stack does not read: its batches are rows of tensors, the same number for every run.
_NOT_READ: dict[type, str] = {
    Streams: "what a model of a text remembers goes on from batch to batch, which a stack does not hand on",
    Buckets: "each run has texts of other lengths in its batches (dataset.tokens.bucketing=false makes them alike)",
    StreamedBatches: "images are read from their files as each run comes to them (see dataset.memory_limit)",
}
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


def no_rule(engine: Engine) -> str | None:
    """What keeps runs with this one's batches or optimizer from being trained as one, or None."""
    if not isinstance(engine.batches, Batches):
        return _NOT_READ[type(engine.batches)]
    if has_rule(engine.descent.optimizer):
        return None
    name = type(engine.descent.optimizer).__name__
    return f"there is no rule for {name}, set up as it is, on many runs at once"


def why_not(stack: Stack) -> str | None:
    """What keeps these runs from being trained as one, or None; they are a step further afterwards."""
    inputs, targets = next(stack.batches.epoch(0))
    drawn = _shared_draws()
    try:
        stack.train_step(inputs, targets)
        alike = [_agree(stack, row) for row in {0, len(stack.engines) - 1}]
    except Exception as error:  # whatever a model of the user's own raises
        if "randomness" in str(error):  # torch.vmap's word
            return "the model draws random numbers that are not each run's own"
        return f"the model cannot be batched: {first_line(error)}"
    if drawn != _shared_draws():
        return "the model draws from a random state that all runs would share"
    return None if all(alike) else "the model gives other outputs in a batch of models than alone"


def _shared_draws() -> bytes:
    """Equal as long as nobody draws from Python's or NumPy's random state; vmap itself guards torch's."""
    return pickle.dumps((random.getstate(), np.random.get_state()))


def _agree(stack: Stack, row: int) -> bool:
    """Whether a run's outputs are the same in the stack and from its own model."""
    engine = stack.engines[row]
    samples = engine.data.train.first(4)
    rows = torch.arange(len(samples), device=samples.inputs.device).unsqueeze(0)
    together = stack.outputs(samples, rows)[row]
    alone = engine.outputs(samples)
    return torch.allclose(together, alone, rtol=_TOLERANCE, atol=_TOLERANCE)
