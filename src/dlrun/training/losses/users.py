"""A loss of the user's own: a function of outputs and targets, or a class of modules that are called with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import isclass, signature

import torch
from torch import Tensor, nn

from dlrun.config.instantiate import Component
from dlrun.data.base import Preprocessing, Spec
from dlrun.data.loaders import Split
from dlrun.errors import ConfigError, first_line
from dlrun.training.losses.base import Loss, Reduction


class UsersLoss(Loss):
    """What the user's function or module makes of outputs and targets: a scalar, in training and in evaluations.

    Args:
        component: the function, which takes outputs and targets before its settings, or the class.
        reduction: what the scalar is over the samples; handed on to a parameter of that name.

    Raises:
        ConfigError: the class makes something that cannot be called, or that has weights of its own.
    """

    tasks = ()
    by_target = False
    not_stacked = "a loss of your own is computed for one run at a time"

    def __init__(self, component: Component, *, reduction: Reduction) -> None:
        self.name = component.target.__name__  # type: ignore[misc]
        more = {"reduction": reduction} if _takes_reduction(component.target) else {}
        self.call: Callable[[Tensor, Tensor], Tensor]
        if isclass(component.target):
            self.call = component(**more)
            self._refuse_no_loss()
        else:
            self.call = lambda outputs, targets: component(outputs, targets, **more)

    def fit(self, spec: Spec, preprocessing: Preprocessing, train: Split | None) -> None:
        if train is not None and isinstance(self.call, nn.Module):
            self.call.to(train.targets.device)

    def batch(self, outputs: Tensor, targets: Tensor) -> Tensor:
        value: object = self.call(outputs, targets)
        if not isinstance(value, Tensor) or value.ndim:
            given = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"{type(value)}"
            raise ConfigError(
                f"loss {self.name} gives a result of {given}, but must give one number: return losses.mean()"
            )
        return value

    def function(self, outputs: Tensor, targets: Tensor, reduction: Reduction) -> Tensor:
        value = self.batch(outputs, targets)
        if reduction == "mean" and self.reduction == "sum":
            return value / len(targets)
        return value

    def rows(self, outputs: Tensor, targets: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
        raise NotImplementedError(self.not_stacked)

    def try_out(self, outputs: Tensor, targets: Tensor) -> None:
        """Compute the loss once, of a batch.

        Raises:
            ConfigError: it cannot be, is not one finite number, or has no gradient.
        """
        outputs = outputs.detach().requires_grad_()
        try:
            value = self.batch(outputs, targets)
        except ConfigError:
            raise
        except Exception as error:  # whatever the user's own code raises
            raise ConfigError(
                f"loss {self.name} cannot take outputs of shape {tuple(outputs.shape)} and targets of shape "
                f"{tuple(targets.shape)}: {first_line(error)}"
            ) from error
        if not bool(torch.isfinite(value)):
            raise ConfigError(
                f"loss {self.name} is {value.item()} for the first batch, but must be a finite number"
            )
        if not value.requires_grad:
            raise ConfigError(
                f"loss {self.name} has no gradient: compute it from the outputs with torch's own operations"
            )

    def _refuse_no_loss(self) -> None:
        if not callable(self.call):
            raise ConfigError(
                f"loss {self.name} makes what cannot be called; it must take outputs and targets, as a "
                "torch.nn.Module does"
            )
        if isinstance(self.call, nn.Module) and any(True for _ in self.call.parameters()):
            raise ConfigError(
                f"loss {self.name} has weights of its own, which no optimizer trains: register them as buffers"
            )


def _takes_reduction(target: Callable[..., object]) -> bool:
    return "reduction" in signature(target).parameters
