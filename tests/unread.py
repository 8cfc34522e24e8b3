"""Engines on a device whose numbers the host cannot read: what would wait for a GPU at each step is found without one.

The device is torch's `meta`: its tensors have a shape and no values. To ask for one (`.item()`, `if tensor`, indices by
booleans) is an error there, as is a tensor of the CPU beside one of the device. `Watched` adds what torch lets pass.
Mixed precision is not seen: torch has none on this device.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dlrun.config import settings
from dlrun.config.compose import compose
from dlrun.sweep.data_cache import data_loader
from dlrun.system.torch_internals import DispatchMode, tree_leaves
from dlrun.training import build, optim
from dlrun.training.build import assemble
from dlrun.training.copied import HostClock
from dlrun.training.device import Device
from dlrun.training.loop import Engine
from dlrun.training.optim import Descent
from dlrun.training.point_log import PointLog

META = torch.device("meta")
aten = torch.ops.aten
# Which take the shape of another tensor, and none of its numbers.
_OF_A_SHAPE = {"empty_like", "zeros_like", "ones_like", "full_like", "new_empty", "new_zeros", "new_full"}  # fmt: skip
# What makes a tensor of Python's numbers: on a GPU a copy that waits for all that came before it.
_OF_NUMBERS = (torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor)

# torch has no such kernels for a device without numbers, on which nothing is to be done.
_KERNELS = torch.library.Library("aten", "IMPL")
for _name in ("_fused_sgd_", "_fused_adam_", "_fused_adamw_"):
    for _one in (_name, f"{_name}.tensor_lr"):
        if not torch._C._dispatch_has_kernel_for_dispatch_key(f"aten::{_one}", "Meta"):
            _KERNELS.impl(_one, lambda *args, **kwargs: None, "Meta")


class HostWaits(AssertionError):
    """The host would have to wait for the device, or the device has been given a tensor of the host."""


@dataclass
class Watched:
    """What the operations of a stretch of code asked of the host.

    Attributes:
        of_host: operations on tensors of the CPU alone, and where: no wait, but nothing that a graph can hold.
    """

    of_host: list[str] = field(default_factory=list)


class _Operations(DispatchMode):
    def __init__(self, watched: Watched) -> None:
        super().__init__()
        self.watched = watched

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        copied = _copied_while_the_host_goes_on(func, args, kwargs)
        if copied is not None and copied.device == META:
            return args[0]  # where the numbers would be, for a later look
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        made = func(*args, **kwargs)
        results = [leaf for leaf in tree_leaves(made) if isinstance(leaf, Tensor)]
        devices = {leaf.device.type for leaf in (*given, *results)}
        of_shape = func.overloadpacket.__name__ in _OF_A_SHAPE
        if len(devices) > 1 and copied is None and not of_shape:
            raise HostWaits(f"{func} of tensors of the CPU and of the device at {_place()}")
        if devices == {"cpu"}:
            self.watched.of_host.append(f"{func} at {_place()}")
        return made


class _Calls(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func in _OF_NUMBERS and made.device == META and made is not args[0]:
            raise HostWaits(f"{func.__name__} copies numbers to the device at {_place()}")
        return made


@contextmanager
def watched() -> Iterator[Watched]:
    """Find what a GPU would have to be waited for.

    Raises:
        HostWaits, RuntimeError, NotImplementedError: there is such an operation.
    """
    found = Watched()
    supported = [*_fused_devices(), "meta"]
    with (
        patch("torch.optim.optimizer._get_fused_kernels_supported_devices", lambda: supported),
        # Pinned memory needs a GPU.
        patch.object(Tensor, "pin_memory", _pinned),
        patch("torch.optim.rmsprop._get_capturable_supported_devices", lambda **_: supported),
        patch("torch.optim.adadelta._get_capturable_supported_devices", lambda **_: supported),
        patch("torch.is_autocast_enabled", lambda *_: False),
        _Calls(),
        _Operations(found),
    ):
        yield found


def built(*words: str) -> Engine:
    """The engine of a run on the CPU before its first step; its data may be those of others."""
    plain: Any = OmegaConf.to_container(
        compose(["name=test", "trainer.accelerator=cpu", *words]), resolve=True
    )
    del plain["sweep"]  # no part of a run
    return assemble(settings.parse(plain), load=data_loader).engine


def on_device(*words: str) -> Engine:
    """The engine of a run before its first step, with all that it has on a GPU on the device `meta`."""
    moved = _Moved()
    bare = build._descent

    def descent(parts: Any, freezing: Any, trainer: Any, device: Device, *sizes: int) -> Descent:
        # Before the optimizer looks at the weights.
        moved.module(freezing.model)
        freezing._parameters = {n: moved(p) for n, p in freezing._parameters.items()}
        return bare(parts, freezing, trainer, Device(META, device.precision), *sizes)

    def fused(groups: Any, *devices: str, sharded: bool = False) -> bool | None:
        return None if devices == ("cpu",) else True

    with patch.object(build, "_descent", descent), patch.object(optim, "_fused", fused):
        engine = built(*words)
    if engine.averaged is not None:
        moved.module(engine.averaged)
    for name, value in vars(engine.task.criterion).items():
        if isinstance(value, Tensor):
            setattr(engine.task.criterion, name, moved(value))
    for sides in getattr(engine.augmentation, "sides", {}).values():
        sides.factors, sides.odd = moved(sides.factors), moved(sides.odd)
    dtype = engine.device.dtype
    engine.device = Device(META, "fp64" if dtype == torch.float64 else "fp32")
    engine.data = engine.data.to(META, dtype, channels_last=engine.settings.channels_last)
    feed: Any = engine.batches
    feed.split = engine.data.train
    engine.points = PointLog(delayed=True, clock=HostClock())  # as on a GPU
    return engine


class _Moved:
    """Tensors without values in the place of others, each once."""

    def __init__(self) -> None:
        self.made: dict[
            int, tuple[Tensor, Any]
        ] = {}  # with what was there: its number must stay its own

    def __call__(self, tensor: Tensor) -> Any:
        if tensor.device == META:
            return tensor
        if id(tensor) not in self.made:
            made = torch.empty_like(tensor, device=META)
            if isinstance(tensor, nn.Parameter):
                made = nn.Parameter(made, requires_grad=tensor.requires_grad)
            self.made[id(tensor)] = tensor, made
        return self.made[id(tensor)][1]

    def module(self, model: nn.Module) -> None:
        for layer in model.modules():
            for tensors in (layer._parameters, layer._buffers):
                for name, tensor in tensors.items():
                    if tensor is not None:
                        tensors[name] = self(tensor)  # type: ignore[assignment, index]
            if isinstance(layer, nn.RNNBase):
                layer._flat_weights = [getattr(layer, name) for name in layer._flat_weights_names]


def _fused_devices() -> list[str]:
    from torch.utils._foreach_utils import _get_fused_kernels_supported_devices

    return _get_fused_kernels_supported_devices()


def _pinned(tensor: Tensor, *_: Any) -> Tensor:
    pinned = tensor.clone()
    pinned.is_pinned_here = True  # type: ignore[attr-defined]
    return pinned


def _copied_while_the_host_goes_on(func: Any, args: Any, kwargs: Any) -> Tensor | None:
    """What an operation copies from pinned memory or to it without a wait; None where it does something else."""
    if func not in (aten._to_copy.default, aten.copy_.default):
        return None
    asynchronous = kwargs.get("non_blocking", args[2] if len(args) > 2 else False)
    source = args[1] if func == aten.copy_.default else args[0]
    pinned = any(getattr(end, "is_pinned_here", False) for end in args[:2])
    return source if asynchronous and pinned else None


def _place() -> str:
    """The line of dlrun that is at work."""
    frame = sys._getframe(1)
    while frame.f_back is not None and "/dlrun/" not in frame.f_code.co_filename:
        frame = frame.f_back
    return f"{frame.f_code.co_filename.rpartition('/dlrun/')[2]}:{frame.f_lineno}"
