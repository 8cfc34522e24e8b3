"""One text to be read from its beginning to its end, in streams side by side: batches follow one another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from dlrun.data.loaders import Batch, Feed, Split, sent
from dlrun.data.orders import epoch_order
from dlrun.data.share import WHOLE, Share
from dlrun.data.text.stored import StoredText
from dlrun.errors import ConfigError

_CPU = torch.device("cpu")
_AT_ONCE = 2**22  # tokens that are read from a file at a time
_LEAST = 4096  # tokens of a stream in an evaluation: each stream begins knowing nothing


@dataclass(frozen=True)
class StoredTokens:
    """Tokens (N,) that stay in a file and are read where they are indexed; stands where a tensor would.

    Attributes:
        table: (characters of `text`,) the token of each.
        start, stop: which characters are meant.
    """

    text: StoredText
    table: np.ndarray
    start: int
    stop: int
    device: torch.device = _CPU

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, part: slice) -> Tensor:
        start, stop, _ = part.indices(len(self))
        numbers = self.text.numbers(self.start + start, self.start + max(start, stop))
        return sent(torch.from_numpy(self.table[numbers]), self.device)

    def narrow(self, dim: int, start: int, length: int) -> StoredTokens:
        """As of a tensor; what is left stays in the file."""
        assert dim == 0, "a text has one dimension"
        return replace(self, start=self.start + start, stop=self.start + start + length)

    def split(self, size: int) -> Iterator[Tensor]:
        """All tokens, `size` at a time."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def to(self, device: torch.device) -> StoredTokens:
        """The same tokens, given on `device`."""
        return replace(self, device=device)


Tokens = Tensor | StoredTokens


@dataclass(frozen=True)
class StreamedText(Split):
    """One flat text: `inputs` (N,) and `targets` (N,), each the token that comes next, in few bytes.

    Tokens become int64 in a batch, which is a window of several streams: inputs (S, T) and targets (S, T).

    Attributes:
        window: tokens of a stream in a training batch.
    """

    window: int = field(kw_only=True)

    @property
    def samples_a_row(self) -> int:
        return self.window

    @property
    def feed(self) -> Callable[..., Feed]:
        return Streams

    def in_order(self, size: int, share: Share = WHOLE) -> Iterator[Batch]:
        """In windows of `size` tokens at most; a process has its share of the streams, if there are as many.

        There are as many streams as have room for `window` in `size`, but few enough to be long; windows
        are then as long as `size` allows. All tokens are there but the last S - 1 at most.
        """
        streams = max(1, min(size // self.window, len(self) // _LEAST))
        length = len(self) // streams
        window = max(1, size // streams)
        yield from _windows(self, share.of(streams), length, window, start=0, skip=0)

    def sample(self, count: int) -> Tensor:
        return self.inputs[:count].long().unsqueeze(1)

    def to(self, device: torch.device, dtype: torch.dtype, *, channels_last: bool) -> Self:
        return replace(self, inputs=self.inputs.to(device), targets=self.targets.to(device))


class Streams:
    """The windows of a split, epoch by epoch; any epoch can be started anywhere.

    The text is cut into S streams of equal length, side by side; batch k holds the k-th window of
    each. With `shuffle` an epoch begins at an offset that seed and epoch decide, so that the cuts
    fall elsewhere each time, and has whole windows only; what is left over at either end is less
    than S * T + T tokens. Without, the last window may be shorter, unless `drop_last`.

    Args:
        size: how many streams.
        share: which of them a process reads, in all windows and epochs.

    Raises:
        ConfigError: fewer tokens than streams, or than a window of each where it must be whole.
    """

    not_stacked: ClassVar[str] = (
        "a language model carries its hidden state from batch to batch, which a stack does not do"
    )

    def __init__(
        self,
        split: StreamedText,
        size: int,
        *,
        seed: int,
        shuffle: bool,
        drop_last: bool,
        share: Share = WHOLE,
    ) -> None:
        self.split, self.size, self.window = split, size, split.window
        self.own = share.of(size)
        self.seed, self.shuffle = seed, shuffle
        whole = shuffle or drop_last
        if len(split) < size * (self.window if whole else 1):
            raise ConfigError(
                f"trainer.batch_size is {size}, the streams that are read side by side, and dataset.window "
                f"{self.window}, but the training part has only {len(split)} characters; lower one of them"
            )
        self.length = self._windows() * self.window if whole else len(split) // size

    def __len__(self) -> int:
        """Windows an epoch."""
        return -(-self.length // self.window)

    def epoch(self, number: int, *, skip: int = 0) -> Iterator[Batch]:
        """(inputs, targets) of each window of epoch `number`, (S, T), without the first `skip`."""
        yield from _windows(
            self.split, self.own, self.length, self.window, start=self.offset(number), skip=skip
        )

    def sizes(self, epoch: int) -> Sequence[int]:
        """As of `Feed`."""
        return [self.size] * len(self)

    def _windows(self) -> int:
        """Whole windows; where there are several, one may go, so that the offset has room to vary."""
        room = self.window - 1 if self.shuffle else 0
        return max(1, (len(self.split) - room) // (self.size * self.window))

    def offset(self, epoch: int) -> int:
        """Where in the text the first stream of an epoch begins."""
        if not self.shuffle:
            return 0
        room = len(self.split) - self.size * self.length
        return int(epoch_order(room + 1, seed=self.seed, epoch=epoch)[0])


def _windows(
    split: Split, own: range, length: int, window: int, *, start: int, skip: int
) -> Iterator[Batch]:
    """The windows of the streams `own` of those of this length that follow one another from `start`."""
    if not own:
        return
    streams, start = len(own), start + own.start * length
    # Of tokens that stay in a file, those of many windows are read at a time.
    block = window * max(1, _AT_ONCE // (streams * window))
    for begin in range(skip * window, length, block):
        end = min(begin + block, length)
        inputs, targets = (
            _block(tokens, streams, length, start, slice(begin, end))
            for tokens in (split.inputs, split.targets)
        )
        for left in range(0, end - begin, window):
            yield (
                _widened(inputs[:, left : left + window]),
                _widened(targets[:, left : left + window]),
            )


def _block(tokens: Tokens, streams: int, length: int, start: int, part: slice) -> Tensor:
    """(streams, tokens of `part`) of streams of this length."""
    if isinstance(tokens, Tensor):
        return tokens[start : start + streams * length].view(streams, length)[:, part]
    begins = range(start, start + streams * length, length)
    return torch.stack([tokens[begin + part.start : begin + part.stop] for begin in begins])


def _widened(tokens: Tensor) -> Tensor:
    return tokens.contiguous().long()
