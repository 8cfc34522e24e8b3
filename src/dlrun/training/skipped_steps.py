"""Steps that change nothing, where a gradient of scaled losses is not finite: without asking the device for it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from dlrun.system.torch_internals import skips_by_itself, take_over_skips
from dlrun.training.optimizer_classes import Lion, MuonWithAdamW

# Their memory begins as zeros, or is there before the first step.
_KNOWN = (
    torch.optim.SGD,
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.RMSprop,
    torch.optim.Adadelta,
    torch.optim.Adagrad,
    Lion,
    MuonWithAdamW,
)
_SKIPS = "skips_without_asking"  # an attribute of an optimizer that does


def skip_without_asking(optimizer: torch.optim.Optimizer) -> None:
    """Let steps with a gradient that is not finite change nothing, as torch's GradScaler asks for.

    It would read at each step whether one is, but for torch's fused optimizers. For others the step is made with zeros
    in place of such gradients, and weights and memory are put back, all on the device.
    """
    if type(optimizer) in _KNOWN and not skips_by_itself(optimizer):
        _skip_around(optimizer, optimizer.step)


def change_step(optimizer: torch.optim.Optimizer, step: Callable[[], object]) -> None:
    """Give the optimizer another `step`; one that skips without asking still does."""
    if getattr(optimizer, _SKIPS, False):
        _skip_around(optimizer, step)
    else:
        optimizer.step = step  # type: ignore[assignment, method-assign]


def _skip_around(optimizer: torch.optim.Optimizer, step: Callable[[], object]) -> None:
    # One that names itself would keep its tensors until Python looks for cycles.
    take_over_skips(optimizer, partial(_step_if_finite, weakref.proxy(optimizer), step))
    setattr(optimizer, _SKIPS, True)


@torch.no_grad()
def _step_if_finite(
    optimizer: torch.optim.Optimizer, step: Callable[[], object], infinite: Tensor
) -> None:
    """`step` of the optimizer, unless `infinite`, a scalar of booleans on the device, says that it must not be."""
    weights = [p for group in optimizer.param_groups for p in group["params"]]
    moved = [p for p in weights if p.grad is not None]
    gradients = [p.grad for p in moved]
    kept = {id(tensor): (tensor, tensor.clone()) for tensor in _changed(optimizer, moved, infinite)}
    for p, gradient in zip(moved, gradients, strict=True):
        assert gradient is not None
        p.grad = gradient.masked_fill(infinite, 0.0)
    step()
    for p, gradient in zip(moved, gradients, strict=True):
        p.grad = gradient
    for tensor in _changed(optimizer, moved, infinite):
        if id(tensor) in kept:
            tensor.copy_(torch.where(infinite, kept[id(tensor)][1], tensor))
        else:  # memory of a first step
            tensor.masked_fill_(infinite, 0)


def _changed(
    optimizer: torch.optim.Optimizer, weights: list[Tensor], like: Tensor
) -> Iterator[Tensor]:
    """What a step may change on the device of `like`."""
    yield from weights
    for p in weights:
        for value in optimizer.state[p].values() if p in optimizer.state else ():
            if isinstance(value, Tensor) and value.device == like.device:
                yield value
