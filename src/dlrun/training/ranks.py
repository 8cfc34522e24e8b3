"""The processes that train one run together, as one of them sees them: what they add up, gather and tell each other.

A run of one process has the same with a size of 1, where nothing is sent. All ranks must call the same methods in the
same order: each waits for the others.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from dlrun.data.share import Share
from dlrun.errors import RunFailed, first_line


class OthersFailed(Exception):
    """A rank cannot go on to what all do together; `told` is what each has said of that, None where it can."""

    def __init__(self, told: list[Any]) -> None:
        super().__init__(told)
        self.told = told


class Ranks:
    """The ranks of a run.

    Args:
        share: which of them this process is, and of how many.
        local: its number among those of this machine.
    """

    def __init__(self, share: Share, local: int = 0) -> None:
        self.share, self.local = share, local

    @property
    def size(self) -> int:
        """How many processes."""
        return self.share.count

    @property
    def first(self) -> bool:
        """Whether this is the one that writes, draws and prints."""
        return self.share.index == 0

    def most(self, values: Sequence[int]) -> list[int]:
        """The greatest of all ranks' numbers at each place, on every rank."""
        numbers = torch.tensor(values)
        dist.all_reduce(numbers, dist.ReduceOp.MAX)
        return [int(number) for number in numbers]

    def each(self, values: Tensor) -> Tensor:
        """All ranks' `values` (...), of one shape, as (R, ...) on every rank."""
        if self.size == 1:
            return values.unsqueeze(0)
        found = [torch.empty_like(values) for _ in range(self.size)]
        dist.all_gather(found, values.contiguous())
        return torch.stack(found)

    def rows_to_first(self, rows: Tensor) -> Tensor:
        """The rows of all ranks, one rank's after another's, on rank 0; the others have their own back.

        They may differ in number; a rank without any need not know their shape.
        """
        forms = self.of_all((len(rows), rows.shape[1:], rows.dtype, rows.device.type))
        counts = [count for count, *_ in forms]
        if not len(rows):
            _, shape, dtype, device = forms[counts.index(max(counts))]
            rows = torch.empty((0, *shape), dtype=dtype, device=device)
        return torch.cat(self.parts_to_first(rows, counts))

    def parts_to_first(self, rows: Tensor, counts: Sequence[int]) -> list[Tensor]:
        """The rows of each rank on rank 0; the others have their own back.

        Args:
            counts: of each rank, how many rows.
        """
        if self.size == 1:
            return [rows]
        padded = rows.new_zeros((max(counts), *rows.shape[1:]))
        padded[: len(rows)] = rows
        if not padded.numel():  # there is nothing to send
            return [padded[:count] for count in counts] if self.first else [rows]
        found = [torch.empty_like(padded) for _ in counts] if self.first else None
        dist.gather(padded, found)
        if found is None:
            return [rows]
        return [part[:count] for part, count in zip(found, counts, strict=True)]

    def tell_tensors(self, tensors: Sequence[Tensor]) -> None:
        """Make `tensors` those of rank 0 on every rank, in place."""
        if self.size == 1:
            return
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
            alike = [tensor.detach() for tensor in tensors if tensor.dtype == dtype]
            told = torch.cat([tensor.flatten() for tensor in alike])
            dist.broadcast(told, 0)
            parts = told.split([tensor.numel() for tensor in alike])
            for tensor, part in zip(alike, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def of_first(self, value: Any) -> Any:
        """The plain value that rank 0 has."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]

    def by_first(self, act: Callable[[], Any]) -> Any:
        """What `act` returns or raises on rank 0, on every rank; the others do not call it."""
        if self.size == 1:
            return act()
        value: Any = None
        error: Exception | None = None
        if self.first:
            try:
                value = act()
            except Exception as raised:
                error = raised
        value, told = self.of_first((value, error and _sendable(error)))
        if told is not None:
            raise error or told  # on rank 0 with its traceback
        return value

    def of_all(self, value: Any) -> list[Any]:
        """The plain values of all ranks, in their order, on every rank."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def ready(self) -> None:
        """Wait until every rank is as far as this one, before what needs them all.

        Raises:
            OthersFailed: one has failed, and told it by `of_all`.
        """
        if any(told := self.of_all(None)):
            raise OthersFailed(told)

    def to_first(self, value: Any) -> list[Any]:
        """The plain values of all ranks, in their order, on rank 0; nothing on the others."""
        if self.size == 1:
            return [value]
        found: list[Any] | None = [None] * self.size if self.first else None
        dist.gather_object(value, found)
        return found or []


def _sendable(error: Exception) -> Exception:
    """The error, or where another process could not read it, what it says."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RunFailed(first_line(error))
    return error


ALONE = Ranks(Share())
