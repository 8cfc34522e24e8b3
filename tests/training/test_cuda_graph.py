"""Training steps as a CUDA graph: when there is one, and that its steps are those taken one by one."""

from __future__ import annotations

import copy
import gc
import itertools
import random
import re
import signal
import sys
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from dlrun.config import settings
from dlrun.config.compose import compose
from dlrun.data.ahead import ahead
from dlrun.data.base import Spec
from dlrun.errors import ConfigError, RunFailed
from dlrun.models.dropout import Dropout
from dlrun.sweep.data_cache import data_loader
from dlrun.system.signals import StopRequest
from dlrun.training import cuda_graph, stretches
from dlrun.training.build import assemble
from dlrun.training.device import Device
from dlrun.training.engine_state import engine_state, load_engine_state
from dlrun.training.evaluation import Repeated
from dlrun.training.loop import Engine
from dlrun.training.stretches import Stretches
from emulated_graphs import Emulation
from older_torch import skip_without_muon

# 96 training rows: six batches of 16 an epoch, or three of 26 and one of 18.
IRIS = (
    "name=test", "dataset=iris", "model=mlp", "model.hidden=[8]", "trainer.batch_size=16",
    "schedule=cosine", "trainer.max_epochs=6",
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


@lru_cache(maxsize=1)
def plain(*words: str) -> Any:
    found: Any = OmegaConf.to_container(compose([*words]), resolve=True)
    del found["sweep"]  # no part of a run
    return found


def built(*words: str, **sections: Any) -> Engine:
    config = settings.parse(copy.deepcopy(plain(*words)) | sections)
    return assemble(config, load=data_loader).engine


def chosen(*words: str, wanted: Any = "auto", place: Device = CUDA, **sections: Any) -> Any:
    """What a run of these words gets on `place`, which need not be here."""
    engine = built(*IRIS, "trainer.accelerator=cpu", *words, **sections)
    engine.device = place
    changed: dict[str, Any] = {"cuda_graph": wanted, "precision": place.precision}
    engine.settings = replace(engine.settings, **changed)
    return cuda_graph.choose(engine)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_on_a_gpu_steps_are_captured(optimizer: str) -> None:
    assert isinstance(chosen(f"optimizer={optimizer}"), Stretches)
    assert isinstance(chosen(f"optimizer={optimizer}", wanted=True), Stretches)
    assert chosen(f"optimizer={optimizer}", wanted=False) is None


CANNOT: list[tuple[tuple[str, ...], Device, str]] = [
    ((), Device(torch.device("cpu"), "fp32"), "the run is on the device cpu, which has no CUDA graphs"),
    ((), Device(torch.device("cuda"), "fp64"), "trainer.precision is fp64, and learning rates that a graph"),
    (("trainer.profile=true",), CUDA, "trainer.profile is to see single operations"),
    (("optimizer=schedule_free",), CUDA, "the optimizer AdamWScheduleFree reads settings or memory"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "place", "reason"), CANNOT)
def test_what_cannot_be_captured_goes_without_unless_it_was_asked_for(
    words: tuple[str, ...], place: Device, reason: str
) -> None:
    skip_without_muon(" ".join(words))
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
    assert isinstance(chosen(model=OWN, wanted=True), Stretches)


@pytest.fixture
def emulated(emulated_graphs: Emulation) -> Callable[..., Emulation]:
    """Gives an engine graphs that are emulated."""

    def give(engine: Engine, *, required: bool = True) -> Emulation:
        batches = ahead(engine.batches)
        assert batches is not None
        engine.captured = Stretches(engine, batches, required=required)
        return emulated_graphs

    return give


class Points:
    """An observer that keeps what was logged, but for the speed."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.steps: list[int] = []
        self.seen: list[tuple[int, dict[str, float]]] = []

    def stepped(self, steps: int) -> None:
        self.steps.append(steps)

    def logged(self, step: int, values: dict[str, float]) -> None:
        kept = {name: v for name, v in values.items() if name != "samples_per_second"}
        self.seen.append((step, kept))

    def evaluated(self, values: dict[str, float]) -> None:
        self.logged(self.engine.step, values)


def train(engine: Engine, until: Callable[[], bool] = lambda: False) -> Points:
    """The whole run, or until after a step it is to stop."""
    points, stop = Points(engine), StopRequest()

    def stepped(steps: int) -> None:
        points.steps.append(steps)
        if until():
            stop.signal = signal.SIGTERM

    points.stepped = stepped  # type: ignore[method-assign]
    engine.fit(save=lambda: None, observer=points, stop=stop)
    return points


def take(engine: Engine, steps: int) -> None:
    """So many steps, from where the engine is, none of which is the last before something is due."""
    engine.intervals = replace(engine.intervals, total_steps=engine.step + steps)
    engine.total_steps = engine.step + steps
    engine.freezing.train(engine.model)
    while engine.step < engine.total_steps:
        epoch, position = divmod(engine.step, engine.steps_per_epoch)
        engine.begin_epoch(epoch, position)
        for count in engine.steps(epoch, position):
            engine.step += count
            if engine.step >= engine.total_steps:
                break


def assert_equal_runs(first: Engine, second: Engine, *, exactly: bool = False) -> None:
    close = partial(torch.testing.assert_close, **{"rtol": 0, "atol": 0} if exactly else {})
    for name, value in first.model.state_dict().items():
        close(second.model.state_dict()[name], value)
    states = [engine.descent.state_dict()["optimizer"]["state"] for engine in (first, second)]
    # Counts of steps are on the CPU until a graph is to hold them.
    close(*states, check_device=False)
    for kind in ("losses", "outputs", "targets"):
        seen = [getattr(engine.pending, kind) for engine in (first, second)]
        flat = [torch.cat([t.flatten() for t in ts]) if ts else torch.empty(0) for ts in seen]
        close(*flat)
    assert first.pending.sizes == second.pending.sizes
    gradients = [[p.grad for p in engine.descent.parameters] for engine in (first, second)]
    close(*gradients)
    assert first.descent.learning_rate == second.descent.learning_rate
    assert torch.equal(first.generator.get_state(), second.generator.get_state())
    if first.averaged is not None and second.averaged is not None:
        averages = [dict(e.averaged.state_dict()) for e in (first, second) if e.averaged]
        close(*averages)


VARIANTS = [
    (),
    ("model.dropout=0.5",),
    ("model.batch_norm=before", "model.dropout=0.2"),
    (UNEVEN,),
    (UNEVEN, "trainer.accumulate=3", "trainer.ema_decay=0.9"),
    ("optimizer.l1=0.01", "optimizer.clip_norm=0.1", "optimizer.clip_value=0.05"),
]
UNFREEZING = ("model.batch_norm=before", "model.freeze={0.*:1,1.*:1}")
CPU = ("trainer.accelerator=cpu", "trainer.num_threads=1")
PICTURES = (
    "name=test",
    "dataset=digits",
    "model=cnn",
    "model.filters=[4]",
    "trainer.max_steps=24",
    "trainer.log_every_steps=4",
    "trainer.eval_every_steps=24",
)
TEXT = (
    "name=test", "dataset=char_lm", "dataset.val_fraction=0.02", "dataset.window=8", "model=char_lstm",
    "model.hidden_size=8", "model.embedding_size=4", "trainer.batch_size=16", "trainer.max_steps=40",
    "trainer.log_every_steps=10", "trainer.eval_every_steps=40",
)  # fmt: skip
KINDS = [
    (*IRIS, UNEVEN, "optimizer=sgd", "model.dropout=0.5"),
    (*IRIS, "optimizer=momentum", "trainer.log_every_steps=4", "schedule.warmup_steps=7"),
    (*IRIS, "optimizer=nesterov", "trainer.eval_every_steps=7", "schedule=plateau", "schedule.patience=1"),
    (*IRIS, "optimizer=adam", "model.batch_norm=before", "model.dropout=0.2", "trainer.max_steps=33"),
    (*IRIS, UNEVEN, "optimizer=adamw", "trainer.accumulate=3", "trainer.ema_decay=0.9"),
    (*IRIS, "optimizer=adam", *VARIANTS[-1], UNEVEN, "trainer.drop_last=true"),
    (*IRIS, "optimizer=adam", "trainer.overfit_batches=2", "trainer.max_steps=20"),
    (*IRIS, "optimizer=momentum", *UNFREEZING, "optimizer.lr_multipliers={0.*:0.1}"),
    (*IRIS, "optimizer=adam", "trainer.precision=fp16", "optimizer.clip_norm=1"),
    (*IRIS, "optimizer=adam", "optimizer.lookahead={every_steps: 4, share: 0.5, power: 1}", UNEVEN),
    (*IRIS, "optimizer=adam", "model.freeze={0.*:1}", "trainer.overfit_batches=3"),
    (*PICTURES, "trainer.batch_size=64", "dataset.augment={shift: 1, noise: 0.1}"),
    (*PICTURES, "trainer.batch_size=60", "dataset.augment={mixup: 0.2}"),
    ("name=test", "dataset=airline", "model=lstm", "model.hidden_size=4", "trainer.batch_size=8",
     "trainer.max_steps=40"),
    TEXT,
]  # fmt: skip


def of_32_bits(engine: Engine) -> Engine:
    """The engine, with learning rates as they are on a device."""
    rates_at = engine.descent.rates_at
    engine.descent.rates_at = lambda step: np.float32(rates_at(step)).tolist()  # type: ignore[method-assign]
    return engine


@pytest.mark.parametrize("words", KINDS)
def test_a_run_in_stretches_is_the_run_step_by_step(
    words: tuple[str, ...], emulated: Callable[..., Emulation]
) -> None:
    alone, replayed = of_32_bits(built(*words, *CPU)), built(*words, *CPU)
    emulation = emulated(replayed)
    points = train(replayed)
    assert max(points.steps) > 1 and sum(points.steps) == replayed.step
    assert 0 < emulation.captures <= 6 and emulation.replays > emulation.captures
    assert points.seen == train(alone).seen
    assert_equal_runs(alone, replayed, exactly=True)


def on_cpu(*_: Any, **__: Any) -> list[str]:
    return ["cpu"]


OTHERS = ["rmsprop", "adadelta", "adagrad", "lion"]
OTHERS += ["muon"] if hasattr(torch.optim, "Muon") else []  # from version 2.9 on


@pytest.mark.parametrize("optimizer", OTHERS)
def test_optimizers_whose_steps_are_others_in_a_graph_come_to_the_same(
    optimizer: str, emulated: Callable[..., Emulation], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("rmsprop", "adadelta"):  # which take none of the CPU
        module = sys.modules[f"torch.optim.{name}"]
        monkeypatch.setattr(module, "_get_capturable_supported_devices", on_cpu)
    words = (*IRIS, *CPU, "model.hidden=[8,8]", f"optimizer={optimizer}", UNEVEN)
    alone, replayed = built(*words), built(*words)
    emulated(replayed)
    points = train(replayed)
    assert max(points.steps) > 1
    assert losses(points) == pytest.approx(losses(train(alone)), rel=1e-5)


@pytest.mark.parametrize("words", [(*IRIS, "model.dropout=0.5", UNEVEN), TEXT])
def test_a_run_in_stretches_that_is_stopped_goes_on_from_its_state(
    words: tuple[str, ...], emulated: Callable[..., Emulation]
) -> None:
    whole, part, rest = (built(*words, *CPU, "optimizer=adam") for _ in range(3))
    emulated(whole)
    points = train(whole)
    emulated(part)
    begun = train(part, until=lambda: part.step >= 13)
    assert 13 <= part.step < whole.step  # between two stretches
    load_engine_state(rest, copy.deepcopy(engine_state(part)))
    rest.generator.set_state(part.generator.get_state())
    emulated(rest)
    assert begun.seen + train(rest).seen == points.seen
    assert_equal_runs(whole, rest, exactly=True)


def shifted(engine: Engine, patch: pytest.MonkeyPatch) -> None:
    read = engine.captured.batches.read  # type: ignore[union-attr]
    patch.setattr(
        engine.captured.batches,
        "read",
        lambda start, *sizes: read(start.add_(1), *sizes),  # type: ignore[union-attr]
    )


def doubled(engine: Engine, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(stretches, "send", lambda values, place: place.copy_(2 * values))


def counting(engine: Engine, patch: pytest.MonkeyPatch) -> None:
    calls = itertools.count()
    engine.model.register_forward_pre_hook(lambda _, inputs: inputs[0] * (next(calls) % 7))


def drawing(engine: Engine, patch: pytest.MonkeyPatch) -> None:
    engine.model.register_forward_pre_hook(lambda *_: random.random() and None)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (shifted, "they read other samples"),
        (doubled, "weights differ"),
        (counting, "their losses differ"),
        (drawing, "they draw other random numbers"),
    ],
)
@pytest.mark.parametrize("required", [False, True])
def test_graphs_that_do_something_else_are_found_and_not_used(
    wrong: Callable[[Engine, pytest.MonkeyPatch], None],
    said: str,
    required: bool,
    emulated: Callable[..., Emulation],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    given = (*IRIS, *CPU, "model.dropout=0.5", "optimizer=adam", "trainer.ema_decay=0.9")
    alone, other = built(*given), built(*given)
    emulation = emulated(other, required=required)
    for engine in (alone, other) if wrong in (counting, drawing) else (other,):
        wrong(engine, monkeypatch)
    message = f"the training steps come to something else as a CUDA graph ({said})"
    if required:
        with pytest.raises(RunFailed) as failed:
            train(other)
        assert str(failed.value) == f"{message}; set trainer.cuda_graph=false"
        return
    found = train(other)
    assert emulation.replays == 1
    if wrong is not counting:  # which counts what is recorded as well
        assert found.seen == train(alone).seen
        assert_equal_runs(alone, other)
    assert f"{message}: going on without" in [record.getMessage() for record in caplog.records]


def test_masks_that_come_from_counts_are_drawn_on_by_graphs_and_by_a_resume(
    emulated: Callable[..., Emulation], monkeypatch: pytest.MonkeyPatch
) -> None:
    def take_as_on_a_gpu(layer: Dropout, *generators: Any) -> None:
        usual(layer, *generators)
        layer.draw_by_key()

    usual = Dropout.take
    monkeypatch.setattr(Dropout, "take", take_as_on_a_gpu)
    given = (*IRIS, *CPU, "model.dropout=0.5", "model.hidden=[8,8]", "trainer.ema_decay=0.9")
    alone, part, rest = built(*given), built(*given), built(*given)
    take(alone, 20)
    emulated(part)
    take(part, 9)
    load_engine_state(rest, copy.deepcopy(engine_state(part)))
    emulated(rest)
    take(rest, 11)
    assert_equal_runs(alone, rest)
    assert engine_state(alone)["masks"] == engine_state(rest)["masks"] == [20, 20]
    begun = torch.Generator().manual_seed(0).get_state()
    assert torch.equal(alone.generator.get_state(), begun)  # nothing is drawn from it


def failing(graph: Any, **_: Any) -> Any:
    raise RuntimeError("operation not permitted when stream is capturing\nmore lines")


def test_a_capture_that_fails_is_said_and_the_run_goes_on_without(
    emulated: Callable[..., Emulation],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    given = (*IRIS, "trainer.accelerator=cpu", "optimizer=adam")
    alone, other = built(*given), built(*given)
    emulated(other, required=False)
    monkeypatch.setattr(torch.cuda, "graph", failing)
    take(alone, 10)
    take(other, 10)
    assert_equal_runs(alone, other)
    said = [record.getMessage() for record in caplog.records if record.name.startswith("dlrun")]
    assert said == [
        "the training steps cannot be captured as a CUDA graph (operation not permitted when "
        "stream is capturing): going on without"
    ]


def test_a_capture_that_fails_gives_stream_and_generators_back(
    emulated: Callable[..., Emulation], monkeypatch: pytest.MonkeyPatch
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
    emulated(engine, required=False)
    monkeypatch.setattr(torch.cuda, "graph", failing)
    monkeypatch.setattr(torch.cuda, "set_stream", given_back.append)
    monkeypatch.setattr(torch.cuda, "default_generators", (Recorded(),))
    take(engine, 10)
    assert given_back == [torch.cuda.current_stream(), "not recorded"]


def test_layers_that_read_texts_in_both_directions_at_once_are_not_captured() -> None:
    texts = ("dataset=text_csv", "dataset.tokens.bucketing=false", "model=lstm", "model.dropout=0")
    for layers, found in ((1, None), (2, "in both directions at once")):
        engine = built(
            "name=test",
            "trainer.accelerator=cpu",
            *texts,
            "model.bidirectional=true",
            f"model.layers={layers}",
        )
        engine.device = CUDA
        reason = cuda_graph.why_not(engine)
        assert reason is None if found is None else found in (reason or "")


def test_a_capture_that_fails_ends_a_run_that_asked_for_it(
    emulated: Callable[..., Emulation], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = built(*IRIS, "trainer.accelerator=cpu", "optimizer=adam")
    emulated(engine)
    monkeypatch.setattr(torch.cuda, "graph", failing)
    with pytest.raises(RunFailed, match=r"capturing\); set trainer.cuda_graph=false"):
        take(engine, 10)


EVALUATED = [
    (*IRIS, "trainer.eval_batch_size=10", "trainer.ema_decay=0.9", "optimizer=adam"),
    (*TEXT, "trainer.eval_every_steps=10", "trainer.eval_batch_size=512"),
]


@pytest.mark.parametrize("words", EVALUATED)
def test_evaluations_by_a_graph_read_the_weights_as_they_are(
    words: tuple[str, ...], emulated: Callable[..., Emulation]
) -> None:
    alone, replayed = built(*words, *CPU), built(*words, *CPU)
    emulation, generator = emulated(replayed), replayed.generator
    replayed.captured = None
    replayed.evaluation.repeated = Repeated(replayed.data.val, generator, "fp32", required=True)
    assert train(replayed).seen == train(alone).seen
    assert emulation.captures == 1 and emulation.replays == replayed.evaluations - 1 > 2
    assert_equal_runs(alone, replayed, exactly=True)
    alone.restore_best()
    replayed.restore_best()
    assert torch.equal(alone.outputs(alone.data.val), replayed.outputs(replayed.data.val))
    assert torch.equal(alone.outputs(alone.data.test), replayed.outputs(replayed.data.test))


def test_an_evaluation_by_a_graph_begins_anew_where_the_weights_lie_elsewhere(
    emulated: Callable[..., Emulation],
) -> None:
    alone, replayed = built(*IRIS, *CPU), built(*IRIS, *CPU)
    emulation = emulated(replayed)
    how = Repeated(replayed.data.val, replayed.generator, "fp32", required=True)
    replayed.evaluation.repeated = how
    for _ in range(3):
        replayed.outputs(replayed.data.val)
    for engine in (alone, replayed):
        for parameter in engine.model.parameters():
            parameter.data = parameter.data * 2
    for _ in range(3):
        assert torch.equal(alone.outputs(alone.data.val), replayed.outputs(replayed.data.val))
    assert emulation.captures == 2 and emulation.replays == 4


@pytest.mark.parametrize("required", [False, True])
def test_an_evaluation_that_a_graph_does_otherwise_is_done_without(
    required: bool, emulated: Callable[..., Emulation], caplog: pytest.LogCaptureFixture
) -> None:
    engine = built(*IRIS, *CPU)
    emulation = emulated(engine)
    counting(engine, pytest.MonkeyPatch())
    how = Repeated(engine.data.val, engine.generator, "fp32", required=required)
    engine.evaluation.repeated = how
    said = "the evaluation cannot be replayed as a CUDA graph (its outputs differ)"
    engine.outputs(engine.data.val)
    if required:
        with pytest.raises(RunFailed, match=re.escape(said)):
            engine.outputs(engine.data.val)
        return
    for _ in range(3):
        engine.outputs(engine.data.val)
    assert emulation.replays == 1
    assert [record.getMessage() for record in caplog.records] == [f"{said}: going on without"]


def test_a_closed_engine_and_its_graphs_are_let_go_at_once(
    emulated: Callable[..., Emulation],
) -> None:
    engine = built(*IRIS, *CPU)
    emulated(engine)
    engine.evaluation.repeated = Repeated(engine.data.val, engine.generator, "fp32", required=True)
    train(engine)
    graphs = weakref.ref(engine.captured), weakref.ref(engine.evaluation.repeated)
    gc.disable()
    try:
        engine.close()
        assert [graph() for graph in graphs] == [None, None]
        assert all(parameter.grad is None for parameter in engine.model.parameters())
    finally:
        gc.enable()


def losses(points: Points) -> list[float]:
    return [v for _, values in points.seen for name, v in values.items() if name.endswith("/loss")]


@gpu
@needs_cuda
@pytest.mark.parametrize("words", [*VARIANTS, UNFREEZING])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_on_a_gpu_a_run_in_stretches_is_the_run_step_by_step(
    optimizer: str, words: tuple[str, ...]
) -> None:
    given = (*IRIS, "trainer.accelerator=cuda", f"optimizer={optimizer}", *words)
    alone = built(*given, "trainer.cuda_graph=false")
    captured = built(*given, "trainer.cuda_graph=true")
    expected, points = train(alone), train(captured)
    assert isinstance(captured.captured, Stretches) and max(points.steps) > 1
    assert losses(points) == pytest.approx(losses(expected), rel=1e-3)
    assert torch.equal(alone.generator.get_state(), captured.generator.get_state())
    for name, value in alone.model.state_dict().items():
        found = captured.model.state_dict()[name]
        torch.testing.assert_close(found, value, rtol=1e-3, atol=1e-4)


@gpu
@needs_cuda
@pytest.mark.parametrize("words", [(), ("trainer.precision=bf16", "trainer.channels_last=true")])
def test_on_a_gpu_convolutions_with_augmentation_are_captured(words: tuple[str, ...]) -> None:
    augmented = "dataset.augment={shift: 1, flip: true, rotation: 10, noise: 0.1, cutout: 2}"
    given = (*DIGITS, augmented, "trainer.accelerator=cuda", "trainer.max_epochs=6", *words)
    alone = built(*given, "trainer.cuda_graph=false")
    captured = built(*given, "trainer.cuda_graph=true")
    expected, points = train(alone), train(captured)
    assert max(points.steps) > 1
    # Kernels may be chosen anew, and sum in another order.
    assert losses(points) == pytest.approx(losses(expected), rel=0.1 if words else 0.02)
    assert torch.equal(alone.generator.get_state(), captured.generator.get_state())


@gpu
@needs_cuda
@pytest.mark.parametrize("words", [(*IRIS, "model.dropout=0.5", UNEVEN), TEXT])
@pytest.mark.parametrize("optimizer", ["momentum", "adam", "rmsprop"])
def test_on_a_gpu_a_captured_run_goes_on_from_its_state(
    optimizer: str, words: tuple[str, ...]
) -> None:
    given = (*words, "trainer.accelerator=cuda", f"optimizer={optimizer}")
    whole, part, rest = (built(*given, "trainer.cuda_graph=true") for _ in range(3))
    expected = train(whole)
    begun = train(part, until=lambda: part.step >= 13)
    load_engine_state(rest, copy.deepcopy(engine_state(part)))
    rest.generator.set_state(part.generator.get_state())
    found = losses(begun) + losses(train(rest))
    assert found == pytest.approx(losses(expected), rel=1e-4)
    assert torch.equal(whole.generator.get_state(), rest.generator.get_state())


@gpu
@needs_cuda
def test_on_a_gpu_steps_do_not_wait_for_the_device() -> None:
    engine = built(*IRIS, "trainer.accelerator=cuda", "optimizer=adam", "schedule=cosine")
    take(engine, 36)  # all graphs are recorded then
    torch.cuda.set_sync_debug_mode("error")
    try:
        take(engine, 18)
        engine.train_step(engine.data.train.inputs[:16], engine.data.train.targets[:16])
    finally:
        torch.cuda.set_sync_debug_mode("default")


@gpu
@needs_cuda
@pytest.mark.parametrize("words", EVALUATED)
def test_on_a_gpu_evaluations_by_a_graph_are_those_without(words: tuple[str, ...]) -> None:
    given = (*words, "trainer.accelerator=cuda")
    engine = built(*given, "trainer.cuda_graph=true")
    train(engine)
    assert engine.evaluation.repeated is not None and engine.evaluation.repeated.graph is not None
    found = engine.outputs(engine.data.val).clone()
    engine.evaluation.repeated = None
    torch.testing.assert_close(found, engine.outputs(engine.data.val).clone(), rtol=1e-4, atol=1e-5)


@gpu
@needs_cuda
def test_on_a_gpu_the_memory_of_graphs_is_given_back() -> None:
    def after_a_run() -> int:
        engine = built(*DIGITS, "trainer.accelerator=cuda", "trainer.cuda_graph=true")
        train(engine)
        engine.close()
        del engine
        gc.collect()
        torch.cuda.empty_cache()
        return torch.cuda.memory_reserved()

    first = after_a_run()
    assert max(after_a_run() for _ in range(3)) <= first
