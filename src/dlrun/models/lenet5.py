"""LeNet-5, the convolutional network that read handwritten digits in 1998."""

from __future__ import annotations

from typing import Literal

from torch import nn

from dlrun.data.base import Spec
from dlrun.errors import ConfigError
from dlrun.models.requirements import describe_input, require_image

_SMALLEST, _ORIGINAL = 28, 32


class LeNet5(nn.Sequential):
    """LeNet-5 after LeCun, Bottou, Bengio and Haffner (1998, fig. 2): 61,706 parameters.

    `classic` has tanh and average pooling, `modern` relu and max pooling. Images below 32x32, such
    as MNIST's 28x28, are padded by 2 as in the paper. Today's habits, in both variants: all maps of
    S2 feed all of C3, pooling has no weights, and the last layer is linear instead of radial.

    Shapes: B batch, C outputs; images (B, channels, H, W), at least 28x28, to scores (B, C).
    """

    def __init__(self, spec: Spec, *, variant: Literal["classic", "modern"]) -> None:
        channels, height, width = require_image(spec, model="lenet5")
        if min(height, width) < _SMALLEST:
            raise ConfigError(
                f"model=lenet5 reads images of at least {_SMALLEST}x{_SMALLEST}, but the data has "
                f"{describe_input(spec)}; choose model=cnn or a dataset of larger images"
            )
        activation = nn.Tanh if variant == "classic" else nn.ReLU
        padding = 2 if min(height, width) < _ORIGINAL else 0
        c5_inputs = 16 * _after_s4(height + 2 * padding) * _after_s4(width + 2 * padding)
        super().__init__(
            nn.Conv2d(channels, 6, 5, padding=padding),  # C1
            *_pooled(variant),  # S2
            nn.Conv2d(6, 16, 5),  # C3
            *_pooled(variant),  # S4
            # C5: in the paper a convolution of 5x5; on maps of 5x5 that is a linear layer.
            nn.Flatten(),
            nn.Linear(c5_inputs, 120),
            activation(),
            nn.Linear(120, 84),  # F6
            activation(),
            nn.Linear(84, spec.num_outputs),
        )


def _pooled(variant: str) -> list[nn.Module]:
    """Activation and pooling by 2; the largest value is the largest before relu too, found sooner."""
    if variant == "classic":
        return [nn.Tanh(), nn.AvgPool2d(2)]
    return [nn.MaxPool2d(2), nn.ReLU()]


def _after_s4(size: int) -> int:
    """One side of the maps of S4: each stage takes 4 pixels off and halves what is left."""
    return ((size - 4) // 2 - 4) // 2
