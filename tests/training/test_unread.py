"""A GPU is not waited for from one logged point to the next: no step reads a number of the device, whatever the run."""

from __future__ import annotations

import pytest
import torch

from dlrun.data.ahead import ahead
from dlrun.stacked.stack import Stack
from dlrun.training.capturable import make_capturable
from dlrun.training.logged_points import Pending
from dlrun.training.loop import Engine
from dlrun.training.stretches import Stretches
from older_torch import needs_rules_for_meta
from unread import META, HostWaits, built, on_device, watched

IRIS = ("dataset=iris", "model=mlp", "model.hidden=[8]", "trainer.batch_size=16")
DIGITS = ("dataset=digits", "model=cnn", "trainer.batch_size=16")
TEXTS = ("dataset=text_csv", "trainer.batch_size=4", "dataset.tokens.max_length=5")
gpu = pytest.mark.gpu
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

CAPTURED = ("sgd", "nesterov", "rmsprop", "adagrad", "adadelta", "adam", "lion", "muon")
OPTIMIZERS = ("sgd", "rmsprop", "adagrad", "adadelta", "adam", "lion", "schedule_free")
AVERAGED = (*IRIS, "model.batch_norm=before", "trainer.ema_decay=0.9")

# fmt: off
RUNS: list[tuple[str, ...]] = [
    *((*IRIS, f"optimizer={name}") for name in OPTIMIZERS),
    AVERAGED,
    *(
        (*IRIS, "trainer.precision=fp16", f"optimizer={name}")
        for name in ("sgd", "rmsprop", "adadelta", "lion")
    ),
    (*IRIS, "trainer.precision=fp64", "schedule=one_cycle", "schedule.warmup_steps=3"),
    (*IRIS, "trainer.precision=bf16", "schedule=plateau", "dataset.balance=oversample"),
    (
        *IRIS, "trainer.accumulate=3", "optimizer.clip_norm=1", "optimizer.clip_value=1", "optimizer.l1=0.1",
        "model.batch_norm=before", "model.freeze={0.*:1,1.*:1}", "optimizer.lr_multipliers={3.*:0.1}",
    ),
    (*IRIS, "loss=cross_entropy", "loss.class_weights=balanced", "loss.label_smoothing=0.1"),
    (*IRIS, "loss=focal", "trainer.shuffle=false"),
    ("dataset=breast_cancer", "model=tabm", "loss=binary_cross_entropy", "loss.positive_weight=balanced"),
    ("dataset=diabetes", "model=mlp", "loss=quantile", "metrics=[mape]"),
    ("dataset=csv", "dataset.target=[tip,total_bill]", "model=wide_deep"),
    ("dataset=csv", "dataset.memory_limit=1e-9", "dataset.target=size", "loss=poisson", "model=mlp"),
    (*DIGITS, "model.batch_norm=true", "model.dense_dropout=0.3", "trainer.channels_last=true"),
    (
        *DIGITS, "dataset.augment.shift=1", "dataset.augment.rotation=10", "dataset.augment.noise=0.1",
        "dataset.augment.cutout=2", "dataset.augment.erase=0.3", "dataset.augment.crop=0.3",
        "dataset.augment.flip=true", "dataset.augment.vertical_flip=true", "dataset.augment.colour=0.2",
    ),
    (*DIGITS, "dataset.augment.mixup=0.2", "dataset.augment.cutmix=0.3", "trainer.accumulate=2"),
    ("dataset=digits", "model=vae"),
    ("dataset=digits", "model=transformer"),
    ("dataset=digits", "model=gru", "model.dropout=0.2", "model.layer_norm=outputs"),
    ("dataset=image_folder", "model=cnn", "dataset.in_memory=false", "dataset.workers=0"),
    (*TEXTS, "model=text_cnn", "dataset.augment.word_dropout=0.2"),
    (*TEXTS, "model=lstm", "model.pooling=attention", "dataset.tokens.bucketing=false"),
    (*TEXTS, "model=rnn", "model.bidirectional=true"),
    (*TEXTS, "model=bag_of_words", "dataset.memory_limit=1e-9"),
    ("dataset=char_lm", "dataset.window=2", "model=char_lstm", "model.hidden_size=4"),
    (
        "experiment=cifar10_fast", "dataset=digits", "model.widths=[4,4]", "trainer.batch_size=16",
        "trainer.channels_last=false", "dataset.val_fraction=0.1", "trainer.monitor=val/loss",
    ),
]
# fmt: on


