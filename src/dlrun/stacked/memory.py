"""What a stack needs of a device's memory, and what there is."""

from __future__ import annotations

import copy
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dlrun.data.loader import Batches
from dlrun.engine import Engine
from dlrun.models.dropout import draw_from

# Weights, gradients as they come and side by side, the best weights, an update's own intermediates.
_COPIES = 6
_MEMORIES = 3  # of an optimizer, at most
_SHARE = 0.5  # of what is free, which others may want too
_CGROUP = Path("/sys/fs/cgroup")


def sample_bytes(engine: Engine) -> int:
    """What one sample's forward pass leaves in memory for the backward pass, roughly."""
    samples = engine.data.train.first(2)
    model = copy.deepcopy(engine.model).train()
    draw_from(model, [torch.Generator(samples.inputs.device)])
    weights = {tensor.data_ptr() for tensor in model.state_dict().values()}
    seen: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in weights:
            seen[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, _unchanged), engine.device.autocast():
        outputs = model(samples.inputs)
    return (sum(seen.values()) + samples.inputs.nbytes + outputs.nbytes) // len(samples)


def run_bytes(engine: Engine, per_sample: int) -> int:
    """What one more run adds to a stack: its weights many times over, and a batch under way."""
    numbers = sum(p.numel() * p.element_size() for p in engine.model.parameters())
    assert isinstance(engine.batches, Batches)
    batch = max(stop - start for start, stop in engine.batches.bounds)
    # Twice: what the forward pass leaves, and the gradients of it.
    return numbers * (_COPIES + _MEMORIES) + 2 * batch * per_sample


def data_bytes(engine: Engine) -> int:
    """What data of its own adds, where a run does not share that of the others."""
    parts = (engine.data.train, engine.data.val, engine.data.test)
    # Twice: a stack lays the data of its runs side by side.
    return 2 * sum(part.inputs.nbytes + part.targets.nbytes for part in parts)


def room(device: torch.device) -> int:
    """Bytes of the device's memory that a stack may take."""
    if device.type == "cuda":
        return int(_SHARE * torch.cuda.mem_get_info(device)[0])
    return int(_SHARE * min(_free_memory(), _free_in_container()))


def _free_memory() -> int:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable"))
        return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _free_in_container() -> float:
    """Where a control group limits this process, what is left of the limit."""
    with suppress(OSError, ValueError):
        limit, used = ((_CGROUP / f"memory.{n}").read_text() for n in ("max", "current"))
        return int(limit) - int(used)
    return float("inf")


def _unchanged(tensor: Any) -> Any:
    return tensor
