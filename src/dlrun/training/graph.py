"""Work of a GPU that is recorded once, as a CUDA graph, and then replayed: one launch in place of each kernel's own.

As in "CUDA Graphs" of torch's notes on CUDA semantics: what is recorded reads and writes tensors that stay where they
are, and asks the device for no number; it was done some times before on a stream of its own.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from dlrun.system.torch_internals import norms, stop_allocating

Result = TypeVar("Result")


class Tolerance(NamedTuple):
    """How far work of a graph may be from the same work done without, relative to the size of what it is about.

    The kernels are the same; but some add up in another order each time, and an optimizer that scales its steps makes
    much of gradients that are next to zero.

    Attributes:
        outputs: of losses and outputs.
        changes: of what a weight moved by.
    """

    outputs: float
    changes: float


TOLERANCES = {  # by precision
    "fp32": Tolerance(1e-3, 0.1),
    "tf32": Tolerance(1e-2, 0.3),
    "bf16": Tolerance(2e-2, 0.3),
    "fp16": Tolerance(2e-2, 0.3),
}


@cache
def _stream_of(device: int) -> torch.cuda.Stream:
    """The one stream for recordings on a device: cuBLAS keeps memory of its own for each stream that it sees."""
    return torch.cuda.Stream(device)


class Recorder:
    """Records work of one run, or of one stack; all its graphs share memory, so one must not run beside another.

    Args:
        generators: all that the work draws random numbers from; a replay draws on from where they are.
    """

    _all_failures = 0  # of all recordings of this process: each leaves generators with new states

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self._generators = tuple(generators)
        self._stream = _stream_of(torch.cuda.current_device())
        self.begin_anew()

    @property
    def is_sound(self) -> bool:
        """Whether its graphs may be replayed: no recording has failed in this process since it began."""
        return self._failures == Recorder._all_failures

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
            RuntimeError: work cannot be recorded. Torch then is as it was before, but graphs of the same
                generators must not be replayed any more: they would draw the same numbers again.
        """
        graph = torch.cuda.CUDAGraph()
        for generator in self._generators:
            graph.register_generator_state(generator)
        before = torch.cuda.current_stream()
        try:
            with (
                torch.cuda.graph(
                    graph,
                    pool=self._pool,
                    stream=self._stream,
                    capture_error_mode="thread_local",  # what other threads do is no part of it
                ),
                _without_collector(),
            ):
                return graph, work()
        except BaseException:
            Recorder._all_failures += 1
            stop_allocating(self._pool)
            _let_go(before, (*self._generators, *torch.cuda.default_generators))
            raise

    def begin_anew(self) -> None:
        """Forget the memory of graphs that are let go: torch takes none up again that a gradient still lies in."""
        self._pool = torch.cuda.graph_pool_handle()
        self._failures = Recorder._all_failures


@contextmanager
def _without_collector() -> Iterator[None]:
    """While what Python collects could wait for the device, or free a graph, amid a recording."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _let_go(stream: torch.cuda.Stream, generators: Iterable[torch.Generator]) -> None:
    """Undo what a recording that failed leaves behind in torch: its stream, and generators that it still records."""
    torch.cuda.set_stream(stream)
    for generator in generators:
        if generator.device.type == "cuda":
            generator.graphsafe_set_state(generator.clone_state())


def size_of(tensors: Sequence[Tensor]) -> float:
    """Euclidean norm of all of them together."""
    return torch.stack(norms([*tensors])).norm().item() if tensors else 0.0


def apart(these: Sequence[Tensor], those: Sequence[Tensor], allowed: float) -> bool:
    """Whether they are further apart than is allowed; of what is not finite, whether the other is."""
    finite = [math.isfinite(size_of(tensors)) for tensors in (these, those)]
    if not all(finite):
        return finite[0] != finite[1]
    return size_of([a - b for a, b in zip(these, those, strict=True)]) > allowed
