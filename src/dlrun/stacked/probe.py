"""Whether a stack computes what each run alone would: a step that nobody keeps, made both ways and compared.

The two round differently, since they add up in another order and by other kernels. How far apart that may bring them
follows from the numbers that they compute in; what is farther apart is a fault.
"""

from __future__ import annotations

import math
import pickle
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from dlrun.data.loaders import Batches
from dlrun.errors import first_line
from dlrun.stacked.stack import Stack
from dlrun.training.device_errors import lacks_memory
from dlrun.training.loop import Engine

# Of the factors of a product, rounded to nearest: at most 2^-p of a number, for a significand of p bits.
_ROUNDOFF = {"fp64": 2**-53, "fp32": 2**-24, "tf32": 2**-11, "fp16": 2**-11, "bf16": 2**-8}
_MIXED = ("fp16", "bf16")
_SAMPLES = 32
# Between errors as they are expected and what is taken for a fault. On the CPU, with one of the two rounded to TF32
# or bf16, outputs of 20 models were off by at most 0.9 of what is expected, losses by 0.1, gradients by 1.2 of its
# square root.
_OUTPUTS, _LOSS, _GRADIENT = 4, 1, 3
# Times the weights of the second run, which else has those of the first; exact in every precision.
_APART = 0.5


def probe_stack(stack: Stack, alone: Engine) -> str | None:
    """What a trial step shows to keep these runs from being trained as one, or None; it leaves them some steps further.

    Args:
        stack: of two runs, before their first step.
        alone: the first of them once more, which makes the step alone.
    """
    drawn = _shared_draws()
    try:
        alike = _is_same_step(stack, alone) and _has_same_outputs(stack)
    except Exception as error:  # whatever a model of the user's own raises
        if lacks_memory(error):
            return "two of them as one need more memory than there is"
        if "randomness" in str(error):  # torch.vmap's word
            return "the model draws random numbers that are not each run's own"
        return f"the model cannot be batched: {first_line(error)}"
    if drawn != _shared_draws():
        return "the model draws from a random state that all runs would share"
    return None if alike else "the model gives other outputs in a batch of models than alone"


def rounding(engine: Engine) -> float:
    """The relative error that is to be expected of what a model computes.

    Errors of single operations are independent: a sum of n products has that of its factors once, and sqrt(n) times
    that of adding up; d layers one after the other have sqrt(d) times that of one (Higham and Mary, A new approach to
    probabilistic rounding error analysis, 2019).
    """
    matrices = [p for p in engine.model.parameters() if p.ndim > 1]
    assert isinstance(engine.batches, Batches)
    batch = max(stop - start for start, stop in engine.batches.bounds)
    # Forwards a unit adds up its inputs; on the way back a weight adds up all samples, and all places in them.
    back = batch * engine.data.train.first(1).inputs.numel()
    terms = max([back, *(p[0].numel() for p in matrices)])
    roundoff = _ROUNDOFF[engine.device.precision]
    adding = min(
        roundoff, _ROUNDOFF["fp32"]
    )  # in fp32 or better, whatever the factors are rounded to
    return math.sqrt(max(1, len(matrices))) * (roundoff + math.sqrt(terms) * adding)


def _is_same_step(stack: Stack, alone: Engine) -> bool:
    """Whether the first run makes the same first step in both, as exactly as its numbers allow."""
    inputs, targets = next(stack.batches.epoch(0))
    with torch.no_grad():
        stack.weights.values[1:].mul_(_APART)
    with _unmixed([stack, alone]):
        stack.train_step(inputs, targets)
        alone.freezing.train(alone.model)
        alone.train_step(*next(alone.batches.epoch(0)))
        expected = rounding(alone)
    gradients = {name: p.grad for name, p in alone.model.named_parameters()}
    own = [gradients[part.name] for part in stack.weights.parts]
    gradient = torch.cat([g.flatten() for g in own if g is not None])
    loss = _apart(stack.pending.losses[-1][0], alone.pending.losses[-1])
    # Of the units of a layer, so many are so near to a kink that they are active in one of the two alone.
    kinks = _GRADIENT * (expected + math.sqrt(expected))
    return loss <= _LOSS * expected and _apart(stack.weights.gradients[0], gradient) <= kinks


def _has_same_outputs(stack: Stack) -> bool:
    """Whether, after one more step, each run has the same outputs in the stack and from its own model."""
    stack.train_step(*next(stack.batches.epoch(0)))
    samples = stack.lead.data.train.first(_SAMPLES)
    rows = torch.arange(len(samples), device=samples.inputs.device).unsqueeze(0)
    together, most = stack.outputs(samples, rows), _OUTPUTS * rounding(stack.lead)
    pairs = zip(together, stack.engines, strict=True)
    return all(_apart(outputs, engine.outputs(samples)) <= most for outputs, engine in pairs)


@contextmanager
def _unmixed(runs: Sequence[Stack | Engine]) -> Iterator[None]:
    """Within this, mixed precision is off: what is rounded coarsely hides faults."""
    before = [run.device for run in runs]
    for run in runs:
        if run.device.precision in _MIXED:
            run.device = replace(run.device, precision="fp32")
    try:
        yield
    finally:
        for run, device in zip(runs, before, strict=True):
            run.device = device


def _apart(found: Tensor, expected: Tensor) -> float:
    """The size of the difference, relative to that of what is expected; infinite where a number is not finite."""
    off, size = (found - expected).double().norm().item(), expected.double().norm().item()
    return (off / size if size else off) if math.isfinite(off) else math.inf


def _shared_draws() -> bytes:
    """Equal as long as nobody draws from Python's or NumPy's random state; vmap itself guards torch's."""
    return pickle.dumps((random.getstate(), np.random.get_state()))
