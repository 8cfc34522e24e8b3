"""From the gradients of K runs to new weights: torch.optim's update rules, each run with settings of its own.

Shapes: K runs, P weights a run; weights, gradients and states are (K, P), settings (K, 1).
Each rule follows the formula of its namesake in torch.optim, whose states it keeps under the same
names, so that a run may go from here to there and back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dlrun.system.torch_internals import fused_adam
from dlrun.training.loop import Engine
from dlrun.training.schedules import Multiplier, WarmedUp

Hyper = dict[str, Tensor]

# Of a parameter group: what may differ from run to run, and so becomes a tensor.
_NUMBERS = (
    "alpha", "beta1", "beta2", "eps", "lr_decay", "momentum", "rho",
)  # fmt: skip
_FLAGS = ("amsgrad", "centered", "nesterov")
# What torch's optimizers can do beside: only an optimizer of the user's own may ask for it.
_UNKNOWN = ("dampening", "maximize")


class StackedDescent:
    """What `Descent` does for one run: penalties, clipping, the schedule and the optimizer's rule.

    Args:
        weights: (K, P), of the runs of `engines`.
        is_matrix: (P,), 1 for weights that mix inputs, 0 for biases and the gains of norms.
        multipliers: (K, P), of learning rates; None where all are 1.
    """

    def __init__(
        self,
        engines: Sequence[Engine],
        weights: Tensor,
        is_matrix: Tensor,
        multipliers: Tensor | None,
    ) -> None:
        descents = [engine.descent for engine in engines]
        rules = [descent.rules for descent in descents]

        def column(numbers: Sequence[float]) -> Tensor:
            return weights.new_tensor(numbers).unsqueeze(1)

        self.rates = column([descent.base_rate for descent in descents])
        if multipliers is not None:
            self.rates = self.rates * multipliers
        self.l1 = column([rule.l1 for rule in rules])
        self.clip_value = column([_or_infinity(rule.clip_value) for rule in rules])
        self.clip_norm = column([_or_infinity(rule.clip_norm) for rule in rules])
        self.decay = column([rule.weight_decay for rule in rules])
        if not rules[0].decay_biases_and_norms:
            self.decay = self.decay * is_matrix
        self._schedules, self._which = _distinct([descent.multiplier for descent in descents])
        # Asked here and not at each step, where a device would have to be waited for.
        self._has_l1, self._has_decay = bool(self.l1.any()), bool(self.decay.any())
        self._clips_values = bool(self.clip_value.isfinite().any())
        self._clips_norms = bool(self.clip_norm.isfinite().any())

    @torch.no_grad()
    def update(self, rule: Rule, weights: Tensor, gradients: Tensor, step: int) -> None:
        """Move all weights by their gradients, at the learning rates of `step`."""
        if self._has_l1:
            gradients.addcmul_(self.l1, weights.sign())
        if self._clips_values:
            gradients.clamp_(-self.clip_value, self.clip_value)
        if self._clips_norms:
            norms = gradients.norm(dim=1, keepdim=True)
            # The 1e-6 as in torch.nn.utils.clip_grad_norm_.
            gradients.mul_((self.clip_norm / (norms + 1e-6)).clamp_(max=1.0))
        decay = self.decay if self._has_decay else None
        rule.update(weights, gradients, self._learning_rates(step), decay)

    def _learning_rates(self, step: int) -> Tensor:
        multipliers = [schedule(step) for schedule in self._schedules]
        if len(multipliers) == 1:
            return self.rates * multipliers[0]
        return self.rates * self.rates.new_tensor(multipliers)[self._which].unsqueeze(1)


class Rule:
    """One optimizer's rule for K runs.

    Attributes:
        state: the optimizer's memory, by torch's names, each (K, P).
        counts: updates so far, for each parameter of a run, as torch keeps it.
        steps: the first of them, a scalar tensor.
    """

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer], weights: Tensor) -> None:
        groups = [_hyperparameters(optimizer.param_groups[0]) for optimizer in optimizers]
        self.hyper = {
            name: weights.new_tensor([group[name] for group in groups]).unsqueeze(1)
            for name in _NUMBERS
            if name in groups[0]
        }
        self.flags = {name for name in _FLAGS if groups[0].get(name)}
        self._update, names = _RULES[type(optimizers[0])]
        self.state = {name: torch.zeros_like(weights) for name in names(self.hyper, self.flags)}
        parameters = sum(len(group["params"]) for group in optimizers[0].param_groups)
        self.counts = torch.zeros(parameters, dtype=torch.float32)
        self.move = torch.zeros_like(weights)  # of one update
        self.shared = self._common()

    def update(self, weights: Tensor, gradients: Tensor, lr: Tensor, decay: Tensor | None) -> None:
        """Move `weights` in place, by learning rates `lr` (K, 1) or (K, P) and weight decay (K, 1) or (K, P)."""
        self.counts += 1
        self._update(self, weights, gradients, lr, decay)

    @property
    def steps(self) -> Tensor:
        return self.counts[0]

    def keep(self, rows: Tensor) -> None:
        """Go on with these runs only."""
        self.hyper = {name: value[rows] for name, value in self.hyper.items()}
        self.state = {name: value[rows] for name, value in self.state.items()}
        self.move = self.move[rows]
        self.shared = self._common()

    def _common(self) -> dict[str, float] | None:
        """The hyper-parameters where all runs have the same, and the CPU has a kernel for that."""
        if self.move.device.type != "cpu" or any(
            bool((value != value[0]).any()) for value in self.hyper.values()
        ):
            return None
        return {name: value[0].item() for name, value in self.hyper.items()}


def has_rule(optimizer: torch.optim.Optimizer) -> bool:
    """Whether there is a rule here for an optimizer of this kind, set up like this."""
    groups = [_shared_settings(group) for group in optimizer.param_groups]
    decoupled = isinstance(optimizer, torch.optim.AdamW)
    return (
        type(optimizer) in _RULES
        and all(group == groups[0] for group in groups)
        and not any(groups[0].get(name) for name in _UNKNOWN)
        and groups[0].get("decoupled_weight_decay", decoupled) == decoupled
    )


def _or_infinity(limit: float | None) -> float:
    return float("inf") if limit is None else limit


def _distinct(multipliers: Sequence[Multiplier]) -> tuple[list[Multiplier], Tensor]:
    """The different schedules, and for each run which of them is its own."""
    keys = [_key(multiplier) for multiplier in multipliers]
    different = dict(zip(keys, multipliers, strict=True))
    order = list(different)
    return list(different.values()), torch.tensor([order.index(key) for key in keys])


def _key(multiplier: Multiplier) -> Any:
    """Equal for schedules that give the same at every step; one with a state is only like itself."""
    if isinstance(multiplier, WarmedUp):
        return multiplier.warmup_steps, _key(multiplier.main)
    if isinstance(multiplier, partial):
        return multiplier.func, tuple(sorted(multiplier.keywords.items()))
    return id(multiplier)


def _shared_settings(group: dict[str, Any]) -> dict[str, Any]:
    """What must be the same for all weights of a run: everything but weight decay and multiplied learning rates."""
    multiplied = ("lr", "lr_multiplier") if "lr_multiplier" in group else ()
    apart = ("params", "weight_decay", *multiplied)
    return {k: v for k, v in group.items() if k not in apart}


def _hyperparameters(group: dict[str, Any]) -> dict[str, Any]:
    betas = group.get("betas")
    return group | ({"beta1": betas[0], "beta2": betas[1]} if betas else {})


def _sgd(rule: Rule, w: Tensor, g: Tensor, lr: Tensor, decay: Tensor | None) -> None:
    g = _decayed(w, g, decay)
    if "momentum_buffer" in rule.state:
        momentum, velocity = rule.hyper["momentum"], rule.state["momentum_buffer"]
        velocity.mul_(momentum).add_(g)
        g = torch.addcmul(g, momentum, velocity) if "nesterov" in rule.flags else velocity
    w.addcmul_(lr, g, value=-1)


def _rmsprop(rule: Rule, w: Tensor, g: Tensor, lr: Tensor, decay: Tensor | None) -> None:
    g = _decayed(w, g, decay)
    keep, state = 1 - rule.hyper["alpha"], rule.state
    spread = state["square_avg"].lerp_(g * g, keep)
    if "grad_avg" in state:
        mean = state["grad_avg"].lerp_(g, keep)
        spread = torch.addcmul(spread, mean, mean, value=-1)
    move = g / spread.sqrt().add_(rule.hyper["eps"])
    if "momentum_buffer" in state:
        move = state["momentum_buffer"].mul_(rule.hyper["momentum"]).add_(move)
    w.addcmul_(lr, move, value=-1)


def _adagrad(rule: Rule, w: Tensor, g: Tensor, lr: Tensor, decay: Tensor | None) -> None:
    g = _decayed(w, g, decay)
    rate = lr / (1 + (rule.steps.item() - 1) * rule.hyper["lr_decay"])
    size = rule.state["sum"].addcmul_(g, g).sqrt().add_(rule.hyper["eps"])
    w.addcmul_(rate, g.div(size), value=-1)


def _adadelta(rule: Rule, w: Tensor, g: Tensor, lr: Tensor, decay: Tensor | None) -> None:
    g = _decayed(w, g, decay)
    keep, eps = 1 - rule.hyper["rho"], rule.hyper["eps"]
    spread, moved = rule.state["square_avg"].lerp_(g * g, keep), rule.state["acc_delta"]
    move = ((moved + eps) / (spread + eps)).sqrt_().mul_(g)
    w.addcmul_(lr, move, value=-1)
    moved.lerp_(move * move, keep)


def _adam(rule: Rule, w: Tensor, g: Tensor, lr: Tensor, decay: Tensor | None) -> None:
    _adam_move(rule, w, _decayed(w, g, decay), lr)


def _adamw(rule: Rule, w: Tensor, g: Tensor, lr: Tensor, decay: Tensor | None) -> None:
    if decay is not None:
        w.mul_(1 - lr * decay)
    _adam_move(rule, w, g, lr)


def _adam_move(rule: Rule, w: Tensor, g: Tensor, lr: Tensor) -> None:
    if rule.shared is not None:
        _fused_adam(rule, rule.shared, g)
        w.addcmul_(lr, rule.move)
        return
    hyper, state, steps = rule.hyper, rule.state, rule.steps.item()
    mean = state["exp_avg"].lerp_(g, 1 - hyper["beta1"])
    square = state["exp_avg_sq"].lerp_(g * g, 1 - hyper["beta2"])
    if "max_exp_avg_sq" in state:
        square = torch.maximum(state["max_exp_avg_sq"], square, out=state["max_exp_avg_sq"])
    # Both bias corrections on (K, 1) numbers, so that the (K, P) ones are gone through less often.
    root = (1 - hyper["beta2"] ** steps).sqrt()
    rate = lr / (1 - hyper["beta1"] ** steps)
    size = square.sqrt().div_(root).add_(hyper["eps"])
    w.addcmul_(rate, mean.div(size), value=-1)


def _fused_adam(rule: Rule, shared: dict[str, float], g: Tensor) -> None:
    """What Adam moves weights by at a learning rate of 1, into `rule.move`, by the kernel of torch.optim.

    It takes one learning rate for all weights, but goes through them once and not eight times.
    """
    amsgrad = "max_exp_avg_sq" in rule.state
    fused_adam(
        [rule.move.zero_()],
        [g],
        [rule.state["exp_avg"]],
        [rule.state["exp_avg_sq"]],
        [rule.state["max_exp_avg_sq"]] if amsgrad else [],
        [rule.steps],
        lr=1.0,
        beta1=shared["beta1"],
        beta2=shared["beta2"],
        weight_decay=0.0,
        eps=shared["eps"],
        amsgrad=amsgrad,
        maximize=False,
    )


def _decayed(w: Tensor, g: Tensor, decay: Tensor | None) -> Tensor:
    return g if decay is None else torch.addcmul(g, decay, w)


def _momentum_names(hyper: Hyper, flags: set[str]) -> list[str]:
    return ["momentum_buffer"] if bool(hyper["momentum"].any()) else []


def _rmsprop_names(hyper: Hyper, flags: set[str]) -> list[str]:
    mean = ["grad_avg"] if "centered" in flags else []
    return ["square_avg", *mean, *_momentum_names(hyper, flags)]


def _adam_names(hyper: Hyper, flags: set[str]) -> list[str]:
    return ["exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if "amsgrad" in flags else [])]


_Names = Callable[[Hyper, set[str]], list[str]]
_Update = Callable[[Rule, Tensor, Tensor, Tensor, Tensor | None], None]
_RULES: dict[type[torch.optim.Optimizer], tuple[_Update, _Names]] = {
    torch.optim.SGD: (_sgd, _momentum_names),
    torch.optim.RMSprop: (_rmsprop, _rmsprop_names),
    torch.optim.Adagrad: (_adagrad, lambda hyper, flags: ["sum"]),
    torch.optim.Adadelta: (_adadelta, lambda hyper, flags: ["square_avg", "acc_delta"]),
    torch.optim.Adam: (_adam, _adam_names),
    torch.optim.AdamW: (_adamw, _adam_names),
}
