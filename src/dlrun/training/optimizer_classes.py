"""Optimizers that torch does not have, or not as one: Lion, Muon with AdamW for what is no matrix, schedule-free."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.system.torch_internals import without_dynamo

Groups = list[dict[str, Any]]


class Lion(torch.optim.Optimizer):
    """theta <- theta - lr * (sign(beta1 * m + (1 - beta1) * g) + decay * theta); m <- beta2 * m + (1 - beta2) * g.

    Chen et al., 2023, "Symbolic Discovery of Optimization Algorithms", algorithm 2.
    """

    def __init__(
        self, params: Any, *, lr: float, betas: tuple[float, float], weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Move all weights that have a gradient."""
        for group in self.param_groups:
            lr, (beta1, beta2) = group["lr"], group["betas"]
            for weights in (p for p in group["params"] if p.grad is not None):
                memory = self.state[weights]
                if "exp_avg" not in memory:
                    memory["exp_avg"] = torch.zeros_like(weights)
                mean = memory["exp_avg"]
                weights.mul_(1 - lr * group["weight_decay"])
                # Times a rate that may be a tensor, which is not read: the product is exact.
                weights.sub_(mean.lerp(weights.grad, 1 - beta1).sign_().mul_(lr))
                mean.lerp_(weights.grad, 1 - beta2)


class MuonWithAdamW(torch.optim.Optimizer):
    """Two optimizers of torch as one: its groups are theirs, and so is its memory.

    Args:
        muon, adamw: parameter groups.
        muon_settings, adamw_settings: arguments of torch.optim.Muon and torch.optim.AdamW.
    """

    def __init__(
        self,
        muon: Groups,
        adamw: Groups,
        *,
        muon_settings: dict[str, Any],
        adamw_settings: dict[str, Any],
    ) -> None:
        Build = Callable[[], torch.optim.Optimizer]
        builds: list[Build] = [lambda: torch.optim.Muon(muon, **muon_settings)]
        if adamw:
            builds.append(lambda: torch.optim.AdamW(adamw, **adamw_settings))
        self.inner = [without_dynamo(build) for build in builds]
        super().__init__([group for one in self.inner for group in one.param_groups], {})

    @property
    def classes(self) -> list[type[torch.optim.Optimizer]]:
        """Of each parameter group, which of the two moves it."""
        return [type(one) for one in self.inner for _ in one.param_groups]

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Move all weights that have a gradient."""
        start = 0
        for one in self.inner:
            stop = start + len(one.param_groups)
            # Not once and for all: a state that is loaded stands in new groups.
            one.param_groups, one.state = self.param_groups[start:stop], self.state
            one.step()
            start = stop


def is_schedule_free(kind: type) -> bool:
    """Whether it is a class of the library schedulefree, whose weights in training are not those to judge."""
    return kind.__module__.startswith("schedulefree.")


def keep_gradients(optimizer: torch.optim.Optimizer) -> None:
    """Leave the gradients as they are: the library normalises them in place, and their norm is logged later."""
    kept: list[tuple[Tensor, Tensor | None]] = []

    def lend_copies(moving: torch.optim.Optimizer, *_: Any) -> None:
        kept[:] = [(p, p.grad) for group in moving.param_groups for p in group["params"]]
        for parameter, gradient in kept:
            parameter.grad = None if gradient is None else gradient.clone()

    def put_back(*_: Any) -> None:
        for parameter, gradient in kept:
            parameter.grad = gradient

    optimizer.register_step_pre_hook(lend_copies)
    optimizer.register_step_post_hook(put_back)


def hidden_matrices(model: nn.Module) -> list[Tensor]:
    """The matrices between the first and the last layer, which Muon is for: neither embeddings nor the head.

    The head is the last linear layer; a matrix of one row or column is none.
    """
    embeddings = [m for m in model.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)]
    heads = [m for m in model.modules() if isinstance(m, nn.Linear)][-1:]
    others = {id(p) for m in (*embeddings, *heads) for p in m.parameters()}
    return [
        p for p in model.parameters() if p.ndim == 2 and min(p.shape) > 1 and id(p) not in others
    ]


def parted(groups: Groups, wanted: Callable[[Tensor], bool]) -> tuple[Groups, Groups]:
    """The groups of the parameters that are `wanted`, and those of the others."""
    first = [{**g, "params": [p for p in g["params"] if wanted(p)]} for g in groups]
    second = [{**g, "params": [p for p in g["params"] if not wanted(p)]} for g in groups]
    return [g for g in first if g["params"]], [g for g in second if g["params"]]
