"""torch.cuda's graphs on the CPU, operation by operation.

While a graph is captured, each operation of torch is noted with the tensors that it reads and writes; afterwards
all is undone, since a capture computes nothing. A replay does the noted operations again on the same tensors, and
no Python of the captured function. So a number that Python decides anew at each step, such as a learning rate or a
count of steps, stays what it was, and a host that asks for a number fails, as on a card.

What it cannot show: errors and speed of kernels, streams, and memory that a graph uses again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from dlrun.system.torch_internals import DispatchMode

# Operations that a host waits for, and those that need memory of a size that only the numbers tell.
_WAIT = {
    "_local_scalar_dense", "equal", "is_nonzero", "nonzero", "masked_select",
    "unique_dim", "_unique2", "unique_consecutive",
}  # fmt: skip
# Their schemas do not tell that they change running means and variances.
_CHANGES_BUFFERS = {"native_batch_norm": (3, 4), "cudnn_batch_norm": (3, 4)}

Mode = Callable[[], AbstractContextManager[Any]]


class Emulation:
    """What was captured so far, for a test to ask.

    Attributes:
        captures: how many graphs were captured.
        replays: how often any of them was replayed.
    """

    def __init__(self) -> None:
        self.captures, self.replays = 0, 0


class EmulatedGraph:
    """Stands for torch.cuda.CUDAGraph."""

    def __init__(self, emulation: Emulation) -> None:
        self.emulation = emulation
        self.generators: list[torch.Generator] = [torch.default_generator]
        self.operations: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any, Mode]] = []

    def register_generator_state(self, generator: torch.Generator) -> None:
        """As of torch: the captured work may draw from it."""
        self.generators.append(generator)

    def pool(self) -> tuple[int, int]:
        """As of torch: what says which memory it uses."""
        return (0, id(self))

    def reset(self) -> None:
        """As of torch: let all of it go."""
        self.operations = []

    def replay(self) -> None:
        """Do all noted operations again."""
        assert self.operations, "nothing was captured, or it was reset"
        self.emulation.replays += 1
        with torch._C._AutoDispatchBelowAutograd():  # as where they were noted
            for operation, args, kwargs, results, mode in self.operations:
                with mode():
                    _replace(results, operation(*args, **kwargs))


class _Capture(DispatchMode):
    """Notes all operations, and undoes them when it ends."""

    def __init__(self, graph: EmulatedGraph) -> None:
        super().__init__()
        self.graph = graph
        self.before: dict[int, tuple[Tensor, Tensor]] = {}  # what is changed, and what it was
        self.made: set[int] = set()  # storages that came into being meanwhile
        self.states = [generator.get_state() for generator in graph.generators]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        _refuse(func, args, kwargs, self.graph.generators)
        for tensor in _written(func, args, kwargs):
            if _storage(tensor) not in self.made and id(tensor) not in self.before:
                self.before[id(tensor)] = (tensor, tensor.detach().clone())
        results = func(*args, **kwargs)
        known = {_storage(tensor) for tensor in _tensors((args, kwargs))}
        self.made |= {_storage(tensor) for tensor in _tensors(results)} - known
        self.graph.operations.append((func, args, kwargs, results, _mode()))
        return results

    def undo(self) -> None:
        with torch.no_grad():
            for tensor, value in reversed(self.before.values()):  # views may overlap
                tensor.copy_(value)
        for generator, state in zip(self.graph.generators, self.states, strict=True):
            generator.set_state(state)


def _refuse(func: Any, args: Any, kwargs: Any, generators: Sequence[torch.Generator]) -> None:
    """Raise what a capture would."""
    name = func._schema.name.removeprefix("aten::")
    leaves = tree_leaves((args, kwargs))
    by_mask = name in ("index", "index_put", "index_put_") and any(
        isinstance(leaf, Tensor) and leaf.dtype in (torch.bool, torch.uint8)
        for leaf in tree_leaves(args[1])
    )
    sized = name == "repeat_interleave" and kwargs.get("output_size") is None
    if name in _WAIT or by_mask or sized:
        raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing ({name})")
    for leaf in leaves:
        # Each operation is handed an object of its own for the same generator.
        if isinstance(leaf, torch.Generator) and not any(
            torch.equal(leaf.get_state(), known.get_state()) for known in generators
        ):
            raise RuntimeError("a generator was not registered with the graph")


def _written(func: Any, args: Any, kwargs: Any) -> list[Tensor]:
    declared = func._schema.arguments
    given = [*zip(declared, args, strict=False)]
    given += [(one, kwargs[one.name]) for one in declared if one.name in kwargs]
    values = [value for one, value in given if one.alias_info and one.alias_info.is_write]
    positions = _CHANGES_BUFFERS.get(func._schema.name.removeprefix("aten::"), ())
    return _tensors([*values, *(args[at] for at in positions if at < len(args))])


def _mode() -> Mode:
    """The modes of torch that are on: some kernels leave more behind where there will be gradients."""
    if torch.is_inference_mode_enabled():
        return torch.inference_mode
    return torch.enable_grad if torch.is_grad_enabled() else torch.no_grad


def _replace(noted: Any, new: Any) -> None:
    """Put new results where the noted ones are; views and what was changed in place are there already."""
    for old, value in zip(_tensors(noted), _tensors(new), strict=True):
        if _storage(old) != _storage(value):
            old.copy_(value)


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr() or id(tensor)


def emulate(monkeypatch: pytest.MonkeyPatch) -> Emulation:
    """Lets code of this process capture and replay graphs of what it computes on the CPU."""
    emulation = Emulation()
    stream = SimpleNamespace(wait_stream=lambda other: None, synchronize=lambda: None)

    @contextmanager
    def capture(graph: EmulatedGraph, **_: Any) -> Iterator[None]:
        noted = _Capture(graph)
        try:
            with noted:
                yield
        except BaseException:
            graph.reset()
            raise
        finally:
            noted.undo()
        emulation.captures += 1

    def on(_: Any) -> Any:
        return nullcontext()

    replaced = {
        "CUDAGraph": lambda: EmulatedGraph(emulation),
        "graph": capture,
        "graph_pool_handle": lambda: (0, 0),
        "Stream": lambda *_, **__: stream,
        "stream": on,
        "set_stream": lambda _: None,
        "current_device": lambda: 0,
        "current_stream": lambda *_: stream,
        "synchronize": lambda *_: None,
    }
    for name, value in replaced.items():
        monkeypatch.setattr(torch.cuda, name, value)
    return emulation
