"""Stacked steps as CUDA graphs: they come to what steps taken one by one come to, whatever differs between the runs."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from stacks import DIGITS, assert_same_answers, engine
from test_same_answers import MLP, OPTIMIZERS

from dlrun.models.dropout import Dropout
from dlrun.stacked import stretches
from dlrun.stacked.stack import Stack
from dlrun.stacked.stretches import Stretches
from dlrun.training.engine_state import engine_state
from emulated_graphs import Emulation
from older_torch import skip_without_muon
from unread import on_device, watched

STEPS = 5 * 8  # of an epoch the last one has a short batch


@pytest.fixture(autouse=True)
def short_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stretches, "usual_counts", lambda room: [4, 2, 1])


def slow(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


def trained(
    common: Sequence[str],
    each: Sequence[str],
    *,
    by_graphs: bool,
    steps: int = STEPS,
    leaves: int | None = None,
) -> Stack:
    """A stack after so many steps; one run leaves it at a step."""
    words = (*common, "trainer.max_epochs=50")
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


COMMON = (
    *MLP, "model.batch_norm=before", "model.dropout=0.3", "trainer.batch_size=24",
    "trainer.precision=fp32",
)  # fmt: skip
AUGMENTED = (
    "model=cnn", "model.filters=[4]", "model.dense=[]",
    "dataset.augment={shift: 1, flip: true, noise: 0.1, mixup: 0.4}",
)  # fmt: skip
EACH = ["optimizer.lr=0.01", "schedule=cosine seed=1", "schedule=linear optimizer.lr=0.002"]
FAST = ("adam", next(o for o in OPTIMIZERS if o.startswith("schedule_free")))


@pytest.mark.parametrize(
    "optimizer",
    [o if o in FAST else slow(o) for o in OPTIMIZERS],
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
        (("optimizer=adamw", "trainer.accumulate=3"), ["optimizer.weight_decay=0.1", "optimizer.beta1=0.8"]),
        slow(("loss.reduction=sum", "optimizer=sgd"), ["loss.label_smoothing=0.1", "optimizer.lr=0.001"]),
        (AUGMENTED, ["seed=0", "seed=1 dataset.split_seed=3"]),
        slow(("trainer.precision=bf16", "optimizer=adam"), EACH),
    ],
    ids=["limits", "parts", "sum", "augmented", "bf16"],
)  # fmt: skip
def test_graphs_hold_all_that_a_step_has(
    common: tuple[str, ...], each: list[str], emulated_graphs: Emulation
) -> None:
    words = (*COMMON, *common)
    if "model=cnn" in common:
        words = (*DIGITS, *COMMON[-3:], *common)
    assert_equal_stacks(*(trained(words, each, by_graphs=g) for g in (False, True)))
    assert emulated_graphs.captures == 4


@pytest.fixture
def keyed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks of dropout come from seeds and counts, as on a GPU."""

    def take(layer: Dropout, *generators: Any) -> None:
        usual(layer, *generators)
        layer.draw_by_key()

    usual = Dropout.take
    monkeypatch.setattr(Dropout, "take", take)


@pytest.mark.usefixtures("keyed")
def test_masks_of_all_runs_are_made_at_once_and_in_graphs_without_generators(
    emulated_graphs: Emulation,
) -> None:
    common = (*COMMON, "model.hidden=[16,8]")
    each = [f"{own} model.dropout={rate}" for own, rate in zip(EACH, (0.1, 0.5, 0.3), strict=True)]
    alone, replayed = (trained(common, each, by_graphs=g) for g in (False, True))
    assert_equal_stacks(alone, replayed)
    assert emulated_graphs.captures == 4
    assert not replayed.drawn_from
    masks = [engine_state(run)["masks"] for run in (*alone.engines, *replayed.engines)]
    assert masks == [[STEPS, STEPS]] * 6
    assert_same_answers(
        (*MLP, "model.hidden=[16,8]", "trainer.accumulate=2"),
        ["model.dropout=0.2", "model.dropout=0.5 seed=1"],
        epochs=2,
    )


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


@pytest.mark.parametrize("optimizer", ["adam", slow("schedule_free")])
def test_an_evaluation_of_all_runs_is_a_graph_that_reads_the_weights_of_the_moment(
    optimizer: str, emulated_graphs: Emulation
) -> None:
    if optimizer == "schedule_free":
        pytest.importorskip("schedulefree")
    words = (*COMMON, f"optimizer={optimizer}", "trainer.max_epochs=50")
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


