"""Whether runs can be trained as one is found out by trying; what cannot be is not."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from stacks import DIGITS, engine
from torch import Tensor, nn

from dlrun.stacked.grouping import layout, no_rule, probe_stack
from dlrun.stacked.stack import Stack
from dlrun.training.loop import Engine

MLP = (*DIGITS, "model=mlp", "model.hidden=[8]", "model.batch_norm=before", "model.dropout=0.1")


class Wrapped(nn.Module):
    """A linear model of the user's own, with something in its way."""

    def __init__(self, change: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.change, self.layer = change, nn.Linear(64, 10)
        self.dropout = nn.Dropout(0.5)
        self.register_buffer("mean", torch.zeros(10))
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.layer(x.flatten(1))
        return self.change(self, scores)


def runs_of(change: Callable[[Any, Tensor], Tensor]) -> list[Engine]:
    """Two runs of such a model."""
    runs = [engine(*DIGITS, "model=logistic", f"seed={seed}") for seed in (0, 1)]
    for run in runs:
        run.model = Wrapped(change)
        run.descent.optimizer.param_groups[0]["params"] = list(run.model.parameters())
        run.descent.parameters = list(run.model.parameters())
    return runs


def reason(change: Callable[[Any, Tensor], Tensor]) -> str | None:
    return probe_stack(Stack(runs_of(change), eval_rows=100))


def follow_mean(model: Any, scores: Tensor) -> Tensor:
    """A running mean that is assigned, not changed in place."""
    if model.training:
        model.mean = 0.5 * model.mean + 0.5 * scores.detach().mean(0)
    return scores - model.mean


def test_a_model_of_the_users_own_may_be_stacked() -> None:
    assert reason(lambda model, scores: torch.tanh(scores)) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda model, scores: model.dropout(scores), "the model draws random numbers"),
        (lambda model, scores: scores + torch.randn_like(scores), "the model draws random numbers"),
        (lambda model, scores: scores if scores.sum() > 0 else -scores, "the model cannot be batched: "),
        (lambda model, scores: scores * scores.detach().norm().item(), "the model cannot be batched: "),
    ],
    ids=["torch_dropout", "noise", "control_flow", "item"],
)  # fmt: skip
def test_what_cannot_be_batched_is_said_on_one_line(
    change: Callable[[Any, Tensor], Tensor], said: str
) -> None:
    why = reason(change)
    assert why is not None
    assert why.startswith(said)
    assert "\n" not in why


@pytest.mark.parametrize("draw", [random.random, np.random.rand], ids=["python", "numpy"])
def test_a_model_that_draws_from_a_state_that_runs_would_share_is_not_stacked(
    draw: Callable[[], float],
) -> None:
    def noisy(model: Any, scores: Tensor) -> Tensor:
        return scores * draw() if model.training else scores

    assert "random" in str(reason(noisy))


def test_a_buffer_that_is_assigned_in_training_is_kept_for_each_run() -> None:
    runs, singles = runs_of(follow_mean), runs_of(follow_mean)
    for run, single in zip(runs, singles, strict=True):
        run.model.load_state_dict(single.model.state_dict())
    assert probe_stack(Stack(runs_of(follow_mean), eval_rows=100)) is None
    stack = Stack(runs, eval_rows=100)
    for inputs, targets in stack.batches.epoch(0):
        stack.train_step(inputs, targets)
    for run, single in zip(runs, singles, strict=True):
        for inputs, targets in single.batches.epoch(0):
            single.train_step(inputs, targets)
        torch.testing.assert_close(run.model.state_dict(), single.model.state_dict())


def test_a_forward_pass_that_goes_by_another_way_than_its_layers_is_noticed() -> None:
    runs = [engine(*DIGITS, "model=mlp", "model.hidden=[8]") for _ in range(2)]
    for run in runs:
        layer = next(m for m in run.model.modules() if isinstance(m, nn.Linear))
        layer.register_forward_hook(lambda module, inputs, output: output * 2)
    assert "other outputs" in str(probe_stack(Stack(runs, eval_rows=100)))


def test_an_optimizer_of_the_users_own_is_named() -> None:
    class Mine(torch.optim.SGD):
        """Whatever it does."""

    runs = [engine(*MLP) for _ in range(2)]
    for run in runs:
        run.descent.optimizer = Mine(run.descent.parameters, lr=0.1)
    with pytest.raises(KeyError):  # nobody builds a stack before he has asked
        Stack(runs, eval_rows=100)


def test_a_try_draws_from_no_random_state_that_others_use() -> None:
    runs = [engine(*MLP, "optimizer=adam", f"seed={seed}") for seed in (0, 1)]
    stack = Stack(runs, eval_rows=100)
    shared = torch.get_rng_state()
    assert probe_stack(stack) is None
    assert torch.equal(torch.get_rng_state(), shared)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("dataset=char_lm", "model=char_rnn"), "its hidden state from batch to batch"),
        (("dataset=text_lines", "model=text_cnn"), "texts of different lengths"),
        (("dataset=image_folder", "model=logistic", "dataset.in_memory=false"), "read from their files"),
        (("dataset=text_lines", "model=text_cnn", "dataset.tokens.bucketing=false"), None),
    ],
)  # fmt: skip
def test_of_batches_that_are_not_read_for_many_runs_it_is_said_why(
    words: tuple[str, ...], why: str | None
) -> None:
    found = no_rule(engine(*words, "trainer.accelerator=cpu"))
    assert found is None if why is None else why in str(found)


def test_runs_fit_together_by_their_sizes_and_by_how_far_they_are() -> None:
    first, second = (engine(*MLP, f"seed={seed}") for seed in (0, 1))
    assert layout(first) == layout(second)
    second.step = 3
    assert layout(first) != layout(second)
    for words in (("trainer.batch_size=7",), ("dataset.val_fraction=0.5",), ("model.hidden=[9]",)):
        assert layout(engine(*MLP, *words)) != layout(first)
