"""Engines made from words, trained alone and as one: what the tests of stacks compare."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import yaml
from omegaconf import OmegaConf
from torch import Tensor

from dlrun.config import compose, settings
from dlrun.stacked.stack import Stack
from dlrun.sweep.data_cache import data_loader
from dlrun.training.build import assemble
from dlrun.training.loop import Engine

# Some 160 of the digits to train on, 5 steps an epoch; numbers that rounding cannot tell apart.
DIGITS = (
    "dataset=digits", "dataset.val_fraction=0.89", "dataset.test_fraction=0.1",
    "trainer.precision=fp64", "trainer.accelerator=cpu", "trainer.num_threads=1",
)  # fmt: skip
EPOCHS = 5


def plain(*words: str) -> dict[str, Any]:
    """The config of one run."""
    values = [word for word in words if "." in word.partition("=")[0] or word.startswith("seed=")]
    composed = copy.deepcopy(_choices(tuple(word for word in words if word not in values)))
    for word in values:  # which takes much less time than to compose anew
        key, _, value = word.partition("=")
        OmegaConf.update(composed, key, yaml.safe_load(value))
    container = OmegaConf.to_container(composed, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items() if key != "sweep"}


@cache
def _choices(words: tuple[str, ...]) -> Any:
    return compose.compose(["name=x", *words])


def engine(*words: str) -> Engine:
    """A run before its first step, which shares its data with the others."""
    return assemble(settings.parse(plain(*words)), load=data_loader).engine


@dataclass
class Outcome:
    """What a run has come to."""

    losses: Tensor  # of each step
    metrics: dict[str, float]  # of the validation part
    training: dict[str, float]  # the point that all steps together would log
    weights: dict[str, Tensor]


def alone(words: Sequence[str], *, epochs: int = EPOCHS) -> Outcome:
    """A run trained by its engine."""
    run = engine(*words)
    for epoch in range(epochs):
        run.begin_epoch(epoch, 0)
        for inputs, targets in run.batches.epoch(epoch):
            run.train_step(inputs, targets)
            run.step += 1
    losses = torch.stack(run.pending.losses)
    training = run._training_values()
    val = run.data.val
    outputs = run.outputs(val)
    metrics = run.task.metrics(outputs, val.targets) | run.chosen.measure(outputs, run.truth)
    return outcome(run, losses, metrics, training)


def as_one(each: Sequence[Sequence[str]], *, epochs: int = EPOCHS) -> list[Outcome]:
    """Runs trained by a stack."""
    runs = [engine(*words) for words in each]
    stack = Stack(runs, eval_rows=97)  # no divisor of anything
    for epoch in range(epochs):
        for run in runs:
            run.begin_epoch(epoch, 0)
        for inputs, targets in stack.batches.epoch(epoch):
            stack.train_step(inputs, targets)
    losses = torch.stack(stack.pending.losses).unbind(1)
    points = stack.training_values()
    rows = zip(runs, losses, stack.validation_metrics(), points, strict=True)
    return [outcome(*row) for row in rows]  # type: ignore[arg-type]


def outcome(
    run: Engine, losses: Tensor, metrics: dict[str, float], training: dict[str, float]
) -> Outcome:
    del training["samples_per_second"]
    weights = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    return Outcome(losses, metrics, training, weights)


def assert_same_answers(
    common: Sequence[str],
    each: Sequence[str],
    *,
    relative: float = 1e-9,
    epochs: int = EPOCHS,
) -> None:
    """Each run, whose own words are one text, does in a stack what it does alone."""
    runs = [[*common, *own.split()] for own in each]
    stacked = as_one(runs, epochs=epochs)
    for own, words, together in zip(each, runs, stacked, strict=True):
        single = alone(words, epochs=epochs)
        assert together.losses.isfinite().all(), f"{own} shows nothing: it diverged"
        for part in ("losses", "metrics", "training"):
            got, expected = getattr(together, part), getattr(single, part)
            explain = f"{own}: {part}: {{}}".format
            torch.testing.assert_close(got, expected, rtol=relative, atol=0.0, msg=explain)
        assert together.weights.keys() == single.weights.keys()
        for name, expected in single.weights.items():
            size = expected.double().norm().item()
            off = (together.weights[name].double() - expected.double()).norm().item()
            assert off <= relative * size, f"{own}: {name} is off by {off} of {size}"
