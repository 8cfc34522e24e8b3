"""Batches that a device reads without the host: where they begin is a number in its memory, and so is their order.

Shapes: N rows of an epoch; B rows of a batch; S streams, T tokens of each in a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from dlrun.data.loaders import Batch, Batches, Feed, sent, take
from dlrun.data.text.streams import Streams

_ALIGNED = (
    256  # bytes: kernels are chosen by whether a tensor begins at a multiple of that, or of less
)


class Ahead(Protocol):
    """The batches of a feed: one that the host names, or several in turn from where the device is."""

    def enter(self, epoch: int) -> None:
        """Give the device the order of an epoch; nothing waits for it."""

    def size(self, position: int) -> int:
        """What batches of one shape have in common: their rows, or the tokens of each stream."""

    def alike(self, position: int) -> int:
        """How many batches from this one on are of its size."""

    def start(self, position: int) -> int:
        """Where the batch begins, as the device counts it."""

    def batch(self, position: int) -> Batch:
        """The batch at a position of the epoch, the same as the feed gives."""

    def read(self, start: Tensor, size: int, count: int) -> Sequence[Batch]:
        """The `count` batches of this size from `start` (), which is then where the next one begins."""


def ahead(feed: Feed) -> Ahead | None:
    """The same batches, read by the device; None where they are not in its memory, or not of one shape."""
    inputs, targets = feed.split.inputs, feed.split.targets
    if not (isinstance(inputs, Tensor) and isinstance(targets, Tensor)):
        return None
    if type(feed) is Batches:
        return _Rows(feed)
    return _Windows(feed) if type(feed) is Streams else None


class _Rows:
    def __init__(self, feed: Batches) -> None:
        self.feed, self.split = feed, feed.split
        self.order_N = torch.arange(feed.rows, device=feed.split.targets.device)

    def enter(self, epoch: int) -> None:
        if self.feed.shuffle:
            self.order_N.copy_(sent(self.feed.order(epoch), self.order_N.device))

    def size(self, position: int) -> int:
        start, stop = self.feed.bounds[position]
        return stop - start

    def alike(self, position: int) -> int:
        last = len(self.feed) - 1
        return last - position + (position == last or self.size(position) == self.size(last))

    def start(self, position: int) -> int:
        return self.feed.bounds[position][0]

    def batch(self, position: int) -> Batch:
        rows_B = self.order_N[slice(*self.feed.bounds[position])]
        return take(self.split.inputs, rows_B), take(self.split.targets, rows_B)

    def read(self, start: Tensor, size: int, count: int) -> Sequence[Batch]:
        places = start + torch.arange(count * size, device=start.device)
        rows = self.order_N.index_select(0, places)
        start += count * size
        parts = (
            _taken(samples, rows, count) for samples in (self.split.inputs, self.split.targets)
        )
        return [*zip(*parts, strict=True)]


class _Windows:
    def __init__(self, feed: Streams) -> None:
        self.feed, self.epoch, self.offset = feed, 0, 0

    def enter(self, epoch: int) -> None:
        self.epoch, self.offset = epoch, self.feed.offset(epoch)

    def size(self, position: int) -> int:
        return min(self.feed.window, self.feed.length - position * self.feed.window)

    def alike(self, position: int) -> int:
        whole = self.feed.length // self.feed.window
        return max(1, whole - position)

    def start(self, position: int) -> int:
        return self.offset + position * self.feed.window

    def batch(self, position: int) -> Batch:
        return next(self.feed.epoch(self.epoch, skip=position))

    def read(self, start: Tensor, size: int, count: int) -> Sequence[Batch]:
        feed, device = self.feed, start.device
        windows = torch.arange(count, device=device) * feed.window
        streams = torch.arange(feed.size, device=device) * feed.length
        places = windows[:, None, None] + streams[:, None] + torch.arange(size, device=device)
        places = places + start
        start += count * feed.window
        inputs, targets = (
            tokens.index_select(0, places.flatten()).view(places.shape).long().unbind()
            for tokens in (feed.split.inputs, feed.split.targets)
        )
        return [*zip(inputs, targets, strict=True)]


def _taken(samples: Tensor, rows: Tensor, count: int) -> Sequence[Tensor]:
    """`take` of the rows in parts; at once where each part lies in memory as well as a tensor of its own.

    Else a kernel for unaligned tensors could be chosen, and sum in another order than for the same batch alone.
    """
    size = len(rows) // count
    if samples[:1].nbytes * size % _ALIGNED == 0:
        return take(samples, rows).split(size)
    return [take(samples, part) for part in rows.split(size)]
