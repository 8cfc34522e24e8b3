"""Sweeps whose trials are trained as one: they end as they would have in turn, whatever happens on the way."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from scratch import Look, Result

from dlrun.diagnostics.views import Views
from dlrun.errors import ConfigError
from dlrun.runner import summary
from dlrun.runner.checkpoint_writer import CheckpointWriter
from dlrun.runner.session import Session
from dlrun.stacked import loop
from dlrun.stacked.loop import StackedFit
from dlrun.stacked.memory import Memory
from dlrun.stacked.stack import Stack
from dlrun.storage.disk import DiskFull
from dlrun.sweep import stack_runner, stack_scheduler, trial, work
from dlrun.sweep.stack_scheduler import StackScheduler
from dlrun.sweep.sweep import Sweep
from dlrun.sweep.trial import Interrupted, run_trial
from dlrun.training import graph
from dlrun.training.loop import Engine
from emulated_graphs import Emulation

Dlrun = Callable[..., Result]
Looks = Callable[..., Look]
Stacked = Callable[..., Result]

# 3 steps an epoch of all 108 samples.
WORDS = (
    "dataset=iris", "model=mlp", "model.hidden=[8]", "optimizer=momentum", "trainer.max_epochs=4",
    "trainer.precision=fp64", "trainer.accelerator=cpu", "trainer.num_threads=1",
    "tracking.tensorboard=false",
)  # fmt: skip
RATES = "optimizer.lr=0.1,0.01,0.003"
SPACE = ("optimizer.lr=tag(log,interval(1e-3,1))",)
# A model of the user's own; SIGNAL="7:TERM" sends that signal in its training step number 7 here. The
# stack's own try is one such step.
MODEL = """
import os, signal
from torch import nn

class Net(nn.Module):
    def __init__(self, spec, *, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(spec.num_features, width), nn.Tanh(),
            nn.Linear(width, spec.num_outputs),
        )
        self.steps = 0

    def forward(self, x):
        if self.training:
            self.steps += 1
            step, _, name = os.environ.get("SIGNAL", "0:").partition(":")
            if self.steps == int(step):
                os.kill(os.getpid(), signal.Signals["SIG" + name])
        return self.layers(x)
"""


@pytest.fixture
def own(project: Path) -> tuple[str, ...]:
    """The words of a sweep over the user's own model."""
    (project / "calm.py").write_text(MODEL)
    (project / "configs" / "model" / "calm.yaml").write_text("_target_: calm.Net\nwidth: 8\n")
    left_out = ("model=mlp", "model.hidden=[8]")
    return ("model=calm", *(word for word in WORDS if word not in left_out))


@pytest.fixture
def stacked(dlrun: Dlrun) -> Stacked:
    """Runs a sweep as stacks, in the directory `stacked`."""
    how = ("sweep.stack=on", "hydra.sweep.dir=stacked")
    return lambda *words: dlrun("train", "-m", *changed(WORDS + how, words))


@pytest.fixture
def in_turn(dlrun: Dlrun) -> Stacked:
    """Runs a sweep without stacks, in the directory `turned`."""
    how = ("sweep.stack=off", "hydra.sweep.dir=turned")
    return lambda *words: dlrun("train", "-m", *changed(WORDS, words), *how)


def changed(words: Sequence[str], others: Sequence[str]) -> list[str]:
    """`words` with `others`, which go first."""
    keys = {other.partition("=")[0] for other in others}
    return [*(word for word in words if word.partition("=")[0] not in keys), *others]


def assert_same_sweeps(stacked: Look, turned: Look) -> None:
    assert stacked.states == turned.states
    assert stacked.values == approx(turned.values)
    assert [trial.params for trial in stacked.trials] == [trial.params for trial in turned.trials]
    assert stacked.runs == turned.runs
    for run in turned.runs:
        assert_same_runs(stacked, turned, run)


def assert_same_runs(stacked: Look, turned: Look, run: str) -> None:
    points, expected = stacked.points(run), turned.points(run)
    assert [point.keys() for point in points] == [point.keys() for point in expected]
    for point, wanted in zip(points, expected, strict=True):
        assert point == approx(wanted)
    summary, wanted = stacked.summary(run), turned.summary(run)
    for field in ("status", "step", "stopped_early", "choices", "swept", "confusion"):
        assert summary.get(field) == wanted.get(field), field
    assert error_of(summary) == error_of(wanted)
    assert (wanted.get("trained", "alone"), wanted.get("stack_size")) == ("alone", None)
    for field in ("best", "final"):
        assert summary.get(field) == approx(wanted.get(field)), field
    # A stack saves less often, which loses nothing but work repeated after a kill.
    spared = {"checkpoints/previous.pt"}
    spared |= {"checkpoints/last.pt"} if wanted["status"] == "failed" else set()
    assert files(stacked, run) - spared == files(turned, run) - spared


def how_trained(look: Look, run: str) -> tuple[str, int | None]:
    summary = look.summary(run)
    return summary["trained"], summary["stack_size"]


def error_of(summary: dict[str, Any]) -> dict[str, Any] | None:
    """Without what it says of checkpoints, which a stack writes at other times, and of the folder."""
    if (error := summary.get("error")) is None:
        return None
    return {**error, "message": error["message"].partition("; the checkpoint")[0]}


def approx(value: Any) -> Any:
    if isinstance(value, list):
        return [approx(each) for each in value]
    if isinstance(value, dict):
        return {key: approx(each) for key, each in value.items()}
    return pytest.approx(value, rel=1e-9, abs=1e-13) if isinstance(value, float) else value


