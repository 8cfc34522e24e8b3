"""When an evaluation, a logged point or a checkpoint is due: asked after each step, of one run and of a stack alike."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from dlrun.config.settings import CheckpointSettings, TrainerSettings


@dataclass(frozen=True)
class Intervals:
    """The intervals of a run of `total_steps` steps. A `step` is the number of steps made."""

    settings: TrainerSettings
    saving: CheckpointSettings
    steps_per_epoch: int
    total_steps: int

    @property
    def evaluation(self) -> int:
        """Steps from one evaluation to the next."""
        settings = self.settings
        return settings.eval_every_steps or settings.eval_every_epochs * self.steps_per_epoch

    def evaluations(self, step: int) -> int:
        """How many evaluations the steps so far came to."""
        return -(-step // self.evaluation)

    def evaluation_due(self, step: int) -> bool:
        """Whether the last step ends an interval between evaluations, or the run."""
        return step >= self.total_steps or step % self.evaluation == 0

    def logging_due(self, step: int) -> bool:
        """Every so many steps, and at the end of an epoch, unless that leaves a point next to no steps to speak for."""
        every, position = self.settings.log_every_steps, step % self.steps_per_epoch
        left = self.steps_per_epoch - position
        return position == 0 or (position % every == 0 and 2 * left >= every)

    def until_due(self, step: int) -> int:
        """Steps from `step` to the next at which an evaluation, a point or a checkpoint is due, or an epoch ends.

        Only a checkpoint that is due by the clock may come sooner.
        """
        begin, logging = step - step % self.steps_per_epoch, self.settings.log_every_steps
        end = begin + self.steps_per_epoch
        point = _next_multiple(logging, step - begin) + begin
        stops = [self.total_steps, end, _next_multiple(self.evaluation, step)]
        if point < end and self.logging_due(point):
            stops.append(point)
        if self.saving.every_steps is not None:
            stops.append(_next_multiple(self.saving.every_steps, step))
        return min(stops) - step

    def saving_due(self, step: int, saved: float) -> bool:
        """Whether a checkpoint is due: so many steps, or so many seconds after `saved` on the clock of performance."""
        every = self.saving.every_steps
        if every is not None and step % every == 0:
            return True
        return time.perf_counter() - saved >= self.saving.every_seconds


class Steps(Protocol):
    """Takes many steps of a run at a time, from one at which something is due to the next."""

    def epoch(self, number: int, position: int) -> Iterator[int]:
        """Take those of an epoch but for the first `position`: how many were taken each time."""

    def close(self) -> None:
        """Let go of all that it holds."""


def _next_multiple(of: int, after: int) -> int:
    return (after // of + 1) * of
