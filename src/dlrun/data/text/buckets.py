"""Texts of several lengths, padded at the end, and their batches: alike in length within a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from torch import Tensor

from dlrun.data.loaders import Batch, Batches, CutSplit, Feed, Split, sent, take
from dlrun.data.orders import epoch_order
from dlrun.data.share import WHOLE, Share
from dlrun.data.text.stored import RaggedFile

_POOL = 50  # batches within which texts are sorted by length: alike within a batch, and yet new ones each epoch
_TOKENS = (
    2**18
)  # of a batch that is only looked at, padding included: the memory that one takes has a bound


_READ = "the texts are read from files during the training (see dataset.memory_limit)"
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class StoredRows:
    """Texts as rows of tokens (N, width) that are read where they are indexed; stands where a tensor would.

    Attributes:
        begins, lengths: (N,) where in the file each text begins, and how many tokens are read of it.
        number_of: the token of each code in the file.
    """

    codes: RaggedFile
    begins: np.ndarray
    lengths: np.ndarray
    number_of: np.ndarray
    width: int
    device: torch.device = _CPU
    ndim: ClassVar[int] = 2

    @property
    def shape(self) -> tuple[int, int]:
        """(N, width)."""
        return len(self.begins), self.width

    def __getitem__(self, rows: slice) -> Tensor:
        return self.taken(rows, self.width)

    def taken(self, rows: slice | np.ndarray, width: int) -> Tensor:
        """(n, width) int64, the first tokens of these rows."""
        lengths = np.minimum(self.lengths[rows], width)
        found = np.zeros((len(lengths), width), np.int64)
        codes = self.codes.taken(self.begins[rows], lengths)
        found[np.arange(width) < lengths[:, None]] = self.number_of[codes]
        return sent(torch.from_numpy(found), self.device)

    def index_select(self, dim: int, rows: Tensor) -> Tensor:
        """As of a tensor."""
        assert dim == 0, "rows are selected"
        return self.taken(rows.cpu().numpy(), self.width)

    def to(self, device: torch.device) -> StoredRows:
        """The same rows, given on `device`."""
        return replace(self, device=device)


class _StoredBatches(CutSplit):
    """As `Batches`, of texts whose rows are looked for on the CPU."""

    not_stacked: ClassVar[str] = _READ

    def epoch(self, number: int, *, skip: int = 0) -> Iterator[Batch]:
        """(inputs, targets) of each batch of epoch `number`, without the first `skip`."""
        order, (inputs, targets) = self.order(number), (self.split.inputs, self.split.targets)
        order_there = sent(order, targets.device)
        for start, stop in self.own[skip:]:
            yield take(inputs, order[start:stop]), take(targets, order_there[start:stop])


@dataclass(frozen=True)
class PaddedTexts(Split):
    """Texts as rows of tokens, which become int64 in a batch.

    Attributes:
        lengths: of the rows (N,), where batches are to be of rows alike in length, and cut to the longest.
    """

    lengths: Tensor | None = None

    @property
    def feed(self) -> Callable[..., Feed]:
        if self.lengths is not None:
            return Buckets
        return Batches if isinstance(self.inputs, Tensor) else _StoredBatches

    def in_order(self, size: int, share: Share = WHOLE) -> Iterator[Batch]:
        if self.lengths is None:
            yield from super().in_order(_at_once(size, self.inputs.shape[1]), share)
            return
        lengths = self.lengths.cpu()
        for part in share.parts(len(lengths), size):
            fewer = _at_once(size, _width(lengths[part]))
            for first in range(part.start, part.stop, fewer):
                rows = slice(first, min(first + fewer, part.stop))
                yield self.tokens(rows, _width(lengths[rows])), self.targets[rows]

    def tokens(self, rows: slice | Tensor, width: int) -> Tensor:
        """(n, width) int64, the first tokens of these rows."""
        if not isinstance(self.inputs, Tensor):
            at = rows if isinstance(rows, slice) else rows.cpu().numpy()
            return cast(StoredRows, self.inputs).taken(at, width)
        found = self.inputs[rows] if isinstance(rows, slice) else take(self.inputs, rows)
        return found[:, :width].long()

    def sample(self, count: int) -> Tensor:
        return super().sample(count).long()

    def to(self, device: torch.device, dtype: torch.dtype, *, channels_last: bool) -> Self:
        floating = self.targets.is_floating_point()
        targets = self.targets.to(device, dtype if floating else None)
        return replace(self, inputs=self.inputs.to(device), targets=targets)


class Buckets(CutSplit):
    """As `Batches`, for texts with lengths: every sample once an epoch, by seed and epoch alone.

    The shuffled samples are sorted by length within pools of many batches, and the batches shuffled.
    Without `shuffle` samples keep their order, and each batch is cut all the same.
    """

    not_stacked: ClassVar[str] = (
        "the runs have texts of different lengths in a batch (dataset.tokens.bucketing=false makes them alike)"
    )

    def __init__(self, split: PaddedTexts, size: int, **cutting: Any) -> None:
        assert split.lengths is not None
        super().__init__(split, size, **cutting)
        self.lengths, self.size = split.lengths.cpu(), size

    def epoch(self, number: int, *, skip: int = 0) -> Iterator[Batch]:
        """(inputs, targets) of each batch of epoch `number`, without the first `skip`."""
        order = self.order(number)
        if self.shuffle:
            # What is left out for this epoch, if any, before sorting: it would be the longest.
            order = self._sorted(order[: self.bounds[-1][1]])
        targets = self.split.targets
        order_there = sent(order, targets.device)
        # Of texts that stay in their file the rows are looked for here.
        order_of_texts = order_there if isinstance(self.split.inputs, Tensor) else order
        for batch in self._batches(number)[skip:]:
            # As wide for all processes that have rows of it.
            width = _width(self.lengths[order[slice(*self.bounds[batch])]])
            own = slice(*self.own[batch])
            yield self.split.tokens(order_of_texts[own], width), take(targets, order_there[own])

    def sizes(self, epoch: int) -> Sequence[int]:
        sizes = super().sizes(epoch)
        return [sizes[batch] for batch in self._batches(epoch)]

    def _batches(self, epoch: int) -> list[int]:
        """The batches in the order in which they come."""
        if not self.shuffle:
            return [*range(len(self))]
        # Of another seed than the samples': with as many batches as samples the two would be one.
        return epoch_order(len(self), seed=self.seed + 1, epoch=epoch).tolist()

    def _sorted(self, order: Tensor) -> Tensor:
        """The same samples, sorted by length within each pool."""
        pools = [
            pool[self.lengths[pool].argsort(stable=True)] for pool in order.split(_POOL * self.size)
        ]
        return torch.cat(pools)


def _at_once(size: int, width: int) -> int:
    """Samples of `width` tokens in a batch that is only looked at: `size`, or as many as memory is meant for."""
    return max(1, min(size, _TOKENS // width))


def _width(lengths: Tensor) -> int:
    return max(1, int(lengths.max()))
