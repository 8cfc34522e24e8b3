"""One part of the data, and its batches from tensors in memory: in an order that only seed and epoch decide."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor

from dlrun.data.orders import Resampling, epoch_order
from dlrun.data.share import WHOLE, Share

Batch = tuple[Tensor, Tensor]  # inputs and targets
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Split:
    """One part of the data: `inputs` (N, *input_shape), `targets` (N,) or (N, D).

    A kind of data whose batches are other than rows of tensors has a subclass of this.

    Attributes:
        bases: (N, D) of a series, what `targets` are changes from, in their own units; of several series with the
            mean that was taken from each, as `Preprocessing.scaled_by_row` says.
        series: (N,) of several series, the number of the one that each sample is of.
        naive: (N, D) of a series, the mean error of a naive forecast of each target in training, in its own units.
        groups: (N,) the number of the group of each sample, where groups are measured one by one.
        resampling: how often each row comes in an epoch of shuffled batches; None for once.
    """

    inputs: Tensor
    targets: Tensor
    bases: Tensor | None = None
    series: Tensor | None = None
    naive: Tensor | None = None
    groups: Tensor | None = None
    resampling: Resampling | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def samples_a_row(self) -> int:
        """How many samples a row of a training batch has."""
        return 1

    @property
    def feed(self) -> Callable[..., Feed]:
        """The class of its training batches."""
        return Batches

    def batches(
        self, size: int, *, seed: int, shuffle: bool, drop_last: bool, share: Share = WHOLE
    ) -> Feed:
        """Training batches of `size` rows each, of which a process has its `share`."""
        return self.feed(self, size, seed=seed, shuffle=shuffle, drop_last=drop_last, share=share)

    def in_order(self, size: int, share: Share = WHOLE) -> Iterator[Batch]:
        """All samples from first to last, or a process's `share` of them, `size` at a time or fewer."""
        for rows in share.parts(len(self), size):
            yield self.inputs[rows], self.targets[rows]

    def sample(self, count: int) -> Tensor:
        """The first `count` inputs as a batch that a model takes."""
        return self.inputs[:count]

    def first(self, count: int) -> Split:
        """The first `count` samples."""
        return self.rows(slice(count))

    def rows(self, rows: slice | Tensor) -> Split:
        """These samples."""
        each_sample = {
            name: value[rows] for name, value in vars(self).items() if hasattr(value, "__getitem__")
        }
        return replace(self, **each_sample, resampling=None)

    def to(self, device: torch.device, dtype: torch.dtype, *, channels_last: bool) -> Self:
        """The same samples on `device`, floating point as `dtype`."""
        memory = (
            torch.channels_last
            if channels_last and self.inputs.ndim == 4
            else torch.preserve_format
        )
        inputs, targets = (
            tensor.to(device, dtype if tensor.is_floating_point() else None)
            for tensor in (self.inputs, self.targets)
        )
        return replace(self, inputs=inputs.to(memory_format=memory), targets=targets)


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """What stands for a tensor of floating point whose rows are read where they are indexed, and remembers its form."""

    device: torch.device = _CPU
    dtype: torch.dtype = torch.float32
    memory_format: torch.memory_format = torch.preserve_format

    def is_floating_point(self) -> bool:
        """As the tensors that it gives."""
        return True

    def to(
        self,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        *,
        memory_format: torch.memory_format | None = None,
    ) -> Self:
        """The same rows, given in this form."""
        return replace(
            self,
            device=device or self.device,
            dtype=dtype or self.dtype,
            memory_format=memory_format or self.memory_format,
        )

    def formed(self, rows: Tensor) -> Tensor:
        """Rows as they are to be given."""
        return sent(rows.to(self.dtype), self.device).to(memory_format=self.memory_format)


