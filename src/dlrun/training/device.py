"""Where a run computes and in which numbers."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from dlrun.errors import ConfigError, command

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
# As torch says it where it has no error of a kind of its own.
_NO_MEMORY = ("can't allocate memory", "Storage size calculation overflowed", "Invalid buffer size")
_ASKED = re.compile(r"allocate (\d+) bytes")


@dataclass(frozen=True)
class Device:
    """A torch device and the precision to use on it."""

    torch_device: torch.device
    precision: str

    @property
    def dtype(self) -> torch.dtype:
        """Of parameters and data; bf16 and fp16 keep those in fp32 and cast as they compute."""
        return torch.float64 if self.precision == "fp64" else torch.float32

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The context a forward pass runs in: mixed precision, or nothing."""
        if self.precision not in _AUTOCAST:
            return contextlib.nullcontext()
        return torch.autocast(self.torch_device.type, _AUTOCAST[self.precision])


def choose(accelerator: str, precision: str) -> Device:
    """The device for `accelerator`: with auto CUDA where there is one, then Apple's MPS, else the CPU.

    Raises:
        ConfigError: it is not there, or cannot compute in `precision`.
    """
    available: dict[str, Callable[[], bool]] = {
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
        "cpu": lambda: True,
    }
    name = accelerator
    if accelerator == "auto":
        name = next(kind for kind, there in available.items() if there())
    elif not available[accelerator]():
        raise ConfigError(
            f"trainer.accelerator is {accelerator}, but there is none here (see `{command('doctor')}`); use auto or cpu"
        )
    if name == "mps" and precision == "fp64":
        raise ConfigError(
            "trainer.precision is fp64, which MPS cannot compute; use fp32 or trainer.accelerator=cpu"
        )
    return Device(torch.device(name), precision)


def out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that the device or the machine has no memory left."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in _NO_MEMORY)
    )


@contextlib.contextmanager
def enough_memory(key: str, remedy: str) -> Iterator[None]:
    """While what `key` describes is made.

    Raises:
        ConfigError: there is too little memory for it: what was asked for, and the `remedy`.
    """
    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise
        asked = _ASKED.search(str(error))
        size = f" ({int(asked[1]) / 2**30:,.1f} GiB at once)" if asked else ""
        raise ConfigError(f"{key} needs more memory than there is{size}: {remedy}") from error
