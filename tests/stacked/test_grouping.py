"""Which configs may be trained together, and which settings keep a run alone."""

from __future__ import annotations

import pytest
from stacks import plain

from dlrun.stacked.grouping import shape_of, why_alone

BASE = (
    "dataset=digits",
    "model=mlp",
    "model.dropout=0.1",
    "optimizer=adam",
    "trainer.max_epochs=3",
)


def shape(*words: str) -> str:
    return shape_of(plain(*BASE, *words))


@pytest.mark.parametrize(
    "word",
    [
        "name=other", "seed=5", "dataset.split_seed=3", "optimizer.lr=1", "optimizer.beta1=0.5",
        "optimizer.eps=0.1", "optimizer.weight_decay=0.1", "optimizer.l1=0.1", "optimizer.clip_norm=1.0",
        "optimizer.clip_value=1", "loss.label_smoothing=0.1", "schedule=plateau", "schedule.warmup_steps=2",
        "model.dropout=0.5",
    ],
)  # fmt: skip
def test_numbers_may_differ(word: str) -> None:
    assert shape(word) == shape()


@pytest.mark.parametrize(
    "word",
    [
        "model.hidden=[9]", "model.activation=tanh", "model.batch_norm=before", "model.dropout=0",
        "model.init=orthogonal", "optimizer=adamw", "optimizer.amsgrad=true",
        "optimizer.decay_biases_and_norms=false", "loss.reduction=sum", "dataset.val_fraction=0.2",
        "dataset.normalize=none", "dataset.augment.noise=0.1", "dataset=wine", "trainer.max_epochs=4",
        "trainer.batch_size=16", "trainer.precision=bf16", "trainer.accumulate=2", "trainer.shuffle=false",
        "trainer.early_stopping.patience=2", "trainer.monitor=val/accuracy", "trainer.eval_every_steps=3",
        "checkpoint.every_steps=5",
    ],
)  # fmt: skip
def test_what_decides_what_is_computed_and_when_may_not(word: str) -> None:
    assert shape(word) != shape()


def test_numbers_of_a_loss_may_differ_but_not_whether_classes_are_weighted() -> None:
    focal = ("loss=focal", "loss.class_weights=[1,2]")
    assert shape(*focal) == shape("loss=focal", "loss.class_weights={'3': 2}", "loss.gamma=1")
    others = [shape("loss=focal", f"loss.class_weights={how}") for how in ("none", "balanced")]
    assert len({*others, shape(*focal), shape("loss=cross_entropy")}) == 4


def test_dropout_by_block_may_differ_in_rates_but_not_in_where_it_is() -> None:
    cnn = [plain("dataset=digits", "model=cnn", f"model.dropout={rates}")
           for rates in ("[0.1,0.2]", "[0.3,0.4]", "[0,0.2]")]  # fmt: skip
    first, second, third = map(shape_of, cnn)
    assert first == second != third


def test_numbers_of_a_model_of_the_users_own_are_not_guessed_at() -> None:
    configs = [plain(*BASE, "model._target_=mine.Net", f"model.dropout={p}") for p in (0.1, 0.2)]
    assert shape_of(configs[0]) != shape_of(configs[1])


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("trainer.compile=true", "trainer.compile"),
        ("trainer.ema_decay=0.9", "trainer.ema_decay"),
        ("trainer.precision=fp16", "trainer.precision=fp16"),
        ("trainer.profile=true", "trainer.profile"),
    ],
)
def test_settings_that_keep_a_run_alone_are_named(word: str, named: str) -> None:
    assert why_alone(plain(*BASE, word)) == named


@pytest.mark.parametrize("word", ["seed=1", "trainer.precision=bf16", "trainer.channels_last=true"])
def test_others_do_not(word: str) -> None:
    assert why_alone(plain(*BASE, word)) is None