def steps(engine: Engine, count: int) -> None:
    """So many training steps, as `Engine.fit` makes them, of as many epochs as that takes."""
    engine.freezing.train(engine.model)
    while count:
        epoch, position = divmod(engine.step, engine.steps_per_epoch)
        engine.begin_epoch(epoch, position)
        for batch in engine.batches.epoch(epoch, skip=position):
            engine.train_step(*batch)
            engine.step += 1
            count -= 1
            if not count:
                break


@needs_rules_for_meta
@pytest.mark.parametrize("words", RUNS, ids=" ".join)
def test_steps_points_and_evaluations_ask_the_device_for_nothing(words: tuple[str, ...]) -> None:
    engine = on_device(*words)
    engine.step = engine.steps_per_epoch - 1  # so that an epoch begins on the way
    with watched():
        steps(engine, 3)
    assert [loss.device for loss in engine.pending.losses] == [META] * 3
    with watched():
        point = engine._point()  # its numbers are read when the next one is due
        assert point is not None
        part = engine.data.val if len(engine.data.val) else engine.data.test
        assert engine.outputs(part.first(9)).device == META
    assert point.scores.read()[0][0].shape == (3,)


@gpu
@needs_cuda
@pytest.mark.parametrize("words", RUNS, ids=" ".join)
def test_a_card_is_waited_for_neither_by_steps_nor_by_points(words: tuple[str, ...]) -> None:
    engine = built(*words, "trainer.accelerator=cuda", "trainer.cuda_graph=false")
    steps(engine, 3)  # which choose kernels and make memory
    torch.cuda.set_sync_debug_mode("error")
    try:
        steps(engine, 200)
        point = engine._point()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert point is not None
    assert len(point.values({})) > 4


# What still waits at each step, and why.
WAITING = {
    "torch packs padded texts by lengths on the CPU, for several layers in both directions at once": (
        *TEXTS, "model=gru", "model.bidirectional=true", "model.layers=2", "model.dropout=0",
    ),
    "torchvision draws the operations of a policy on the CPU": (
        *DIGITS, "dataset.augment.policy=trivial_augment",
    ),
    "the library schedulefree counts steps in Python, and a skipped one is none": (
        *IRIS, "optimizer=schedule_free", "trainer.precision=fp16",
    ),
}  # fmt: skip


@needs_rules_for_meta
@pytest.mark.parametrize("words", WAITING.values(), ids=WAITING)
def test_exceptions_are_known(words: tuple[str, ...]) -> None:
    engine = on_device(*words)
    with pytest.raises((HostWaits, RuntimeError, NotImplementedError)), watched():
        steps(engine, 1)


@needs_rules_for_meta
@pytest.mark.parametrize("optimizer", CAPTURED)
def test_a_step_that_a_graph_is_to_hold_leaves_nothing_to_the_host(optimizer: str) -> None:
    more = ["model.hidden=[8,8]"] if optimizer == "muon" else []
    if more and not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon")
    engine = on_device(
        *IRIS, f"optimizer={optimizer}", "optimizer.clip_norm=1", "trainer.ema_decay=0.9", *more
    )
    make_capturable(engine.descent, META)
    with watched():
        steps(engine, 2)  # which make the memory of the optimizer
        batch = next(engine.batches.epoch(0))
    with watched() as found:
        engine.learn(*batch)
    assert found.of_host == []


