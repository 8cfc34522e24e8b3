"""Batches from tensors in memory: one indexed read each, in an order that only seed and epoch decide."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from dlrun.data.base import Split


class Feed(Protocol):
    """The batches of a split, epoch by epoch, in an order that only seed and epoch decide."""

    split: Split

    def __len__(self) -> int:
        """Batches an epoch."""

    def epoch(self, number: int, *, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """(inputs, targets) of each batch of epoch `number`, without the first `skip`."""


class Batches:
    """The batches of a split, epoch by epoch; any epoch can be started anywhere, so a resume needs no replay.

    Args:
        size: samples a batch; a last batch of one sample joins the one before, since batch norm
            has nothing to normalise a single sample by.
        drop_last: leave out what does not fill a batch.
    """

    def __init__(
        self, split: Split, size: int, *, seed: int, shuffle: bool, drop_last: bool
    ) -> None:
        self.split, self.seed, self.shuffle = split, seed, shuffle
        self.bounds = cut(len(split), size, drop_last=drop_last)

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self.bounds)

    def epoch(self, number: int, *, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """(inputs, targets) of each batch of epoch `number`, without the first `skip`."""
        inputs, targets = self.split.inputs, self.split.targets
        if not self.shuffle:
            for start, stop in self.bounds[skip:]:
                yield inputs[start:stop], targets[start:stop]
            return
        order = epoch_order(len(self.split), seed=self.seed, epoch=number).to(inputs.device)
        for start, stop in self.bounds[skip:]:
            rows = order[start:stop]
            yield take(inputs, rows), take(targets, rows)


def take(samples: Tensor, rows: Tensor) -> Tensor:
    """`samples[rows]` in the memory layout of `samples`, sooner."""
    if samples.ndim == 4 and samples.stride(1) == 1:
        # channels_last: index_select gives rows as they lie in memory only where the channels come last.
        return samples.movedim(1, -1).index_select(0, rows).movedim(-1, 1)
    return samples.index_select(0, rows)


def epoch_order(size: int, *, seed: int, epoch: int) -> Tensor:
    """A permutation of 0 to size-1, the same on every device for the same seed and epoch."""
    # Seeds of neighbouring runs and epochs must not meet: 0x9E3779B97F4A7C15 spreads them over 64 bits.
    mixed = (seed * 0x9E3779B97F4A7C15 + epoch * 0xBF58476D1CE4E5B9 + 1) % 2**63
    return torch.randperm(size, generator=torch.Generator().manual_seed(mixed))


def cut(samples: int, size: int, *, drop_last: bool) -> list[tuple[int, int]]:
    """Where each batch of an epoch starts and stops in its order, as `Batches` says."""
    starts = range(0, samples, size)
    bounds = [(start, min(start + size, samples)) for start in starts]
    if len(bounds) > 1 and drop_last and bounds[-1][1] - bounds[-1][0] < size:
        bounds.pop()
    elif len(bounds) > 1 and bounds[-1][1] - bounds[-1][0] == 1 < size:
        bounds.pop()
        bounds[-1] = (bounds[-1][0], samples)
    return bounds