@pytest.mark.parametrize(
    "words",
    [
        slow(("optimizer=momentum", "model=cnn", "model.filters=[2]", "model.dense=[]",
         "dataset.augment={shift: 1, flip: true, noise: 0.1}")),
        ("optimizer=adam", "optimizer.clip_norm=0.1", "optimizer.l1=0.1"),
        slow(("optimizer=adagrad", "trainer.accumulate=2")),
        ("optimizer=schedule_free",),
    ],
)  # fmt: skip
def test_the_steps_of_a_graph_ask_nothing_of_the_host(words: tuple[str, ...]) -> None:
    if "optimizer=schedule_free" in words:
        pytest.importorskip("schedulefree")
    common = ("dataset=digits", "model=mlp", "model.batch_norm=before", "model.dropout=0.1")
    if "model=cnn" in words:
        common = ("dataset=digits", "model.dropout=0.1")
    runs = [on_device(*common, *words, *own.split()) for own in EACH[:2]]
    stack = Stack(runs, eval_rows=50)
    taken = Stretches(stack, by_graphs=False)
    with watched():
        rows = stack.batches.orders(0)[:, :32]
        taken._send(rows, (stack.descent.advance(step) for step in range(2)))
    with watched() as found:
        taken._work(2, 16)
    assert not found.of_host
    with watched():
        stack.train_step(*stack.batches.read(rows[:, :16]))


def test_a_stack_that_is_over_keeps_nothing_until_python_looks_for_cycles(
    emulated_graphs: Emulation,
) -> None:
    words = (*COMMON, "trainer.max_epochs=50")
    gc.collect()
    gc.disable()
    try:
        stack = Stack([engine(*words, *own.split()) for own in EACH], eval_rows=97)
        taken = Stretches(stack, by_graphs=True)
        while not emulated_graphs.captures:
            taken.advance()
        stack.validation_metrics()
        stack.validation_metrics()
        left = [weakref.ref(stack), weakref.ref(stack.weights.values), weakref.ref(taken)]
        stack.keep([])
        taken.begin_anew()
        del stack, taken
        assert [one() for one in left] == [None] * 3
    finally:
        gc.enable()


gpu = pytest.mark.gpu
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
ON_GPU = "trainer.accelerator=cuda"


def assert_close_stacks(common: Sequence[str], caplog: pytest.LogCaptureFixture) -> None:
    """Graphs hold what steps one by one do, but for what kernels round otherwise each time."""
    caplog.set_level("INFO", logger="dlrun")
    one, other = (trained((*common, ON_GPU), EACH, by_graphs=g) for g in (False, True))
    said = [r.getMessage() for r in caplog.records if r.name == stretches.__name__]
    assert [line.startswith("a CUDA graph holds") for line in said] == [True] * 4, said
    assert one.pending.sizes == other.pending.sizes
    losses, others = (torch.stack(stack.pending.losses) for stack in (one, other))
    torch.testing.assert_close(others, losses, rtol=5e-2, atol=1e-2)
    for kind in ("weights", "running statistics"):
        for a, b in zip(one.changing()[kind], other.changing()[kind], strict=True):
            assert (a - b).double().norm() <= 0.05 * a.double().norm(), kind
    assert torch.equal(*(torch.cat(stack.pending.targets, 1) for stack in (one, other)))
    for a, b in zip(one.engines, other.engines, strict=True):
        assert torch.equal(a.generator.get_state(), b.generator.get_state())


@gpu
@needs_cuda
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_on_a_gpu_a_graph_of_steps_does_what_they_do_one_by_one(
    optimizer: str, caplog: pytest.LogCaptureFixture
) -> None:
    if optimizer.startswith("schedule_free"):
        pytest.importorskip("schedulefree")
    assert_close_stacks((*COMMON, *f"optimizer={optimizer}".split()), caplog)


@gpu
@needs_cuda
@pytest.mark.parametrize(
    "words",
    [
        ("optimizer=momentum", "optimizer.clip_norm=0.1", "optimizer.l1=0.001"),
        ("optimizer=adamw", "trainer.accumulate=3", "optimizer.weight_decay=0.1"),
        ("optimizer=adam", "trainer.precision=bf16"),
    ],
)
def test_on_a_gpu_graphs_hold_all_that_a_step_has(
    words: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    assert_close_stacks((*COMMON, *words), caplog)


@gpu
@needs_cuda
def test_on_a_gpu_convolutions_with_augmentation_are_held_by_graphs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert_close_stacks((*DIGITS, *COMMON[-3:], *AUGMENTED), caplog)


@gpu
@needs_cuda
def test_on_a_gpu_stacked_steps_do_not_wait_for_the_device() -> None:
    words = (*COMMON, ON_GPU, "optimizer=adam", "trainer.max_epochs=50")
    stack = Stack([engine(*words, *own.split()) for own in EACH], eval_rows=97)
    taken = Stretches(stack, by_graphs=True)
    while stack.lead.step < 32:
        taken.advance()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        while stack.lead.step < 40:
            taken.advance()
        stack.train_step(*stack.batches.read(stack.batches.orders(5)[:, :24]))
    finally:
        torch.cuda.set_sync_debug_mode("default")
