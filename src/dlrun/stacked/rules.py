"""The update rules of torch.optim for K runs at a time, each with settings of its own.

Shapes: K runs, P weights a run; weights, gradients and states are (K, P), settings (K, 1).
What a step needs of how many there were before is worked out by the host, as numbers (K, 1) or (1, 1): so a CUDA graph
can hold the rest.
Each rule follows the formula of its namesake in torch.optim, whose states it keeps under the same
names, so that a run may go from here to there and back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dlrun.stacked.kinds import groups_of, kinds_of
from dlrun.system.torch_internals import fused_adam
from dlrun.training.optimizer_classes import Lion, is_schedule_free
from dlrun.training.orthogonal import MATRIX_RATES, iterates_as_here, orthogonalised

Hyper = dict[str, Tensor]
Numbers = Sequence[Tensor]  # of one step

_FUSED = ("cpu", "cuda")  # where torch has a kernel for Adam

# Of a parameter group: what may differ from run to run, and so becomes a tensor.
_NUMBERS = (
    "alpha", "beta1", "beta2", "eps", "lr_decay", "momentum", "rho",
)  # fmt: skip
_FLAGS = ("amsgrad", "centered", "nesterov")
# Of the library schedulefree: it begins as the weights, and their average lies between the two.
_STARTING_WEIGHTS = "z"
# What may differ from group to group of a run.
_OF_A_GROUP = ("params", "lr", "lr_multiplier", "weight_decay")
# What torch's optimizers can do beside: only an optimizer of the user's own may ask for it.
_UNKNOWN = ("dampening", "maximize")


@dataclass
class Part:
    """Where one parameter lies among the P weights of a run."""

    name: str
    start: int
    stop: int
    shape: torch.Size

    def of(self, rows: Tensor) -> Tensor:
        """The parameter in (P,) or (K, P): (*shape) or (K, *shape), a view."""
        return rows[..., self.start : self.stop].view(*rows.shape[:-1], *self.shape)


class Rates(NamedTuple):
    """What one step moves weights by: learning rates and weight decay, each (K, 1) or (K, P).

    Attributes:
        numbers: of the step, as `Rule.advance` gave them.
    """

    lr: Tensor
    decay: Tensor | None
    numbers: Numbers


class Rule:
    """One optimizer's rule for K runs, on the parameters that it moves.

    Args:
        optimizers: of each run; of one that is several, the groups of the class `kind` count.
        parts: the parameters, next to each other among the weights.

    Attributes:
        state: the optimizer's memory, by torch's names, each (K, P).
        counts: updates so far, for each parameter of a run, as torch keeps it.
    """

    def __init__(
        self,
        optimizers: Sequence[torch.optim.Optimizer],
        weights: Tensor,
        parts: Sequence[Part],
        kind: type[torch.optim.Optimizer],
    ) -> None:
        self.groups = [groups_of(optimizer, kind) for optimizer in optimizers]
        groups = [_hyperparameters(own[0]) for own in self.groups]
        self.parts = parts
        own = self.columns(weights)
        self.on_host = {
            name: torch.tensor([group[name] for group in groups], dtype=own.dtype).unsqueeze(1)
            for name in _NUMBERS
            if name in groups[0]
        }
        self.hyper = {name: value.to(own.device) for name, value in self.on_host.items()}
        self.flags = {name for name in _FLAGS if groups[0].get(name)}
        self.adjusts_lr = groups[0].get("adjust_lr_fn") or "original"
        self._update, names, self._numbers = _rule_of(kind)
        self.state = {name: torch.zeros_like(own) for name in names(self.on_host, self.flags)}
        if _STARTING_WEIGHTS in self.state:
            self.state[_STARTING_WEIGHTS].copy_(own)
        self.counts = torch.zeros(len(parts), dtype=torch.float32)
        self.move = torch.zeros_like(own)  # of one update
        self.shared = self._common()

    def advance(self, rates: Tensor, multiplier: Tensor) -> Numbers:
        """Count one more step, at `rates` (K, 1) times `multiplier`: what `update` needs of it, all on the CPU."""
        self.counts += 1
        return self._numbers(self, rates, multiplier)

    def update(self, weights: Tensor, gradients: Tensor, by: Rates) -> None:
        """Move `weights` in place."""
        self._update(self, weights, gradients, by)

    def columns(self, rows: Tensor) -> Tensor:
        """Of all weights, or what belongs to them, those that this rule moves: a view."""
        return rows[:, self.parts[0].start : self.parts[-1].stop]

    def memory(self, part: Part, row: int) -> dict[str, Tensor]:
        """What the optimizer of one run remembers of a parameter: views."""
        first = self.parts[0].start
        place = replace(part, start=part.start - first, stop=part.stop - first)
        return {name: place.of(tensor[row]) for name, tensor in self.state.items()}

    def judged(self, weights: Tensor) -> Tensor:
        """What is to be judged of all `weights` that this rule moves: themselves, or their average."""
        own = self.columns(weights)
        if _STARTING_WEIGHTS not in self.state:
            return own
        return own.lerp(self.state[_STARTING_WEIGHTS], 1 - 1 / self.hyper["beta1"])

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these runs only."""
        self.groups = [self.groups[row] for row in rows]
        self.on_host = {name: value[rows] for name, value in self.on_host.items()}
        self.hyper = {name: value[rows] for name, value in self.hyper.items()}
        self.state = {name: value[rows] for name, value in self.state.items()}
        self.move = self.move[rows]
        self.shared = self._common()

    def _common(self) -> dict[str, float] | None:
        """The hyper-parameters where all runs have the same, and torch has a kernel for that."""
        if self.move.device.type not in _FUSED or any(
            bool((value != value[0]).any()) for value in self.on_host.values()
        ):
            return None
        return {name: value[0].item() for name, value in self.on_host.items()}


