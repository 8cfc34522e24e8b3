"""Which class of torch.optim, or of its kind, moves which parameters: one optimizer may be several in one."""

from __future__ import annotations

from typing import Any

import torch

from dlrun.training.optimizer_classes import MuonWithAdamW


def kinds_of(optimizer: torch.optim.Optimizer) -> list[type[torch.optim.Optimizer]]:
    """The classes whose rules move its parameters."""
    return list(dict.fromkeys(_kinds_of_groups(optimizer)))


def kind_of_each(optimizer: torch.optim.Optimizer) -> dict[int, type[torch.optim.Optimizer]]:
    """By the id of each parameter, the class whose rule moves it."""
    kinds = zip(optimizer.param_groups, _kinds_of_groups(optimizer), strict=True)
    return {id(p): kind for group, kind in kinds for p in group["params"]}


def groups_of(optimizer: torch.optim.Optimizer, kind: type) -> list[dict[str, Any]]:
    """The parameter groups that the rule of class `kind` moves."""
    kinds = zip(optimizer.param_groups, _kinds_of_groups(optimizer), strict=True)
    return [group for group, its_kind in kinds if its_kind is kind]


def _kinds_of_groups(optimizer: torch.optim.Optimizer) -> list[type[torch.optim.Optimizer]]:
    if isinstance(optimizer, MuonWithAdamW):
        return optimizer.classes
    return [type(optimizer)] * len(optimizer.param_groups)
