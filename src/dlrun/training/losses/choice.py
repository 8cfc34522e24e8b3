"""Which loss a config names, and what `auto` stands for."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import isclass
from typing import Any

from torch import Tensor

from dlrun.config.instantiate import located, split_component
from dlrun.config.schema import Probability
from dlrun.config.settings import LossSettings
from dlrun.data.base import Spec, TaskKind
from dlrun.errors import ConfigError
from dlrun.training.losses.base import Loss, Reduction
from dlrun.training.losses.classes import BinaryCrossEntropy, CrossEntropy, Focal
from dlrun.training.losses.quantities import MAE, MSE, Huber, Poisson, Quantile
from dlrun.training.losses.users import UsersLoss

# Of each kind of problem, the first that fits is meant by auto.
LOSSES: tuple[type[Loss], ...] = (
    MSE,
    MAE,
    Huber,
    Quantile,
    Poisson,
    CrossEntropy,
    BinaryCrossEntropy,
    Focal,
)


class Auto(Loss):
    """The usual loss for the data: of classes a cross-entropy, of numbers mse.

    Args:
        label_smoothing: of classes, as of `cross_entropy`.
    """

    name = "auto"
    tasks = ()

    def __init__(self, *, label_smoothing: Probability) -> None:
        self.label_smoothing = label_smoothing

    def suited(self, spec: Spec) -> Loss:
        usual, smoothing = fitting(spec.task)[0], self.label_smoothing
        built: Loss
        if usual is CrossEntropy:
            built = CrossEntropy(label_smoothing=smoothing, class_weights="none")
        elif usual is BinaryCrossEntropy:
            built = BinaryCrossEntropy(label_smoothing=smoothing, positive_weight=1.0)
        elif smoothing:
            raise ConfigError(
                f"loss.label_smoothing is {smoothing}, but {spec.task} has no labels; set it to 0"
            )
        else:
            built = usual()
        built.reduction = self.reduction
        return built

    def function(self, outputs: Tensor, targets: Tensor, reduction: Reduction) -> Tensor:
        raise NotImplementedError("it stands for another")

    def rows(self, outputs: Tensor, targets: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
        raise NotImplementedError("it stands for another")


def fitting(task: TaskKind) -> list[type[Loss]]:
    """The losses for a kind of problem, the usual one first."""
    return [loss for loss in LOSSES if task in loss.tasks]


def loss_of(node: Mapping[str, Any]) -> Loss:
    """The loss that the config node `loss` names.

    Raises:
        ConfigError: there is none, or it has other settings.
    """
    target = located("loss", node)
    given = () if isclass(target) else ("outputs", "targets")
    component, shared = split_component("loss", node, LossSettings, given=given)
    if isclass(target) and issubclass(target, Loss):
        loss: Loss = component()
    else:
        loss = UsersLoss(component, reduction=shared.reduction)
    loss.reduction = shared.reduction
    return loss