class Feed(Protocol):
    """The batches of a split, epoch by epoch, in an order that only seed and epoch decide.

    Several processes have the same batches, each its share of the rows of each; one whose share of a batch is empty has
    the first row of it.

    Attributes:
        not_stacked: why runs with such batches cannot be trained as one; empty where they can.
    """

    split: Any  # of its own type
    not_stacked: ClassVar[str]

    def __len__(self) -> int:
        """Batches an epoch."""

    def epoch(self, number: int, *, skip: int = 0) -> Iterator[Batch]:
        """Each batch of epoch `number`, without the first `skip`."""

    def sizes(self, epoch: int) -> Sequence[int]:
        """The rows of each whole batch of an epoch, in the order in which they come."""


class CutSplit:
    """A split that is cut into batches of rows: what each `Feed` of such batches begins with.

    Args:
        size: samples a batch; a last batch of one sample joins the one before, since batch norm
            has nothing to normalise a single sample by.
        drop_last: leave out what does not fill a batch.

    Attributes:
        bounds: where each whole batch starts and stops in the order of an epoch.
        own: the same of the rows of each that this process has.
    """

    def __init__(
        self,
        split: Any,
        size: int,
        *,
        seed: int,
        shuffle: bool,
        drop_last: bool,
        share: Share = WHOLE,
    ) -> None:
        self.split, self.seed, self.shuffle = split, seed, shuffle
        self.resampling: Resampling | None = split.resampling if shuffle else None
        self.rows = self.resampling.size if self.resampling else len(split)
        self.bounds = cut(self.rows, size, drop_last=drop_last)
        self.own = [share.of_batch(*bounds) for bounds in self.bounds]

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self.bounds)

    def sizes(self, epoch: int) -> Sequence[int]:
        """As of `Feed`."""
        return [stop - start for start, stop in self.bounds]

    def order(self, epoch: int) -> Tensor:
        """The rows of an epoch in its order."""
        if self.resampling is not None:
            return self.resampling.order(seed=self.seed, epoch=epoch)
        if self.shuffle:
            return epoch_order(self.rows, seed=self.seed, epoch=epoch)
        return torch.arange(self.rows)


class Batches(CutSplit):
    """The batches of a split, epoch by epoch; any epoch can be started anywhere, so a resume needs no replay."""

    not_stacked: ClassVar[str] = ""

    def epoch(self, number: int, *, skip: int = 0) -> Iterator[Batch]:
        """(inputs, targets) of each batch of epoch `number`, without the first `skip`."""
        inputs, targets = self.split.inputs, self.split.targets
        if not self.shuffle:
            for start, stop in self.own[skip:]:
                yield inputs[start:stop], targets[start:stop]
            return
        order = sent(self.order(number), inputs.device)
        for start, stop in self.own[skip:]:
            rows = order[start:stop]
            yield take(inputs, rows), take(targets, rows)


def take(samples: Tensor, rows: Tensor) -> Tensor:
    """`samples[rows]` in the memory layout of `samples`, sooner."""
    if samples.ndim == 4 and samples.stride(1) == 1:
        # channels_last: index_select gives rows as they lie in memory only where the channels come last.
        return samples.movedim(1, -1).index_select(0, rows).movedim(-1, 1)
    return samples.index_select(0, rows)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on `device`; a GPU copies one of the CPU from pinned memory, so that the host need not wait for it."""
    if device.type in ("cpu", "mps", tensor.device.type):
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def cut(samples: int, size: int, *, drop_last: bool) -> list[tuple[int, int]]:
    """Where each batch of an epoch starts and stops in its order, as `CutSplit` says."""
    starts = range(0, samples, size)
    bounds = [(start, min(start + size, samples)) for start in starts]
    if len(bounds) > 1 and drop_last and bounds[-1][1] - bounds[-1][0] < size:
        bounds.pop()
    elif len(bounds) > 1 and bounds[-1][1] - bounds[-1][0] == 1 < size:
        bounds.pop()
        bounds[-1] = (bounds[-1][0], samples)
    return bounds
