"""Distributions over codes, sampled from the run's own generator: the same noise alone and in a stack."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dlrun.models.dropout import Generators, RandomLayer
from dlrun.system.torch_internals import in_torch_func


class GaussianSample(RandomLayer):
    """A sample of a normal distribution in training, its mean in evaluation.

    The reparameterisation of Kingma and Welling (2014), mean + exp(log_variance / 2) * noise. The noise depends
    on the generator and the shape alone, not on the dtype.
    """

    def forward(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """Both (B, L), as is the sample."""
        if not self.training:
            return mean
        if in_torch_func():
            noise: Tensor = _Noise.apply(mean.detach(), self.generators)
        else:
            noise = _noise(mean.shape, mean, self.generators.of(1)[0])
        return mean + (log_variance / 2).exp() * noise


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """(B,) Kullback-Leibler divergence, in nats, of normal distributions (B, L) from the standard one.

    Kingma and Welling (2014), appendix B: the sum of (mean^2 + variance - 1 - log variance) / 2.
    """
    return (mean**2 + log_variance.exp() - 1 - log_variance).sum(1) / 2


class _Noise(torch.autograd.Function):
    """What `_noise` gives, also under torch.func."""

    @staticmethod
    def forward(like: Tensor, generators: Generators) -> Tensor:
        return _noise(like.shape, like, generators.of(1)[0])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], like: Tensor, generators: Generators
    ) -> tuple[Tensor, int]:
        shape = like.shape if in_dims[0] is None else like.movedim(in_dims[0], 0).shape[1:]
        each = [_noise(shape, like, generator) for generator in generators.of(info.batch_size)]
        return torch.stack(each), 0


def _noise(shape: torch.Size, like: Tensor, generator: torch.Generator | None) -> Tensor:
    noise = torch.empty(shape, dtype=torch.float32, device=like.device)
    return noise.normal_(generator=generator).to(like.dtype)
