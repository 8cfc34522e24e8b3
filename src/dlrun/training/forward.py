"""A model applied to batches that follow one another: what it remembers of a text goes from each to the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.data.base import Spec
from dlrun.data.loaders import Split
from dlrun.training.task import Task

State = Any  # a tensor, or tuples of them, however deep; None before the first batch


def advance(model: nn.Module, inputs: Tensor, state: State, spec: Spec) -> tuple[Tensor, State]:
    """The model's outputs, and what it remembers for the batch that follows, cut off from the gradient's way back.

    Only where the spec says so do batches follow one another (truncated backpropagation through time:
    Williams and Peng, 1990).
    """
    if not spec.carries_state:
        return model(inputs), None
    outputs, state = model(inputs, state)
    return outputs, on_tensors(state, torch.Tensor.detach)


def outputs_in_order(
    model: nn.Module, split: Split, *, spec: Spec, task: Task, size: int, dtype: torch.dtype
) -> Tensor:
    """What metrics need of the model's outputs (`Task.kept`) for all samples, in order, `size` at a time."""
    state, found, stop = None, None, 0
    for inputs, targets in split.in_order(size):
        outputs, state = advance(model, inputs, state, spec)
        rows = task.kept(outputs.to(dtype), task.aims(inputs, targets))
        if found is None:  # one tensor for all: many small ones leave gaps in memory
            found = rows.new_empty((len(split), *rows.shape[1:]))
        start, stop = stop, stop + len(rows)
        found[start:stop] = rows
    assert found is not None, "a part has samples"
    return found[:stop]


def on_tensors(state: State, change: Callable[[Tensor], Tensor]) -> State:
    """The same tree with each of its tensors changed."""
    if isinstance(state, Tensor):
        return change(state)
    if isinstance(state, (tuple, list)):
        return tuple(on_tensors(part, change) for part in state)
    return state