def has_rule(optimizer: torch.optim.Optimizer) -> bool:
    """Whether there is a rule here for an optimizer of this kind, set up like this."""
    return all(_is_known(kind, groups_of(optimizer, kind)) for kind in kinds_of(optimizer))


def _is_known(kind: type[torch.optim.Optimizer], groups: Sequence[dict[str, Any]]) -> bool:
    settings = [_shared_settings(group) for group in groups]
    decoupled = issubclass(kind, torch.optim.AdamW)
    return (
        (kind in _RULES or _is_adamw_schedule_free(kind))
        and all(one == settings[0] for one in settings)
        and not any(settings[0].get(name) for name in _UNKNOWN)
        and settings[0].get("decoupled_weight_decay", decoupled) == decoupled
        and ("ns_steps" not in settings[0] or iterates_as_here(settings[0]))
        and ("weight_sum" not in settings[0] or _averages_as_here(groups))
    )


def _averages_as_here(groups: Sequence[dict[str, Any]]) -> bool:
    """Whether all groups of a schedule-free optimizer weigh steps alike, and need no warm-up of its own."""
    alike = len({group["lr"] for group in groups}) == 1
    return alike and (groups[0]["r"], groups[0]["warmup_steps"]) == (0, 0)


def _is_adamw_schedule_free(kind: type) -> bool:
    return is_schedule_free(kind) and kind.__name__ == "AdamWScheduleFree"


def _rule_of(kind: type[torch.optim.Optimizer]) -> tuple[_Update, _Names, _NumbersOf]:
    if _is_adamw_schedule_free(kind):  # which is not imported before it is asked for
        return _schedule_free, lambda hyper, flags: [_STARTING_WEIGHTS, "exp_avg_sq"], _weighed
    return *_RULES[kind], _COUNTING.get(kind, _no_numbers)


def _shared_settings(group: dict[str, Any]) -> dict[str, Any]:
    """What must be the same for all weights of a run: everything but learning rate and weight decay."""
    return {k: v for k, v in group.items() if k not in _OF_A_GROUP}


def _hyperparameters(group: dict[str, Any]) -> dict[str, Any]:
    betas = group.get("betas")
    return group | ({"beta1": betas[0], "beta2": betas[1]} if betas else {})


def _sgd(rule: Rule, w: Tensor, g: Tensor, by: Rates) -> None:
    g = _decayed(w, g, by.decay)
    if "momentum_buffer" in rule.state:
        momentum, velocity = rule.hyper["momentum"], rule.state["momentum_buffer"]
        velocity.mul_(momentum).add_(g)
        g = torch.addcmul(g, momentum, velocity) if "nesterov" in rule.flags else velocity
    w.addcmul_(by.lr, g, value=-1)


