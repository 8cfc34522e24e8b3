"""What is done to gradients before a step, and how large they are."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from dlrun.config.settings import GradientSettings
from dlrun.system.torch_internals import add_signs, norms
from dlrun.training.sharding import whole


def regularise(parameters: list[Tensor], rules: GradientSettings) -> None:
    """Add the L1 penalty's subgradient, then clip by value, then by global norm, in place."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if rules.l1:
        weights = [p.detach() for p in parameters if p.grad is not None]
        add_signs(gradients, weights, factor=rules.l1)
    if rules.clip_value is not None:
        nn.utils.clip_grad_value_(parameters, rules.clip_value)
    if rules.clip_norm is not None:
        nn.utils.clip_grad_norm_(parameters, rules.clip_norm)


def gradient_norm(parameters: Iterable[Tensor]) -> Tensor:
    """Euclidean norm of all gradients together, a scalar tensor (no wait for the device)."""
    weights = [*parameters]
    gradients = [p.grad for p in weights if p.grad is not None]
    return whole(torch.stack(norms(gradients)).norm()) if gradients else weights[0].new_zeros(())
