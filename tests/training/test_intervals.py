"""When something is due is known beforehand."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from dlrun.training.intervals import Intervals


@pytest.mark.parametrize(
    ("log", "evaluate", "save", "epoch", "total"),
    [*itertools.product((1, 3, 50), (None, 4, 11), (None, 6), (1, 5, 12), (31,))],
)
def test_steps_until_something_is_due_are_those_after_which_it_is(
    log: int, evaluate: int | None, save: int | None, epoch: int, total: int
) -> None:
    settings: Any = SimpleNamespace(
        log_every_steps=log, eval_every_steps=evaluate, eval_every_epochs=2
    )
    saving: Any = SimpleNamespace(every_steps=save, every_seconds=1e9)
    intervals = Intervals(settings, saving, epoch, total)

    def due(step: int) -> bool:
        return (
            intervals.evaluation_due(step)
            or intervals.logging_due(step)
            or intervals.saving_due(step, float("inf"))
            or step % epoch == 0
        )

    for step in range(total):
        expected = next(count for count in itertools.count(1) if due(step + count))
        assert intervals.until_due(step) == expected
