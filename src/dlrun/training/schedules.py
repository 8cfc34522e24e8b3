"""Learning-rate schedules: pure functions from the step to a multiplier of the base learning rate.

A resumed run needs only its step. Each takes `step` (from 0), and of `steps_per_epoch` and
`total_steps` what it uses; `Plateau` alone has a state, since it follows a metric.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from dlrun.config.schema import Count, Fraction, NonNegative, Positive, Share
from dlrun.errors import ConfigError

GIVEN = ("step", "steps_per_epoch", "total_steps")

Multiplier = Callable[[int], float]


def constant(step: int) -> float:
    """1 at every step."""
    return 1.0


def exponential(step: int, *, steps_per_epoch: int, rate: Positive) -> float:
    """rate^epoch, epoch counted from 0 and constant within one (the lectures' exponential decay)."""
    return rate ** (step // steps_per_epoch)


def inverse_sqrt(step: int, *, steps_per_epoch: int) -> float:
    """1 / sqrt(epoch), epoch counted from 1 (the lectures' k/sqrt(epoch) decay)."""
    return 1.0 / math.sqrt(step // steps_per_epoch + 1)


def inverse_time(step: int, *, steps_per_epoch: int, decay: NonNegative) -> float:
    """1 / (1 + decay * epoch), epoch counted from 0 (the lectures' decay rate)."""
    return 1.0 / (1.0 + decay * (step // steps_per_epoch))


def step_decay(step: int, *, steps_per_epoch: int, every_epochs: Count, factor: Positive) -> float:
    """factor^(epoch // every_epochs): a staircase."""
    return factor ** (step // steps_per_epoch // every_epochs)


def cosine(step: int, *, total_steps: int, final: NonNegative) -> float:
    """Half a cosine from 1 to `final` at the last step (Loshchilov and Hutter, 2017, without restarts)."""
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * _progress(step, total_steps)))


def linear(step: int, *, total_steps: int, final: NonNegative) -> float:
    """A straight line from 1 to `final` at the last step."""
    return 1 + (final - 1) * _progress(step, total_steps)


def one_cycle(
    step: int,
    *,
    total_steps: int,
    rise: Fraction,
    initial: NonNegative,
    final: NonNegative,
    shape: Literal["cosine", "linear"],
) -> float:
    """From `initial` up to 1 over the share `rise` of the run, then down to `final`, on half cosines or lines.

    Smith, 2018, "Super-Convergence".
    """
    progress = _progress(step, total_steps)
    if progress < rise:
        return 1 + (initial - 1) * _fall(progress / rise, shape)
    fall = (progress - rise) / (1 - rise) if rise < 1 else 0.0
    return final + (1 - final) * _fall(fall, shape)


def warmup_stable_decay(
    step: int, *, total_steps: int, decay: Fraction, shape: Literal["linear", "sqrt"], final: Share
) -> float:
    """1, then over the share `decay` of the run down to `final`: a line, or 1 - sqrt(progress).

    Hu et al., 2024, "MiniCPM"; the root by Hägele et al., 2024. The rise is `warmup_steps`.
    """
    fall = max(0.0, (_progress(step, total_steps) - (1 - decay)) / decay)
    return final + (1 - final) * (1 - (fall if shape == "linear" else math.sqrt(fall)))


def cosine_restarts(
    step: int, *, steps_per_epoch: int, period: Count, factor: Count, final: NonNegative
) -> float:
    """Half a cosine from 1 to `final` in `period` epochs, again and again, each `factor` times as long as the last.

    SGDR (Loshchilov and Hutter, 2017), step by step within an epoch.
    """
    length = period * steps_per_epoch
    while step >= length:
        step, length = step - length, length * factor
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * step / length))


class Plateau:
    """Multiplies by `factor` after `patience` evaluations in a row without improvement of the monitored metric.

    `observe` is called after each evaluation with whether the metric improved.
    """

    def __init__(self, *, factor: Fraction, patience: Count, minimum: Share) -> None:
        self.factor, self.patience, self.minimum = factor, patience, minimum
        self.multiplier, self.waited = 1.0, 0

    def __call__(self, step: int) -> float:
        return self.multiplier

    def observe(self, *, improved: bool) -> None:
        """Take note of one evaluation."""
        self.waited = 0 if improved else self.waited + 1
        if self.waited >= self.patience:
            self.multiplier = max(self.multiplier * self.factor, self.minimum)
            self.waited = 0

    def state_dict(self) -> dict[str, Any]:
        return {"multiplier": self.multiplier, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.multiplier, self.waited = state["multiplier"], state["waited"]


def bind(
    component: Any, *, warmup_steps: int, steps_per_epoch: int, total_steps: int
) -> Multiplier:
    """The multiplier as a function of the step alone: a linear warm-up, then the configured schedule.

    The schedule itself starts where the warm-up ends, at its own step 0, and ends with the run.

    Raises:
        ConfigError: a warm-up as long as the run.
    """
    if warmup_steps >= total_steps:
        raise ConfigError(
            f"schedule.warmup_steps is {warmup_steps}, but the run has only {total_steps} steps; set it below that"
        )
    if inspect.isclass(component.target):
        main: Multiplier = component()
    else:
        sizes = {"steps_per_epoch": steps_per_epoch, "total_steps": total_steps - warmup_steps}
        wanted = inspect.signature(component.target).parameters
        given = {name: size for name, size in sizes.items() if name in wanted}
        main = partial(component.target, **component.arguments, **given)
    return main if warmup_steps == 0 else WarmedUp(main, warmup_steps)


class WarmedUp:
    """A linear rise from 1/warmup_steps to 1 at step warmup_steps - 1, then `main` from its step 0."""

    def __init__(self, main: Multiplier, warmup_steps: int) -> None:
        self.main, self.warmup_steps = main, warmup_steps

    def __call__(self, step: int) -> float:
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        return self.main(step - self.warmup_steps)


def plateau_of(multiplier: Multiplier) -> Plateau | None:
    """The part of a bound schedule that has a state, where it has one."""
    inner = multiplier.main if isinstance(multiplier, WarmedUp) else multiplier
    return inner if isinstance(inner, Plateau) else None


def _fall(progress: float, shape: Literal["cosine", "linear"]) -> float:
    """From 1 to 0."""
    return 1 - progress if shape == "linear" else 0.5 * (1 + math.cos(math.pi * progress))


def _progress(step: int, total_steps: int) -> float:
    """0 at the first step, 1 at the last and beyond."""
    return min(1.0, step / max(1, total_steps - 1))
