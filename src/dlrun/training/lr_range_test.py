"""The learning-rate range test: train a little while the rate rises; where the loss falls, and where it leaves."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dlrun.errors import RunFailed
from dlrun.tracking.matplotlib_settings import library_settings
from dlrun.tracking.numbers import number_text
from dlrun.training.logged_points import Pending
from dlrun.training.loop import Engine

_DIVERGED = 4.0  # times the lowest loss so far, at which there is nothing more to learn
_MEMORY = 0.9  # of the running mean by which that is decided
_PATIENCE = 0.1  # share of the steps before which the loss may still jump
_SMOOTHING = (
    0.03  # standard deviation of the kernel that smooths the curve, as a share of the steps
)


_NEAR_THE_END = 0.95  # of the steps: a loss that is lowest beyond still falls


@dataclass(frozen=True)
class RangeTest:
    """What the test saw.

    Attributes:
        rates, losses: of each step; the loss is that before the step.
        smoothed: the losses, each with its neighbours.
        diverged: whether the test ended because the loss had left.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    diverged: bool

    @property
    def lowest(self) -> int:
        """The step with the lowest smoothed loss."""
        return int(self.smoothed.argmin())

    @property
    def still_falls(self) -> bool:
        """Whether the edge was not reached: the rates that follow from where it is then say nothing."""
        return not self.diverged and self.lowest >= _NEAR_THE_END * len(self.rates)

    @property
    def steepest_rate(self) -> float:
        """Where the smoothed loss falls fastest over the logarithm of the rate."""
        slopes = np.gradient(self.smoothed, np.log(self.rates))
        return float(self.rates[slopes[: self.lowest + 1].argmin()])

    @property
    def lowest_rate(self) -> float:
        """Where the smoothed loss is lowest: on the edge of leaving."""
        return float(self.rates[self.lowest])

    @property
    def suggested_rate(self) -> float:
        """A tenth of the rate with the lowest loss, two digits: safely below the edge."""
        return float(f"{self.lowest_rate / 10:.2g}")


def range_test(engine: Engine, *, low: float, high: float, steps: int) -> RangeTest:
    """Train `engine` for `steps` steps while its learning rate rises exponentially from `low` to `high` (Smith, 2017).

    Everything else is as the run would have it: its optimizer, augmentation and batches, from its seed. The
    engine is used up.

    Raises:
        RunFailed: the loss did not fall at any of these rates.
    """
    rates = np.geomspace(low, high, steps)
    base = engine.descent.learning_rate
    engine.descent.multiplier = lambda step: float(rates[step]) / base
    losses = _losses(engine, steps)
    diverged = len(losses) < steps or not math.isfinite(losses[-1])
    finite = np.array(losses[: -1 if not math.isfinite(losses[-1]) else None])
    smoothed = smooth(finite, _SMOOTHING * steps)
    found = RangeTest(rates[: len(finite)], finite, smoothed, diverged)
    if len(finite) < 3 or not found.lowest:
        raise RunFailed(
            f"the loss did not fall at any rate from {low:g} to {high:g}: test lower rates with --from, "
            "more of them with --steps, or see whether the model can learn at all with trainer.overfit_batches=1"
        )
    return found


def _losses(engine: Engine, steps: int) -> list[float]:
    """The loss before each step, until it has left."""
    losses: list[float] = []
    mean, lowest = 0.0, math.inf
    engine.freezing.train(engine.model)
    while True:
        engine.begin_epoch(epoch := engine.step // engine.steps_per_epoch, 0)
        for inputs, targets in engine.batches.epoch(epoch):
            engine.train_step(inputs, targets)
            engine.step += 1
            losses.append(_mean_loss(engine))
            mean = _MEMORY * mean + (1 - _MEMORY) * losses[-1]
            unbiased = mean / (1 - _MEMORY ** len(losses))
            lowest = min(lowest, unbiased)
            left = len(losses) > _PATIENCE * steps and unbiased > _DIVERGED * lowest
            if len(losses) == steps or left or not math.isfinite(losses[-1]):
                return losses


def _mean_loss(engine: Engine) -> float:
    """Of the step just made, per sample; what the engine keeps of it for a log is let go."""
    pending, engine.pending = engine.pending, Pending()
    loss, size = pending.losses[-1].cpu().double(), pending.sizes[-1]
    return float(engine.task.total(loss, loss.new_tensor(size)).item()) / size


def smooth(values: np.ndarray, deviation: float) -> np.ndarray:
    """Each value as the mean of its neighbours, weighted by a Gaussian; a running mean would lag behind."""
    steps = np.arange(len(values))
    weights = np.exp(-0.5 * ((steps[:, None] - steps) / max(deviation, 1e-9)) ** 2)
    return np.asarray(weights @ values / weights.sum(1))


def write_curve(test: RangeTest, path: Path) -> None:
    """The test as CSV: learning_rate, loss, smoothed_loss."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["learning_rate", "loss", "smoothed_loss"])
        writer.writerows(zip(test.rates, test.losses, test.smoothed, strict=True))


@library_settings()
def draw_curve(test: RangeTest, path: Path, *, title: str) -> None:
    """The test as PNG: the loss over the logarithm of the rate, with what follows from it, if anything does."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.8), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.plot(test.rates, test.losses, color="#b8c4d6", linewidth=1, label="loss of each batch")
    axes.plot(test.rates, test.smoothed, color="#1f77b4", linewidth=2, label="smoothed")
    if not test.still_falls:
        _draw_rates(axes, test)
    # What lies above the start is the end of a test, and would flatten all the rest.
    floor, ceiling = float(test.smoothed.min()), float(test.smoothed[: test.lowest + 1].max())
    margin = 0.15 * (ceiling - floor)
    axes.set_ylim(floor - margin, ceiling + 3 * margin)
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss", title=title)
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize=9)
    figure.savefig(path)


def _draw_rates(axes: Any, test: RangeTest) -> None:
    suggested = f"suggested {number_text(test.suggested_rate, digits=2)}: a tenth of the lowest"
    for rate, colour, style, label in (
        (test.suggested_rate, "#2ca02c", "-", suggested),
        (
            test.steepest_rate,
            "#9467bd",
            "--",
            f"steepest {number_text(test.steepest_rate, digits=2)}",
        ),
        (test.lowest_rate, "#d62728", ":", f"lowest {number_text(test.lowest_rate, digits=2)}"),
    ):
        axes.axvline(rate, color=colour, linestyle=style, label=label)
