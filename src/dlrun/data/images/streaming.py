"""Images that stay in files, their own or one of the cache: read a few batches ahead of the training."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dlrun.data.arrays.scaling import Scaling
from dlrun.data.copied_ahead import copied_ahead
from dlrun.data.images.image_format import ImageFormat
from dlrun.data.images.read import read_image
from dlrun.data.loaders import Batch, CutSplit, Feed, Split, StoredTensor, sent, take
from dlrun.data.share import WHOLE, Share
from dlrun.errors import ConfigError, RunFailed
from dlrun.system.orphans import begin_as_helper
from dlrun.system.signals import ending_signals

Rows = list[int]


class Pixels(Protocol):
    """The pixels of N images, each (channels, height, width) from 0 to 255, read where they are asked for."""

    @property
    def format(self) -> ImageFormat:
        """What each of them is made into."""

    def __len__(self) -> int:
        """N."""

    def read(self, rows: Sequence[int]) -> np.ndarray:
        """The pixels of these images, (N, channels, height, width)."""

    def batches(self, rows: Sequence[Rows]) -> Iterator[np.ndarray]:
        """The pixels of each list of rows, in turn, read ahead."""


@dataclass(frozen=True)
class FilePixels:
    """The pixels of image files.

    Args:
        workers: processes that read what is read in order; 0 reads in this one.
    """

    paths: tuple[str, ...]
    format: ImageFormat
    workers: int

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, rows: Sequence[int]) -> np.ndarray:
        """As of `Pixels`."""
        return _Pixels(self.paths, self.format).read(rows)

    def batches(self, rows: Sequence[Rows]) -> Iterator[np.ndarray]:
        """As of `Pixels`."""
        return read_batches(self.paths, self.format, rows, workers=self.workers)


@dataclass(frozen=True)
class StoredImages(StoredTensor):
    """Normalised images (N, C, H, W) that are read from files when they are indexed.

    Stands where a tensor would: it has a length, and gives a tensor for a slice or for numbers of rows.
    """

    pixels: Pixels
    scaling: Scaling

    ndim = 4

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W)."""
        form = self.pixels.format
        return len(self), form.channels, form.height, form.width

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """The images in these rows, read here and now."""
        numbers = range(len(self))[rows] if isinstance(rows, slice) else rows.tolist()
        return self.formed(self.scaling.inputs(self.pixels.read(numbers)))

    def batches(self, rows: Sequence[Rows]) -> Iterator[Tensor]:
        """The images of each list of rows, in turn.

        Raises:
            RunFailed: a file is no longer an image.
        """
        try:
            yield from self._formed(self.pixels.batches(rows))
        except ConfigError as error:
            raise RunFailed(f"{error}; put the image back, and resume the run") from error

    def _formed(self, raw: Iterator[np.ndarray]) -> Iterator[Tensor]:
        if self.device.type in ("cpu", "mps"):
            yield from map(self.formed, map(self.scaling.inputs, raw))
            return
        scale = self.scaling.on(self.device)  # pixels are copied as they are, in few bytes
        yield from copied_ahead(raw, self.device, lambda pixels: self.formed(scale(pixels)))


@dataclass(frozen=True)
class StoredSplit(Split):
    """A part of the data whose inputs are StoredImages."""

    @classmethod
    def of(cls, images: StoredImages, targets: Tensor) -> StoredSplit:
        """These images with their targets."""
        return cls(cast(Tensor, images), targets)

    @property
    def feed(self) -> Callable[..., Feed]:
        return StreamedBatches

    def in_order(self, size: int, share: Share = WHOLE) -> Iterator[Batch]:
        rows = torch.arange(len(self))
        yield from self.read([rows[part] for part in share.parts(len(self), size)])

    def rows(self, rows: slice | Tensor) -> Split:
        return Split(**vars(super().rows(rows)))  # from now on in memory

    def read(self, rows: Sequence[Tensor]) -> Iterator[Batch]:
        """A batch for each list of rows, read ahead."""
        images: Any = self.inputs
        targets = (take(self.targets, sent(part, self.targets.device)) for part in rows)
        yield from zip(images.batches([part.tolist() for part in rows]), targets, strict=True)


class StreamedBatches(CutSplit):
    """The batches that `Batches` would make of the same images in memory, in the same order.

    Any epoch can be started anywhere; the workers of an epoch end with it.
    """

    not_stacked: ClassVar[str] = (
        "images are read from their files or the cache during the training (see dataset.memory_limit)"
    )

    def epoch(self, number: int, *, skip: int = 0) -> Iterator[Batch]:
        """(inputs, targets) of each batch of epoch `number`, without the first `skip`."""
        order = self.order(number)
        yield from self.split.read([order[start:stop] for start, stop in self.own[skip:]])


def read_batches(
    paths: Sequence[str], format: ImageFormat, rows: Sequence[Rows], *, workers: int
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
        _Pixels(tuple(paths), format),
        batch_sampler=rows,
        num_workers=processes,
        collate_fn=_as_it_is,
        worker_init_fn=_begin_worker,
        multiprocessing_context=_context() if processes else None,
        generator=torch.Generator(),  # or it would take a number from the run's own
    )
    for batch in _watched(loader):
        if isinstance(batch, ConfigError):
            raise batch
        yield batch


class _Pixels(Dataset[Any]):
    """Image files by number, in a form that goes to a worker: torch hands it the rows of a whole batch."""

    def __init__(self, paths: tuple[str, ...], format: ImageFormat) -> None:
        self.paths, self.format = paths, format

    def read(self, rows: Sequence[int]) -> np.ndarray:
        shape = (len(rows), self.format.channels, self.format.height, self.format.width)
        pixels = np.empty(shape, self.format.dtype)
        for place, row in enumerate(rows):
            pixels[place] = read_image(Path(self.paths[row]), self.format)
        return pixels

    def __getitems__(self, rows: list[int]) -> np.ndarray | ConfigError:
        """The pixels, or what is wrong with them: torch would bury an error under the worker's traceback."""
        try:
            # An array, not a tensor: tensors travel by shared memory, of which containers often have little.
            return self.read(rows)
        except ConfigError as error:
            return error


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
    """Ignore signals, and end with the run.

    Ctrl-C reaches every process of a terminal; the run ends itself, and needs its batches until then.
    """
    for number in ending_signals():
        signal.signal(number, signal.SIG_IGN)
    begin_as_helper(grace=0.0)


def _as_it_is(batch: Any) -> Any:
    return batch
