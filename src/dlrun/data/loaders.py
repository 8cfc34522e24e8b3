"""Batches from tensors in memory: one indexed read each, in an order that only seed and epoch decide."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from dlrun.data.base import Split
from dlrun.errors import ConfigError


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


_POOL = 50  # batches within which texts are sorted by length: alike within a batch, and yet new ones each epoch
_TOKENS = (
    2**18
)  # of a batch that is only looked at, padding included: the memory that one takes has a bound


class Buckets:
    """As `Batches`, for a split with lengths: every sample once an epoch, by seed and epoch alone.

    The shuffled samples are sorted by length within pools of many batches, and the batches shuffled.
    Without `shuffle` samples keep their order, and each batch is cut all the same.
    """

    def __init__(
        self, split: Split, size: int, *, seed: int, shuffle: bool, drop_last: bool
    ) -> None:
        assert split.lengths is not None
        self.split, self.seed, self.shuffle, self.size = split, seed, shuffle, size
        self.lengths = split.lengths.cpu()
        self.bounds = cut(len(split), size, drop_last=drop_last)

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self.bounds)

    def epoch(self, number: int, *, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
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

    def _batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        width, place = _width(self.lengths[rows]), self.split.inputs.device
        rows = rows.to(place)
        return take(self.split.inputs, rows)[:, :width], take(self.split.targets, rows)


def at_once(size: int, width: int) -> int:
    """Samples of `width` tokens in a batch that is only looked at: `size`, or as many as memory is meant for."""
    return max(1, min(size, _TOKENS // width))


def cut_in_order(split: Split, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """(inputs, targets) of all samples from first to last, `size` at a time or fewer where they are long.

    Each batch is cut to its longest.
    """
    assert split.lengths is not None
    lengths = split.lengths.cpu()
    for start in range(0, len(lengths), size):
        stop = min(start + size, len(lengths))
        fewer = at_once(size, _width(lengths[start:stop]))
        for first in range(start, stop, fewer):
            rows = slice(first, min(first + fewer, stop))
            yield split.inputs[rows, : _width(lengths[rows])], split.targets[rows]


def _width(lengths: Tensor) -> int:
    return max(1, int(lengths.max()))


Window = tuple[Tensor, Tensor]  # inputs (S, T), targets (S, T)

_LEAST = 4096  # tokens of a stream in an evaluation: each stream begins knowing nothing


class Streams:
    """The windows of a split, epoch by epoch; any epoch can be started anywhere.

    The text is cut into S streams of equal length, side by side; batch k holds the k-th window of
    each. With `shuffle` an epoch begins at an offset that seed and epoch decide, so that the cuts
    fall elsewhere each time, and has whole windows only; what is left over at either end is less
    than S * T + T tokens. Without, the last window may be shorter, unless `drop_last`.

    Args:
        size: how many streams.

    Raises:
        ConfigError: fewer tokens than streams, or than a window of each where it must be whole.
    """

    def __init__(
        self, split: Split, size: int, *, window: int, seed: int, shuffle: bool, drop_last: bool
    ) -> None:
        self.split, self.size, self.window = split, size, window
        self.seed, self.shuffle = seed, shuffle
        whole = shuffle or drop_last
        if len(split) < size * (window if whole else 1):
            raise ConfigError(
                f"trainer.batch_size is {size}, the streams that are read side by side, and dataset.window {window}, "
                f"but the training part has only {len(split)} characters; lower one of them"
            )
        self.length = self._windows() * window if whole else len(split) // size

    def __len__(self) -> int:
        """Windows an epoch."""
        return -(-self.length // self.window)

    def epoch(self, number: int, *, skip: int = 0) -> Iterator[Window]:
        """(inputs, targets) of each window of epoch `number`, (S, T), without the first `skip`."""
        yield from _windows(
            self.split, self.size, self.length, self.window, start=self._offset(number), skip=skip
        )

    def _windows(self) -> int:
        """Whole windows; where there are several, one may go, so that the offset has room to vary."""
        room = self.window - 1 if self.shuffle else 0
        return max(1, (len(self.split) - room) // (self.size * self.window))

    def _offset(self, epoch: int) -> int:
        if not self.shuffle:
            return 0
        room = len(self.split) - self.size * self.length
        return int(epoch_order(room + 1, seed=self.seed, epoch=epoch)[0])


def text_in_order(split: Split, size: int, *, window: int) -> Iterator[Window]:
    """A split from its beginning to its end in windows (S, T) of `size` tokens at most, for an evaluation.

    There are as many streams as have room for `window` in `size`, but few enough to be long; windows
    are then as long as `size` allows. All tokens are there but the last S - 1 at most.
    """
    streams = max(1, min(size // window, len(split) // _LEAST))
    length = len(split) // streams
    yield from _windows(split, streams, length, max(1, size // streams), start=0, skip=0)


def _windows(
    split: Split, streams: int, length: int, window: int, *, start: int, skip: int
) -> Iterator[Window]:
    stop = start + streams * length
    inputs, targets = (
        tokens[start:stop].view(streams, length) for tokens in (split.inputs, split.targets)
    )
    for left in range(skip * window, length, window):
        here = slice(left, min(left + window, length))
        yield inputs[:, here].contiguous(), targets[:, here].contiguous()
