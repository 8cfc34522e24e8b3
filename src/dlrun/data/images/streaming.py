"""Images that stay in their files: read by processes of their own, a few batches ahead of the training."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dlrun.data.arrays.scaling import Scaling
from dlrun.data.base import Split
from dlrun.data.images.form import Form
from dlrun.data.images.read import read_image
from dlrun.data.loaders import cut, epoch_order
from dlrun.errors import ConfigError, RunFailed
from dlrun.system.orphans import begin_as_helper
from dlrun.system.signals import ending_signals

Rows = list[int]

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class StoredImages:
    """Normalised images (N, C, H, W) that are read from their files when they are looked at.

    Stands where a tensor would: it has a length, gives a tensor for a slice or for numbers of rows,
    and remembers the device and kind of number that it is to give.

    Args:
        workers: processes that read what is read in order; 0 reads in this one.
    """

    paths: tuple[str, ...]
    form: Form
    scaling: Scaling
    workers: int
    device: torch.device = _CPU
    dtype: torch.dtype = torch.float32
    memory_format: torch.memory_format = torch.preserve_format

    ndim = 4

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W)."""
        return len(self.paths), self.form.channels, self.form.height, self.form.width

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """The images in these rows, read here and now."""
        numbers = range(len(self))[rows] if isinstance(rows, slice) else rows.tolist()
        return self._finished(_Pixels(self.paths, self.form).read(numbers))

    def is_floating_point(self) -> bool:
        """As the tensors that it gives."""
        return True

    def to(
        self,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        *,
        memory_format: torch.memory_format | None = None,
    ) -> StoredImages:
        """The same images, given on `device` and as `dtype`."""
        return replace(
            self,
            device=device or self.device,
            dtype=dtype or self.dtype,
            memory_format=memory_format or self.memory_format,
        )

    def batches(self, rows: Sequence[Rows]) -> Iterator[Tensor]:
        """The images of each list of rows, in turn.

        Raises:
            RunFailed: a file is no longer an image.
        """
        try:
            for raw in read_batches(self.paths, self.form, rows, workers=self.workers):
                yield self._finished(raw)
        except ConfigError as error:
            raise RunFailed(f"{error}; put the image back, and resume the run") from error

    def _finished(self, raw: np.ndarray) -> Tensor:
        normalised = self.scaling.inputs(raw)
        return normalised.to(self.device, self.dtype).to(memory_format=self.memory_format)


class StreamedBatches:
    """The batches that `Batches` would make of the same images in memory, in the same order.

    `split.inputs` are StoredImages. Any epoch can be started anywhere; the workers of an epoch end with it.
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
        order = torch.arange(len(self.split))
        if self.shuffle:
            order = epoch_order(len(self.split), seed=self.seed, epoch=number)
        yield from _together(self.split, [order[start:stop] for start, stop in self.bounds[skip:]])


def streamed_in_order(split: Split, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """(inputs, targets) of all samples of a split of StoredImages from first to last, `size` at a time."""
    yield from _together(split, torch.arange(len(split)).split(size))


def _together(split: Split, rows: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    images: Any = split.inputs
    targets = (split.targets[part.to(split.targets.device)] for part in rows)
    yield from zip(images.batches([part.tolist() for part in rows]), targets, strict=True)


def read_batches(
    paths: Sequence[str], form: Form, rows: Sequence[Rows], *, workers: int
) -> Iterator[np.ndarray]:
    """The pixels of each list of rows, (N, channels, height, width) from 0 to 255, read ahead by `workers` processes.

    Raises:
        ConfigError: a file cannot be opened as an image.
        RunFailed: a worker was ended from outside.
    """
    # Processes of a pool may have none of their own; and a single batch cannot be read ahead.
    alone = multiprocessing.current_process().daemon or len(rows) < 2
    processes = 0 if alone else min(workers, len(rows))
    loader: DataLoader[Any] = DataLoader(
        _Pixels(tuple(paths), form),
        batch_sampler=rows,
        num_workers=processes,
        collate_fn=_as_it_is,
        worker_init_fn=_begin_worker,
        multiprocessing_context=_context() if processes else None,
        generator=torch.Generator(),  # or it would take a number from the run's own
    )
    for batch in _watched(loader):
        if isinstance(batch, str):
            raise ConfigError(batch)
        yield batch


class _Pixels(Dataset[Any]):
    """Image files by number, in a form that goes to a worker: torch hands it the rows of a whole batch."""

    def __init__(self, paths: tuple[str, ...], form: Form) -> None:
        self.paths, self.form = paths, form

    def read(self, rows: Sequence[int]) -> np.ndarray:
        shape = (len(rows), self.form.channels, self.form.height, self.form.width)
        pixels = np.empty(shape, self.form.dtype)
        for place, row in enumerate(rows):
            pixels[place] = read_image(Path(self.paths[row]), self.form)
        return pixels

    def __getitems__(self, rows: list[int]) -> np.ndarray | str:
        """The pixels, or what is wrong with them: torch would bury an error under the worker's traceback."""
        try:
            # An array, not a tensor: tensors travel by shared memory, of which containers often have little.
            return self.read(rows)
        except ConfigError as error:
            return str(error)


def _watched(loader: DataLoader[Any]) -> Iterator[Any]:
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise RunFailed(
            "a process that reads images has ended, most likely for want of memory: set dataset.workers lower, "
            "or to 0, and resume the run"
        ) from error


def _context() -> Any:
    """How workers are started: by a process that has no threads, so that none is copied holding a lock."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # torch is imported once, not by each worker
    return context


def _begin_worker(worker: int) -> None:
    """Deaf to signals, and gone with its run.

    Ctrl-C reaches every process of a terminal; the run itself sees to its end, and needs its batches until then.
    """
    for number in ending_signals():
        signal.signal(number, signal.SIG_IGN)
    begin_as_helper(grace=0.0)


def _as_it_is(batch: Any) -> Any:
    return batch
