"""A classifier that also learns where its inputs lie, to see which of them are rare.

Shapes: B batch, C class scores, L numbers of a code, F numbers of an input.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn

from dlrun.config.schema import Count, NonNegative, Positive, Width
from dlrun.data.base import Spec
from dlrun.errors import ConfigError
from dlrun.models.coders import decoder, encoder
from dlrun.models.gaussian import GaussianSample, divergence
from dlrun.models.layers import ActivationName
from dlrun.models.requirements import require_rows


class DebiasingVAE(nn.Module):
    """One encoder gives class scores and a distribution over codes (DB-VAE: Amini et al., 2019).

    In training each sample adds to the loss what a variational autoencoder would lose: `reconstruction` times the mean
    squared error of the input given again, and `beta` times the divergence of its distribution from the prior.
    With dataset.balance=latent, samples whose codes are rare come more often: `rarity`.

    Shapes: inputs (B, *spec.input_shape) to (B, C); in training (B, C + 1), the last number what each sample adds.
    """

    adds_loss: ClassVar[bool] = True

    def __init__(
        self,
        spec: Spec,
        *,
        latent: Width,
        reconstruction: NonNegative,
        beta: NonNegative,
        bins: Count,
        smoothing: Positive,
        filters: list[Width],
        hidden: list[Width],
        activation: ActivationName,
    ) -> None:
        require_rows(spec, model="debiasing_vae")
        if spec.categories:
            raise ConfigError(
                "model=debiasing_vae reads numbers, but the data has categories; choose model=mlp"
            )
        super().__init__()
        self.widths = [spec.num_outputs, latent, latent]
        self.encoder = encoder(
            spec, sum(self.widths), filters=filters, hidden=hidden, activation=activation
        )
        self.sample = GaussianSample()
        self.decoder = decoder(spec, latent, filters=filters, hidden=hidden, activation=activation)
        self.reconstruction, self.beta = reconstruction, beta
        self.bins, self.smoothing = bins, smoothing

    def forward(self, x: Tensor) -> Tensor:
        """(B, C), in training (B, C + 1)"""
        scores, mean, log_variance = self.encoder(x).split(self.widths, 1)
        if not self.training:
            return scores
        again = self.decoder(self.sample(mean, log_variance))
        error = ((again - x.flatten(1)) ** 2).mean(1)
        own = self.reconstruction * error + self.beta * divergence(mean, log_variance)
        return torch.cat([scores, own.unsqueeze(1)], 1)

    def rarity(self, inputs: Iterable[Tensor]) -> Tensor:
        """How much more often than others each of N inputs should come, (N,), from batches of them.

        By one number of the codes, a sample whose bin of the histogram has a share of all samples is as rare as
        1 / (share + smoothing); these rarities are made to add up to 1, and the greatest of all numbers counts. (The
        paper multiplies them; its authors' laboratory takes the greatest.)
        """
        codes = torch.cat([self.encoder(x).split(self.widths, 1)[1] for x in inputs]).double()
        rarest = torch.zeros(len(codes), dtype=torch.float64)
        for numbers in codes.cpu().unbind(1):
            low, high = numbers.min(), numbers.max()
            places = ((numbers - low) / (high - low).clamp(min=1e-12) * self.bins).long()
            places = places.clamp(max=self.bins - 1)
            shares = places.bincount(minlength=self.bins) / len(places)
            rarities = 1 / (shares[places] + self.smoothing)
            rarest = torch.maximum(rarest, rarities / rarities.sum())
        return rarest
