"""Multi-layer perceptron: linear layers with an activation between each two."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from torch import nn

from dlrun.config.schema import Probability, Width
from dlrun.data.base import Spec
from dlrun.errors import ConfigError
from dlrun.models.columns import Embedding, vectors
from dlrun.models.layers import (
    ActivationName,
    InitName,
    activation_layer,
    dropping,
    gain_of,
    initialized,
)
from dlrun.models.requirements import require_numbers

BatchNormPlace = Literal["none", "before", "after"]


class MLP(nn.Sequential):
    """Hidden layers of the widths in `hidden`, then a linear layer to the scores.

    `activation` is one name for all hidden layers, or a list with one for each.

    A hidden layer is linear, batch norm "before", activation, batch norm "after", dropout; each of
    the last three only where asked for. Without hidden layers it is logistic regression.
    Batch norm: Ioffe and Szegedy (2015), who put it before the activation.

    Categories are one-hot or embedded first, as `embedding` says.

    Shapes: B batch, C outputs; input (B, *spec.input_shape), flattened, to scores (B, C).
    """

    def __init__(
        self,
        spec: Spec,
        *,
        embedding: Embedding,
        hidden: list[Width],
        activation: ActivationName | list[ActivationName],
        negative_slope: float,
        batch_norm: BatchNormPlace,
        dropout: Probability,
        input_dropout: Probability,
        init: InitName,
    ) -> None:
        require_numbers(spec, model="mlp")
        layers, width_in = vectors(spec, embedding)
        layers += dropping(input_dropout)
        widths = [width_in, *hidden]
        names = _one_a_layer(activation, hidden)
        for (width_in, width), name in zip(pairwise(widths), names, strict=True):
            gain = gain_of(name, negative_slope=negative_slope)
            # Batch norm subtracts the mean, and with it any bias given just before.
            linear = nn.Linear(width_in, width, bias=batch_norm != "before")
            layers.append(initialized(linear, init, gain=gain))
            layers += [nn.BatchNorm1d(width)] if batch_norm == "before" else []
            layers.append(activation_layer(name, negative_slope=negative_slope))
            layers += [nn.BatchNorm1d(width)] if batch_norm == "after" else []
            layers += dropping(dropout)
        layers.append(initialized(nn.Linear(widths[-1], spec.num_outputs), init))
        super().__init__(*layers)


def _one_a_layer(
    activation: ActivationName | list[ActivationName], hidden: list[Width]
) -> list[ActivationName]:
    """The activation of each hidden layer."""
    if not isinstance(activation, list):
        return [activation] * len(hidden)
    if len(activation) != len(hidden):
        raise ConfigError(
            f"model.activation lists {len(activation)} activations, but model.hidden has {len(hidden)} layers: "
            "list one for each layer, or give one name for all"
        )
    return activation
