"""Where a run computes and in which numbers."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dlrun.config.settings import TrainerSettings
from dlrun.errors import ConfigError, RunFailed, command, first_line
from dlrun.system.hardware import NO_TF32, TF32_SINCE, tf32_is_switched_off

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
        """Of parameters and data; tf32, bf16 and fp16 keep those in fp32 and round as they compute."""
        return torch.float64 if self.precision == "fp64" else torch.float32

    @property
    def is_mixed(self) -> bool:
        """Whether layers compute in fewer bits than parameters have."""
        return self.precision in _AUTOCAST

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The context a forward pass runs in: mixed precision, or nothing."""
        if not self.is_mixed:
            return contextlib.nullcontext()
        return torch.autocast(self.torch_device.type, _AUTOCAST[self.precision])


def send(numbers: Tensor, to: Tensor) -> None:
    """Fill a tensor of a device with `numbers` of the host: neither waits for the other."""
    # From memory that may be moved a copy waits until all work before it is done.
    ahead = numbers if to.device.type in ("cpu", "mps") else numbers.pin_memory()
    to.copy_(ahead, non_blocking=True)


def choose(accelerator: str, precision: str, index: int | None = None) -> Device:
    """The device for `accelerator`: with auto CUDA where there is one, then Apple's MPS, else the CPU.

    Of several CUDA devices the one with this `index`, which is this process's from then on.

    Raises:
        ConfigError: it is not there, or cannot compute in `precision`.
    """
    name = kind_of(accelerator)
    if name == "mps" and precision == "fp64":
        raise ConfigError(
            "trainer.precision is fp64, which MPS cannot compute; use fp32 or trainer.accelerator=cpu"
        )
    device = torch.device(name)
    if name == "cuda" and index is not None:
        if index >= torch.cuda.device_count():
            raise _too_few(f"GPU {index} is asked for")
        device = torch.device(name, index)
        torch.cuda.set_device(device)
    if precision == "tf32":
        _require_tf32(device)
    return Device(device, precision)


def _require_tf32(device: torch.device) -> None:
    """Refuse a device without TF32, on which the run would be one in fp32 under another name."""
    reason = ""
    if device.type != "cuda" or torch.version.hip:
        reason = f"only GPUs of NVIDIA multiply in TF32, and the run is on the device {device}"
    elif (capability := torch.cuda.get_device_capability(device)) < TF32_SINCE:
        reason = (
            f"TF32 needs compute capability {TF32_SINCE[0]}.{TF32_SINCE[1]}, and this GPU has "
            f"{capability[0]}.{capability[1]}"
        )
    elif tf32_is_switched_off():
        reason = f"{NO_TF32}=0 in the environment switches TF32 off"
    if reason:
        raise ConfigError(f"trainer.precision is tf32, but {reason}; use fp32")


def index_of(settings: TrainerSettings, local: int | None) -> int | None:
    """Which of the CUDA devices a process takes that is number `local` of its run on this machine.

    None, for the one that torch takes by itself, where the run is of one process and names no device.
    """
    if not isinstance(settings.devices, list):
        return local
    local = local or 0
    return settings.devices[local] if local < len(settings.devices) else local


def count_processes(settings: TrainerSettings) -> int:
    """In how many processes of this machine a run is trained: one for each of its devices.

    Raises:
        ConfigError: there are fewer devices.
    """
    kind, devices = kind_of(settings.accelerator), settings.devices
    named = f"[{','.join(map(str, devices))}]" if isinstance(devices, list) else devices
    there = torch.cuda.device_count() if kind == "cuda" else 0
    if isinstance(devices, list):
        if max(devices) >= there:
            raise _too_few(f"trainer.devices is {named}")
        return len(devices)
    if kind == "mps" and devices not in (1, "all"):
        raise ConfigError(
            f"trainer.devices is {named}, but MPS is one device; use 1, or trainer.accelerator=cpu"
        )
    if devices == "all":
        return max(1, there)
    if kind == "cuda" and int(devices) > there:
        raise _too_few(f"trainer.devices is {named}")
    return int(devices)


def kind_of(accelerator: str) -> str:
    """`cuda`, `mps` or `cpu`.

    Raises:
        ConfigError: there is none of those that are asked for.
    """
    available: dict[str, Callable[[], bool]] = {
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
        "cpu": lambda: True,
    }
    if accelerator == "auto":
        return next(kind for kind, there in available.items() if there())
    if not available[accelerator]():
        raise ConfigError(
            f"trainer.accelerator is {accelerator}, but there is none here (see `{command('doctor')}`); use auto or cpu"
        )
    return accelerator


def _too_few(asked: str) -> ConfigError:
    count = torch.cuda.device_count()
    there = {0: "is no GPU", 1: "is one GPU, 0,"}.get(count, f"are GPUs 0 to {count - 1}")
    return ConfigError(
        f"{asked}, but there {there} here (see `{command('doctor')}`): name fewer, or "
        "use trainer.devices=all or trainer.accelerator=cpu"
    )


def out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that the device or the machine has no memory left."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in _NO_MEMORY)
    )


def memory_share(device: torch.device) -> float:
    """The part of a device's memory that this process may take; 1 where there is no limit, or torch does not tell."""
    told = getattr(torch.cuda, "get_per_process_memory_fraction", None)
    if device.type != "cuda" or told is None:
        return 1.0
    return float(told(torch.cuda.current_device() if device.index is None else device.index))


def count_memory(device: torch.device) -> None:
    """Let `peak_memory` tell of what comes from now on."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> int | None:
    """Bytes of the device that tensors of this process took at a time at most; None where nobody counts them."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


class DeviceLost(RunFailed):
    """An error of a GPU that stays as long as the process: it can compute nothing more, a new one can."""


def require_device() -> None:
    """Ask, after an error, whether this process can still use its GPU, where it uses one.

    Raises:
        DeviceLost: it cannot.
    """
    if not torch.cuda.is_initialized():
        return
    try:
        torch.cuda.synchronize()
    except RuntimeError as error:
        raise DeviceLost(f"the GPU of this process fails ({first_line(error)})") from None


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
