"""A logged point of training: what the steps that it ends left behind, and the values made of that.

Shapes: S steps, K runs of a stack; one run alone has losses (S,), a stack (S, K).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from dlrun.training.task import Task


@dataclass
class Pending:
    """What the steps since the last logged point left behind, looked at only when it is logged.

    Keeping it costs next to nothing; metrics at every step would slow a small model down by a
    tenth, and reading them would make a GPU wait.
    """

    losses: list[Tensor] = field(default_factory=list)  # scalars, or (K,), one a step
    sizes: list[int] = field(default_factory=list)  # samples of one run, one a step
    outputs: list[Tensor] = field(default_factory=list)
    targets: list[Tensor] = field(default_factory=list)


class Rate:
    """Samples per second from one logged point to the next, without the time of evaluations.

    Args:
        uncounted: samples that are pending already, of an earlier process.
    """

    def __init__(self, *, uncounted: int = 0) -> None:
        self._uncounted, self._started = uncounted, time.perf_counter()

    def restart(self) -> None:
        """Leave out the time until now."""
        self._started = time.perf_counter()

    def ended(self, samples: int) -> float:
        """The rate of the `samples` that end here; the next ones begin."""
        now = time.perf_counter()
        rate = (samples - self._uncounted) / (now - self._started)
        self._uncounted, self._started = 0, now
        return rate


def mean_losses(task: Task, losses: Tensor, sizes: Sequence[int]) -> Tensor:
    """Means over the samples of all steps, () or (K,), from losses (S,) or (S, K) and the sizes of the batches."""
    counts = losses.new_tensor(sizes).view(-1, *[1] * (losses.ndim - 1))
    return task.total(losses, counts).sum(0) / sum(sizes)


def training_point(
    metrics: Mapping[str, float], *, learning_rate: float, gradient_norm: float, rate: float
) -> dict[str, float]:
    """The values of a point, by the names that they have in the log."""
    return {
        **{f"train/{name}": value for name, value in metrics.items()},
        "lr": learning_rate,
        "gradient_norm": gradient_norm,
        "samples_per_second": rate,
    }