STACKS = (
    (IRIS, ("optimizer.lr=0.1 schedule=cosine", "optimizer.clip_norm=1 schedule=linear")),
    ((*IRIS, "optimizer=adagrad", "model.dropout=0.5"), ("seed=1", "seed=2 optimizer.lr_decay=0.1")),
    ((*IRIS, "optimizer=schedule_free"), ("optimizer.lr=0.1", "optimizer.lr=0.2")),
    ((*IRIS, "optimizer=lion", "model.batch_norm=before"), ("seed=1", "seed=2 optimizer.weight_decay=1")),
    (
        (*DIGITS, "optimizer=rmsprop", "dataset.augment.shift=1", "dataset.augment.mixup=0.3"),
        ("loss.label_smoothing=0.1", "trainer.accumulate=1"),
    ),
    (("dataset=diabetes", "model=mlp", "loss=huber"), ("loss.delta=1", "loss.delta=2")),
)  # fmt: skip


@needs_rules_for_meta
@pytest.mark.parametrize(("common", "each"), STACKS, ids=lambda words: " ".join(words))
def test_steps_of_a_stack_ask_the_device_for_nothing(
    common: tuple[str, ...], each: tuple[str, ...]
) -> None:
    stack = Stack([on_device(*common, *own.split()) for own in each], eval_rows=9)
    with watched():
        for batch in stack.batches.epoch(0):
            stack.train_step(*batch)
            if stack.lead.step == 2:
                break
    with watched() as found:  # what a graph is to hold
        stack.learn(*batch, stack._table.numbers(0))
    assert found.of_host == []


TOKENS = ("dataset=char_lm", "dataset.window=8", "model=char_lstm", "trainer.batch_size=16")

HELD = (
    (*IRIS, "optimizer=adam"),
    AVERAGED,
    (*IRIS, "optimizer=rmsprop", "trainer.precision=fp16"),
    RUNS[-1],
    TOKENS,
)


@needs_rules_for_meta
@pytest.mark.usefixtures("emulated_graphs")
@pytest.mark.parametrize("words", HELD, ids=" ".join)
def test_what_a_graph_of_several_steps_holds_is_on_the_device(words: tuple[str, ...]) -> None:
    engine = on_device(*words)
    batches = ahead(engine.batches)
    assert batches is not None
    stretches = Stretches(engine, batches, required=True)
    taken = stretches.epoch(0, 0)
    with watched():
        for _ in range(3):
            engine.step += next(taken)
    stretches.carried, engine.pending = engine.carried, Pending()
    with watched() as found:
        left = stretches._work(4, batches.size(3))
    assert found.of_host == []
    assert all(tensor.device == META for tensor in left) and left[0].shape == (4,)


@needs_rules_for_meta
@pytest.mark.parametrize(
    "words",
    [(*IRIS, "trainer.ema_decay=0.9"), (*DIGITS, "model.batch_norm=true")],
    ids=" ".join,
)
def test_what_a_graph_of_an_evaluation_holds_is_on_the_device(words: tuple[str, ...]) -> None:
    engine = on_device(*words)
    with watched() as found:
        outputs = engine.outputs(engine.data.val)
    assert outputs.device == META and found.of_host == []


@needs_rules_for_meta
def test_what_a_gpu_would_have_to_be_waited_for_is_found() -> None:
    there, here = torch.ones(3, device=META), torch.ones(3)
    for wait in (
        lambda: there.sum().item(),
        lambda: bool(there.any()),
        lambda: there[there > 0],
        lambda: there.cpu(),
        lambda: there + here,
        lambda: there * torch.tensor(2.0),
        lambda: there[torch.tensor([0])],
        lambda: here.to(META),
        lambda: here.to(META, non_blocking=True),  # of memory that is not pinned
        lambda: there.copy_(here),
        lambda: torch.tensor([1.0], device=META),
        lambda: there.new_tensor([1.0]),
    ):
        with pytest.raises((HostWaits, RuntimeError, NotImplementedError)), watched():
            wait()
    with watched() as found:
        there[:2] + torch.full((), 2.0, device=META) * 3
        here.pin_memory().to(META, non_blocking=True)
    assert len(found.of_host) == 1  # the copy to pinned memory
