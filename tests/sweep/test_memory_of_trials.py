"""A run that is over keeps no memory until Python looks for cycles: the next trial may need all of it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from optuna.trial import Trial
from scratch import Look, Result
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef

from dlrun.stacked.loop import StackedFit
from dlrun.training import build, cuda_graph
from dlrun.training.loop import Engine
from emulated_graphs import Emulation

Dlrun = Callable[..., Result]
Looks = Callable[..., Look]

WORDS = (
    "dataset=iris", "trainer.max_epochs=2", "trainer.num_threads=1",
    "tracking.tensorboard=false", "hydra.sweep.dir=sweep", "optimizer=sgd",
)  # fmt: skip
CPU = "trainer.accelerator=cpu"
SEEDS = "seed=range(0,{})".format
COMPILED = "trainer.compile=true"
PRUNING = "sweep.pruner=median"

gpu = pytest.mark.gpu
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


class Watched:
    """Which parameters of the engines made since are still there."""

    def __init__(self) -> None:
        self.engines: list[list[weakref.ref[Any]]] = []

    def note(self, engine: Engine) -> None:
        averaged = () if engine.averaged is None else engine.averaged.parameters()
        each = (*engine.model.parameters(), *averaged)
        self.engines.append([weakref.ref(parameter) for parameter in each])

    @property
    def alive(self) -> list[int]:
        """The numbers of engines with a parameter that is not gone."""
        found = enumerate(self.engines)
        return [number for number, each in found if any(one() is not None for one in each)]


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    """Engines as they are made, in a process that never looks for cycles."""
    watched = Watched()

    class Noted(Engine):
        def __init__(self, **parts: Any) -> None:
            super().__init__(**parts)
            watched.note(self)

    monkeypatch.setattr(build, "Engine", Noted)
    gc.disable()
    yield watched
    gc.enable()


def calls_itself(model: nn.Module, **_: Any) -> None:
    """A compiled model without its compiler: it names itself, too."""
    model._compiled_call_impl = model._call_impl


@pytest.mark.parametrize("stack", ["off", "on"])
@pytest.mark.parametrize(
    ("words", "ended"),
    [
        pytest.param(("model=mlp", SEEDS(50)), ["completed"] * 50, id="50 trials", marks=pytest.mark.slow),
        pytest.param(("model=mlp", SEEDS(2), "trainer.ema_decay=0.9"), ["completed"] * 2, id="averages"),
        pytest.param(("model=mlp", SEEDS(3), "optimizer=schedule_free"), ["completed"] * 3, id="schedule-free"),
        pytest.param(("model=mlp", "optimizer.lr=0.1,1e38"), ["completed", "failed"], id="one diverges"),
        pytest.param(("model=net", "model.width=8,13"), ["completed", "failed"], id="one has a bug"),
        pytest.param(("model=mlp", "model.hidden=[4],[5]", COMPILED), ["completed"] * 2, id="compiled"),
        pytest.param(("model=mlp", SEEDS(3), PRUNING), ["completed", "pruned", "pruned"], id="pruned"),
    ],
)  # fmt: skip
def test_no_parameter_of_an_ended_trial_is_alive(
    words: tuple[str, ...],
    ended: list[str],
    stack: str,
    dlrun: Dlrun,
    look: Looks,
    watched: Watched,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAISE", "13")
    monkeypatch.setattr(nn.Module, "compile", calls_itself)
    monkeypatch.setattr(torch.compiler, "reset", int)
    monkeypatch.setattr(Trial, "should_prune", lambda one: PRUNING in words and one.number > 0)
    dlrun("train", "-m", *WORDS, CPU, f"sweep.stack={stack}", *words)
    assert [look().summary(run)["status"] for run in look().runs] == ended
    assert len(watched.engines) >= len(ended)
    assert watched.alive == []


@pytest.mark.parametrize("stack", ["off", "on"])
def test_no_parameter_of_a_run_that_was_trained_by_graphs_is_alive(
    stack: str, dlrun: Dlrun, watched: Watched, emulated_graphs: Emulation, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(cuda_graph, "_why_not_its_step", lambda _: None)
    words = (
        "model=mlp",
        SEEDS(2),
        "trainer.max_epochs=10",
        f"sweep.stack={stack}",
        "trainer.cuda_graph=auto",
    )
    assert dlrun("train", "-m", *WORDS, CPU, *words).code == 0
    assert emulated_graphs.replays > 0
    assert watched.alive == []


def test_a_stack_that_goes_on_with_fewer_runs_leaves_the_weights_of_all_behind(
    dlrun: Dlrun, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[int, bool]] = []  # of a stack, before some of its runs ended

    def noting(fit: StackedFit) -> None:
        # Not of the tensor itself: the weights of each run are views of the same memory.
        before = StorageWeakRef(fit.stack.weights.values.untyped_storage())
        size = len(fit.stack.engines)
        let_go(fit)
        if 0 < len(fit.stack.engines) < size:
            sizes.append((size, not before.expired()))

    let_go = StackedFit._let_go
    monkeypatch.setattr(StackedFit, "_let_go", noting)
    lr = "optimizer.lr=0.1,0.01,1e38,0.001"
    assert dlrun("train", "-m", *WORDS, CPU, "model=mlp", "sweep.stack=on", lr).code == 1
    assert sizes == [(4, False)]


@gpu
@needs_cuda
@pytest.mark.slow
@pytest.mark.parametrize("stack", ["off", "on"])
def test_50_trials_on_a_gpu_take_no_more_of_its_memory_than_a_few(stack: str, dlrun: Dlrun) -> None:
    common = ("model=mlp", "model.hidden=[2048,2048]", "sweep.max_stack=5", f"sweep.stack={stack}")

    def most(seeds: int) -> int:
        torch.cuda.reset_peak_memory_stats()
        folder = f"hydra.sweep.dir=of{seeds}"
        assert dlrun("train", "-m", *WORDS, *common, SEEDS(seeds), folder).code == 0
        return torch.cuda.max_memory_allocated()

    gc.collect()
    gc.disable()
    try:
        few, many = most(5), most(50)
    finally:
        gc.enable()
    assert many <= 1.1 * few
