"""When the logged points of a run are written: each at once, or on a GPU when the next is due, which spares a wait."""

from __future__ import annotations

from typing import Protocol, Self

import torch

from dlrun.training.copied import Clock, DeviceClock, HostClock
from dlrun.training.logged_points import Point, Rate
from dlrun.training.ranks import Ranks


class Observer(Protocol):
    """Follows a run and shows it: the loop itself writes and plots nothing."""

    def stepped(self, steps: int) -> None:
        """So many steps were made."""

    def logged(self, step: int, values: dict[str, float]) -> None:
        """A point at `step`: `values` of the training steps since the one before. On a GPU it may come later."""

    def evaluated(self, values: dict[str, float]) -> None:
        """An evaluation was made, of these `values`. What this raises ends the run."""


class PointLog:
    """Has each point of a run written.

    A host that waited for the numbers of a point would leave a GPU without work meanwhile: there a point is written
    when the next one is due, or what must know it, an evaluation or a checkpoint. Then its numbers have long arrived.

    Attributes:
        delayed: whether points are written later than they are due.
        rate: of the steps from one point to the next.
    """

    def __init__(self, *, delayed: bool, clock: Clock) -> None:
        self.delayed, self._clock = delayed, clock
        self.rate = Rate(clock=clock)
        self._waiting: Point | None = None

    @classmethod
    def of(cls, device: torch.device, ranks: Ranks) -> Self:
        """As it is best for a run: of several ranks each must know whether a loss is finite, before any goes on."""
        on_gpu = device.type == "cuda"
        clock: Clock = DeviceClock() if on_gpu else HostClock()
        return cls(delayed=on_gpu and ranks.size == 1, clock=clock)

    def begin(self, uncounted: int) -> None:
        """Training begins, or goes on with so many samples that an earlier process has seen since its last point."""
        self.rate = Rate(uncounted=uncounted, clock=self._clock)

    def log(self, point: Point | None, latest: dict[str, float], observer: Observer) -> None:
        """Log a `point`, None on ranks that do not know it; `latest` takes the values of what is written.

        Raises:
            Diverged: a loss is not finite, of the point that is written.
        """
        self.write(latest, observer)
        self._waiting = point
        if not self.delayed:
            self.write(latest, observer)

    def write(self, latest: dict[str, float], observer: Observer) -> None:
        """Write the point that waits for it, if there is one.

        Raises:
            Diverged: as of `log`.
        """
        if (point := self._waiting) is not None:
            self._waiting = None
            values = point.values(latest)
            latest |= values
            observer.logged(point.step, values)
