"""Texts of several lengths, padded at the end, and their batches: alike in length within a batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dlrun.data.loaders import Batch, Feed, Split, cut, epoch_order, take

_POOL = 50  # batches within which texts are sorted by length: alike within a batch, and yet new ones each epoch
_TOKENS = (
    2**18
)  # of a batch that is only looked at, padding included: the memory that one takes has a bound


@dataclass(frozen=True)
class PaddedTexts(Split):
    """Texts as rows of tokens, which become int64 in a batch.

    Attributes:
        lengths: of the rows (N,), where batches are to be of rows alike in length, and cut to the longest.
    """

    lengths: Tensor | None = None

    def batches(self, size: int, *, seed: int, shuffle: bool, drop_last: bool) -> Feed:
        if self.lengths is None:
            return super().batches(size, seed=seed, shuffle=shuffle, drop_last=drop_last)
        return Buckets(self, size, seed=seed, shuffle=shuffle, drop_last=drop_last)

    def in_order(self, size: int) -> Iterator[Batch]:
        if self.lengths is None:
            yield from super().in_order(_at_once(size, self.inputs.shape[1]))
            return
        lengths = self.lengths.cpu()
        for start in range(0, len(lengths), size):
            stop = min(start + size, len(lengths))
            fewer = _at_once(size, _width(lengths[start:stop]))
            for first in range(start, stop, fewer):
                rows = slice(first, min(first + fewer, stop))
                yield self.inputs[rows, : _width(lengths[rows])].long(), self.targets[rows]

    def sample(self, count: int) -> Tensor:
        return super().sample(count).long()


class Buckets:
    """As `Batches`, for texts with lengths: every sample once an epoch, by seed and epoch alone.

    The shuffled samples are sorted by length within pools of many batches, and the batches shuffled.
    Without `shuffle` samples keep their order, and each batch is cut all the same.
    """

    not_stacked: ClassVar[str] = (
        "the runs have texts of different lengths in a batch (dataset.tokens.bucketing=false makes them alike)"
    )

    def __init__(
        self, split: PaddedTexts, size: int, *, seed: int, shuffle: bool, drop_last: bool
    ) -> None:
        assert split.lengths is not None
        self.split, self.seed, self.shuffle, self.size = split, seed, shuffle, size
        self.lengths = split.lengths.cpu()
        self.bounds = cut(len(split), size, drop_last=drop_last)

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self.bounds)

    def epoch(self, number: int, *, skip: int = 0) -> Iterator[Batch]:
        """(inputs, targets) of each batch of epoch `number`, without the first `skip`."""
        order, batches = torch.arange(len(self.split)), torch.arange(len(self))
        if self.shuffle:
            # What is left out for this epoch, if any, before sorting: it would be the longest.
            order = epoch_order(len(order), seed=self.seed, epoch=number)[: self.bounds[-1][1]]
            order = self._sorted(order)
            # Of another seed than the samples': with as many batches as samples the two would be one.
            batches = epoch_order(len(self), seed=self.seed + 1, epoch=number)
        for start, stop in (self.bounds[batch] for batch in batches[skip:].tolist()):
            yield self._batch(order[start:stop])

    def _sorted(self, order: Tensor) -> Tensor:
        """The same samples, sorted by length within each pool."""
        pools = [
            pool[self.lengths[pool].argsort(stable=True)] for pool in order.split(_POOL * self.size)
        ]
        return torch.cat(pools)

    def _batch(self, rows: Tensor) -> Batch:
        width, place = _width(self.lengths[rows]), self.split.inputs.device
        rows = rows.to(place)
        return take(self.split.inputs, rows)[:, :width].long(), take(self.split.targets, rows)


def _at_once(size: int, width: int) -> int:
    """Samples of `width` tokens in a batch that is only looked at: `size`, or as many as memory is meant for."""
    return max(1, min(size, _TOKENS // width))


def _width(lengths: Tensor) -> int:
    return max(1, int(lengths.max()))
