"""A logged point of a stack: all its runs' numbers, computed on the device and copied at once.

Shapes: K runs, S steps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dlrun.training.copied import Copied
from dlrun.training.divergence import Diverged, find_divergence
from dlrun.training.logged_points import Pending, Rate, mean_losses, training_point
from dlrun.training.loop import Engine
from dlrun.training.task import StackedScores

Values = dict[str, float]


class StackedPoint:
    """What K runs have to log of the steps that left `pending` behind; it is read when it is written.

    Args:
        gradients: of the last step, all of a run (K, P).
        rate: of the steps, which end here.
    """

    def __init__(
        self, engines: Sequence[Engine], pending: Pending, gradients: Tensor, rate: Rate
    ) -> None:
        self.engines, self.step, self.sizes = [*engines], engines[0].step, pending.sizes
        outputs, targets = torch.cat(pending.outputs, 1), torch.cat(pending.targets, 1)
        variances = [engine.variance["train"] for engine in engines]
        tasks = [engine.task for engine in engines]
        self._scores = StackedScores(tasks, outputs, targets, variances)
        norms = gradients.norm(dim=1)
        self._rate = rate.end(sum(pending.sizes))
        self._numbers = Copied([torch.stack(pending.losses), norms, *self._scores.columns])
        self._rates = []
        for engine in engines:
            engine.descent.schedule(self.step - 1)
            self._rates.append(engine.descent.learning_rate)

    def values(self) -> list[Values | Diverged]:
        """Of each run, by the names that they have in the log."""
        losses, norms, *columns = self._numbers.read()
        failures = diverged(losses, self.engines, self.step)
        means = mean_losses(self.engines[0].task, losses, self.sizes)
        metrics, rate = self._scores.metrics(means, columns), self._rate()
        points: list[Values | Diverged] = []
        each = zip(metrics, self._rates, norms.tolist(), strict=True)
        for row, (of_run, learning_rate, norm) in enumerate(each):
            point = training_point(
                of_run, learning_rate=learning_rate, gradient_norm=norm, rate=rate
            )
            points.append(failures.get(row, point))
        return points


def diverged(losses: Tensor, engines: Sequence[Engine], step: int) -> dict[int, Diverged]:
    """By row, the runs with a loss (S, K) of the steps up to `step` that is not finite."""
    failures: dict[int, Diverged] = {}
    for row in (~losses.isfinite().all(0)).nonzero().flatten().tolist():
        failure = find_divergence(losses[:, row], step=step, latest=engines[row].latest)
        if failure is not None:
            failures[row] = failure
    return failures
