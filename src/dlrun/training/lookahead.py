"""Lookahead: slow weights that follow those of an optimizer, whichever it is, and take their place every few steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.config.settings import LookaheadSettings
from dlrun.errors import ConfigError
from dlrun.system.torch_internals import move_towards, replace_if
from dlrun.training.optimizer_classes import is_schedule_free

_STATISTICS = (".running_mean", ".running_var")  # of norms


class Lookahead:
    """Every k steps and at the last of T: slow <- slow + a * (fast - slow); fast <- slow.

    Zhang et al., 2019, algorithm 1, whose a is constant: `share`, with a `power` of 0. With another,
    a = 1 - (1 - share) * (t / T)^power at step t: the slow weights let the optimizer go at first (Jordan, 2024).

    All of it is on the device, and the same operations at every step, so that CUDA graphs can hold it.

    Args:
        fast: what is trained, in place.

    Attributes:
        steps: how many were made, a scalar on the device: a replay of a graph counts as well.
    """

    def __init__(
        self, fast: Sequence[Tensor], settings: LookaheadSettings, *, total_steps: int
    ) -> None:
        self.fast, self.settings, self.total_steps = list(fast), settings, total_steps
        self.slow = [tensor.detach().clone() for tensor in fast]
        self.steps = torch.zeros((), dtype=torch.int64, device=self.fast[0].device)

    @torch.no_grad()
    def follow(self) -> None:
        """What is due after a step of the optimizer."""
        settings, dtype = self.settings, self.fast[0].dtype
        self.steps.add_(1)
        ends = (self.steps % settings.every_steps == 0) | (self.steps == self.total_steps)
        due, progress = ends.to(dtype), self.steps.to(dtype) / self.total_steps
        share = 1 - (1 - settings.share) * progress**settings.power
        move_towards(self.slow, self.fast, share=share * due)
        replace_if(due, self.fast, self.slow)

    def state_dict(self) -> dict[str, Any]:
        """The slow weights; how many steps were made the run knows."""
        return {"slow": self.slow}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Continue from `state`; without one, of a run that had no slow weights, from its weights as they are."""
        for slow, kept in zip(self.slow, state["slow"] if state else self.fast, strict=True):
            slow.copy_(kept)


def make_lookahead(
    settings: LookaheadSettings | None,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    total_steps: int,
) -> Lookahead | None:
    """The slow weights of what `optimizer` trains, with running statistics of `model`, where `settings` ask for them.

    Raises:
        ConfigError: the optimizer averages weights itself.
    """
    if settings is None:
        return None
    if is_schedule_free(type(optimizer)):
        raise ConfigError(
            "optimizer.lookahead is set, but optimizer=schedule_free averages the weights itself: set it to null"
        )
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    statistics = [buffer for name, buffer in model.named_buffers() if name.endswith(_STATISTICS)]
    return Lookahead([*trained, *statistics], settings, total_steps=total_steps)