def files(look: Look, run: str) -> set[str]:
    """The names of a run's files, event files by their kind."""
    folder = look.run(run).path
    names = (str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    # A kill in the middle of writing a file leaves one that nobody reads, named after its process.
    whole = (name for name in names if not re.fullmatch(r"(.*/)?\..+\.\d+", name))
    return {re.sub(r"tfevents\..*", "tfevents", name) for name in whole}


def said_stacks(out: str) -> list[int]:
    """How many runs each stack was said to have."""
    return [int(count) for count in re.findall(r"^(\d+) runs as one", out, re.M)]


# The same answers.


SWEEPS = {
    "rates": (RATES,),
    "schedules": ("optimizer.lr=0.05", "schedule=plateau,cosine,constant", "schedule.warmup_steps=2,0"),
    "plateaus": ("schedule=plateau", "schedule.patience=1", "schedule.factor=0.5,0.1",
                 "trainer.early_stopping.min_delta=0.05", "optimizer.lr=0.01,1e-6"),
    "dropout": ("model.dropout=0.1,0.3", "model.batch_norm=before", "seed=0,1"),
    "seeds": ("sweep.seeds=3", "optimizer.lr=0.1,0.01"),
    "steps": ("trainer.max_epochs=null", "trainer.max_steps=10", "trainer.eval_every_steps=4",
              "trainer.log_every_steps=2", RATES),
    "no_validation": ("dataset.val_fraction=0", "trainer.monitor=train/loss", RATES),
    "random": ("sweep=random", "sweep.trials=4", "optimizer.lr=tag(log,interval(1e-3,1))"),
    "coarse_to_fine": ("sweep=coarse_to_fine", "sweep.trials=6", "sweep.rounds=2",
                       "optimizer.lr=tag(log,interval(1e-3,1))"),
    "tpe": ("sweep=tpe", "sweep.trials=5", "sweep.n_startup_trials=3",
            "optimizer.lr=tag(log,interval(1e-3,1))"),
}  # fmt: skip
STACKS = {
    "schedules": [6], "plateaus": [4], "dropout": [4], "seeds": [6], "random": [4],
    "coarse_to_fine": [3, 3], "tpe": [3],
}  # fmt: skip


SLOWER = ("rates", "plateaus", "dropout", "steps", "no_validation", "random")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOWER else n for n in SWEEPS]
)
def test_a_stacked_sweep_comes_to_what_it_comes_to_in_turn(
    name: str, stacked: Stacked, in_turn: Stacked, look: Looks
) -> None:
    result = stacked(*SWEEPS[name])
    assert (result.code, result.err) == (0, "")
    assert said_stacks(result.out) == STACKS.get(name, [3])
    assert in_turn(*SWEEPS[name]).code == 0
    assert_same_sweeps(look("stacked"), look("turned"))
    if name == "seeds":
        values = [trial.user_attrs["values"] for trial in look("turned").trials]
        assert [trial.user_attrs["values"] for trial in look("stacked").trials] == approx(values)