def _rmsprop(rule: Rule, w: Tensor, g: Tensor, by: Rates) -> None:
    g = _decayed(w, g, by.decay)
    keep, state = 1 - rule.hyper["alpha"], rule.state
    spread = state["square_avg"].lerp_(g * g, keep)
    if "grad_avg" in state:
        mean = state["grad_avg"].lerp_(g, keep)
        spread = torch.addcmul(spread, mean, mean, value=-1)
    move = g / spread.sqrt().add_(rule.hyper["eps"])
    if "momentum_buffer" in state:
        move = state["momentum_buffer"].mul_(rule.hyper["momentum"]).add_(move)
    w.addcmul_(by.lr, move, value=-1)


def _adagrad(rule: Rule, w: Tensor, g: Tensor, by: Rates) -> None:
    g = _decayed(w, g, by.decay)
    rate = by.lr / by.numbers[0]
    size = rule.state["sum"].addcmul_(g, g).sqrt().add_(rule.hyper["eps"])
    w.addcmul_(rate, g.div(size), value=-1)


def _adadelta(rule: Rule, w: Tensor, g: Tensor, by: Rates) -> None:
    g = _decayed(w, g, by.decay)
    keep, eps = 1 - rule.hyper["rho"], rule.hyper["eps"]
    spread, moved = rule.state["square_avg"].lerp_(g * g, keep), rule.state["acc_delta"]
    move = ((moved + eps) / (spread + eps)).sqrt_().mul_(g)
    w.addcmul_(by.lr, move, value=-1)
    moved.lerp_(move * move, keep)


def _slower(rule: Rule, rates: Tensor, multiplier: Tensor) -> Numbers:
    """What Adagrad divides learning rates by."""
    return [1 + (rule.counts[0].item() - 1) * rule.on_host["lr_decay"]]


def _adam(rule: Rule, w: Tensor, g: Tensor, by: Rates) -> None:
    _adam_move(rule, w, _decayed(w, g, by.decay), by)


def _adamw(rule: Rule, w: Tensor, g: Tensor, by: Rates) -> None:
    if by.decay is not None:
        w.mul_(1 - by.lr * by.decay)
    _adam_move(rule, w, g, by)


def _adam_move(rule: Rule, w: Tensor, g: Tensor, by: Rates) -> None:
    if rule.shared is not None:
        _fused_adam(rule, rule.shared, g, by.numbers[0][0, 0])
        w.addcmul_(by.lr, rule.move)
        return
    hyper, state, (root, unbiased) = rule.hyper, rule.state, by.numbers
    mean = state["exp_avg"].lerp_(g, 1 - hyper["beta1"])
    square = state["exp_avg_sq"].lerp_(g * g, 1 - hyper["beta2"])
    if "max_exp_avg_sq" in state:
        square = torch.maximum(state["max_exp_avg_sq"], square, out=state["max_exp_avg_sq"])
    size = square.sqrt().div_(root).add_(hyper["eps"])
    w.addcmul_(by.lr / unbiased, mean.div(size), value=-1)


def _adam_counts(rule: Rule, rates: Tensor, multiplier: Tensor) -> Numbers:
    """Adam's bias corrections; for the kernel of torch.optim the count of steps."""
    if rule.shared is not None:
        return [rule.counts[:1].unsqueeze(1)]
    steps, betas = rule.counts[0].item(), rule.on_host
    return [(1 - betas["beta2"] ** steps).sqrt(), 1 - betas["beta1"] ** steps]


def _fused_adam(rule: Rule, shared: dict[str, float], g: Tensor, steps: Tensor) -> None:
    """What Adam moves weights by at a learning rate of 1, into `rule.move`, by the kernel of torch.optim.

    It takes one learning rate for all weights, but goes through them once and not eight times.
    """
    amsgrad = "max_exp_avg_sq" in rule.state
    fused_adam(
        [rule.move.zero_()],
        [g.contiguous()],
        [rule.state["exp_avg"]],
        [rule.state["exp_avg_sq"]],
        [rule.state["max_exp_avg_sq"]] if amsgrad else [],
        [steps.float()],
        lr=1.0,
        beta1=shared["beta1"],
        beta2=shared["beta2"],
        weight_decay=0.0,
        eps=shared["eps"],
        amsgrad=amsgrad,
        maximize=False,
    )


def _lion(rule: Rule, w: Tensor, g: Tensor, by: Rates) -> None:
    mean, hyper = rule.state["exp_avg"], rule.hyper
    if by.decay is not None:
        w.mul_(1 - by.lr * by.decay)
    w.addcmul_(by.lr, mean.lerp(g, 1 - hyper["beta1"]).sign_(), value=-1)
    mean.lerp_(g, 1 - hyper["beta2"])


