"""A loss that is no longer a finite number: found among the steps of a run, and said in one line.

Shapes: S steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dlrun.errors import RunFailed
from dlrun.tracking.numbers import number_text


class Diverged(RunFailed):
    """The loss became NaN or infinite.

    Args:
        latest: the newest values that were finite; losses and metrics among them are shown.
    """

    def __init__(self, step: int, latest: Mapping[str, float]) -> None:
        self.step = step
        good = [f"{name} {number_text(value)}" for name, value in latest.items() if "/" in name]
        super().__init__(
            f"the loss is not a finite number at step {step} (last good values: {', '.join(good) or 'none'}); most "
            "likely the learning rate is too high: lower optimizer.lr, or set schedule.warmup_steps or "
            "optimizer.clip_norm"
        )


def refuse_divergence(losses: Sequence[Tensor], *, step: int, latest: Mapping[str, float]) -> None:
    """Refuse to log or save what steps up to `step` have left, of which each has its loss in `losses`.

    Raises:
        Diverged: one of them is not finite.
    """
    if losses and (failure := find_divergence(torch.stack([*losses]), step=step, latest=latest)):
        raise failure


def find_divergence(losses_S: Tensor, *, step: int, latest: Mapping[str, float]) -> Diverged | None:
    """The first of the S steps up to `step` whose loss is not finite; None where all are."""
    finite = losses_S.isfinite()
    if finite.all():
        return None
    first = int((~finite).nonzero()[0])
    before = {"train/loss": losses_S[first - 1].item()} if first else {}
    return Diverged(step - len(finite) + first + 1, {**latest, **before})