def test_each_run_directory_holds_what_one_of_a_run_alone_holds(
    stacked: Stacked, in_turn: Stacked, look: Looks
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = (
        RATES, "tracking.tensorboard=true", "model.hidden=[64]", "optimizer=adam", "dataset=digits",
        "dataset.val_fraction=0.8", "trainer.max_epochs=2",
    )  # fmt: skip
    assert stacked(*words).code == 0
    assert in_turn(*words).code == 0
    tags = {}
    for name in ("stacked", "turned"):
        found = EventAccumulator(str(look(name).run(1).tensorboard)).Reload().Tags()
        tags[name] = {
            kind: sorted(of) if isinstance(of, list) else of for kind, of in found.items()
        }
    assert tags["stacked"] == tags["turned"]
    assert "val/loss" in str(tags["stacked"])
    assert_same_sweeps(look("stacked"), look("turned"))
    for name in ("last.pt", "best.pt"):
        ours, theirs = (look(s).run(1).checkpoints / name for s in ("stacked", "turned"))
        assert ours.stat().st_size == pytest.approx(theirs.stat().st_size, rel=0.05)
        assert torch.load(ours, weights_only=True)["step"] > 0


# Which trials go together.


def test_trials_of_different_widths_go_to_different_stacks(
    stacked: Stacked, in_turn: Stacked, look: Looks
) -> None:
    words = ("model.hidden=[8],[4],[5,3]", "optimizer.lr=0.1,0.01")
    result = stacked(*words)
    assert (result.code, result.err) == (0, "")
    assert said_stacks(result.out) == [2, 2, 2]
    in_turn(*words)
    assert_same_sweeps(look("stacked"), look("turned"))


def test_no_more_runs_are_stacked_than_max_stack_allows(
    stacked: Stacked, in_turn: Stacked, look: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = sizes_of_stacks(monkeypatch)
    words = ("seed=0,1,2,3,4", "sweep.max_stack=2")
    assert said_stacks(stacked(*words).out) == [2, 2]
    assert sizes == [2, 2]
    in_turn(*words)
    assert_same_sweeps(look("stacked"), look("turned"))


def sizes_of_stacks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that fills with the sizes of the stacks that are trained."""
    sizes: list[int] = []
    run = stack_runner.StackedFit.run

    def noted(fit: Any, stop: Any) -> None:
        sizes.append(len(fit.stack.engines))
        run(fit, stop)

    monkeypatch.setattr(stack_runner.StackedFit, "run", noted)
    return sizes


@pytest.mark.parametrize(
    ("fitting", "expected"), [(2.5, [2, 2]), pytest.param(0.5, [], marks=pytest.mark.slow)]
)
def test_stacks_are_as_large_as_memory_allows(
    fitting: float,
    expected: list[int],
    stacked: Stacked,
    in_turn: Stacked,
    look: Looks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = sizes_of_stacks(monkeypatch)
    monkeypatch.setattr(stack_runner, "run_bytes", lambda engine, per_sample: 2**20)
    monkeypatch.setattr(stack_runner, "room", lambda memory, engine: int(fitting * 2**20))
    result = stacked("optimizer.lr=0.1,0.03,0.01,0.003")
    assert result.code == 0
    assert sizes == expected
    assert ("2 runs as one, about 2 MB" in result.out) == bool(expected)
    in_turn("optimizer.lr=0.1,0.03,0.01,0.003")
    assert_same_sweeps(look("stacked"), look("turned"))


class Meter(Memory):
    """A memory of so many bytes, in which each run of a stack takes the same."""

    size, each = 2**30, 0

    def free(self) -> int:
        return self.size

    def taken(self) -> int:
        return self.each * sizes[-1] if (sizes := self.trained) else 0

    trained: ClassVar[list[int]] = []


def test_parts_are_as_large_as_what_the_first_has_taken_allows(
    stacked: Stacked, in_turn: Stacked, dlrun: Dlrun, look: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary, "peak_memory", lambda device: 3 * 2**30)
    sizes = sizes_of_stacks(monkeypatch)
    monkeypatch.setattr(stack_runner, "run_bytes", lambda engine, per_sample: 2**20)
    monkeypatch.setattr(stack_runner, "memory_of", Meter)
    monkeypatch.setattr(Meter, "size", 6 * 2**20)  # of which a stack may take half
    monkeypatch.setattr(Meter, "each", 3 * 2**19)
    monkeypatch.setattr(Meter, "trained", sizes)
    words = ("optimizer.lr=0.1,0.05,0.03,0.02,0.01,0.005,0.003",)
    result = stacked(*words)
    assert (result.code, sizes) == (0, [3, 2, 2])
    assert next(line for line in result.out.splitlines() if " in 3 parts" in line) == (
        "7 runs in 3 parts, 3 as one at most: about 3 MB of 3 MB that a stack may take"
    )
    assert result.out.count("3 runs as one took 4 MB at most, 3 MB were expected") == 1
    assert "3.0 GB on it at most, the whole stack" in dlrun("show", "stacked/0").out
    assert "3.0 GB of a GPU at most, for one trial or stack" in dlrun("show", "stacked").out
    in_turn(*words)
    assert_same_sweeps(look("stacked"), look("turned"))


def short_of_memory(monkeypatch: pytest.MonkeyPatch, fitting: int, where: str, call: int) -> None:
    """A stack of more runs than fit has no memory left at one `call` of its method `where`, and those after it."""
    usual, calls = getattr(Stack, where), [0]

    def needing(stack: Stack, *arguments: Any, **more: Any) -> Any:
        if len(stack.engines if where != "__init__" else arguments[0]) > fitting:
            calls[0] += 1
            if calls[0] >= call:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return usual(stack, *arguments, **more)

    monkeypatch.setattr(Stack, where, needing)


@pytest.mark.parametrize(
    ("where", "call", "fitting", "told"),
    [
        ("train_step", 7, 2, [4, 2, 2]),  # in its third epoch
        pytest.param("__init__", 1, 2, [4, 2, 2], marks=pytest.mark.slow),
        pytest.param("validation_metrics", 2, 1, [4, 2], marks=pytest.mark.slow),
    ],
)
def test_a_stack_that_runs_out_of_memory_is_halved_and_no_trial_is_lost(
    where: str,
    call: int,
    fitting: int,
    told: list[int],
    stacked: Stacked,
    in_turn: Stacked,
    look: Looks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ("seed=0,1", "model.dropout=0.1,0.2", "checkpoint.every_steps=2")
    assert in_turn(*words).code == 0
    short_of_memory(monkeypatch, fitting, where, call + (fitting < 2 and where == "__init__"))
    monkeypatch.setattr(stack_scheduler, "probe_stack", lambda stack, alone: None)  # of two
    result = stacked(*words)
    assert (result.code, result.err) == (0, "")
    assert said_stacks(result.out) == told
    line = "out of memory with 4 runs trained as one: going on with 2 at a time"
    assert result.out.count(line) == 1
    assert result.out.count("out of memory") == (2 if fitting < 2 else 1)
    assert_same_sweeps(look("stacked"), look("turned"))


@pytest.mark.slow
def test_seeds_that_are_over_when_memory_runs_out_count_once(
    stacked: Stacked, in_turn: Stacked, look: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (
        "optimizer.lr=0.2,0.05", "sweep.seeds=2", "trainer.early_stopping.patience=1",
        "trainer.early_stopping.min_delta=0.03", "trainer.max_epochs=8",
    )  # fmt: skip
    assert in_turn(*words).code == 0
    assert [look("turned").summary(f"0/seed{seed}")["step"] for seed in (0, 1)] == [21, 24]
    short_of_memory(monkeypatch, 2, "train_step", 23)
    monkeypatch.setattr(stack_scheduler, "probe_stack", lambda stack, alone: None)
    result = stacked(*words)
    assert (result.code, result.err, said_stacks(result.out)) == (0, "", [4])
    assert "out of memory with 3 runs trained as one: going on with 1 at a time" in result.out
    assert_same_sweeps(look("stacked"), look("turned"))


def test_a_run_that_cannot_be_opened_beside_others_waits_for_them(
    stacked: Stacked, in_turn: Stacked, look: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert in_turn("seed=0,1,2").code == 0
    sizes, begin, begun = sizes_of_stacks(monkeypatch), trial.start.begin, []

    def beginning(*arguments: Any, **more: Any) -> Session:
        begun.append(arguments)
        if len(begun) == 3:
            raise ConfigError("model needs more memory than there is") from MemoryError()
        return begin(*arguments, **more)

    monkeypatch.setattr(trial.start, "begin", beginning)
    result = stacked("seed=0,1,2")
    assert (result.code, result.err, sizes, len(begun)) == (0, "", [2], 4)
    assert_same_sweeps(look("stacked"), look("turned"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_stack_that_is_too_large_for_a_card_is_halved(
    dlrun: Dlrun, look: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack_runner, "run_bytes", lambda engine, per_sample: 1)
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + 2**30) / total)
    words = changed(
        WORDS,
        ("trainer.accelerator=cuda", "trainer.precision=fp32", "model.hidden=[2048,2048]", "optimizer=adam"),
    )  # fmt: skip
    try:  # each of them has 4.2 million weights, of which a stack has at least six copies
        rates = ",".join(f"{0.0001 * (1 + trial)}" for trial in range(16))
        result = dlrun(
            "train",
            "-m",
            *words,
            f"optimizer.lr={rates}",
            "sweep.stack=on",
            "hydra.sweep.dir=sweep",
        )
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert (result.code, look().states) == (0, ["complete"] * 16)
    assert "out of memory with 16 runs trained as one: going on with 8 at a time" in result.out


def lost_device(patch: pytest.MonkeyPatch) -> RuntimeError:
    """The error of a GPU that answers no more from then on."""
    error = RuntimeError("CUDA error: device-side assert triggered\nmore words")

    def fail() -> None:
        raise error

    patch.setattr(torch.cuda, "is_initialized", lambda: True)
    patch.setattr(torch.cuda, "synchronize", fail)
    return error


@pytest.mark.parametrize(
    ("stack", "states"),
    [("off", ["complete", "fail"]), ("on", ["running", "running", "running"])],
)
def test_a_process_whose_gpu_fails_for_good_trains_no_more_and_another_goes_on(
    stack: str,
    states: list[str],
    dlrun: Dlrun,
    look: Looks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cls = Stack if stack == "on" else Engine
    usual = cls.train_step

    def failing(self: Any, *batch: Any) -> None:
        lead = self.lead if isinstance(self, Stack) else self
        mine = stack == "on" or lead.descent.configured[0]["lr"] == 0.01
        if lead.step == 5 and mine:
            raise lost_device(patch)
        usual(self, *batch)

    patch: pytest.MonkeyPatch
    with monkeypatch.context() as patch:
        patch.setattr(cls, "train_step", failing)
        result = dlrun(
            "train", "-m", *WORDS, RATES, f"sweep.stack={stack}", "hydra.sweep.dir=stacked"
        )
    assert (result.code, look("stacked").states) == (1, states)
    first, second = result.err.splitlines()
    said = "the GPU of this process fails (CUDA error: device-side assert triggered)"
    assert first == f"dlrun: error: {said}"
    assert "continue with `dlrun resume stacked`" in second


@pytest.mark.slow
def test_after_a_stack_lost_its_gpu_each_trial_is_gone_on_with(
    stacked: Stacked,
    dlrun: Dlrun,
    in_turn: Stacked,
    look: Looks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual = Stack.point

    def failing(self: Stack) -> Any:
        if self.lead.step == 6:
            raise lost_device(patch)
        return usual(self)

    patch: pytest.MonkeyPatch
    with monkeypatch.context() as patch:
        patch.setattr(Stack, "point", failing)
        assert stacked(RATES).code == 1
    assert dlrun("resume", "stacked").code == 0
    in_turn(RATES)
    assert_same_sweeps(look("stacked"), look("turned"))


OPTIMIZER = """
import torch

class Mine(torch.optim.SGD):
    pass

def mine(groups, *, lr: float):
    return Mine(groups, lr=lr)
"""


@pytest.mark.parametrize(
    ("words", "why"),
    [
        pytest.param(("trainer.ema_decay=0.9",), "trainer.ema_decay", marks=pytest.mark.slow),
        (("model=net",), "the model draws random numbers"),
        (("optimizer=mine",), "there is no rule for Mine"),
    ],
    ids=["setting", "model", "optimizer"],
)
def test_what_cannot_be_stacked_runs_in_turn_and_one_line_says_why(
    words: tuple[str, ...],
    why: str,
    dlrun: Dlrun,
    project: Path,
    look: Looks,
) -> None:
    (project / "own.py").write_text(OPTIMIZER)
    rules = (
        "weight_decay: 0\ndecay_biases_and_norms: true\nl1: 0\nclip_value: null\nclip_norm: null\n"
    )
    option = project / "configs" / "optimizer" / "mine.yaml"
    option.parent.mkdir()
    option.write_text(f"_target_: own.mine\nlr: 0.1\n{rules}")
    common = [word for word in WORDS if not word.startswith("model.") or "model=net" not in words]
    common += words
    results = [
        dlrun("train", "-m", *common, RATES, f"sweep.stack={stack}", f"hydra.sweep.dir={name}")
        for stack, name in (("on", "stacked"), ("off", "turned"))
    ]
    assert [result.code for result in results] == [0, 0]
    lines = [line for line in results[0].out.splitlines() if "trained in turn" in line]
    assert len(lines) == 1
    assert why in lines[0]
    assert "trained in turn" not in results[1].out
    assert_same_sweeps(look("stacked"), look("turned"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("model=logistic,mlp",),
            ["2 of 2 trials are trained in turn: no other has the same shape"],
        ),
        (("model=mlp", "model.hidden=[8],[4]", "seed=0,1"), []),
    ],
)
def test_trials_that_are_alone_in_their_shape_are_told_once(
    words: tuple[str, ...], told: list[str], dlrun: Dlrun
) -> None:
    common = [word for word in WORDS if not word.startswith(("model", "trainer.max_epochs"))]
    result = dlrun("train", "-m", *common, *words, "trainer.max_epochs=1", "sweep.stack=on")
    assert (result.code, result.err) == (0, "")
    lines = [line for line in result.out.splitlines() if "in turn" in line]
    assert [line.partition(" (")[0] for line in lines] == told


# Trials that end before the others.


@pytest.mark.parametrize(
    "save",
    [(), pytest.param(("checkpoint.every_steps=2",), marks=pytest.mark.slow)],
    ids=["seldom", "often"],
)
@pytest.mark.parametrize(
    "words",
    [
        ("optimizer.lr=0.1,1e38,0.01",),  # at once
        ("schedule=exponential", "schedule.rate=0.9,1e38,1", "trainer.log_every_steps=2"),  # later
    ],
    ids=["at_once", "later"],
)
def test_a_trial_that_diverges_fails_as_alone_and_the_others_go_on(
    words: tuple[str, ...], save: tuple[str, ...], stacked: Stacked, in_turn: Stacked, look: Looks
) -> None:
    result = stacked(*words, *save)
    assert result.code == 1
    in_turn(*words, *save)
    assert look("stacked").states == ["complete", "fail", "complete"]
    assert "the loss is not a finite number" in look("stacked").summary("1")["error"]["message"]
    assert_same_sweeps(look("stacked"), look("turned"))


@pytest.mark.slow
def test_a_trial_whose_pictures_raise_fails_alone(
    stacked: Stacked, in_turn: Stacked, look: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_evaluation = Views.at_evaluation

    def raising(self: Views, engine: Engine, tracker: Any) -> None:
        if engine.epoch == 2 and engine.descent.configured[0]["lr"] == 0.01:
            raise OSError("no paint")
        at_evaluation(self, engine, tracker)

    monkeypatch.setattr(Views, "at_evaluation", raising)
    assert stacked(RATES).code == 1
    assert in_turn(RATES).code == 1
    assert look("stacked").states == ["complete", "fail", "complete"]
    assert_same_sweeps(look("stacked"), look("turned"))


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        pytest.param(Session, "start", marks=pytest.mark.slow),
        (CheckpointWriter, "last"),
        pytest.param(Session, "completed", marks=pytest.mark.slow),
    ],
)
def test_whatever_goes_wrong_with_one_trial_ends_that_one_alone(
    cls: type,
    name: str,
    stacked: Stacked,
    look: Looks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method = getattr(cls, name)

    def raising(self: Any, *given: Any) -> Any:
        if self.run.path.name == "1":
            raise OSError("no room")
        return method(self, *given)

    monkeypatch.setattr(cls, name, raising)
    result = stacked(RATES)
    assert (result.code, result.err) == (1, "")
    assert look("stacked").states == ["complete", "fail", "complete"]
    assert look("stacked").trials[1].user_attrs["error"] == "OSError: no room"


def test_a_step_that_raises_ends_all_that_took_it_and_no_more(
    stacked: Stacked, look: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_step = Stack.train_step

    def raising(self: Stack, *given: Any) -> None:
        if self.lead.step == 5 and self.weights.values.shape[1] < 50:
            raise IndexError("a bug")
        train_step(self, *given)

    monkeypatch.setattr(Stack, "train_step", raising)
    result = stacked("model.hidden=[4],[8]", "optimizer.lr=0.1,0.01")
    assert (result.code, result.err) == (1, "")
    assert look("stacked").states == ["fail", "fail", "complete", "complete"]
    assert "a bug" in look("stacked").log("0")


def test_trials_stop_early_each_in_its_own_time(
    stacked: Stacked, in_turn: Stacked, look: Looks
) -> None:
    words = (
        "trainer.early_stopping.patience=2", "trainer.early_stopping.min_delta=0.02",
        "trainer.max_epochs=9", "optimizer.lr=1e-6,0.02,0.002",
    )  # fmt: skip
    assert stacked(*words).code == 0
    in_turn(*words)
    steps = [look("stacked").summary(run)["step"] for run in "012"]
    assert len(set(steps)) > 1
    assert_same_sweeps(look("stacked"), look("turned"))


@pytest.mark.parametrize("delayed", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_stack_that_is_trained_by_graphs_ends_as_its_trials_in_turn(
    *,
    delayed: bool,
    stacked: Stacked,
    in_turn: Stacked,
    look: Looks,
    emulated_graphs: Emulation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = (
        "trainer.batch_size=12", "trainer.log_every_steps=4", "trainer.max_epochs=9",
        "model.dropout=0.1", "optimizer=momentum", "schedule=cosine",
        "trainer.early_stopping.patience=2", "trainer.early_stopping.min_delta=0.02",
        "optimizer.lr=1e-6,0.02,0.002,1e200",
    )  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(loop, "may_be_stacked", lambda engine: True)
        patch.setitem(graph.TOLERANCES, "fp64", graph.TOLERANCES["fp32"])
        # As on a GPU: a point is written when the next one is due.
        patch.setattr(
            StackedFit, "delayed", property(lambda self: delayed, lambda *_: None), raising=False
        )
        assert stacked(*words).code == 1
    assert emulated_graphs.replays > emulated_graphs.captures > 3
    in_turn(*words)
    assert look("stacked").states == ["complete", "complete", "complete", "fail"]
    assert len({look("stacked").summary(run)["step"] for run in "012"}) > 1
    for run in "012":
        assert_same_runs(look("stacked"), look("turned"), run)
    failed = look("stacked").summary("3"), look("turned").summary("3")
    assert error_of(failed[0]) == error_of(failed[1])
    # What has diverged is found out with the point that tells it.
    assert failed[0]["step"] == failed[1]["step"] * (2 if delayed else 1)


def test_pruned_trials_leave_the_stack_and_the_others_end_as_alone(
    stacked: Stacked, in_turn: Stacked, look: Looks
) -> None:
    rates = "optimizer.lr=" + ",".join(f"{0.3 / 3**k:.5f}" for k in range(9))
    words = (rates, "trainer.max_epochs=9")
    assert stacked(*words, "sweep.pruner=hyperband").code == 0
    in_turn(*words)
    states = look("stacked").states
    assert {"pruned", "complete"} == set(states)
    for run in look("turned").runs:
        summary = look("stacked").summary(run)
        points, whole = look("stacked").points(run), look("turned").points(run)
        assert summary["status"] == {"pruned": "pruned", "complete": "completed"}[states[int(run)]]
        assert (len(points) < len(whole)) == (summary["status"] == "pruned")
        for point, wanted in zip(points, whole, strict=False):
            assert point == approx(wanted)


def test_a_seed_that_fails_ends_the_other_seeds_of_its_trial(
    stacked: Stacked, look: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_evaluation = Views.at_evaluation

    def raising(self: Views, engine: Engine, tracker: Any) -> None:
        second = engine.batches.seed == 1 and engine.descent.configured[0]["lr"] == 0.01
        if second and engine.epoch == 2:
            raise OSError("no paint")
        at_evaluation(self, engine, tracker)

    monkeypatch.setattr(Views, "at_evaluation", raising)
    assert stacked("optimizer.lr=0.1,0.01", "sweep.seeds=3").code == 1
    assert look("stacked").states == ["complete", "fail"]
    seeds = [look("stacked").summary(f"1/seed{seed}") for seed in range(3)]
    assert seeds[1]["status"] == "failed"
    assert all(summary["step"] == 6 for summary in seeds)
    assert look("stacked").trials[1].user_attrs["error"] == "OSError: no paint"


def test_a_failed_trial_ends_the_stack_where_fail_fast_asks_for_it(
    stacked: Stacked, dlrun: Dlrun, in_turn: Stacked, look: Looks
) -> None:
    words = ("schedule=exponential", "schedule.rate=0.9,1e38,1")
    result = stacked(*words, "sweep.fail_fast=true")
    assert result.code == 1
    assert "continue with `dlrun resume stacked`" in result.out
    assert look("stacked").states == ["running", "fail", "running"]
    assert look("stacked").summary("0")["step"] < 12
    dlrun("resume", "stacked")
    in_turn(*words)
    assert_same_sweeps(look("stacked"), look("turned"))


def test_a_config_that_nothing_can_be_made_of_fails_alone(
    stacked: Stacked, in_turn: Stacked, look: Looks
) -> None:
    words = ("trainer.max_epochs=4,3", "schedule.warmup_steps=2,10")  # 12 steps, and 9
    assert stacked(*words).code == 1
    in_turn(*words)
    assert look("stacked").states == ["complete", "complete", "complete", "fail"]
    assert_same_sweeps(look("stacked"), look("turned"))


# Interruptions.


@pytest.mark.parametrize(
    ("name", "code", "second"), [("INT", 130, "stacked"), ("USR1", 138, "basic")]
)
def test_a_signal_saves_every_trial_and_a_resume_ends_as_if_there_had_been_none(
    name: str,
    code: int,
    second: str,
    own: tuple[str, ...],
    dlrun: Dlrun,
    look: Looks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train = ("train", "-m", *own, RATES)
    assert dlrun(*train, "sweep.stack=off", "hydra.sweep.dir=turned").code == 0
    monkeypatch.setenv("SIGNAL", f"9:{name}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")  # whose queue sends USR1
    result = dlrun(*train, "sweep.stack=off", "hydra/launcher=stacked", "hydra.sweep.dir=stacked")
    assert result.code == code
    assert "`dlrun resume stacked`" in result.err
    summaries = [look("stacked").summary(run) for run in "012"]
    step = summaries[0]["step"]  # 8 or 9, by whether the stack was tried with this very model
    assert [(s["status"], s["step"]) for s in summaries] == [("stopped", step)] * 3
    monkeypatch.delenv("SIGNAL")
    result = dlrun("resume", "stacked", f"hydra/launcher={second}")
    assert (result.code, result.err) == (0, "")
    assert said_stacks(result.out) == ([3] if second == "stacked" else [])
    assert [look("stacked").starts(run) for run in "012"] == [[0, step]] * 3
    assert_same_sweeps(look("stacked"), look("turned"))


def test_a_worker_goes_on_with_the_stack_that_another_has_left(
    own: tuple[str, ...], dlrun: Dlrun, look: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = ("train", "-m", *own, RATES, "optimizer=adam")
    assert dlrun(*train, "sweep.stack=off", "hydra.sweep.dir=turned").code == 0
    assert dlrun(*train, "sweep.stack=on", "hydra.sweep.dir=stacked", "--no-driver").code == 0
    monkeypatch.setenv("SIGNAL", "9:TERM")
    result = dlrun("work", "stacked")
    assert result.code == 143
    assert "stopped with 0 of 3 done; continue with `dlrun work stacked`" in result.err
    monkeypatch.delenv("SIGNAL")
    result = dlrun("work", "stacked")
    assert (result.code, said_stacks(result.out)) == (0, [3])
    assert_same_sweeps(look("stacked"), look("turned"))


def test_trials_begun_in_turn_are_gone_on_with_as_a_stack(
    own: tuple[str, ...], dlrun: Dlrun, look: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = ("train", "-m", *own, RATES, "optimizer=adam", "sweep.stack=off")
    assert dlrun(*train, "hydra.sweep.dir=turned").code == 0
    with monkeypatch.context() as patch:
        patch.setenv("SIGNAL", "5:TERM")
        patch.setattr(work, "run_trial", begin_only)
        dlrun(*train, "hydra.sweep.dir=stacked")
    assert [look("stacked").summary(run)["step"] for run in "012"] == [5] * 3
    assert dlrun("resume", "stacked", "hydra/launcher=stacked").code == 0
    assert [look("stacked").starts(run) for run in "012"] == [[0, 5]] * 3
    assert_same_sweeps(look("stacked"), look("turned"))


def begin_only(sweep: Sweep, number: int, observe: Any) -> bool:
    """A trial in turn, which a signal stops: the sweep goes on up to the last."""
    try:
        return run_trial(sweep, number, observe)
    except Interrupted:
        if number == 2:
            raise
        return True


def test_a_stacked_trial_that_was_stopped_may_be_resumed_alone(
    own: tuple[str, ...], dlrun: Dlrun, look: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = ("train", "-m", *own, RATES, "optimizer=adam")
    assert dlrun(*train, "sweep.stack=off", "hydra.sweep.dir=turned").code == 0
    monkeypatch.setenv("SIGNAL", "9:TERM")
    assert dlrun(*train, "sweep.stack=on", "hydra.sweep.dir=stacked").code == 143
    monkeypatch.delenv("SIGNAL")
    assert dlrun("resume", "stacked/1").code == 0
    assert_same_runs(look("stacked"), look("turned"), "1")
    assert dlrun("resume", "stacked").code == 0
    assert_same_sweeps(look("stacked"), look("turned"))
    assert [how_trained(look("stacked"), run) for run in "012"] == [
        ("stacked", 3), ("both", 3), ("stacked", 3),
    ]  # fmt: skip
    assert "in parts as one of a stack of 3 runs, in parts alone" in dlrun("show", "stacked/1").out
    assert ", as one of a stack of 3 runs" in look("stacked").log("1")
    assert ", alone" in look("stacked").log("1")


@pytest.mark.parametrize(
    ("step", "since"),
    [
        pytest.param(3, 2, marks=pytest.mark.slow),
        (9, 8),
        pytest.param(11, 10, marks=pytest.mark.slow),
    ],
)
def test_a_stack_that_is_killed_is_gone_on_with_from_its_checkpoints(
    step: int, since: int, own: tuple[str, ...], away: Dlrun, dlrun: Dlrun, look: Looks
) -> None:
    train = ("train", "-m", *own, RATES, "checkpoint.every_steps=2")
    assert dlrun(*train, "sweep.stack=off", "hydra.sweep.dir=turned").code == 0
    train = (*train, "sweep.stack=on", "hydra.sweep.dir=stacked")
    assert away(*train, SIGNAL=f"{step}:KILL").code == -signal.SIGKILL
    result = dlrun("resume", "stacked")
    assert (result.code, result.err) == (0, "")
    assert said_stacks(result.out) == [3]
    assert [look("stacked").starts(run) for run in "012"] == [[0, since]] * 3
    assert_same_sweeps(look("stacked"), look("turned"))


KILLED = {
    "rates": ("optimizer.lr=0.1,0.01,0.003",),
    "seeds": ("optimizer.lr=0.1,0.01", "sweep.seeds=2"),
    "failed": ("schedule=exponential", "schedule.rate=0.9,1e38"),
    "coarse_to_fine": ("sweep=coarse_to_fine", "sweep.trials=4", "sweep.rounds=2",
                       "optimizer.lr=tag(log,interval(1e-3,1))"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", KILLED)
def test_a_stacked_sweep_killed_at_any_write_ends_as_if_nothing_had_happened(
    name: str, away: Dlrun, in_turn: Stacked, look: Looks
) -> None:
    in_turn(*KILLED[name])
    code = 1 if name == "failed" else 0
    words = changed(WORDS, KILLED[name])
    train = [
        "train",
        "-m",
        *words,
        "sweep.stack=on",
        "checkpoint.every_steps=4",
        "hydra.sweep.dir=stacked",
    ]
    for write in range(1, 200, 4):
        result = away(*train, KILL_AT=str(write))
        if result.code == code:  # the last write was an earlier one
            break
        assert result.code == -signal.SIGKILL
        again = ("resume", "stacked") if Path("stacked/sweep.yaml").exists() else train
        result = away(*again)
        assert (result.code, result.err) == (code, ""), write
        assert_same_sweeps(look("stacked"), look("turned"))
        shutil.rmtree("stacked")
    assert write > 20


@pytest.mark.parametrize(
    "model", [pytest.param("calm", marks=pytest.mark.slow), "net"]
)  # one that can be stacked, and one that cannot
def test_trials_that_are_not_equally_far_are_completed_all_the_same(
    model: str, own: tuple[str, ...], dlrun: Dlrun, look: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = ("train", "-m", *own[1:], f"model={model}", "optimizer.lr=0.1,0.03,0.01,0.003")
    assert dlrun(*train, "sweep.stack=off", "hydra.sweep.dir=turned").code == 0
    with monkeypatch.context() as patch:
        patch.setenv("SIGNAL", "9:TERM")
        patch.setenv("SIGTERM", "8")  # by its width, model=net
        patch.setenv("AT_STEP", "9")
        patch.setattr(stack_runner, "room", lambda device: 0)  # one at a time: the first is stopped
        dlrun(*train, "sweep.stack=on", "hydra.sweep.dir=stacked")
    assert look("stacked").runs == ["0"]
    assert dlrun("resume", "stacked").code == 0
    assert_same_sweeps(look("stacked"), look("turned"))


# Whether it pays.


@pytest.fixture
def gain(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], list[int]]:
    """Sets how many times faster a stack is found to be; the list fills with the sizes asked about."""

    def set_to(times: float) -> list[int]:
        asked: list[int] = []

        def found(engine: Engine, two: Stack, runs: int) -> float:
            asked.append(runs)
            return times

        monkeypatch.setattr(stack_scheduler, "gain", found)
        return asked

    return set_to


def test_auto_stacks_what_is_faster_so_and_says_how_much(
    gain: Callable[..., list[int]], stacked: Stacked, in_turn: Stacked, look: Looks
) -> None:
    asked = gain(2.04)
    result = stacked(RATES, "sweep.stack=auto")
    assert asked == [3]
    assert "a step is expected to be 2 times as fast as in turn" in result.out
    assert said_stacks(result.out) == [3]
    in_turn(RATES)
    assert_same_sweeps(look("stacked"), look("turned"))


def test_auto_leaves_alone_what_is_not_and_says_so_once(
    gain: Callable[..., list[int]], stacked: Stacked, in_turn: Stacked, look: Looks
) -> None:
    asked = gain(0.5)
    words = ("seed=0,1,2,3,4", "sweep.max_stack=2", "model.dropout=0.1")
    result = stacked(*words, "sweep.stack=auto")
    assert asked == [2]
    said = (
        "trained in turn: a step of 2 as one stack is expected to be 0.50 times as fast as in turn"
    )
    assert result.out.count(said) == 1
    assert said_stacks(result.out) == []
    in_turn(*words)
    assert_same_sweeps(look("stacked"), look("turned"))


@pytest.mark.slow
def test_auto_does_not_ask_again_where_memory_divides_what_does_not_pay(
    gain: Callable[..., list[int]], stacked: Stacked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack_runner, "run_bytes", lambda engine, per_sample: 2**20)
    monkeypatch.setattr(stack_runner, "room", lambda memory, engine: int(2.5 * 2**20))
    asked = gain(0.5)
    assert stacked("seed=0,1,2,3", "sweep.stack=auto").code == 0
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("words", "runs"),
    [
        ((RATES, "sweep.seeds=2"), 6),
        (("sweep=coarse_to_fine", "sweep.trials=8", "sweep.rounds=2", *SPACE), 4),
        (("sweep=random", "sweep.trials=9", "model.hidden=choice([4],[5],[6])", *SPACE), 3),
        (("sweep=random", "sweep.trials=9", "trainer.batch_size=int(interval(8,64))", *SPACE), 2),
        (("sweep=random", "sweep.trials=9", "sweep.max_stack=5", *SPACE), 5),
    ],
    ids=["seeds", "rounds", "shapes", "all_apart", "at_most"],
)
def test_what_is_worked_out_goes_by_what_the_sweep_asks_and_not_by_what_is_left(
    words: tuple[str, ...],
    runs: int,
    dlrun: Dlrun,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []

    def note(self: StackScheduler, numbers: Sequence[int]) -> list[int]:
        sizes.append(self.at_a_time)
        raise Interrupted(3)

    monkeypatch.setattr(StackScheduler, "run", note)
    assert dlrun("train", "-m", *changed(WORDS, words), "hydra.sweep.dir=sweep").code == 3
    assert sizes == [runs]


# By the name of a launcher.


def test_whatever_auto_finds_changes_no_result(
    stacked: Stacked, in_turn: Stacked, look: Looks
) -> None:
    words = ("model.dropout=0.2", "seed=0,1", "optimizer.lr=0.1,0.01", "optimizer=adam")
    result = stacked(*words, "sweep.stack=auto")
    assert (result.code, result.err) == (0, "")
    assert "4 runs as one, about" in result.out
    in_turn(*words)
    assert_same_sweeps(look("stacked"), look("turned"))


def test_the_stacked_launcher_stacks_without_asking(
    gain: Callable[..., list[int]], stacked: Stacked, look: Looks
) -> None:
    asked = gain(0.001)
    result = stacked(RATES, "sweep.stack=auto", "hydra/launcher=stacked")
    assert result.code == 0
    assert said_stacks(result.out) == [3]
    assert not asked
    assert look("stacked").states == ["complete"] * 3


def test_with_another_sweeper_the_stacked_launcher_is_refused(dlrun: Dlrun) -> None:
    result = dlrun(
        "train", "-m", *WORDS, RATES, "hydra/launcher=stacked", "hydra/sweeper=basic",
        "hydra.sweep.dir=stacked",
    )  # fmt: skip
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert "hydra/sweeper=basic: dlrun has its own sweeper" in result.err


def test_a_stack_and_a_launcher_are_refused_together(own: tuple[str, ...], dlrun: Dlrun) -> None:
    words = ["optimizer.lr=0.1,0.2", "sweep.stack=on", "hydra/launcher=joblib"]
    result = dlrun("train", "-m", *own, *words)
    assert result.code == 2
    assert result.err.startswith("dlrun: error: sweep.stack is on, but hydra/launcher")


def test_a_resume_may_change_how_trials_are_stacked(
    own: tuple[str, ...], dlrun: Dlrun, look: Looks
) -> None:
    words = [*own, "optimizer.lr=0.1,0.2", "sweep.stack=off", "hydra.sweep.dir=sweep"]
    assert dlrun("train", "-m", *words).code == 0
    result = dlrun("resume", "sweep", "sweep.stack=on", "sweep.max_stack=2")
    assert (result.code, look().states) == (0, ["complete", "complete"])


def test_where_no_more_trials_can_be_opened_those_that_are_open_are_closed(
    stacked: Stacked, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, closed = [], set()
    open_run, close = trial.Attempt.open, Session.close

    def opening(attempt: trial.Attempt, index: int, **how: bool) -> Session | None:
        if len(opened) == 2:
            raise DiskFull("no room on the disk")
        opened.append(open_run(attempt, index, **how))
        return opened[-1]

    def closing(session: Session) -> None:
        closed.add(session)
        close(session)

    monkeypatch.setattr(trial.Attempt, "open", opening)
    monkeypatch.setattr(Session, "close", closing)
    assert stacked(RATES).code == 1
    assert len(opened) == 2
    assert closed == set(opened)
