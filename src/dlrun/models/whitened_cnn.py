"""Convolutional network that learns in few epochs: whitened patches, wide blocks with batch norm, scaled scores.

The structure of Jordan, 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (arXiv 2404.00498).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar

import torch
from torch import Tensor, nn

from dlrun.config.schema import Fraction, Positive, Side, Width
from dlrun.data.base import Spec
from dlrun.errors import ConfigError
from dlrun.models.layers import ActivationName, Fitted, activation_layer
from dlrun.models.requirements import require_image

_IMAGES_AT_ONCE = 100  # of those that the whitening is fitted on


class WhitenedCNN(nn.Sequential):
    """A whitening convolution, blocks of two 3x3 convolutions, the largest value of each map, a linear layer.

    Each block halves the image after its first convolution, as long as it has two pixels a side. Batch norms have no
    gains: the next layer, or the next batch norm, would undo them. With `dirac` the first maps of a convolution begin
    as copies of those that it reads. Scores are multiplied by `output_scale`: the head learns as if its rate were the
    square of that.

    Shapes: B batch, C outputs; images (B, channels, H, W) of any size to scores (B, C).

    Raises:
        ConfigError: no images, or images smaller than the first kernel.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        widths: list[Width],
        whitening: bool,
        whitening_kernel: Side,
        whitening_eps: Positive,
        batch_norm_momentum: Fraction,
        dirac: bool,
        output_scale: Positive,
        activation: ActivationName,
        negative_slope: float,
    ) -> None:
        channels, *sides = require_image(spec, model="whitened_cnn")
        if whitening_kernel > min(sides):
            raise ConfigError(
                f"model.whitening_kernel is {whitening_kernel}, but the images have {min(sides)} pixels a side; "
                "choose no more than that"
            )

        def active() -> nn.Module:
            return activation_layer(activation, negative_slope=negative_slope)

        def convolved(maps: int, wider: int) -> nn.Conv2d:
            # Batch norm subtracts the mean, and with it any bias.
            layer = nn.Conv2d(maps, wider, 3, padding=1, bias=False)
            if dirac:
                nn.init.dirac_(layer.weight.detach()[:maps])
            return layer

        def normed(maps: int) -> nn.BatchNorm2d:
            layer = nn.BatchNorm2d(maps, momentum=batch_norm_momentum)
            layer.weight.requires_grad_(False)
            return layer

        first = Whitening(channels, whitening_kernel, eps=whitening_eps, fits=whitening)
        sides = [side - whitening_kernel + 1 for side in sides]
        maps, blocks = first.conv.out_channels, nn.Sequential()
        for wider in widths:
            windows = [min(2, side) for side in sides]
            sides = [side // window for side, window in zip(sides, windows, strict=True)]
            blocks.append(
                nn.Sequential(
                    convolved(maps, wider), nn.MaxPool2d(tuple(windows)), normed(wider), active(),
                    convolved(wider, wider), normed(wider), active(),
                )
            )  # fmt: skip
            maps = wider
        head = nn.Sequential(
            nn.MaxPool2d(tuple(sides)),
            nn.Flatten(),
            nn.Linear(maps, spec.num_outputs, bias=False),
            Scale(output_scale),
        )
        layers = OrderedDict(whitening=first, activation=active(), blocks=blocks, head=head)
        super().__init__(layers)


class Whitening(Fitted, nn.Sequential):
    """A convolution whose outputs are uncorrelated, with mean 0 and variance 1, and the same outputs negated.

    Its weights are the eigenvectors of the covariance of patches, each divided by the root of its eigenvalue plus
    `eps`. They are not trained; the bias, which first subtracts the mean, is.

    Shapes: B batch, k kernel; (B, channels, H, W) to (B, 2 * channels * k * k, H - k + 1, W - k + 1).

    Args:
        fits: false gives a convolution of this shape that is trained as any other.
    """

    rows: ClassVar[int] = 2_000
    conv: nn.Conv2d

    def __init__(self, channels: int, kernel: int, *, eps: float, fits: bool) -> None:
        conv = nn.Conv2d(channels, 2 * channels * kernel**2, kernel)
        conv.weight.requires_grad_(not fits)
        super().__init__(OrderedDict(conv=conv))
        self.eps, self.fits = eps, fits

    @torch.no_grad()
    def fit(self, inputs: Tensor) -> None:
        """Whiten the patches of `inputs` (N, channels, H, W); on the CPU, to the same weights for every device."""
        if not self.fits:
            return
        size, count = self.conv.weight[0].numel(), 0
        total = torch.zeros(size, dtype=torch.float64)
        products = torch.zeros(size, size, dtype=torch.float64)
        for images in inputs.split(_IMAGES_AT_ONCE):
            patches = nn.functional.unfold(images.cpu(), self.conv.kernel_size)
            rows = patches.movedim(1, -1).flatten(0, 1).double()
            total += rows.sum(0)
            products += rows.T @ rows
            count += len(rows)
        mean = total / count
        values, vectors = torch.linalg.eigh(products / count - mean.outer(mean))
        # Rounding may leave an eigenvalue of zero below it.
        directions = vectors.T / (values.clamp(min=0) + self.eps).sqrt().unsqueeze(1)
        filters = torch.cat([directions, -directions])
        self.conv.weight.copy_(filters.view_as(self.conv.weight))
        assert self.conv.bias is not None
        self.conv.bias.copy_(-filters @ mean)


class Scale(nn.Module):
    """Its inputs, times a fixed number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """(...) as it came."""
        return x * self.factor

    def extra_repr(self) -> str:
        return f"{self.factor:g}"
