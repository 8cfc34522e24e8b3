"""Steps that are skipped where a gradient is not finite, without reading whether one is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlrun.training.optim import adadelta, adagrad, lion, momentum, rmsprop
from dlrun.training.skipped_steps import skip_without_asking

BUILDS: dict[str, Any] = {
    "rmsprop": lambda groups: rmsprop(
        groups, lr=0.01, alpha=0.9, eps=1e-8, momentum=0.5, centered=True
    ),
    "adadelta": lambda groups: adadelta(groups, lr=1.0, rho=0.9, eps=1e-6),
    "adagrad": lambda groups: adagrad(
        groups, lr=0.1, lr_decay=0.0, initial_accumulator=0.1, eps=1e-8
    ),
    "lion": lambda groups: lion(groups, lr=0.01, beta1=0.9, beta2=0.99),
    "momentum": lambda groups: momentum(groups, lr=0.1, momentum=0.9),
}


def trained(name: str, *, asked: bool) -> tuple[list[Tensor], list[Any], Any]:
    """Weights, memory and the scaler's state after steps of which the first and the fourth have infinite gradients."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    parameters = [*model.parameters()]
    optimizer = BUILDS[name]([{"params": parameters, "weight_decay": 0.1}])
    optimizer._step_supports_amp_scaling = False  # as where torch has no fused kernel
    for group in optimizer.param_groups:
        group["fused"] = None
    if not asked:
        skip_without_asking(optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=2)
    for step in range(7):
        optimizer.zero_grad()
        loss = model(torch.randn(5, 3)).square().mean()
        scaler.scale(loss * (float("inf") if step in (0, 3) else 1.0)).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
    memory = [
        {key: value for key, value in optimizer.state[p].items() if key != "step"}
        for p in parameters
    ]
    return [p.detach() for p in parameters], memory, scaler.state_dict()


@pytest.mark.parametrize("name", BUILDS)
def test_a_step_is_skipped_as_torch_does_by_reading_whether_gradients_are_finite(name: str) -> None:
    found, expected = trained(name, asked=False), trained(name, asked=True)
    assert all(weights.isfinite().all() for weights in found[0])
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
