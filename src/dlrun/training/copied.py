"""Numbers that a GPU computes and copies while the host goes on, and the time between two moments of its work."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor


class Copied:
    """Tensors of one device, which are on the CPU, in float64, when they are read.

    From a GPU they go by one copy to pinned memory, for which nobody waits before that.
    """

    def __init__(self, parts: Sequence[Tensor]) -> None:
        self._shapes = [part.shape for part in parts]
        device = parts[0].device
        if device.type == "mps":  # which has no float64
            parts = [part.cpu() for part in parts]
        self._numbers = torch.cat([part.detach().flatten().double() for part in parts])
        self._arrived: torch.cuda.Event | None = None
        if device.type not in ("cpu", "mps"):
            pinned = torch.empty(self._numbers.shape, dtype=torch.float64).pin_memory()
            self._numbers = pinned.copy_(self._numbers, non_blocking=True)
        if device.type == "cuda":
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def read(self) -> list[Tensor]:
        """Wait until they are there."""
        if self._arrived is not None:
            self._arrived.synchronize()
        sizes = [shape.numel() for shape in self._shapes]
        parts = self._numbers.split(sizes)
        return [part.view(shape) for part, shape in zip(parts, self._shapes, strict=True)]


class Clock(Protocol):
    """Notes moments of a run's work."""

    def moment(self) -> Any:
        """The present one."""

    def seconds(self, first: Any, second: Any) -> float:
        """From one moment to another; both are over."""


class HostClock:
    """By the time of the host, for work that is done when the host goes on."""

    def moment(self) -> float:
        """As of `Clock`."""
        return time.perf_counter()

    def seconds(self, first: float, second: float) -> float:
        """As of `Clock`."""
        return second - first


class DeviceClock:
    """By the time of a GPU, which does its work when the host has gone on already."""

    def moment(self) -> torch.cuda.Event:
        """As of `Clock`: when the device has done all that it was given so far."""
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, first: torch.cuda.Event, second: torch.cuda.Event) -> float:
        """As of `Clock`."""
        second.synchronize()  # torch refuses to measure to what has not been
        return first.elapsed_time(second) / 1000
