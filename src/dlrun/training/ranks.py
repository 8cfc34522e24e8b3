"""The processes that train one run together, as one of them sees them: what they add up, gather and tell each other.

A run of one process has the same with a size of 1, where nothing is sent. All ranks must call the same methods in the
same order: each waits for the others.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from dlrun.data.share import Share


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

    def sum(self, values: Tensor) -> Tensor:
        """The sum of all ranks' `values`, of one shape, on every rank."""
        if self.size == 1:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total

    def gathered(self, rows: Tensor) -> Tensor:
        """The rows of all ranks, one rank's after another's, on every rank; they may differ in number."""
        if self.size == 1:
            return rows
        counts = [int(count) for count in self.of_all(len(rows))]
        padded = rows.new_zeros((max(counts), *rows.shape[1:]))
        padded[: len(rows)] = rows
        found = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(found, padded)
        return torch.cat([part[:count] for part, count in zip(found, counts, strict=True)])

    def of_first(self, value: Any) -> Any:
        """The plain value that rank 0 has."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]

    def of_all(self, value: Any) -> list[Any]:
        """The plain values of all ranks, in their order, on every rank."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found


ALONE = Ranks(Share())
