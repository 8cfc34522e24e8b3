"""Optimizers: the eight of the lectures and newer ones, and a step of them: gradients in, new weights out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, cast

import torch
from annotated_types import Gt, Lt
from torch import Tensor, nn

from dlrun.config.schema import Fraction, NonNegative, Positive, Probability
from dlrun.config.settings import GradientSettings
from dlrun.errors import ConfigError
from dlrun.training.gradients import regularise
from dlrun.training.lookahead import Lookahead
from dlrun.training.optimizer_classes import (
    Groups,
    Lion,
    MuonWithAdamW,
    hidden_matrices,
    keep_gradients,
    parted,
)
from dlrun.training.parameter_names import chosen
from dlrun.training.schedules import Multiplier, plateau_of
from dlrun.training.sharding import is_sharded, load_optimizer
from dlrun.training.skipped_steps import skip_without_asking

LearningRate = Annotated[float, Gt(0)]

# Of a parameter group: what is moved, and what schedulefree counts there.
_NO_SETTINGS = ("params", "k", "weight_sum", "lr_max", "scheduled_lr", "train_mode")


def sgd(groups: Groups, *, lr: LearningRate) -> torch.optim.Optimizer:
    """theta <- theta - lr * g."""
    return torch.optim.SGD(groups, lr=lr, fused=_fused(groups))


def momentum(groups: Groups, *, lr: LearningRate, momentum: Probability) -> torch.optim.Optimizer:
    """v <- momentum * v + g; theta <- theta - lr * v (Polyak, 1964, as torch states it)."""
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, fused=_fused(groups))


def nesterov(
    groups: Groups, *, lr: LearningRate, momentum: Annotated[float, Gt(0), Lt(1)]
) -> torch.optim.Optimizer:
    """v <- momentum * v + g; theta <- theta - lr * (g + momentum * v) (Sutskever et al., 2013)."""
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=True, fused=_fused(groups))


def rmsprop(
    groups: Groups,
    *,
    lr: LearningRate,
    alpha: Probability,
    eps: Positive,
    momentum: Probability,
    centered: bool,
) -> torch.optim.Optimizer:
    """s <- alpha * s + (1 - alpha) * g^2; theta <- theta - lr * g / (sqrt(s) + eps) (Hinton, 2012)."""
    return torch.optim.RMSprop(
        groups, lr=lr, alpha=alpha, eps=eps, momentum=momentum, centered=centered, foreach=True
    )


def adagrad(
    groups: Groups,
    *,
    lr: LearningRate,
    lr_decay: NonNegative,
    initial_accumulator: NonNegative,
    eps: Positive,
) -> torch.optim.Optimizer:
    """s <- s + g^2; theta <- theta - lr * g / (sqrt(s) + eps) (Duchi et al., 2011)."""
    return torch.optim.Adagrad(
        groups, lr=lr, lr_decay=lr_decay, initial_accumulator_value=initial_accumulator, eps=eps,
        fused=_fused(groups, "cpu"),
    )  # fmt: skip


def adadelta(
    groups: Groups, *, lr: LearningRate, rho: Probability, eps: Positive
) -> torch.optim.Optimizer:
    """Steps scaled by the ratio of running sizes of past updates and of gradients (Zeiler, 2012)."""
    return torch.optim.Adadelta(groups, lr=lr, rho=rho, eps=eps, foreach=True)


def adam(
    groups: Groups,
    *,
    lr: LearningRate,
    beta1: Probability,
    beta2: Probability,
    eps: Positive,
    amsgrad: bool,
) -> torch.optim.Optimizer:
    """theta <- theta - lr * m_hat / (sqrt(v_hat) + eps), bias-corrected moments (Kingma and Ba, 2015)."""
    return torch.optim.Adam(
        groups,
        lr=lr,
        betas=(beta1, beta2),
        eps=eps,
        amsgrad=amsgrad,
        fused=_fused(groups, sharded=True),
    )


def adamw(
    groups: Groups,
    *,
    lr: LearningRate,
    beta1: Probability,
    beta2: Probability,
    eps: Positive,
    amsgrad: bool,
) -> torch.optim.Optimizer:
    """Adam with the weight decay taken off the weights directly (Loshchilov and Hutter, 2019)."""
    return torch.optim.AdamW(
        groups,
        lr=lr,
        betas=(beta1, beta2),
        eps=eps,
        amsgrad=amsgrad,
        fused=_fused(groups, sharded=True),
    )


def lion(
    groups: Groups, *, lr: LearningRate, beta1: Probability, beta2: Probability
) -> torch.optim.Optimizer:
    """Steps of one size, by the sign of a running mean of the gradient (Chen et al., 2023)."""
    return Lion(groups, lr=lr, betas=(beta1, beta2))


def muon(
    groups: Groups,
    *,
    model: nn.Module,
    lr: LearningRate,
    adamw_lr: LearningRate | None,
    momentum: Probability,
    nesterov: bool,
    adjust_lr: Literal["original", "match_rms_adamw"],
    beta1: Probability,
    beta2: Probability,
    eps: Positive,
) -> torch.optim.Optimizer:
    """theta <- theta - lr * O, O the nearest orthogonal matrix to a running mean of the gradient (Jordan, 2024).

    For the matrices between first and last layer; AdamW moves embeddings, the head, filters, biases and norms, at
    `adamw_lr`, or at `lr` where that is null. `adjust_lr` scales the steps of a matrix by its shape: as Jordan does,
    or to the size of AdamW's steps (Liu et al., 2025), so that one `lr` suits both.

    Raises:
        ConfigError: torch is too old, or the model has no such matrix.
    """
    if not hasattr(torch.optim, "Muon"):
        raise ConfigError(
            f"optimizer is muon, which torch has from version 2.9, and here is {torch.__version__}: "
            "take a newer torch, or optimizer=adamw"
        )
    hidden = {id(p) for p in hidden_matrices(model)}
    matrices, others = parted(groups, lambda p: id(p) in hidden)
    if not matrices:
        raise ConfigError(
            "optimizer is muon, but the model has no matrix to train between its first and its last layer: "
            "take optimizer=adamw"
        )
    return MuonWithAdamW(
        matrices,
        others,
        muon_settings={
            "lr": lr, "momentum": momentum, "nesterov": nesterov, "adjust_lr_fn": adjust_lr,
        },
        adamw_settings={
            "lr": adamw_lr or lr, "betas": (beta1, beta2), "eps": eps, "fused": _fused(others, sharded=True),
        },
    )  # fmt: skip


def schedule_free(
    groups: Groups, *, lr: LearningRate, beta1: Fraction, beta2: Probability, eps: Positive
) -> torch.optim.Optimizer:
    """AdamW whose weights to judge are an average of all steps, in place of a schedule (Defazio et al., 2024).

    Raises:
        ConfigError: the library schedulefree is not installed.
    """
    try:
        from schedulefree import AdamWScheduleFree
    except ImportError:
        raise ConfigError(
            "optimizer is schedule_free, which needs: pip install 'dlrun[schedule_free]'"
        ) from None
    optimizer: Any = AdamWScheduleFree(groups, lr=lr, betas=(beta1, beta2), eps=eps)
    optimizer.train()  # for good: what is judged is a copy
    keep_gradients(optimizer)
    return cast(torch.optim.Optimizer, optimizer)


def parameter_groups(
    model: nn.Module, rules: GradientSettings, *, begins: Mapping[str, int] | None = None
) -> Groups:
    """The trainable parameters, in a group for each multiplier of the learning rate, its `lr_multiplier`.

    One group is two where biases and norms are spared the weight decay, and more where the training of parameters
    `begins` in different epochs: torch's fused momentum takes no group of which a part was trained before.

    Raises:
        ConfigError: a pattern of optimizer.lr_multipliers chooses no parameter.
    """
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    multipliers, begins = rules.lr_multipliers, begins or {}
    which = chosen("optimizer.lr_multipliers", multipliers or (), [*trainable])
    by = {name: (multipliers or {})[pattern] for name, pattern in which.items()}
    kinds = {name: (begins.get(name, 0), by.get(name, 1.0)) for name in trainable}
    return [
        group if multipliers is None else group | {"lr_multiplier": kind[1]}
        for kind in dict.fromkeys(kinds.values())
        for group in _groups_by_decay([p for n, p in trainable.items() if kinds[n] == kind], rules)
    ]


def _groups_by_decay(trainable: list[nn.Parameter], rules: GradientSettings) -> Groups:
    if rules.decay_biases_and_norms or rules.weight_decay == 0:
        return [{"params": trainable, "weight_decay": rules.weight_decay}]
    # Vectors are biases and the gains of norms; everything that mixes inputs has two axes or more.
    matrices = [p for p in trainable if p.ndim > 1]
    vectors = [p for p in trainable if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": rules.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


class Descent:
    """An optimizer with its learning-rate schedule, gradient rules and loss scaling: loss in, new weights out."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        multiplier: Multiplier,
        rules: GradientSettings,
        scaler: torch.amp.GradScaler,
        lookahead: Lookahead | None = None,
    ) -> None:
        self.optimizer, self.multiplier = optimizer, multiplier
        self.rules, self.scaler, self.lookahead = rules, scaler, lookahead
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.base_rate = float(optimizer.param_groups[0]["lr"])  # that multipliers are of
        self.configured = [_configured(group, rules) for group in optimizer.param_groups]
        self.learning_rate = self.base_rate  # of the last step, where there is no multiplier
        self.rates: list[Tensor] = []  # of each group, where a CUDA graph reads them
        self._scaled = scaler.is_enabled()
        if self._scaled and self.parameters[0].device.type != "cpu":
            skip_without_asking(optimizer)
        self._regularised = (
            bool(rules.l1) or rules.clip_value is not None or rules.clip_norm is not None
        )

    def clear(self) -> None:
        """Forget the gradients of the step before."""
        for parameter in self.parameters:
            parameter.grad = None

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of `loss`."""
        (self.scaler.scale(loss) if self._scaled else loss).backward()

    def update(self, step: int) -> None:
        """Move the weights by the gradients, at the learning rate of `step`."""
        self.schedule(step)
        self.move()

    def move(self) -> None:
        """Move the weights by the gradients, at the learning rate that `schedule` gave."""
        if self._scaled:
            self.scaler.unscale_(self.optimizer)
        if self._regularised:
            regularise(self.parameters, self.rules)
        if self._scaled:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            self.optimizer.step()
        if self.lookahead is not None:
            self.lookahead.follow()

    def schedule(self, step: int) -> None:
        """Give the optimizer the learning rate of `step`."""
        rates = self.rates_at(step)
        tensors = [t.fill_(r) for t, r in zip(self.rates, rates, strict=bool(self.rates))]
        self.take_rates(tensors or rates)
        self.count_from(step)

    def rates_at(self, step: int) -> list[float]:
        """The learning rate of each group at `step`, whose rate is from now on `learning_rate`."""
        multiplier = self.multiplier(step)
        self.learning_rate = float(self.base_rate * multiplier)
        return [configured["lr"] * multiplier for configured in self.configured]

    def take_rates(self, rates: Iterable[float | Tensor]) -> None:
        """Give the optimizer a learning rate for each group."""
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

    def count_from(self, step: int) -> None:
        """Tell what counts steps on the device that `step` is next."""
        if self.lookahead is not None:
            self.lookahead.steps.fill_(step)

    def describe(self) -> str | None:
        """The learning rates of parameters with a multiplier, in a line; None where there are none."""
        if not (multipliers := self.rules.lr_multipliers):
            return None
        return f"learning rates: {', '.join(f'{n} times {by:g}' for n, by in multipliers.items())}"

    def state_dict(self) -> dict[str, Any]:
        """Everything a resume needs."""
        plateau = plateau_of(self.multiplier)
        return {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "plateau": plateau.state_dict() if plateau else None,
            "lookahead": self.lookahead.state_dict() if self.lookahead else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`, with the hyper-parameters as configured now: a resume may have changed them."""
        load_optimizer(self.optimizer, state["optimizer"])
        for group, configured in zip(self.optimizer.param_groups, self.configured, strict=True):
            group.update(configured)
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        plateau = plateau_of(self.multiplier)
        if plateau and state["plateau"]:
            plateau.load_state_dict(state["plateau"])
        if self.lookahead is not None:
            self.lookahead.load_state_dict(state.get("lookahead"))


def _configured(group: dict[str, Any], rules: GradientSettings) -> dict[str, Any]:
    """The hyper-parameters of a group, with its own learning rate.

    Raises:
        ConfigError: it has no multiplier of the learning rate where there are some.
    """
    if rules.lr_multipliers is not None and "lr_multiplier" not in group:
        raise ConfigError(
            "optimizer.lr_multipliers is set, but the optimizer makes parameter groups of its own, without their "
            "lr_multiplier: set it to null, or hand the groups on as they are"
        )
    own = {name: value for name, value in group.items() if name not in _NO_SETTINGS}
    return own | {"lr": group["lr"] * group.get("lr_multiplier", 1.0)}


def _fused(groups: Groups, *devices: str, sharded: bool = False) -> bool | None:
    """True where torch has a fused kernel for these parameters: floating point on the CPU or a GPU.

    Args:
        devices: those that it has one for, where it is not for all.
        sharded: whether it has one for parameters of which each rank holds a part.
    """
    parameters = [p for group in groups for p in group["params"]]
    supported = devices or ("cpu", "cuda", "mps")
    return (
        True
        if all(
            p.device.type in supported and p.is_floating_point() and (sharded or not is_sharded(p))
            for p in parameters
        )
        else None
    )
