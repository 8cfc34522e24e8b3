"""The batches of K runs, each in its own order and where need be of its own data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from dlrun.data.loaders import Batch, Batches, Feed, Split, sent


class StackedBatches:
    """What each of the `runs` would see alone, all at a time: one indexed read for each batch.

    Runs with one data set share it, and those with one seed as well share each batch.
    """

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self.runs = [feed for feed in feeds if isinstance(feed, Batches)]
        assert len(self.runs) == len(feeds), "batches of other kinds are not stacked"
        self.bounds = self.runs[0].bounds
        self.table, self.first_rows = together([batches.split for batches in self.runs])
        self._epoch, self._orders = -1, torch.empty(0)

    def epoch(self, number: int, *, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """(inputs, targets), (K, B, ...) and (K, B, ...), of each batch of an epoch after the first `skip`."""
        orders = self.orders(number)
        for start, stop in self.bounds[skip:]:
            yield self.read(orders[:, start:stop])

    def read(self, rows: Tensor) -> Batch:
        """(inputs, targets), (K, B, ...) and (K, B, ...), of these `rows` of the table, (K, B) or (1, B) for all."""
        flat, runs = rows.flatten(), len(self.runs)
        tensors = (self.table.inputs, self.table.targets)
        x, y = (t.index_select(0, flat).unflatten(0, rows.shape) for t in tensors)
        return x.expand(runs, *x.shape[1:]), y.expand(runs, *y.shape[1:])

    def orders(self, number: int) -> Tensor:
        """Rows of the table in the order of an epoch, (K, N), or (1, N) where all runs have the same."""
        if number != self._epoch:
            self._epoch, self._orders = number, self._made(number)
        return self._orders

    def _made(self, number: int) -> Tensor:
        made = {}
        keys = [(batches.seed, first) for batches, first in self._runs_with_rows()]
        for (batches, first), key in zip(self._runs_with_rows(), keys, strict=True):
            if key not in made:
                made[key] = batches.order(number) + first
        chosen = keys[:1] if len(made) == 1 else keys
        return sent(torch.stack([made[key] for key in chosen]), self.table.inputs.device)

    def _runs_with_rows(self) -> Iterator[tuple[Batches, int]]:
        return zip(self.runs, self.first_rows, strict=True)


def together(splits: Sequence[Split]) -> tuple[Split, list[int]]:
    """The different ones of `splits` as one table, and where in it each begins."""
    different: dict[int, Split] = {id(split.inputs): split for split in splits}
    size = len(splits[0])
    first_rows = {key: index * size for index, key in enumerate(different)}
    parts = list(different.values())
    table = parts[0]
    if len(parts) > 1:
        inputs = torch.cat([part.inputs for part in parts])
        table = Split(inputs, torch.cat([part.targets for part in parts]))
    return table, [first_rows[id(split.inputs)] for split in splits]
