"""Averages of a model's weights over its steps, which are judged and kept in place of the last ones."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dlrun.errors import ConfigError
from dlrun.models.cells import copied
from dlrun.system.torch_internals import copy_all
from dlrun.training.optimizer_classes import is_schedule_free


class ScheduleFreeAverage(nn.Module):
    """A copy of a model with the weights to judge, x = y + (1 - 1 / beta1) * (z - y) (Defazio et al., 2024).

    The library trains y and remembers z. It would turn y into x and back; a copy leaves every bit of y as it is,
    however often it is looked at.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        super().__init__()
        self.module, self.optimizer = copied(model), optimizer

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Follow `model`, whose weights the optimizer moves."""
        beta = {p: g["betas"][0] for g in self.optimizer.param_groups for p in g["params"]}
        for x, y in zip(self.module.parameters(), model.parameters(), strict=True):
            z = self.optimizer.state[y].get("z") if y in beta else None
            x.copy_(y if z is None else y.lerp(z, 1 - 1 / beta[y]))
        for own, buffer in zip(self.module.buffers(), model.buffers(), strict=True):
            own.copy_(buffer)


class ExponentialAverage(AveragedModel):
    """A copy of a model whose weights follow it: average <- decay * average + (1 - decay) * weights.

    It begins as the weights after the first step; running statistics are those of the model. What torch's class asks
    the device at each step, whether that is the first one, is known here: so a CUDA graph can hold every other step.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        device = next(model.parameters()).device
        super().__init__(model, device, multi_avg_fn=get_ema_multi_avg_fn(decay))
        self._begun = False
        self.register_load_state_dict_post_hook(ExponentialAverage._note_beginning)

    def _note_beginning(self, _: object) -> None:
        self._begun = bool(self.n_averaged)

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Follow `model`, whose weights the optimizer moves."""
        averages, weights = [*self.module.parameters()], [*model.parameters()]
        if self._begun:
            assert self.multi_avg_fn is not None
            self.multi_avg_fn(averages, weights, self.n_averaged)  # type: ignore[arg-type]
        else:
            for average, weight in zip(averages, weights, strict=True):
                average.copy_(weight)
        if buffers := [*self.module.buffers()]:
            copy_all(buffers, [*model.buffers()])
        self.n_averaged.add_(1)
        self._begun = True


Averaged = ExponentialAverage | ScheduleFreeAverage


def exponential_average(model: nn.Module, decay: float | None) -> ExponentialAverage | None:
    """A copy of `model` that follows its weights as an exponential moving average, where there is a `decay`."""
    return None if decay is None else ExponentialAverage(model, decay)


def schedule_free_average(
    model: nn.Module, decay: float | None, optimizer: torch.optim.Optimizer
) -> ScheduleFreeAverage | None:
    """A copy of `model` that follows its weights as the optimizer averages them, where it does.

    Raises:
        ConfigError: there is a `decay`, of another average, too.
    """
    if not is_schedule_free(type(optimizer)):
        return None
    if decay is not None:
        raise ConfigError(
            f"trainer.ema_decay is {decay}, but optimizer=schedule_free averages the weights itself: "
            "set it to null"
        )
    return ScheduleFreeAverage(model, optimizer)
