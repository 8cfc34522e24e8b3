"""Autoencoders: an input through a few numbers, its code, and back; plain, or with a distribution over codes.

Shapes: B batch, F numbers of an input given again (`Spec.reconstructed`), L numbers of a code.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from dlrun.config.schema import NonNegative, Width
from dlrun.data.base import Spec
from dlrun.models.coders import decoder, encoder
from dlrun.models.gaussian import GaussianSample
from dlrun.models.layers import ActivationName
from dlrun.models.requirements import require_rows


class Autoencoder(nn.Module):
    """Describe an input by `latent` numbers and give it again from them (Hinton and Salakhutdinov, 2006).

    Without `filters` and `hidden` it is linear, and finds the plane of PCA (Baldi and Hornik, 1989).

    Shapes: inputs (B, *spec.input_shape) to (B, F + L): the inputs again, and their codes.
    """

    task: ClassVar[str] = "reconstruction"

    def __init__(
        self,
        spec: Spec,
        *,
        latent: Width,
        filters: list[Width],
        hidden: list[Width],
        activation: ActivationName,
    ) -> None:
        require_rows(spec, model="autoencoder")
        super().__init__()
        self.encoder = encoder(spec, latent, filters=filters, hidden=hidden, activation=activation)
        self.decoder = decoder(spec, latent, filters=filters, hidden=hidden, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        """(B, F + L)"""
        code = self.encoder(x)
        return torch.cat([self.decoder(code), code], 1)


class VAE(nn.Module):
    """Variational autoencoder: a normal distribution over codes for each input (Kingma and Welling, 2014).

    In training an input is given again from a sample of its distribution, in evaluation from the mean. The loss
    adds `beta` times the divergence of the distribution from a standard normal one (Higgins et al., 2017).

    Shapes: inputs (B, *spec.input_shape) to (B, F + 2 L): the inputs again, the means, the logarithms of the variances.
    """

    task: ClassVar[str] = "reconstruction"

    def __init__(
        self,
        spec: Spec,
        *,
        latent: Width,
        beta: NonNegative,
        filters: list[Width],
        hidden: list[Width],
        activation: ActivationName,
    ) -> None:
        require_rows(spec, model="vae")
        super().__init__()
        self.encoder = encoder(
            spec, 2 * latent, filters=filters, hidden=hidden, activation=activation
        )
        self.sample = GaussianSample()
        self.decoder = decoder(spec, latent, filters=filters, hidden=hidden, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        """(B, F + 2 L)"""
        mean, log_variance = self.encoder(x).chunk(2, 1)
        again = self.decoder(self.sample(mean, log_variance))
        return torch.cat([again, mean, log_variance], 1)
