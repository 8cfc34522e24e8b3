"""The loop that one would write by hand for a small model on a GPU: whole steps as a CUDA graph, replayed.

As in "CUDA Graphs" of torch's notes on CUDA semantics: some steps on a stream of their own, then the capture, with
the fused Adam that torch calls capturable. Data stay on the device, nothing is read from it, and a last short
batch is left out.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from peer_programs.by_hand import Pair

_WARM_UPS = 3


class GraphedSteps:
    """Steps of `model` on batches in random order, as many at a time as are asked for.

    Args:
        length: steps in the graph. With 1 each batch is copied to where the graph reads it, before the replay; with
            more the order of the rows is copied, and the graph gathers its batches itself.
    """

    def __init__(
        self, model: nn.Module, data: Pair, *, batch_size: int, lr: float, length: int
    ) -> None:
        self.model, self.data = model.train(), data
        self.batch_size, self.length = batch_size, length
        self.optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True, capturable=True)
        self.loss_function = nn.CrossEntropyLoss()
        self.orders = self._orders()
        self.rows = next(self.orders).clone()
        self.inputs, self.targets = (part[self.rows[:batch_size]] for part in data)
        self.graph = self._captured()

    def take(self, count: int) -> None:
        """Make `count` steps, a multiple of the graph's length."""
        for _ in range(count // self.length):
            rows = next(self.orders)
            if self.length == 1:
                torch.index_select(self.data[0], 0, rows, out=self.inputs)
                torch.index_select(self.data[1], 0, rows, out=self.targets)
            else:
                self.rows.copy_(rows)
            self.graph.replay()

    def _orders(self) -> Iterator[Tensor]:
        """The rows of the steps of one replay, without end."""
        every = self.batch_size * self.length
        samples, where = len(self.data[1]), self.data[1].device
        while True:
            whole = torch.randperm(samples, device=where)
            yield from whole[: samples // every * every].split(every)

    def _captured(self) -> torch.cuda.CUDAGraph:
        stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                self._steps()
        torch.cuda.current_stream().wait_stream(stream)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            self._steps()
        return graph

    def _steps(self) -> None:
        for number in range(self.length):
            inputs, targets = self.inputs, self.targets
            if self.length > 1:
                rows = self.rows[number * self.batch_size : (number + 1) * self.batch_size]
                inputs, targets = (part.index_select(0, rows) for part in self.data)
            self.optimizer.zero_grad(set_to_none=True)
            self.loss_function(self.model(inputs), targets).backward()
            self.optimizer.step()
