"""Training steps as a CUDA graph: when there is one, and that its steps are those taken one by one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from dlrun.config import settings
from dlrun.config.compose import compose
from dlrun.data.base import Spec
from dlrun.errors import ConfigError, RunFailed
from dlrun.training import cuda_graph
from dlrun.training.build import assemble
from dlrun.training.cuda_graph import CapturedStep
from dlrun.training.device import Device
from dlrun.training.engine_state import engine_state, load_engine_state
from dlrun.training.loop import Engine
from emulated_graphs import Emulation

# 96 training rows: six batches of 16 an epoch, or three of 26 and one of 18.
IRIS = (
    "name=test", "dataset=iris", "model=mlp", "model.hidden=[8]", "trainer.batch_size=16",
    "schedule=cosine", "trainer.max_epochs=9",
)  # fmt: skip
DIGITS = ("name=test", "dataset=digits", "model=cnn", "trainer.batch_size=128")
UNEVEN = "trainer.batch_size=26"
OPTIMIZERS = [
    "sgd", "momentum", "nesterov", "rmsprop", "adagrad", "adadelta", "adam", "adamw", "lion",
]  # fmt: skip
# What tells CPU tensors from those of a GPU where an optimizer can be captured.
ON_CPU = ["sgd", "momentum", "nesterov", "adagrad", "adam", "adamw", "lion"]
CUDA = Device(torch.device("cuda"), "fp32")

gpu = pytest.mark.gpu
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


class Own(nn.Sequential):
    """A user's model."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(nn.Linear(4, spec.num_outputs))


OWN = {"_target_": f"{__name__}.Own", "freeze": None}


def built(*words: str, **sections: Any) -> Engine:
    plain: Any = OmegaConf.to_container(compose(list(words)), resolve=True)
    del plain["sweep"]  # no part of a run
    return assemble(settings.parse(plain | sections)).engine


def chosen(*words: str, wanted: Any = "auto", place: Device = CUDA, **sections: Any) -> Any:
    """What a run of these words gets on `place`, which need not be here."""
    engine = built(*IRIS, "trainer.accelerator=cpu", *words, **sections)
    engine.device = place
    changed: dict[str, Any] = {"cuda_graph": wanted, "precision": place.precision}
    engine.settings = replace(engine.settings, **changed)
    return cuda_graph.choose(engine)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_on_a_gpu_steps_are_captured(optimizer: str) -> None:
    assert isinstance(chosen(f"optimizer={optimizer}"), CapturedStep)
    assert isinstance(chosen(f"optimizer={optimizer}", wanted=True), CapturedStep)
    assert chosen(f"optimizer={optimizer}", wanted=False) is None


CANNOT: list[tuple[tuple[str, ...], Device, str]] = [
    ((), Device(torch.device("cpu"), "fp32"), "the run is on the device cpu, which has no CUDA graphs"),
    ((), Device(torch.device("cuda"), "fp64"), "trainer.precision is fp64, and must be fp32, tf32 or bf16"),
    ((), Device(torch.device("cuda"), "fp16"), "trainer.precision is fp16, and must be fp32, tf32 or bf16"),
    (("trainer.profile=true",), CUDA, "trainer.profile is to see single operations"),
    (("optimizer=muon", "model.hidden=[8,8]"), CUDA, "the optimizer MuonWithAdamW reads settings or memory"),
    (("optimizer=schedule_free",), CUDA, "the optimizer AdamWScheduleFree reads settings or memory"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "place", "reason"), CANNOT)
def test_what_cannot_be_captured_goes_without_unless_it_was_asked_for(
    words: tuple[str, ...], place: Device, reason: str
) -> None:
    assert chosen(*words, place=place) is None
    with pytest.raises(ConfigError) as refused:
        chosen(*words, place=place, wanted=True)
    shown = str(refused.value)
    assert shown.startswith(f"trainer.cuda_graph is true, but {reason}")
    assert shown.endswith("; use auto or false")


def test_compiled_models_go_without() -> None:
    engine = built(*IRIS, "trainer.accelerator=cpu")
    engine.device = CUDA
    engine.settings = replace(engine.settings, compile=True)
    assert "trainer.compile" in (cuda_graph.why_not(engine) or "")


def test_a_run_on_the_cpu_is_refused_one_before_it_begins() -> None:
    with pytest.raises(ConfigError, match=r"trainer\.cuda_graph is true, but the run is on .* cpu"):
        built(*IRIS, "trainer.accelerator=cpu", "trainer.cuda_graph=true")
    assert built(*IRIS, "trainer.accelerator=cpu").captured is None


def test_a_users_own_layers_are_captured_only_where_asked_for() -> None:
    assert chosen(model=OWN) is None
    assert isinstance(chosen(model=OWN, wanted=True), CapturedStep)


