"""A device that is lost, or has too little memory: said in one line, the run has failed, and nothing asks it again."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, Self

import pytest
import torch
from scratch import Look, Result
from torch import Tensor

from dlrun.commands._train_words import composed_run
from dlrun.config.settings import parse
from dlrun.diagnostics.profiler import profiled
from dlrun.runner.checkpoint_writer import CheckpointWriter
from dlrun.system.torch_internals import DispatchMode
from dlrun.training.device_errors import step_too_large
from dlrun.training.loop import Engine

Dlrun = Callable[..., Result]
Looks = Callable[..., Look]

ASSERT = (
    "CUDA error: device-side assert triggered\n"
    "CUDA kernel errors might be asynchronously reported at some other API call."
)
# 3 steps an epoch; a point at each step, an evaluation after each epoch.
WORDS = (
    "dataset=iris", "model=mlp", "model.hidden=[4]", "trainer.max_epochs=3", "trainer.accelerator=cpu",
    "trainer.num_threads=1", "trainer.log_every_steps=1", "tracking.tensorboard=false",
)  # fmt: skip
RUN = ("train", *WORDS, "hydra.run.dir=run")
SWEEP = ("train", "-m", *WORDS, "hydra.sweep.dir=sweep")


class Card(DispatchMode):
    """Stands for a GPU: once it is lost, whoever uses a tensor in any way gets the same error."""

    def __init__(self, kind: type[RuntimeError]) -> None:
        super().__init__()
        self.kind, self.lost, self.calls = kind, False, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.ask()
        return func(*args, **(kwargs or {}))

    def ask(self, *_: Any, **__: Any) -> None:
        if self.lost:
            raise self.kind(ASSERT)

    def lose(self, owner: Any, name: str, patch: pytest.MonkeyPatch, *, at: int = 1) -> None:
        """Be lost by the call number `at` of a method."""
        usual, calls = getattr(owner, name), []

        def losing(*given: Any, **named: Any) -> Any:
            calls.append(name)
            if len(calls) == at:
                self.lost = True
                self.ask()
            return usual(*given, **named)

        patch.setattr(owner, name, losing)


@pytest.fixture
def card(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Card]:
    """A card in the place of the CPU; a test may say by which error it is lost."""
    now = getattr(torch, "AcceleratorError", RuntimeError)  # a class of its own in newer torch
    card = Card(getattr(request, "param", now))
    save = torch.save

    def saved(*given: Any) -> None:
        card.ask()
        save(*given)

    monkeypatch.setattr(torch, "save", saved)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", card.ask)
    monkeypatch.setattr(torch.cuda, "empty_cache", card.ask)
    with card:
        yield card


slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("owner", "name", "at"),
    [
        pytest.param(Engine, "train_step", 5, id="in a step"),
        pytest.param(Engine, "_training_values", 2, id="where losses are read", marks=slow),
        pytest.param(Engine, "outputs", 2, id="in an evaluation", marks=slow),
        pytest.param(CheckpointWriter, "last", 1, id="in a checkpoint"),
        pytest.param(Engine, "test", 1, id="in the test", marks=slow),
    ],
)
@pytest.mark.parametrize("card", [RuntimeError], indirect=True, ids=["as in older torch"])
def test_a_run_whose_device_is_lost_has_failed_and_says_why_in_a_line(
    owner: type, name: str, at: int, card: Card, dlrun: Dlrun, monkeypatch: pytest.MonkeyPatch
) -> None:
    card.lose(owner, name, monkeypatch, at=at)
    result = dlrun(*RUN)
    assert card.lost
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert result.err.startswith("dlrun: error: an operation on cpu has failed (device-side assert")
    summary = json.loads(Path("run/summary.json").read_text())
    assert (summary["status"], summary["error"]["kind"]) == ("failed", "DeviceLost")
    assert "device-side assert triggered" in summary["error"]["message"]


class _Broken:
    """A profile that cannot be ended."""

    def __init__(self, **_: Any) -> None:
        self.step = int

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> NoReturn:
        raise RuntimeError(ASSERT)


def test_a_profile_that_cannot_be_ended_does_not_hide_how_a_run_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.profiler.profile", _Broken)
    here = (tmp_path, torch.device("cpu"))
    with pytest.raises(IndexError, match="no such row"), profiled(*here, enabled=True):
        raise IndexError("no such row")
    with pytest.raises(RuntimeError, match="device-side"), profiled(*here, enabled=True):
        pass


def test_a_sweep_begins_no_trial_on_a_device_that_another_has_lost(
    card: Card, dlrun: Dlrun, look: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    card.lose(Engine, "_training_values", monkeypatch)
    result = dlrun(*SWEEP, "sweep.stack=off", "optimizer.lr=0.1,0.01,0.001")
    assert result.code == 1
    error, stopped = result.err.splitlines()
    assert error.startswith("dlrun: error: the GPU of this process fails (CUDA error")
    assert "`dlrun resume sweep`" in stopped
    assert look().runs == ["0"]
    assert look().summary(0)["status"] == "failed"
    assert look().states[0] == "fail"
    card.lost = False  # in another process
    dlrun("resume", "sweep")
    assert look().states == ["fail", "complete", "complete"]


# Memory.


def full(*_: Any, **__: Any) -> NoReturn:
    raise torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total ..."
    )


@pytest.mark.parametrize(
    ("owner", "name", "code", "message"),
    [
        pytest.param("dlrun.data.base.Dataset", "to", 2, "dataset needs more memory than there is", id="data"),
        pytest.param("dlrun.training.freezing.Freezing", "enter", 2, "the run needs more memory than", id="rest"),
        pytest.param("dlrun.training.loop.Engine", "learn", 1,
                     "with trainer.batch_size=32: try trainer.batch_size=16, trainer.accumulate=2 (same gradient, half "
                     "the memory), trainer.precision=bf16 or a smaller model", id="a step"),
        pytest.param("dlrun.training.forward", "advance", 1,
                     "in an evaluation with trainer.eval_batch_size=1024: try trainer.eval_batch_size=12 or a smaller",
                     id="an evaluation"),
    ],
)  # fmt: skip
def test_too_little_memory_is_said_in_a_line_with_the_setting_that_helps(
    owner: str, name: str, code: int, message: str, dlrun: Dlrun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{owner}.{name}", full)
    result = dlrun(*RUN)
    assert (result.code, result.err.count("\n")) == (code, 1)
    assert message in result.err


def test_evaluations_of_a_stored_run_name_their_own_batch_size(
    dlrun: Dlrun, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dlrun(*RUN).code == 0
    monkeypatch.setattr("dlrun.training.forward.advance", full)
    result = dlrun("eval", "run")
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert "trainer.eval_batch_size=" in result.err


def test_a_test_of_learning_rates_names_the_batch_size(
    dlrun: Dlrun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "learn", full)
    result = dlrun("lr-find", *WORDS)
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert "with trainer.batch_size=32: try trainer.batch_size=16" in result.err


@pytest.mark.parametrize(
    ("words", "tried"),
    [
        pytest.param([], "trainer.batch_size=16, trainer.accumulate=2 (same gradient, half the memory), "
                         "trainer.precision=bf16 or a smaller model", id="as it is"),
        pytest.param(["trainer.batch_size=full"], "trainer.batch_size=48, trainer.accumulate=2", id="whole data"),
        pytest.param(["trainer.accumulate=4", "trainer.precision=bf16"],
                     "trainer.batch_size=16, trainer.accumulate=8 (same gradient, half the memory) or", id="parts"),
        pytest.param(["trainer.batch_size=1"], "trainer.precision=bf16 or a smaller model", id="one sample"),
    ],
)  # fmt: skip
def test_what_to_try_for_a_smaller_step_differs_from_what_the_run_has(
    words: list[str], tried: str
) -> None:
    trainer = parse(composed_run(["dataset=iris", "model=mlp", *words])).trainer
    assert f": try {tried}" in str(step_too_large(trainer, 96, torch.device("cpu")))


def test_the_memory_that_a_failed_trial_leaves_is_there_for_the_next(
    dlrun: Dlrun, look: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn, freed, gone = Engine.learn, list[int](), list[weakref.ref[Any]]()

    def learned(engine: Engine, *batch: Tensor) -> None:
        activations = torch.ones(3)
        if not gone:
            gone.append(weakref.ref(activations))
            full()
        learn(engine, *batch)

    def emptied() -> None:
        freed.append(sum(one() is None for one in gone))

    monkeypatch.setattr(Engine, "learn", learned)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", int)
    monkeypatch.setattr(torch.cuda, "empty_cache", emptied)
    dlrun(*SWEEP, "sweep.stack=off", "optimizer.lr=0.1,0.01")
    assert look().states == ["fail", "complete"]
    assert freed == [1]  # emptied once, when what the step had computed was gone
