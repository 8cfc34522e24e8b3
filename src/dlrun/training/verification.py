"""Whether steps as a CUDA graph come to what the same steps come to one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dlrun.storage.checkpoint import random_states, restore_random_states
from dlrun.system.torch_internals import copy_all, loss_scale, tree_leaves
from dlrun.training.forward import State
from dlrun.training.graph import TOLERANCES, apart, size_of
from dlrun.training.logged_points import Pending
from dlrun.training.loop import Engine

Kinds = Mapping[str, Sequence[Tensor]]

ROUNDING = 1e-6  # of a weight, whatever its change


@dataclass
class Trace:
    """What steps leave behind, as it is at one moment: all that a run goes on from.

    Attributes:
        tensors: copies of what is changed in place, by what it is.
        random: the random states of the process and of the run.
    """

    tensors: Kinds
    pending: Pending
    carried: State
    gradients: list[Tensor | None]
    learning_rate: float
    random: dict[str, Any]

    @classmethod
    def of(cls, engine: Engine) -> Trace:
        """As it is now."""
        copies = {
            kind: [tensor.clone() for tensor in tensors]
            for kind, tensors in _changing(engine).items()
        }
        gradients = [parameter.grad for parameter in engine.descent.parameters]
        rate, random = engine.descent.learning_rate, random_states(engine.generator)
        return cls(copies, _copied(engine.pending), engine.carried, gradients, rate, random)

    def restore(self, engine: Engine) -> None:
        """Let the engine go on from here.

        Raises:
            RuntimeError: the optimizer remembers more by now.
        """
        for kind, tensors in _changing(engine).items():
            if len(tensors) != len(self.tensors[kind]):
                raise RuntimeError(f"{kind}: {len(tensors)} in place of {len(self.tensors[kind])}")
            if tensors:
                copy_all([*tensors], [*self.tensors[kind]])
        engine.pending, engine.carried = _copied(self.pending), self.carried
        for parameter, gradient in zip(engine.descent.parameters, self.gradients, strict=True):
            parameter.grad = gradient
        engine.descent.learning_rate = self.learning_rate
        restore_random_states(self.random, engine.generator)


def difference(before: Trace, alone: Trace, replayed: Trace, precision: str) -> str | None:
    """In what steps taken one by one, `alone`, and those of a graph differ by more than rounding; None for nothing."""
    first = before.pending
    tolerance = TOLERANCES[precision]
    one, other = (_since(first, trace.pending) for trace in (alone, replayed))
    if not torch.equal(one.pop("targets"), other.pop("targets")):
        return "they read other samples"
    for kind, seen in one.items():
        if apart([seen], [other[kind]], tolerance.outputs * size_of([seen])):
            return f"their {kind} differ"
    for kind, values in alone.tensors.items():
        if any(
            not torch.equal(a, b)
            for a, b in zip(values, replayed.tensors[kind], strict=True)
            if not a.is_floating_point()
        ):
            return f"{kind} differ"
        start, end, found = (_floats(trace.tensors[kind]) for trace in (before, alone, replayed))
        change = size_of(_minus(end, start))
        if apart(end, found, tolerance.changes * change + ROUNDING * size_of(start)):
            return f"{kind} differ"
    drawn = zip(tree_leaves(alone.random), tree_leaves(replayed.random), strict=True)
    return None if all(_equal(*pair) for pair in drawn) else "they draw other random numbers"


def places(engine: Engine) -> list[int]:
    """Where in memory all of it lies that a step changes: a graph finds it there or not at all."""
    return [tensor.data_ptr() for each in _changing(engine).values() for tensor in each]


def _changing(engine: Engine) -> dict[str, list[Tensor]]:
    memory = engine.descent.optimizer.state
    average, slow = engine.averaged, engine.descent.lookahead
    found = {
        "weights": engine.model.parameters(),
        "running statistics": engine.model.buffers(),
        "averages": () if average is None else (*average.parameters(), *average.buffers()),
        "slow weights": () if slow is None else (*slow.slow, slow.steps),
        "scales of the loss": loss_scale(engine.descent.scaler),
        "what the optimizer remembers": tree_leaves([memory[p] for p in memory]),
    }
    return {
        kind: [one.detach() for one in each if isinstance(one, Tensor)]
        for kind, each in found.items()
    }


def _copied(pending: Pending) -> Pending:
    """The same, which does not grow with it."""
    found = copy(pending)
    for name, values in pending.state().items():
        setattr(found, name, [*values])
    return found


def _since(first: Pending, pending: Pending) -> dict[str, Tensor]:
    """What came to `pending` after `first`."""
    return {
        "losses": torch.stack(pending.losses[len(first.losses) :]),
        "outputs": torch.cat(pending.outputs[len(first.outputs) :]).float(),
        "targets": torch.cat(pending.targets[len(first.targets) :]),
    }


def _floats(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.float() for tensor in tensors if tensor.is_floating_point()]


def _minus(these: Sequence[Tensor], those: Sequence[Tensor]) -> list[Tensor]:
    return [a - b for a, b in zip(these, those, strict=True)]


def _equal(one: Any, other: Any) -> bool:
    return torch.equal(one, other) if isinstance(one, Tensor) else bool(one == other)
