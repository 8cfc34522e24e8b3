"""Stacked steps as CUDA graphs: they come to what steps taken one by one come to, whatever differs between the runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from stacks import DIGITS, engine
from test_same_answers import MLP, OPTIMIZERS

from dlrun.stacked import stretches
from dlrun.stacked.stack import Stack
from dlrun.stacked.stretches import Stretches
from emulated_graphs import Emulation
from older_torch import skip_without_muon

STEPS = 5 * 8  # of an epoch the last one has a short batch


@pytest.fixture(autouse=True)
def short_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stretches, "usual_counts", lambda room: [4, 2, 1])


def trained(
    common: Sequence[str],
    each: Sequence[str],
    *,
    by_graphs: bool,
    steps: int = STEPS,
    leaves: int | None = None,
) -> Stack:
    """A stack after so many steps; one run leaves it at a step."""
    words = (*common, "trainer.precision=fp32", "trainer.max_epochs=50")
    stack = Stack([engine(*words, *own.split()) for own in each], eval_rows=97)
    taken = Stretches(stack, by_graphs=by_graphs)
    while stack.lead.step < steps:
        taken.advance()
        if leaves is not None and stack.lead.step >= leaves and len(stack.engines) == len(each):
            stack.keep(stack.engines[1:])
            taken.begin_anew()
    return stack


def assert_equal_stacks(one: Stack, other: Stack) -> None:
    assert [e.step for e in one.engines] == [e.step for e in other.engines]
    for kind, tensors in one.changing().items():
        for a, b in zip(tensors, other.changing()[kind], strict=True):
            assert torch.equal(a, b), kind
    assert one.pending.sizes == other.pending.sizes
    assert torch.equal(torch.stack(one.pending.losses), torch.stack(other.pending.losses))
    for rows in ("outputs", "targets"):
        assert torch.equal(*(torch.cat(getattr(s.pending, rows), 1) for s in (one, other)))
    for a, b in zip(one.engines, other.engines, strict=True):
        assert torch.equal(a.generator.get_state(), b.generator.get_state())


COMMON = (*MLP, "model.batch_norm=before", "model.dropout=0.3", "trainer.batch_size=24")
EACH = ["optimizer.lr=0.01", "schedule=cosine seed=1", "schedule=linear optimizer.lr=0.002"]
FAST = ("adagrad", "adam", "schedule_free", "muon optimizer.decay_biases_and_norms=false")


@pytest.mark.parametrize(
    "optimizer",
    [o if o.startswith(FAST) else pytest.param(o, marks=pytest.mark.slow) for o in OPTIMIZERS],
)
def test_a_graph_of_steps_does_what_they_do_one_by_one(
    optimizer: str, emulated_graphs: Emulation
) -> None:
    skip_without_muon(optimizer)
    if optimizer.startswith("schedule_free"):
        pytest.importorskip("schedulefree")
    common = (*COMMON, *f"optimizer={optimizer}".split())
    assert_equal_stacks(*(trained(common, EACH, by_graphs=g) for g in (False, True)))
    # After three steps by themselves: of 4, then of 4, 2 and 1, and then of the short batch as well.
    assert emulated_graphs.captures == 4
    assert emulated_graphs.replays == 1 + 3 + 3 + 4 + 4


@pytest.mark.parametrize(
    ("common", "each"),
    [
        (
            ("optimizer=momentum",),
            ["optimizer.l1=0.01", "optimizer.clip_norm=0.1", "optimizer.clip_value=0.05"],
        ),
        (("optimizer=adamw", "trainer.accumulate=3"), ["optimizer.weight_decay=0.1", *EACH[1:]]),
        (("loss.reduction=sum", "optimizer=sgd"), ["loss.label_smoothing=0.1", "optimizer.lr=0.001"]),
        (
            ("model=cnn", "model.filters=[4]", "model.dense=[]",
             "dataset.augment={shift: 1, flip: true, noise: 0.1, mixup: 0.4}"),
            ["seed=0", "seed=1 dataset.split_seed=3"],
        ),
        (("trainer.precision=bf16", "optimizer=adam"), EACH),
    ],
    ids=["limits", "parts", "sum", "augmented", "bf16"],
)  # fmt: skip
def test_graphs_hold_all_that_a_step_has(
    common: tuple[str, ...], each: list[str], emulated_graphs: Emulation
) -> None:
    words = (*COMMON, *common)
    if "model=cnn" in common:
        words = (*DIGITS, *COMMON[-2:], *common)
    assert_equal_stacks(*(trained(words, each, by_graphs=g) for g in (False, True)))
    assert emulated_graphs.captures == 4


def test_a_run_that_leaves_has_the_graphs_made_anew(emulated_graphs: Emulation) -> None:
    assert_equal_stacks(*(trained(COMMON, EACH, by_graphs=g, leaves=7) for g in (False, True)))
    assert emulated_graphs.captures == 1 + 4


def test_a_graph_that_does_something_else_is_said_and_the_stack_goes_on_without(
    emulated_graphs: Emulation,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def shrink(stack: Stack, *batch: Any) -> None:
        """A step with a number that Python knows anew each time: a graph keeps the one of its recording."""
        learn(stack, *batch)
        with torch.no_grad():
            stack.weights.values[1] *= next(numbers)

    learn = Stack.learn
    monkeypatch.setattr(Stack, "learn", shrink)
    numbers = iter([0.9] * 8)
    alone = trained(COMMON, EACH, by_graphs=False, steps=8)
    # Four are spent on the recording.
    numbers = iter([0.9] * 3 + [0.5] * 4 + [0.9] * 5)
    assert_equal_stacks(alone, trained(COMMON, EACH, by_graphs=True, steps=8))
    said = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert said == [
        "the steps of 3 runs as one come to something else as CUDA graphs (outputs differ): going on without"
    ]


def test_steps_that_cannot_be_recorded_are_taken_one_by_one(
    emulated_graphs: Emulation,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def failing(*_: Any, **__: Any) -> Any:
        raise RuntimeError("operation not permitted\nmore lines")

    alone = trained(COMMON, EACH, by_graphs=False)
    monkeypatch.setattr(torch.cuda, "graph", failing)
    assert_equal_stacks(alone, trained(COMMON, EACH, by_graphs=True))
    said = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert said == [
        "the steps of 3 runs as one cannot be captured as CUDA graphs (operation not permitted): going on without"
    ]


@pytest.mark.parametrize("optimizer", ["adam", "schedule_free"])
def test_an_evaluation_of_all_runs_is_a_graph_that_reads_the_weights_of_the_moment(
    optimizer: str, emulated_graphs: Emulation
) -> None:
    if optimizer == "schedule_free":
        pytest.importorskip("schedulefree")
    words = (*COMMON, f"optimizer={optimizer}", "trainer.precision=fp32", "trainer.max_epochs=50")
    found = []
    for by_graphs in (False, True):
        stack = Stack([engine(*words, *own.split()) for own in EACH], eval_rows=97)
        taken = Stretches(stack, by_graphs=by_graphs)
        taken.by_graphs = False  # the steps are taken one by one
        metrics = []
        for _ in range(4):
            taken.advance()
            metrics.append(stack.validation_metrics())
        stack.keep(stack.engines[1:])
        taken.begin_anew()
        found.append([*metrics, stack.validation_metrics()])
    assert found[0] == found[1]
    assert (emulated_graphs.captures, emulated_graphs.replays) == (1, 3)
