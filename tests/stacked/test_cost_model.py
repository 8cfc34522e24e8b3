"""What the choice between a stack and runs in turn goes by: the operations of a step, counted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from stacks import engine
from torch import nn

from dlrun.stacked import cost_model
from dlrun.stacked.cost_model import (
    CPU,
    LAUNCHED,
    REPLAYED,
    Prices,
    Work,
    _work,
    gain,
    prices_of,
    work_of,
)
from dlrun.stacked.stack import Stack
from dlrun.training.device import Device
from dlrun.training.loop import Engine

CPU_WORDS = ("dataset=digits", "trainer.accelerator=cpu", "trainer.num_threads=1")


def two_and_one(*words: str) -> tuple[Stack, Engine]:
    """A stack of two that has made a step, and one of them alone."""
    stack = Stack([engine(*CPU_WORDS, *words) for _ in range(2)], eval_rows=10)
    inputs, targets = next(stack.batches.epoch(0))
    stack.train_step(inputs, targets)
    return stack, engine(*CPU_WORDS, *words)


def gain_of(*words: str, runs: int) -> float:
    """Of so many runs as one."""
    stack, alone = two_and_one(*words)
    return gain(alone, stack, runs)


def test_the_flops_of_products_are_those_of_the_textbook() -> None:
    x, matrix, many = torch.zeros(5, 7), torch.zeros(7, 3), torch.zeros(4, 7, 3)
    assert work_of(lambda: x @ matrix) == Work(
        calls=1, flops=2 * 5 * 7 * 3, bytes=4 * (35 + 21 + 15)
    )
    together = work_of(lambda: torch.bmm(x.expand(4, 5, 7), many))
    assert together.flops == 4 * 2 * 5 * 7 * 3


@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution_is_a_layer_of_a_library_and_its_way_back_costs_twice(groups: int) -> None:
    layer = nn.Conv2d(4, 6, 3, groups=groups)
    x = torch.zeros(2, 4, 8, 8, requires_grad=True)
    there = work_of(lambda: layer(x))
    flops = 2 * (2 * 6 * 6 * 6) * (4 // groups * 9)  # 6x6 pixels of 6 filters, for 2 images
    kind = (
        "layer_flops" if groups == 1 else "grouped_flops"
    )  # which a GPU's library may do at another pace
    assert (there.layer_calls, getattr(there, kind)) == (1, flops)
    scores = layer(x).sum()
    back = work_of(lambda: scores.backward())
    assert getattr(back, kind) == back.layer_flops + back.grouped_flops == 2 * flops


def test_a_fused_recurrent_layer_is_one_call_with_the_flops_of_its_matrices() -> None:
    layer = nn.LSTM(3, 5, batch_first=True)
    work = work_of(lambda: layer(torch.zeros(2, 7, 3)))
    assert work.layer_calls == 1
    assert work.flops == 2 * (2 * 7) * (4 * 5 * 3 + 4 * 5 * 5)


def test_a_view_costs_a_call_and_moves_nothing() -> None:
    work = work_of(lambda: torch.zeros(3, 4).t().select(0, 1))
    assert (work.calls, work.views, work.bytes) == (1, 2, 4 * 3 * 4)
    assert work.seconds(CPU) == pytest.approx(3 * CPU.call + 48 * CPU.byte)


def test_a_cell_that_a_gpu_computes_at_once_is_an_ordinary_kernel() -> None:
    gates = [torch.zeros(4, 12), torch.zeros(4, 12), torch.zeros(4, 3)]
    assert _work("_thnn_fused_lstm_cell", gates, gates) == {"calls": 1}


@pytest.mark.parametrize(
    ("kind", "replayed", "prices"),
    [
        ("cpu", False, CPU),
        ("cpu", True, CPU),
        ("cuda", False, LAUNCHED),
        ("cuda", True, REPLAYED),
        ("mps", False, LAUNCHED),
    ],
)
def test_graphs_have_prices_of_their_own(kind: str, replayed: bool, prices: Prices) -> None:
    run: Any = SimpleNamespace(device=Device(torch.device(kind), "fp32"))
    assert prices_of(run, replayed=replayed) is prices


def test_runs_that_are_graphs_in_turn_are_compared_with_a_stack_that_is_one_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ("model=mlp", "model.hidden=[64]")
    monkeypatch.setattr(cost_model, "prices_of", as_if_on_a_gpu)
    found = {}
    for alone, as_one in ((True, True), (True, False), (False, False)):
        monkeypatch.setattr(cost_model, "is_replayed", lambda two, as_one=as_one: as_one)
        stack, engine_ = two_and_one(*words)
        engine_.captured = (lambda *batch: None) if alone else None  # type: ignore[assignment]
        found[alone, as_one] = gain(engine_, stack, 64)
    # What spares launches already gains less by a stack, and least by one that has to launch each kernel.
    assert found[True, False] < found[True, True] < found[False, False]
    assert found[True, True] > 10


def as_if_on_a_gpu(engine: Engine, *, replayed: bool) -> Prices:
    return REPLAYED if replayed else LAUNCHED


def test_the_price_of_a_stack_grows_with_its_work_and_not_with_its_calls() -> None:
    work = Work(calls=10, flops=1e6)
    one, three = work.seconds(CPU), work.seconds(CPU, share=3)
    assert three - one == pytest.approx(2 * 1e6 * CPU.flop)


@pytest.mark.parametrize(
    ("words", "runs", "pays"),
    [
        (("model=logistic",), 2, False),
        (("model=logistic",), 16, True),
        (("model=mlp", "model.hidden=[64]"), 16, True),
        (("model=mlp", "model.hidden=[1024,1024]"), 16, False),
        (("model=cnn", "model.filters=[4,8]"), 16, True),
        (("model=lstm", "model.hidden_size=8"), 16, True),
        (("model=lstm", "model.hidden_size=128", "trainer.batch_size=128"), 16, False),
    ],
)
def test_small_steps_are_worth_stacking_and_large_ones_are_not(
    words: tuple[str, ...], runs: int, pays: bool
) -> None:
    found = gain_of(*words, runs=runs)
    assert (found > 1) is pays, found


def test_the_same_shapes_give_the_same_answer_whatever_else_the_machine_does() -> None:
    words = ("model=mlp", "model.hidden=[16]", "model.dropout=0.1")
    assert len({gain_of(*words, f"seed={seed}", runs=8) for seed in range(3)}) == 1
