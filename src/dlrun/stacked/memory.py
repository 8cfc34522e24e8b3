"""How much memory a stack takes: estimated before it is made, and measured where the device counts it."""

from __future__ import annotations

import gc

import torch
from torch import Tensor

from dlrun.data.loaders import Batches
from dlrun.models.cells import copied
from dlrun.models.dropout import use_generators
from dlrun.system.hardware import free_memory
from dlrun.training.cuda_graph import may_be_stacked
from dlrun.training.device import memory_share
from dlrun.training.device_errors import free_cache
from dlrun.training.loop import Engine

# Weights, gradients as they come and side by side, the best weights, an update's own intermediates.
_COPIES = 6
_MEMORIES = 3  # of an optimizer, at most
# Of weights, gradients and the optimizer's memory: as they were, and as steps and their graph leave them.
_TRACES = 3
_HELD = (
    2**30
)  # by graphs, of batches and outputs, and copies of them: twice what a stretch of steps may have
_SHARE = 0.5  # of what is free, which others may want too
_SAMPLES = 2, 4  # whose forward passes are compared: what both leave is not a sample's


class StackTooLarge(Exception):
    """So many runs as one need more memory than there is; `runs` of them.

    It keeps nothing of the error that has shown it, whose traceback holds the memory.
    """

    def __init__(self, runs: int) -> None:
        super().__init__(f"out of memory with {runs} runs trained as one")
        self.runs = runs


class Memory:
    """That of a device, for one stack: what there was before it, and what it takes.

    This one does not count what is taken, as that of a CPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def free(self) -> int:
        """Bytes that this process may still take."""
        return free_memory()

    def taken(self) -> int | None:
        """Bytes that were taken at a time at most, beside what was when this was made; None where nobody counts."""
        return None

    def give_back(self) -> None:
        """Return what nobody uses any more, to this process and to others."""
        gc.collect()  # engines and what refers to them


class CardMemory(Memory):
    """That of a CUDA device, as torch's allocator counts it."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        torch.cuda.reset_peak_memory_stats(device)
        self._allocated = torch.cuda.memory_allocated(device)
        self._reserved = torch.cuda.memory_reserved(device)

    def free(self) -> int:
        """As above: what no process has, and what torch keeps of freed blocks, within the limit of this process."""
        free, total = torch.cuda.mem_get_info(self.device)
        allocated = torch.cuda.memory_allocated(self.device)
        kept = torch.cuda.memory_reserved(self.device) - allocated
        limit = int(memory_share(self.device) * total) - allocated
        return max(0, min(free + kept, limit))

    def taken(self) -> int:
        """As above. What graphs keep for their replays is reserved, but allocated while they are captured only."""
        allocated = torch.cuda.max_memory_allocated(self.device) - self._allocated
        return max(allocated, torch.cuda.max_memory_reserved(self.device) - self._reserved)

    def give_back(self) -> None:
        free_cache()


def memory_of(device: torch.device) -> Memory:
    """The memory of the device, from now on."""
    return CardMemory(device) if device.type == "cuda" else Memory(device)


def room(memory: Memory, engine: Engine) -> int:
    """Bytes of the device's memory that runs like `engine` may take as a stack."""
    return int(_SHARE * memory.free()) - (_HELD if may_be_stacked(engine) else 0)


def run_bytes(engine: Engine, per_sample: int) -> int:
    """What one more run adds to a stack: its weights many times over, and a batch under way."""
    numbers = sum(p.numel() * p.element_size() for p in engine.model.parameters())
    assert isinstance(engine.batches, Batches)
    batch = max(stop - start for start, stop in engine.batches.bounds)
    # Twice: what the forward pass leaves, and the gradients of it.
    need = numbers * (_COPIES + _MEMORIES) + 2 * batch * per_sample
    if may_be_stacked(
        engine
    ):  # graphs have memory of their own, and are compared with steps without them
        need += numbers * _TRACES * (2 + _MEMORIES) + 2 * batch * per_sample
    return need


def sample_bytes(engine: Engine) -> int:
    """What one sample's forward pass leaves in memory for the backward pass, roughly."""
    few, more = (engine.data.train.first(count) for count in _SAMPLES)
    left = _left_by(engine, few.inputs)
    if len(more) == len(few):
        return left // len(few)
    # What does not grow with the samples, as weights in bf16, does not count.
    return max(1, (_left_by(engine, more.inputs) - left) // (len(more) - len(few)))


def data_bytes(engine: Engine) -> int:
    """What data of its own adds, where a run does not share that of the others."""
    parts = (engine.data.train, engine.data.val, engine.data.test)
    # Twice: a stack lays the data of its runs side by side.
    return 2 * sum(part.inputs.nbytes + part.targets.nbytes for part in parts)


def _left_by(engine: Engine, inputs: Tensor) -> int:
    """Bytes that a forward pass of these inputs leaves for the backward pass, with inputs and outputs."""
    model = copied(engine.model).train()
    use_generators(model, [torch.Generator(inputs.device)])
    weights = {tensor.data_ptr() for tensor in model.state_dict().values()}
    seen: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in weights:
            seen[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, _unchanged), engine.device.autocast():
        outputs = model(inputs)
    return sum(seen.values()) + inputs.nbytes + outputs.nbytes


def _unchanged(tensor: Tensor) -> Tensor:
    return tensor
