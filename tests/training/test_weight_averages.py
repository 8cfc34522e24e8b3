"""The exponential moving average of the weights: torch's, without what that asks a device at each step."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dlrun.training.averaging import ExponentialAverage, exponential_average


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2).double())


def moved(net: nn.Module) -> None:
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter))
        for buffer in net.buffers():
            buffer.add_(1)


def weights(average: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in average.state_dict().items()}


def test_it_is_the_average_of_torch_bit_by_bit_also_after_a_resume() -> None:
    net = model()
    own, others = (
        exponential_average(net, 0.9),
        AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9)),
    )
    assert own is not None
    for step in range(6):
        moved(net)
        own.update_parameters(net)
        others.update_parameters(net)
        torch.testing.assert_close(weights(own), weights(others), rtol=0, atol=0)
        if step in (0, 3):
            saved = copy.deepcopy(own.state_dict())
            own = ExponentialAverage(net, 0.9)
            own.load_state_dict(saved)


def test_without_a_decay_there_is_none() -> None:
    assert exponential_average(model(), None) is None
