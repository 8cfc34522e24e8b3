"""Activations and weight initialisations by name, shared by the models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import ClassVar, Literal, TypeVar

import torch
from torch import Tensor, nn

from dlrun.data.base import Spec
from dlrun.models.dropout import Dropout

ActivationName = Literal["sigmoid", "tanh", "relu", "leaky_relu", "prelu", "elu", "gelu", "silu"]
InitName = Literal[
    "default",
    "xavier_uniform",
    "xavier_normal",
    "kaiming_uniform",
    "kaiming_normal",
    "orthogonal",
    "normal",
    "zeros",
]

LayerT = TypeVar("LayerT", nn.Linear, nn.Conv1d, nn.Conv2d)

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "prelu": nn.PReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}
_PRELU_START = 0.25  # He et al. (2015), and torch's own

_FILLS: dict[str, Callable[[Tensor], Tensor]] = {
    "xavier_uniform": nn.init.xavier_uniform_,
    "xavier_normal": nn.init.xavier_normal_,
    "kaiming_uniform": partial(nn.init.kaiming_uniform_, nonlinearity="linear"),
    "kaiming_normal": partial(nn.init.kaiming_normal_, nonlinearity="linear"),
    "orthogonal": nn.init.orthogonal_,
}
_NORMAL_STD = 0.01


class Fitted(ABC):
    """A layer that follows from inputs of the training part, before the first step.

    Attributes:
        rows: how many of them it looks at, at most.
    """

    rows: ClassVar[int]

    @abstractmethod
    def fit(self, inputs: Tensor) -> None:
        """See `inputs` (N, *input_shape)."""


def activation_layer(name: ActivationName, *, negative_slope: float) -> nn.Module:
    """A new activation; `negative_slope` is leaky_relu's alone."""
    if name == "leaky_relu":
        return nn.LeakyReLU(negative_slope)
    return _ACTIVATIONS[name]()


def is_nondecreasing(name: ActivationName, *, negative_slope: float) -> bool:
    """Whether a larger input never gives a smaller output, whatever is learned."""
    if name == "leaky_relu":
        return negative_slope >= 0
    return name in ("sigmoid", "tanh", "relu", "elu")


def gain_of(name: ActivationName, *, negative_slope: float) -> float:
    """The factor on the weights' scale that keeps the signal's variance through the activation.

    As torch.nn.init.calculate_gain; elu, gelu and silu resemble relu and take its sqrt(2).
    """
    if name in ("sigmoid", "tanh"):
        return nn.init.calculate_gain(name)
    slope = {"leaky_relu": negative_slope, "prelu": _PRELU_START}.get(name, 0.0)
    return nn.init.calculate_gain("leaky_relu", slope)


def fill_weight(weight: Tensor, init: InitName, *, gain: float = 1.0) -> None:
    """Initialise `weight` (fan out, fan in, *kernel); `default` leaves it as torch made it.

    Variance: xavier (Glorot and Bengio, 2010) gain^2 * 2 / (fan in + fan out); kaiming (He et al.,
    2015) gain^2 / fan in; normal 0.01^2 whatever the gain. Orthogonal (Saxe et al., 2014): gain
    times a matrix with orthonormal rows or columns.
    """
    with torch.no_grad():
        if init == "zeros":
            weight.zero_()
        elif init == "normal":
            weight.normal_(0.0, _NORMAL_STD)
        elif init != "default":
            _FILLS[init](weight)
            weight.mul_(gain)


def initialized(layer: LayerT, init: InitName, *, gain: float = 1.0) -> LayerT:
    """The same `layer`, its weight initialised by `init` and its bias zero; `default` changes neither."""
    fill_weight(layer.weight, init, gain=gain)
    if init != "default" and layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def flattening(spec: Spec) -> list[nn.Module]:
    """What turns one input into a vector: nothing for plain features, which are one already."""
    return [] if spec.kind == "features" else [nn.Flatten()]


def dropping(probability: float) -> list[nn.Module]:
    """Dropout, or nothing at probability 0."""
    return [Dropout(probability)] if probability else []
