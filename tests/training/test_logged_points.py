"""The values of a logged point, which a run alone and a stack make by the same functions."""

from types import SimpleNamespace

import pytest
import torch

from dlrun.training import copied, logged_points
from dlrun.training.logged_points import Rate, mean_losses


def task(reduction: str) -> logged_points.Task:
    total = logged_points.Task.total
    made = SimpleNamespace(reduction=reduction)
    made.total = lambda losses, sizes: total(made, losses, sizes)
    return made


def test_a_mean_loss_weighs_each_batch_by_its_samples():
    losses, sizes = torch.tensor([1.0, 4.0]), [3, 1]
    assert mean_losses(task("mean"), losses, sizes).item() == (3 * 1.0 + 1 * 4.0) / 4
    assert mean_losses(task("sum"), losses, sizes).item() == (1.0 + 4.0) / 4


def test_the_mean_losses_of_a_stack_are_those_of_each_run_bit_for_bit():
    losses = torch.rand(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sizes = [32] * 6 + [5]
    alone = [mean_losses(task("mean"), row, sizes).item() for row in losses.T]
    assert mean_losses(task("mean"), losses, sizes).tolist() == alone


def test_a_rate_leaves_out_evaluations_and_samples_of_an_earlier_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(copied.time, "perf_counter", lambda: clock.now)
    rate = Rate(uncounted=10)
    clock.now = 2.0
    assert rate.ended(30) == (30 - 10) / 2
    clock.now = 5.0  # an evaluation
    rate.restart()
    clock.now = 6.0
    assert rate.ended(30) == 30