def _muon(rule: Rule, w: Tensor, g: Tensor, by: Rates) -> None:
    momentum = rule.hyper["momentum"]
    mean = rule.state["momentum_buffer"].lerp_(g, 1 - momentum)
    direction = g.lerp(mean, momentum) if "nesterov" in rule.flags else mean
    if by.decay is not None:
        w.mul_(1 - by.lr * by.decay)
    first = rule.parts[0].start
    by_shape: dict[torch.Size, list[slice]] = {}
    for part in rule.parts:
        by_shape.setdefault(part.shape, []).append(slice(part.start - first, part.stop - first))
    for shape, places in by_shape.items():
        matrices = torch.stack([direction[:, place].view(-1, *shape) for place in places])
        moves = orthogonalised(matrices.flatten(0, 1)).view(len(places), len(w), -1).to(w.dtype)
        scale = MATRIX_RATES[rule.adjusts_lr](*shape)
        for place, move in zip(places, moves, strict=True):
            rates = by.lr if by.lr.shape[1] == 1 else by.lr[:, place]
            w[:, place].addcmul_(rates * scale, move, value=-1)


def _schedule_free(rule: Rule, w: Tensor, g: Tensor, by: Rates) -> None:
    hyper, (share, correction) = rule.hyper, by.numbers
    z, square = rule.state[_STARTING_WEIGHTS], rule.state["exp_avg_sq"]
    square.lerp_(g * g, 1 - hyper["beta2"])
    unbiased = square / correction
    move = _decayed(w, g / unbiased.sqrt_().add_(hyper["eps"]), by.decay)
    w.lerp_(z, share).addcmul_(by.lr * (hyper["beta1"] * (1 - share) - 1), move)
    z.addcmul_(by.lr, move, value=-1)


def _weighed(rule: Rule, rates: Tensor, multiplier: Tensor) -> Numbers:
    """The share of this step in the average of each run, and the bias correction of AdamW's second moment."""
    lr = (rates * multiplier)[:, 0].tolist()
    shares = [_weigh(groups, rate) for groups, rate in zip(rule.groups, lr, strict=True)]
    beta2 = rule.on_host["beta2"]
    return [beta2.new_tensor(shares).unsqueeze(1), 1 - beta2 ** rule.groups[0][0]["k"]]


def _weigh(groups: Sequence[dict[str, Any]], lr: float) -> float:
    """The share of this step in the average of a run, counted in the groups of its optimizer."""
    first = groups[0]
    highest = max(lr, first["lr_max"])
    weight = highest ** first["weight_lr_power"]
    total = first["weight_sum"] + weight
    counted = {"k": first["k"] + 1, "lr_max": highest, "weight_sum": total, "scheduled_lr": lr}
    for group in groups:
        group.update(counted)
    return float(weight / total) if total else 0.0


def _no_numbers(rule: Rule, rates: Tensor, multiplier: Tensor) -> Numbers:
    return []


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
_NumbersOf = Callable[[Rule, Tensor, Tensor], Numbers]
_Update = Callable[[Rule, Tensor, Tensor, Rates], None]
_RULES: dict[type[torch.optim.Optimizer], tuple[_Update, _Names]] = {
    torch.optim.SGD: (_sgd, _momentum_names),
    torch.optim.RMSprop: (_rmsprop, _rmsprop_names),
    torch.optim.Adagrad: (_adagrad, lambda hyper, flags: ["sum"]),
    torch.optim.Adadelta: (_adadelta, lambda hyper, flags: ["square_avg", "acc_delta"]),
    torch.optim.Adam: (_adam, _adam_names),
    torch.optim.AdamW: (_adamw, _adam_names),
    Lion: (_lion, lambda hyper, flags: ["exp_avg"]),
}
if hasattr(torch.optim, "Muon"):  # from version 2.9 on
    _RULES[torch.optim.Muon] = (_muon, lambda hyper, flags: ["momentum_buffer"])
_COUNTING: dict[type[torch.optim.Optimizer], _NumbersOf] = {
    torch.optim.Adagrad: _slower,
    torch.optim.Adam: _adam_counts,
    torch.optim.AdamW: _adam_counts,
}
