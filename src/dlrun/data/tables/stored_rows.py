"""Rows of a table that stay in files: blocks are shuffled, and the rows of some blocks at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from dlrun.data.loaders import (
    Batch,
    Batches,
    CutSplit,
    Feed,
    Split,
    StoredTensor,
    sent,
    take,
)
from dlrun.data.orders import epoch_order
from dlrun.data.share import WHOLE, Share
from dlrun.data.stored import read_ahead

_BLOCK = 2**13  # rows that follow each other
AT_ONCE = 32 * _BLOCK  # rows that are shuffled together
_IN_ORDER = 2**16  # rows that are read together where nothing is shuffled


@dataclass(frozen=True)
class StoredInputs(StoredTensor):
    """Inputs (N, F) that are read and encoded where they are indexed; stands where a tensor would.

    Args:
        encoding, raw: the `TableEncoding` and the `Rows` that it reads.
        rows: (N,) which of them.
    """

    encoding: Any
    raw: Any
    rows: Any
    width: int

    ndim = 2

    @property
    def shape(self) -> tuple[int, int]:
        """(N, F)."""
        return len(self.rows), self.width

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: slice | Tensor) -> Tensor:
        rows = self.rows[at if isinstance(at, slice) else at.cpu().numpy()]
        return self.formed(self.encoding.inputs_of(self.raw, rows))


@dataclass(frozen=True)
class BlockSplit(Split):
    """Rows in memory or, as StoredInputs, in files: the batches are the same.

    Attributes:
        in_blocks: whether they stand in the order of their file, so that blocks of them are shuffled.
    """

    in_blocks: bool = True

    @classmethod
    def of(cls, inputs: StoredInputs, targets: Tensor, *, in_blocks: bool) -> BlockSplit:
        """These inputs with their targets."""
        return cls(cast(Tensor, inputs), targets, in_blocks=in_blocks)

    @property
    def feed(self) -> Callable[..., Feed]:
        small = len(self) <= AT_ONCE and isinstance(self.inputs, Tensor)
        return Batches if small else BlockBatches

    def in_order(self, size: int, share: Share = WHOLE) -> Iterator[Batch]:
        many = size * max(1, _IN_ORDER // size)
        for inputs, targets in read_ahead(super().in_order(many, share)):
            yield from zip(inputs.split(size), targets.split(size), strict=True)


class BlockBatches(CutSplit):
    """Batches of which seed and epoch decide: blocks are shuffled, and the rows of some blocks at a time.

    Of so many rows as are shuffled at a time, and of rows in another order than that of their file, these are the
    batches that `Batches` makes. Any epoch can be started anywhere.
    """

    not_stacked: ClassVar[str] = (
        "the rows are read from files during the training (see dataset.memory_limit)"
    )

    def epoch(self, number: int, *, skip: int = 0) -> Iterator[Batch]:
        """(inputs, targets) of each batch of epoch `number`, without the first `skip`."""
        bounds = self.own[skip:]
        sizes = deque(stop - start for start, stop in bounds)
        left = self.split.first(0)  # what has been read and is in no batch yet
        for inputs, targets in read_ahead(self._read(number, bounds)):
            inputs, targets = torch.cat([left.inputs, inputs]), torch.cat([left.targets, targets])
            stop = 0
            while sizes and stop + sizes[0] <= len(targets):
                start, stop = stop, stop + sizes.popleft()
                yield inputs[start:stop], targets[start:stop]
            left = Split(inputs[stop:], targets[stop:])

    def _read(self, epoch: int, bounds: Sequence[tuple[int, int]]) -> Iterator[Batch]:
        """The rows of an epoch that lie between these bounds in its order, some at a time."""
        inputs, targets, begin = self.split.inputs, self.split.targets, 0
        starts, stops = torch.tensor(bounds, dtype=torch.int64).view(-1, 2).unbind(1)
        for rows, order in self._windows(epoch):
            order = order[_between(starts - begin, stops - begin, len(rows))]
            begin += len(rows)
            if not len(order):
                continue
            chosen = sent(rows[order], targets.device)
            if isinstance(inputs, Tensor):
                yield take(inputs, chosen), take(targets, chosen)
            else:
                read = torch.zeros(len(rows), dtype=torch.bool).index_fill(0, order, True)
                places = (read.cumsum(0) - 1)[order]
                yield (
                    take(inputs[rows[read]], sent(places, targets.device)),
                    take(targets, chosen),
                )

    def _windows(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows that are read together, and the order of them."""
        count = self.rows
        if self.resampling is not None:
            for drawn in self.order(epoch).split(AT_ONCE):
                ascending, places = drawn.sort()  # read from the file in its order
                yield ascending, places.argsort()
            return
        if not self.shuffle:
            for start in range(0, count, AT_ONCE):
                rows = torch.arange(start, min(start + AT_ONCE, count))
                yield rows, torch.arange(len(rows))
            return
        if count <= AT_ONCE or not self.split.in_blocks:
            for rows in self.order(epoch).split(AT_ONCE):
                yield rows, torch.arange(len(rows))
            return
        blocks = epoch_order(-(-count // _BLOCK), seed=self.seed, epoch=epoch)
        for number, some in enumerate(blocks.split(AT_ONCE // _BLOCK), 1):
            starts = (some.sort().values * _BLOCK).tolist()
            rows = torch.cat([torch.arange(s, min(s + _BLOCK, count)) for s in starts])
            yield rows, epoch_order(len(rows), seed=self.seed + (number << 32), epoch=epoch)


def _between(starts: Tensor, stops: Tensor, size: int) -> Tensor:
    """Which of `size` places lie between a start and its stop, (size,)."""
    begun, ended = (at.clamp(0, size).bincount(minlength=size + 1) for at in (starts, stops))
    return (begun - ended).cumsum(0)[:-1] > 0
