"""Optimizers in a form that a CUDA graph can hold: what they read at a step are tensors on the device."""

from __future__ import annotations

import weakref
from functools import partial

import torch

from dlrun.system.torch_internals import without_capturable_warning
from dlrun.training.optim import Descent
from dlrun.training.optimizer_classes import Lion, MuonWithAdamW
from dlrun.training.orthogonal import MATRIX_RATES, iterates_as_here, orthogonalised
from dlrun.training.skipped_steps import change_step

_CAPTURED = (
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.RMSprop,
    torch.optim.Adadelta,
    torch.optim.Adagrad,
    Lion,
)


def can_be_captured(optimizer: torch.optim.Optimizer) -> bool:
    """Whether `make_capturable` can do its part: the library schedulefree reads the learning rate in Python."""
    if isinstance(optimizer, MuonWithAdamW):
        return all(iterates_as_here(group) for group in optimizer.inner[0].param_groups)
    return type(optimizer) in _CAPTURED or (
        type(optimizer) is torch.optim.SGD and all(g["fused"] for g in optimizer.param_groups)
    )


def make_capturable(descent: Descent, device: torch.device) -> None:
    """Let a CUDA graph hold `descent.move`: learning rates and counts of steps become tensors on `device`."""
    optimizer = descent.optimizer
    descent.rates = [torch.zeros((), device=device) for _ in optimizer.param_groups]
    for group in optimizer.param_groups:
        if "capturable" in group:
            group["capturable"] = True
    for state in optimizer.state.values():
        if "step" in state:
            state["step"] = state["step"].to(device)
    for one in optimizer.inner if isinstance(optimizer, MuonWithAdamW) else [optimizer]:
        if own := _STEPS.get(type(one).__name__):
            # Of a proxy: one that names itself would keep its tensors until Python looks for cycles.
            change_step(one, partial(own, weakref.proxy(one)))
        # Not captured are the steps before the graph, and those of other sizes.
        without_capturable_warning(one)


@torch.no_grad()
def _step_of_adagrad(optimizer: torch.optim.Optimizer) -> None:
    """As torch, which reads counts of steps and learning rates to do it."""
    for group in optimizer.param_groups:
        for weights in (p for p in group["params"] if p.grad is not None):
            memory = optimizer.state[weights]
            memory["step"].add_(1)
            gradient = weights.grad.add(weights, alpha=group["weight_decay"])
            squares = memory["sum"].addcmul_(gradient, gradient)
            rate = group["lr"] / (1 + (memory["step"] - 1) * group["lr_decay"])
            weights.sub_(gradient.div_(squares.sqrt().add_(group["eps"])).mul_(rate))


@torch.no_grad()
def _step_of_muon(optimizer: torch.optim.Optimizer) -> None:
    """As torch, which reads learning rates to do it."""
    for group in optimizer.param_groups:
        lr, momentum = group["lr"], group["momentum"]
        for weights in (p for p in group["params"] if p.grad is not None):
            memory = optimizer.state[weights]
            if "momentum_buffer" not in memory:
                memory["momentum_buffer"] = torch.zeros_like(weights.grad)
            mean = memory["momentum_buffer"].lerp_(weights.grad, 1 - momentum)
            towards = weights.grad.lerp(mean, momentum) if group["nesterov"] else mean
            move = orthogonalised(towards.unsqueeze(0)).squeeze(0).to(weights.dtype)
            ratio = MATRIX_RATES[group["adjust_lr_fn"] or "original"](*weights.shape)
            weights.mul_(1 - lr * group["weight_decay"]).sub_(move.mul_(lr * ratio))


# By the names of torch's optimizers, of which older versions have no Muon.
_STEPS = {"Adagrad": _step_of_adagrad, "Muon": _step_of_muon}