@pytest.fixture
def emulated(emulated_graphs: Emulation) -> Callable[[Engine], Emulation]:
    """Gives an engine a captured step that is emulated."""

    def give(engine: Engine) -> Emulation:
        engine.captured = CapturedStep(engine, required=True)
        return emulated_graphs

    return give


def take(engine: Engine, steps: int) -> None:
    """So many steps, from where the engine is."""
    engine.model.train()
    step = engine.captured or engine.train_step
    while steps:
        epoch, position = divmod(engine.step, engine.steps_per_epoch)
        engine.freezing.enter(epoch)
        for batch in engine.batches.epoch(epoch, skip=position):
            step(*batch)
            engine.step += 1
            steps -= 1
            if not steps:
                break


def assert_equal_runs(first: Engine, second: Engine) -> None:
    for name, value in first.model.state_dict().items():
        torch.testing.assert_close(second.model.state_dict()[name], value)
    states = [engine.descent.state_dict()["optimizer"]["state"] for engine in (first, second)]
    # Counts of steps are on the CPU until a graph is to hold them.
    torch.testing.assert_close(*states, check_device=False)
    for kind in ("losses", "outputs"):
        seen = [getattr(engine.pending, kind) for engine in (first, second)]
        torch.testing.assert_close(*(torch.cat([t.flatten() for t in ts]) for ts in seen))
    assert first.pending.sizes == second.pending.sizes
    targets = [torch.cat(engine.pending.targets) for engine in (first, second)]
    assert torch.equal(*targets)
    gradients = [[p.grad for p in engine.descent.parameters] for engine in (first, second)]
    torch.testing.assert_close(*gradients)
    assert first.descent.learning_rate == second.descent.learning_rate
    assert torch.equal(first.generator.get_state(), second.generator.get_state())
    if first.averaged is not None and second.averaged is not None:
        averages = [dict(e.averaged.state_dict()) for e in (first, second) if e.averaged]
        torch.testing.assert_close(*averages)


VARIANTS = [
    (),
    ("model.dropout=0.5",),
    ("model.batch_norm=before", "model.dropout=0.2"),
    (UNEVEN,),
    (UNEVEN, "trainer.accumulate=3", "trainer.ema_decay=0.9"),
    ("optimizer.l1=0.01", "optimizer.clip_norm=0.1", "optimizer.clip_value=0.05"),
]


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [*((optimizer, (UNEVEN,)) for optimizer in ON_CPU), *(("adam", words) for words in VARIANTS)],
)
def test_replayed_steps_fill_and_read_what_steps_one_by_one_do(
    optimizer: str, words: tuple[str, ...], emulated: Callable[[Engine], Emulation]
) -> None:
    given = (*IRIS, "trainer.accelerator=cpu", f"optimizer={optimizer}", *words)
    alone, replayed = built(*given), built(*given)
    emulation = emulated(replayed)
    take(alone, 20)
    take(replayed, 20)
    assert emulation.replays == (20 - 5 - 3 if UNEVEN in words else 20 - 3)
    assert_equal_runs(alone, replayed)


UNFREEZING = ("model.batch_norm=before", "model.freeze={0.*:1,1.*:1}")


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_steps_are_captured_anew_when_layers_are_unfrozen(
    optimizer: str, emulated: Callable[[Engine], Emulation]
) -> None:
    given = (*IRIS, "trainer.accelerator=cpu", f"optimizer={optimizer}", *UNFREEZING)
    alone, replayed = built(*given), built(*given)
    emulation = emulated(replayed)
    take(alone, 20)
    take(replayed, 20)
    assert emulation.replays == 20 - 3 - 3  # steps that come before each of two captures
    assert_equal_runs(alone, replayed)


def test_a_replayed_run_goes_on_from_its_state(emulated: Callable[[Engine], Emulation]) -> None:
    given = (*IRIS, "trainer.accelerator=cpu", "model.dropout=0.5", "optimizer=adam")
    whole, part, rest = built(*given), built(*given), built(*given)
    emulated(whole)
    take(whole, 20)
    emulated(part)
    take(part, 9)
    load_engine_state(rest, copy.deepcopy(engine_state(part)))
    rest.generator.set_state(part.generator.get_state())
    emulated(rest)
    take(rest, 11)
    assert_equal_runs(whole, rest)


def failing(graph: Any, **_: Any) -> Any:
    raise RuntimeError("operation not permitted when stream is capturing\nmore lines")


