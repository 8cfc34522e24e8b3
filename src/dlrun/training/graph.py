"""Work of a GPU that is recorded once, as a CUDA graph, and then replayed: one launch in place of each kernel's own.

As in "CUDA Graphs" of torch's notes on CUDA semantics: what is recorded reads and writes tensors that stay where they
are, and asks the device for no number; it was done some times before on a stream of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch

Result = TypeVar("Result")


class Recorder:
    """Records work of one run, or of one stack; all its graphs share memory, so one must not run beside another.

    Args:
        generators: all that the work draws random numbers from; a replay draws on from where they are.
    """

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self._generators = tuple(generators)
        self._stream = torch.cuda.Stream()
        self._pool = torch.cuda.graph_pool_handle()

    def rehearse(self, work: Callable[[], Result]) -> Result:
        """Do `work` now, on the stream of the recordings: autograd remembers the stream that first saw a weight."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            result = work()
        torch.cuda.current_stream().wait_stream(self._stream)
        return result

    def record(self, work: Callable[[], Result]) -> tuple[torch.cuda.CUDAGraph, Result]:
        """The graph of `work`, which is not done yet, and what work returns: tensors that each replay fills.

        Raises:
            RuntimeError: work cannot be recorded. Torch then is as it was before.
        """
        graph = torch.cuda.CUDAGraph()
        for generator in self._generators:
            graph.register_generator_state(generator)
        before = torch.cuda.current_stream()
        try:
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                return graph, work()
        except BaseException:
            _let_go(before, (*self._generators, *torch.cuda.default_generators))
            raise


def _let_go(stream: torch.cuda.Stream, generators: Iterable[torch.Generator]) -> None:
    """Undo what a recording that failed leaves behind in torch: its stream, and generators that it still records."""
    torch.cuda.set_stream(stream)
    for generator in generators:
        if generator.device.type == "cuda":
            generator.graphsafe_set_state(generator.clone_state())
