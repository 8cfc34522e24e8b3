"""Whether steps of a stack as a CUDA graph come to what the same steps come to one by one, for each run.

Shapes: K runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dlrun.stacked.stack import Stack
from dlrun.training.graph import TOLERANCES
from dlrun.training.verification import ROUNDING


@dataclass
class Trace:
    """What steps change of a stack, as it is at one moment.

    Attributes:
        tensors: copies of what is changed in place, (K, ...), by what it is.
        drawn: the states of the runs' generators.
    """

    tensors: Mapping[str, Sequence[Tensor]]
    drawn: Sequence[Tensor]

    @classmethod
    def of(cls, stack: Stack) -> Trace:
        """As it is now."""
        copies = {
            kind: [t.detach().clone() for t in each] for kind, each in stack.changing().items()
        }
        return cls(copies, [engine.generator.get_state() for engine in stack.engines])

    @torch.no_grad()
    def restore(self, stack: Stack) -> None:
        """Let the stack go on from here."""
        for kind, tensors in stack.changing().items():
            for tensor, kept in zip(tensors, self.tensors[kind], strict=True):
                tensor.copy_(kept)
        for engine, state in zip(stack.engines, self.drawn, strict=True):
            engine.generator.set_state(state)


def difference(
    before: Trace,
    alone: Trace,
    replayed: Trace,
    left: Sequence[tuple[Tensor, Tensor]],
    precision: str,
) -> str | None:
    """In what steps one by one, `alone`, and those of a graph differ by more than rounding; None for nothing.

    Args:
        left: what both leave behind (K, ...): in pairs of one by one, and of the graph.
    """
    of_outputs, of_changes = TOLERANCES[precision]
    wrong: dict[str, list[Tensor]] = {
        "outputs": [_apart(*p, of_outputs * _size(p[0])) for p in left]
    }
    for kind, each in alone.tensors.items():
        wrong[kind] = []
        for first, one, other in zip(
            before.tensors[kind], each, replayed.tensors[kind], strict=True
        ):
            change, size = _size(one.double() - first), _size(first)
            wrong[kind].append(_apart(one, other, of_changes * change + ROUNDING * size))
    # Asked once for all of it.
    found = torch.stack([torch.stack(each).any() for each in wrong.values() if each]).tolist()
    names = [kind for kind, each in wrong.items() if each]
    drawn = zip(alone.drawn, replayed.drawn, strict=True)
    if not all(torch.equal(*pair) for pair in drawn):
        return "they draw other random numbers"
    return next(
        (f"{name} differ" for name, is_wrong in zip(names, found, strict=True) if is_wrong), None
    )


def _size(rows: Tensor) -> Tensor:
    """The norm of each run's part (K,)."""
    return rows.double().reshape(len(rows), -1).norm(dim=1)


def _apart(one: Tensor, other: Tensor, allowed: Tensor) -> Tensor:
    """Whether a run's parts are further apart than is allowed; of what is no longer finite, whether both are not."""
    finite = _size(one).isfinite(), _size(other).isfinite()
    far = _size(one.double() - other.double()) > allowed
    return ((finite[0] != finite[1]) | (finite[0] & far)).any()