def test_a_capture_that_fails_is_said_and_the_run_goes_on_without(
    emulated: Callable[[Engine], Emulation],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    given = (*IRIS, "trainer.accelerator=cpu", "optimizer=adam")
    alone, other = built(*given), built(*given)
    emulated(other)
    other.captured = CapturedStep(other, required=False)
    monkeypatch.setattr(torch.cuda, "graph", failing)
    take(alone, 10)
    take(other, 10)
    assert_equal_runs(alone, other)
    said = [record.getMessage() for record in caplog.records if record.name.startswith("dlrun")]
    assert said == [
        "the training step cannot be captured as a CUDA graph (operation not permitted when "
        "stream is capturing): going on without"
    ]


def test_a_capture_that_fails_gives_stream_and_generators_back(
    emulated: Callable[[Engine], Emulation], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Recorded:
        """A generator that a capture still records, as torch leaves it."""

        device = torch.device("cuda")

        def clone_state(self) -> str:
            return "not recorded"

        def graphsafe_set_state(self, state: str) -> None:
            given_back.append(state)

    given_back: list[Any] = []
    engine = built(*IRIS, "trainer.accelerator=cpu", "optimizer=adam")
    emulated(engine)
    engine.captured = CapturedStep(engine, required=False)
    monkeypatch.setattr(torch.cuda, "graph", failing)
    monkeypatch.setattr(torch.cuda, "set_stream", given_back.append)
    monkeypatch.setattr(torch.cuda, "default_generators", (Recorded(),))
    take(engine, 10)
    assert given_back == [torch.cuda.current_stream(), "not recorded"]


def test_cells_that_read_texts_in_both_directions_are_not_captured() -> None:
    texts = ("dataset=text_csv", "dataset.tokens.bucketing=false", "model=lstm")
    for both, found in (("false", None), ("true", "in both directions")):
        engine = built(
            "name=test", "trainer.accelerator=cpu", *texts, f"model.bidirectional={both}"
        )
        engine.device = CUDA
        reason = cuda_graph.why_not(engine)
        assert reason is None if found is None else found in (reason or "")


def test_a_capture_that_fails_ends_a_run_that_asked_for_it(
    emulated: Callable[[Engine], Emulation], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = built(*IRIS, "trainer.accelerator=cpu", "optimizer=adam")
    emulated(engine)
    monkeypatch.setattr(torch.cuda, "graph", failing)
    with pytest.raises(RunFailed, match=r"capturing\); set trainer.cuda_graph=false"):
        take(engine, 10)


@gpu
@needs_cuda
@pytest.mark.parametrize("words", [*VARIANTS, UNFREEZING])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_on_a_gpu_captured_steps_are_those_taken_one_by_one(
    optimizer: str, words: tuple[str, ...]
) -> None:
    given = (*IRIS, "trainer.accelerator=cuda", f"optimizer={optimizer}", *words)
    alone = built(*given, "trainer.cuda_graph=false")
    captured = built(*given, "trainer.cuda_graph=true")
    take(alone, 20)
    take(captured, 20)
    assert isinstance(captured.captured, CapturedStep) and captured.captured.graph is not None
    assert_equal_runs(alone, captured)


@gpu
@needs_cuda
@pytest.mark.parametrize("words", [(), ("trainer.precision=bf16", "trainer.channels_last=true")])
def test_on_a_gpu_convolutions_with_augmentation_are_captured(words: tuple[str, ...]) -> None:
    augmented = "dataset.augment={shift: 1, flip: true, rotation: 10, noise: 0.1, cutout: 2}"
    given = (*DIGITS, augmented, "trainer.accelerator=cuda", "trainer.deterministic=false", *words)
    alone = built(*given, "trainer.cuda_graph=false")
    captured = built(*given, "trainer.cuda_graph=true")
    take(alone, 8)
    take(captured, 8)
    tolerance = 1e-4 if not words else 3e-2  # kernels may be chosen anew, and sum in another order
    for name, value in alone.model.state_dict().items():
        found = captured.model.state_dict()[name]
        torch.testing.assert_close(found, value, rtol=tolerance, atol=tolerance)
    assert torch.equal(alone.generator.get_state(), captured.generator.get_state())


@gpu
@needs_cuda
@pytest.mark.parametrize("optimizer", ["momentum", "adam", "rmsprop"])
def test_on_a_gpu_a_captured_run_goes_on_from_its_state(optimizer: str) -> None:
    given = (*IRIS, "trainer.accelerator=cuda", "model.dropout=0.5", f"optimizer={optimizer}")
    whole, part, rest = (built(*given, "trainer.cuda_graph=true") for _ in range(3))
    take(whole, 20)
    take(part, 9)
    load_engine_state(rest, copy.deepcopy(engine_state(part)))
    rest.generator.set_state(part.generator.get_state())
    take(rest, 11)
    assert_equal_runs(whole, rest)


@gpu
@needs_cuda
def test_on_a_gpu_steps_do_not_wait_for_the_device() -> None:
    engine = built(*IRIS, "trainer.accelerator=cuda", "optimizer=adam")
    take(engine, 6)
    torch.cuda.set_sync_debug_mode("error")
    try:
        inputs, targets = engine.data.train.inputs[:16], engine.data.train.targets[:16]
        assert engine.captured is not None
        engine.captured(inputs, targets)
        engine.train_step(inputs, targets)
    finally:
        torch.cuda.set_sync_debug_mode("default")
