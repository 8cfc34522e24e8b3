"""A model applied to batches: what it remembers of a text goes from each to the next; its members have a loss each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.data.base import Spec
from dlrun.data.images.mixing import Mixed
from dlrun.data.loaders import Split
from dlrun.data.share import WHOLE, Share
from dlrun.models.members import joined, members_of
from dlrun.training.device_errors import memory_for_evaluation
from dlrun.training.sharding import in_step
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


def loss_and_kept(
    task: Task, model: nn.Module, outputs: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """The training loss of a batch, and what metrics need of it (`Task.kept`).

    Of a model with members the loss is the mean of theirs: by the loss of their mean they would learn as one large
    network, in which one makes good what another lacks (Gorishniy et al., 2025, section 3.2). Metrics are of that mean.

    A model that `adds_loss` gives in training one more number for each sample, which is added to its loss.
    """
    members = members_of(model)
    if getattr(model, "adds_loss", False):
        outputs, own = outputs[:, :-1], outputs[:, -1]
        loss = task.loss(outputs, targets) + task.criterion.reduced(own)
        return loss, task.kept(outputs.detach(), targets)
    if not members:
        return task.loss(outputs, targets), task.kept(outputs.detach(), targets)
    loss = task.loss(outputs.flatten(0, 1), for_each(members, targets))
    loss = loss if task.reduction == "mean" else loss / members
    return loss, task.kept(joined(outputs.detach(), task.name, task.criterion.link), targets)


def sample_losses(
    task: Task, model: nn.Module, outputs: Tensor, targets: Tensor, numbers: Mapping[str, Tensor]
) -> Tensor:
    """`Task.sample_losses` (N,); of a model with members, from scores (N, M, C), the means of theirs."""
    members = members_of(model)
    if not members:
        return task.sample_losses(outputs, targets, numbers)
    each = {name: for_each(members, values) for name, values in numbers.items()}
    losses = task.sample_losses(outputs.flatten(0, 1), for_each(members, targets), each)
    return losses.view(-1, members).mean(1)


def for_each(members: int, rows: Tensor) -> Tensor:
    """Each of the `rows` (N, ...) once for every member: (N * members, ...)."""
    return rows.unsqueeze(1).expand(-1, members, *[-1] * (rows.ndim - 1)).flatten(0, 1)


def outputs_in_order(
    model: nn.Module,
    split: Split,
    share: Share = WHOLE,
    *,
    spec: Spec,
    task: Task,
    size: int,
    dtype: torch.dtype,
) -> Tensor:
    """What metrics need of the model's outputs (`Task.kept`) for all samples, in order, `size` at a time.

    Or for a process's `share` of them; where it is empty the shape of a row is not known, and it is (0,).

    Raises:
        RunFailed: there is too little memory.
    """
    state, found, stop = None, None, 0

    def idle_pass(shape: tuple[int, ...]) -> None:
        any_value = split.sample(1).flatten()[:1]
        advance(model, any_value.expand(1, *shape), None, spec)

    with memory_for_evaluation(size, len(split)):
        for inputs, targets in in_step(model, split.in_order(size, share), idle_pass):
            outputs, state = advance(model, inputs, state, spec)
            rows = task.kept(outputs.to(dtype), task.aims(inputs, targets))
            if found is None:  # one tensor for all: many small ones leave gaps in memory
                found = rows.new_empty((len(split), *rows.shape[1:]))
            start, stop = stop, stop + len(rows)
            found[start:stop] = rows
    return torch.empty(0) if found is None else found[:stop]


def in_parts(
    inputs: Tensor,
    targets: Tensor,
    mixed: Mixed | None,
    *,
    count: int,
    mean: bool,
    least: int | None = None,
) -> list[tuple[Tensor, Tensor, Mixed | None, float | None]]:
    """A batch in parts, which have the same gradient for a share of the memory (batch norm sees the parts).

    With what the loss of each is multiplied by; None for nothing.

    Args:
        least: of several ranks, the rows that each has at least: all must take as many parts.
    """
    if count == 1:
        return [(inputs, targets, mixed, None)]
    size: int | list[int] = -(-len(targets) // count)
    if least is not None:
        count = min(count, least)
        size = [len(Share(part, count).of(len(targets))) for part in range(count)]
    x_parts, y_parts = inputs.split(size), targets.split(size)
    mixed_parts = [None] * len(x_parts) if mixed is None else mixed.parts(size)
    # The last part may be short: weight by size, or the mean leans towards it.
    weights = [len(y) / len(targets) if mean else None for y in y_parts]
    return [*zip(x_parts, y_parts, mixed_parts, weights, strict=True)]


def on_tensors(state: State, change: Callable[[Tensor], Tensor]) -> State:
    """The same tree with each of its tensors changed."""
    if isinstance(state, Tensor):
        return change(state)
    if isinstance(state, (tuple, list)):
        return tuple(on_tensors(part, change) for part in state)
    return state
