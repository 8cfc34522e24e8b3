"""A logged point of training: what the steps that it ends left behind, and the values made of that.

Shapes: S steps, K runs of a stack; one run alone has losses (S,), a stack (S, K).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dlrun.training.copied import Clock, HostClock
from dlrun.training.divergence import refuse_divergence
from dlrun.training.ranks import Ranks
from dlrun.training.task import Scores, Task


@dataclass
class Pending:
    """What the steps since the last logged point left behind, looked at only when it is logged.

    Keeping it costs next to nothing; metrics at every step would slow a small model down by a
    tenth, and reading them would make a GPU wait.
    """

    losses: list[Tensor] = field(default_factory=list)  # scalars, or (K,), one a step
    sizes: list[int] = field(default_factory=list)  # samples of one run, one a step
    outputs: list[Tensor] = field(default_factory=list)  # of a step, a part of it, or several
    targets: list[Tensor] = field(default_factory=list)
    # Of several ranks, how many of the steps, the first ones, are those of all of them.
    whole: int = field(default=0, init=False)

    def end_step(self, *, counts: bool) -> None:
        """Have one entry of the last step, as of each before; without its rows where they do not count."""
        last = len(self.losses) - 1
        for rows in (self.outputs, self.targets):
            rows[last:] = [torch.cat(rows[last:])[: None if counts else 0]]
        if not counts:
            self.sizes[last] = 0

    def begin_with_whole(self) -> None:
        """Take what is there for that of all ranks, of which each step is to have one entry."""
        self.whole = len(self.losses)
        for rows in (self.outputs, self.targets):
            rows[:] = [torch.cat(rows), *(rows[0][:0] for _ in self.losses[1:])] if rows else []

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""
        return {name: value for name, value in vars(self).items() if name != "whole"}


class Rate:
    """Samples per second from one logged point to the next, without the time of evaluations.

    Args:
        uncounted: samples that are pending already, of an earlier process.
    """

    def __init__(self, *, uncounted: int = 0, clock: Clock | None = None) -> None:
        self._clock = clock or HostClock()
        self._uncounted, self._started = uncounted, self._clock.moment()

    def restart(self) -> None:
        """Leave out the time until now."""
        self._started = self._clock.moment()

    def end(self, samples: int) -> Callable[[], float]:
        """What gives the rate of the `samples` that end here, once the device has come so far; the next ones begin."""
        start, now, count = self._started, self._clock.moment(), samples - self._uncounted
        self._uncounted, self._started = 0, now
        return lambda: count / self._clock.seconds(start, now)

    def ended(self, samples: int) -> float:
        """The rate of the `samples` that end here; the next ones begin."""
        return self.end(samples)()


class Point:
    """A logged point of one run, computed on its device, and read when it is written.

    Args:
        step: the one that it ends.
        pending: what its steps left behind.
        gradient_norm: a scalar.
        variance: of the training targets, as `Task.scores` takes it.
    """

    def __init__(
        self,
        step: int,
        pending: Pending,
        task: Task,
        variance: Tensor,
        *,
        gradient_norm: Tensor,
        learning_rate: float,
        rate: Callable[[], float],
    ) -> None:
        self.step, self.task, self.sizes = step, task, pending.sizes
        self.learning_rate, self.rate = learning_rate, rate
        outputs, targets = torch.cat(pending.outputs), torch.cat(pending.targets)
        scores = task.scores_of(outputs, targets, variance)
        others = torch.stack(pending.losses), gradient_norm
        self.scores = Scores(scores, len(targets), others)

    def values(self, latest: Mapping[str, float]) -> dict[str, float]:
        """By the names that they have in the log.

        Raises:
            Diverged: a loss is not a finite number; it names the `latest` values.
        """
        (losses, gradient_norm), scores = self.scores.read()
        refuse_divergence([*losses], step=self.step, latest=latest)
        loss = mean_losses(self.task, losses, self.sizes).item()
        return training_point(
            {"loss": loss, **{name: score.item() for name, score in scores.items()}},
            learning_rate=self.learning_rate,
            gradient_norm=gradient_norm.item(),
            rate=self.rate(),
        )


def gathered(pending: Pending, ranks: Ranks, task: Task) -> Pending:
    """What the steps of all ranks left behind, as those of one process would: outputs and targets on rank 0 alone.

    Of several ranks each step has one entry of each kind. Steps that are whole already stay as they are, so that the
    same comes of it, bit for bit, however often it is gathered in between.
    """
    first = pending.whole
    if ranks.size == 1 or first == len(pending.losses):
        return pending
    losses = torch.stack(pending.losses[first:]).double()
    own = [losses.new_tensor([*map(len, pending.outputs[first:])])]
    own += [losses, losses.new_tensor(pending.sizes[first:])]
    rows_RS, losses_RS, sizes_RS = ranks.each(torch.stack(own)).unbind(1)
    sizes_S = sizes_RS.sum(0)
    # A rank without rows of a batch had the first of it, which another counts.
    sums_S = torch.where(sizes_RS > 0, task.total(losses_RS, sizes_RS), 0).sum(0)
    whole_S = sums_S / sizes_S if task.reduction == "mean" else sums_S
    rows = rows_RS.long().tolist()
    found = Pending(
        [*pending.losses[:first], *whole_S],
        pending.sizes[:first] + sizes_S.long().tolist(),
        pending.outputs[:first] + _by_step(pending.outputs[first:], rows, ranks),
        pending.targets[:first] + _by_step(pending.targets[first:], rows, ranks),
    )
    found.whole = len(pending.losses)
    return found


def _by_step(own: list[Tensor], rows: Sequence[Sequence[int]], ranks: Ranks) -> list[Tensor]:
    """Of each step the rows of all ranks, one rank's after another's, on rank 0; none on the others.

    Args:
        rows: of each rank, how many there are of each step.
    """
    parts = ranks.parts_to_first(torch.cat(own), [*map(sum, rows)])
    if not ranks.first:
        return [part[:0] for part in own]
    each = [part.split(list(of_rank)) for part, of_rank in zip(parts, rows, strict=True)]
    return [torch.cat(of_step) for of_step in zip(*each, strict=True)]


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
