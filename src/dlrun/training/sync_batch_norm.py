"""Batch norm over the samples of all ranks: one mean and one variance, as if one process had the whole batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dlrun.errors import ConfigError
from dlrun.system.torch_internals import AnyBatchNorm

_OF_TORCH = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class SyncBatchNormOnCPU(AnyBatchNorm):
    """What torch's SyncBatchNorm is on GPUs, for tensors on the CPU, which that refuses."""

    counts = True  # whether this rank has samples: see `left_out`

    def forward(self, input: Tensor) -> Tensor:
        """The outputs of the same shape as `input` (N, C, ...); N may differ between the ranks.

        Raises:
            ValueError: there is but one number of a channel on all ranks together, which has no spread.
        """
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        shape = (1, -1, *[1] * (input.ndim - 2))
        x = input.to(torch.promote_types(input.dtype, torch.float32))  # sums need the digits
        numbers = x.numel() // x.shape[1] * self.counts
        sums = _Total.apply(torch.cat([_by_channel(x) * self.counts, x.new_tensor([numbers])]))
        count = int(sums[-1])
        if count == 1:
            raise ValueError(
                "Expected more than 1 value per channel when training, on all devices together"
            )
        mean = sums[:-1] / count
        centred = x - mean.view(shape)
        variance = _Total.apply(_by_channel(centred.square()) * self.counts) / count
        self._follow(mean.detach(), variance.detach() * (count / (count - 1)))
        y = centred * (variance + self.eps).rsqrt().view(shape)
        if self.weight is not None:
            y = y * self.weight.view(shape)
        if self.bias is not None:
            y = y + self.bias.view(shape)
        return y.to(input.dtype)

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics, of which the variance is the unbiased one."""
        if self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        by = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        for running, new in ((self.running_mean, mean), (self.running_var, variance)):
            assert running is not None
            running.mul_(1 - by).add_(new, alpha=by)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected at least 2D input (got {input.ndim}D input)")


class SyncBatchNormOnGPU(nn.SyncBatchNorm):
    """torch's own, which a rank without samples takes part in too."""

    counts = True
    process_group = None  # all ranks

    def forward(self, input: Tensor) -> Tensor:
        """As torch's; of a rank without samples zeros, which depend on what the others wait for."""
        if self.counts or not self.training:
            return super().forward(input)
        return input * 0 + super().forward(input[:0]).sum()


def synchronise(model: nn.Module, device: torch.device) -> None:
    """Let each batch norm of `model` take the samples of all ranks; names of weights and statistics stay as they are.

    Raises:
        ConfigError: one is of a class of its own, of which nobody knows how to.
    """
    kind = SyncBatchNormOnGPU if device.type == "cuda" else SyncBatchNormOnCPU
    for name, layer in model.named_modules():
        if not isinstance(layer, AnyBatchNorm):
            continue
        if type(layer) not in _OF_TORCH:
            raise ConfigError(
                f"trainer.sync_batch_norm is true, but {name or 'the model'} is a {type(layer).__name__}, "
                "and only torch's BatchNorm1d, 2d and 3d are known: set it to false"
            )
        layer.__class__ = kind  # in place: whoever knows the layer keeps it


@contextmanager
def left_out(model: nn.Module) -> Iterator[None]:
    """While a rank has no sample of a batch: the row that it computes with counts nothing, so that no other waits."""
    layers = [
        layer
        for layer in model.modules()
        if isinstance(layer, (SyncBatchNormOnCPU, SyncBatchNormOnGPU))
    ]
    for layer in layers:
        layer.counts = False
    try:
        yield
    finally:
        for layer in layers:
            layer.counts = True


def _by_channel(x: Tensor) -> Tensor:
    """The sums over samples and places of (N, C, ...): (C,)."""
    return x.sum([0, *range(2, x.ndim)])


class _Total(torch.autograd.Function):
    """The sum over all ranks, each of which has losses that depend on it: its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        total = part.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Total.apply(gradient.contiguous())
