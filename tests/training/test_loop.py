"""The training loop against loops written out by hand in bare PyTorch, and how runs end."""

from __future__ import annotations

import copy
import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.cli import main
from dlrun.config.compose import compose
from dlrun.config.settings import parse
from dlrun.data.base import Spec
from dlrun.data.orders import epoch_order
from dlrun.errors import ConfigError, RunFailed
from dlrun.models.dropout import Dropout
from dlrun.runner import resume, start
from dlrun.storage.run_directory import RunDirectory, read_metrics
from dlrun.training.build import Experiment, assemble
from dlrun.training.divergence import Diverged
from dlrun.training.loop import Engine

# 96 training rows in batches of 16: six steps an epoch.
IRIS = (
    "name=test", "dataset=iris", "model=mlp", "model.hidden=[8]", "trainer.accelerator=cpu",
    "trainer.batch_size=16", "trainer.max_epochs=2", "tracking.tensorboard=false",
)  # fmt: skip
SGD = ("optimizer=sgd", "optimizer.lr=0.1")
# The loss falls, so by mode=max the first evaluation stays the best one.
NEVER_IMPROVES = (*IRIS, *SGD, "trainer.max_epochs=8", "trainer.mode=max")

MakeOptimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


@dataclass(frozen=True)
class Run:
    """A finished run, read back from its files."""

    directory: RunDirectory
    code: int

    @property
    def summary(self) -> dict[str, Any]:
        return self.directory.read_summary() or {}

    @property
    def points(self) -> list[dict[str, Any]]:
        return read_metrics(self.directory)

    def values(self, name: str) -> list[Any]:
        return [point[name] for point in self.points if name in point]

    def steps(self, name: str) -> list[int]:
        return [point["step"] for point in self.points if name in point]

    def checkpoint(self, name: str = "last") -> dict[str, Any]:
        file = self.directory.checkpoints / f"{name}.pt"
        return dict(torch.load(file, weights_only=True))

    @property
    def weights(self) -> dict[str, Tensor]:
        return dict(self.checkpoint()["model"])


Train = Callable[..., Run]


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Trains what the words say in a directory of its own; keywords replace whole sections."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str, **sections: Any) -> Run:
        directory = RunDirectory(tmp_path / f"run{len(list(tmp_path.glob('run*')))}")
        plain = composed(*words) | sections
        return Run(directory, start.train(plain, directory, overrides=[], choices={}))

    return run


def composed(*words: str) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(compose(list(words)), resolve=True)
    del plain["sweep"]  # no part of a run
    return dict(plain)


def assembled(*words: str) -> Experiment:
    return assemble(parse(composed(*words)))


def last_run(folder: Path) -> Run:
    return Run(RunDirectory(folder / "run0"), 1)


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def by_hand(
    made: Experiment,
    make_optimizer: MakeOptimizer,
    *,
    epochs: int = 2,
    batch: int = 16,
    after_step: Callable[[nn.Module, float], None] = lambda model, loss: None,
) -> nn.Module:
    """The loop of every tutorial, from the initial weights and in the order of `made`."""
    model = copy.deepcopy(made.engine.model).train()
    inputs, targets = made.data.train.inputs, made.data.train.targets
    optimizer = make_optimizer(list(model.parameters()))
    for epoch in range(epochs):
        for rows in epoch_order(len(targets), seed=made.config.seed, epoch=epoch).split(batch):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(inputs[rows]), targets[rows])
            loss.backward()
            optimizer.step()
            after_step(model, loss.item())
    return model


OPTIMIZERS: dict[str, tuple[tuple[str, ...], MakeOptimizer]] = {
    "sgd": (("optimizer.lr=0.1",), lambda p: torch.optim.SGD(p, lr=0.1, fused=True)),
    "momentum": (
        ("optimizer.lr=0.02", "optimizer.momentum=0.8"),
        lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.8, fused=True),
    ),
    "nesterov": (
        ("optimizer.lr=0.02", "optimizer.momentum=0.8", "optimizer.weight_decay=0.1"),
        lambda p: torch.optim.SGD(
            p, lr=0.02, momentum=0.8, nesterov=True, weight_decay=0.1, fused=True
        ),
    ),
    "rmsprop": (
        ("optimizer.lr=0.01", "optimizer.alpha=0.9"),
        lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.9, foreach=True),
    ),
    "adam": (
        ("optimizer.lr=0.01", "optimizer.beta1=0.8"),
        lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.8, 0.999), fused=True),
    ),
    "adamw": (
        ("optimizer.lr=0.01", "optimizer.weight_decay=0.1"),
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, fused=True),
    ),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_gives_the_very_weights_of_a_loop_written_by_hand(
    optimizer: str, train: Train
) -> None:
    settings, make = OPTIMIZERS[optimizer]
    words = (*IRIS, f"optimizer={optimizer}", *settings)
    expected = by_hand(assembled(*words), make).state_dict()
    assert same(train(*words).weights, expected)


def test_double_precision_trains_and_keeps_weights_in_float64(train: Train) -> None:
    words = (*IRIS, *SGD, "trainer.precision=fp64")
    expected = by_hand(assembled(*words), lambda p: torch.optim.SGD(p, lr=0.1, fused=True))
    found = train(*words).weights
    assert {weight.dtype for weight in found.values()} == {torch.float64}
    assert same(found, expected.state_dict())


def test_bf16_computes_coarsely_but_keeps_its_weights_in_float32(train: Train) -> None:
    exact, coarse = train(*IRIS, *SGD), train(*IRIS, *SGD, "trainer.precision=bf16")
    assert {weight.dtype for weight in coarse.weights.values()} == {torch.float32}
    assert not same(exact.weights, coarse.weights)
    assert coarse.values("val/loss") == pytest.approx(exact.values("val/loss"), rel=0.02)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("parts", [2, 3, 16])  # 3 does not divide 16
def test_accumulating_parts_gives_the_update_of_the_whole_batch(
    reduction: str, parts: int, train: Train
) -> None:
    lr = 0.1 if reduction == "mean" else 0.01
    words = (
        *IRIS, "optimizer=sgd", f"optimizer.lr={lr}", "trainer.precision=fp64",
        f"loss.reduction={reduction}",
    )  # fmt: skip
    whole, accumulated = train(*words), train(*words, f"trainer.accumulate={parts}")
    for name, weight in whole.weights.items():
        torch.testing.assert_close(accumulated.weights[name], weight, rtol=1e-12, atol=1e-12)
    assert accumulated.steps("train/loss") == whole.steps("train/loss")
    assert accumulated.values("train/loss") == pytest.approx(whole.values("train/loss"), rel=1e-12)


def test_the_averaged_weights_follow_their_formula_and_are_what_is_evaluated(train: Train) -> None:
    words = (*IRIS, *SGD, "trainer.precision=fp64", "trainer.ema_decay=0.9")
    made = assembled(*words)
    average: dict[str, Tensor] = {}

    def follow(model: nn.Module, loss: float) -> None:
        for name, weight in model.state_dict().items():
            old = average.get(name, weight)
            average[name] = (0.9 * old + 0.1 * weight).clone()

    model = by_hand(made, lambda p: torch.optim.SGD(p, lr=0.1, fused=True), after_step=follow)
    run = train(*words)
    assert same(run.weights, model.state_dict())  # the trained weights are not the averaged ones
    averaged = run.checkpoint()["averaged"]
    for name, weight in average.items():
        torch.testing.assert_close(averaged[f"module.{name}"], weight, rtol=1e-12, atol=1e-12)

    model.load_state_dict(average)
    model.eval()
    expected = F.cross_entropy(model(made.data.val.inputs), made.data.val.targets).item()
    assert run.values("val/loss")[-1] == pytest.approx(expected, rel=1e-12)


def test_logged_values_are_the_means_rate_and_norm_of_the_steps_they_end(train: Train) -> None:
    words = (*IRIS, *SGD, "schedule=linear", "trainer.precision=fp64", "trainer.log_every_steps=3")
    made, losses, norms = assembled(*words), [], []

    def sgd(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        optimizer = torch.optim.SGD(parameters, lr=0.1, fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / 11)
        optimizer.register_step_post_hook(lambda *call: schedule.step())
        return optimizer

    def note(model: nn.Module, loss: float) -> None:
        losses.append(loss)
        gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        norms.append(torch.cat(gradients).norm().item())

    by_hand(made, sgd, after_step=note)
    run = train(*words)
    assert run.steps("train/loss") == [3, 6, 9, 12]
    assert run.values("train/loss") == pytest.approx(
        [sum(losses[i : i + 3]) / 3 for i in (0, 3, 6, 9)]
    )
    assert run.values("gradient_norm") == pytest.approx([norms[i] for i in (2, 5, 8, 11)])
    assert run.values("lr") == pytest.approx([0.1 * (1 - i / 11) for i in (2, 5, 8, 11)])


@pytest.mark.parametrize(
    ("words", "logged", "evaluated"),
    [
        (("trainer.log_every_steps=2",), [2, 4, 6, 8, 10, 12], [6, 12]),
        (("trainer.log_every_steps=4",), [4, 6, 10, 12], [6, 12]),
        # A point at step 5 would leave one step for the epoch's own point to speak for.
        (("trainer.log_every_steps=5",), [6, 12], [6, 12]),
        (("trainer.log_every_steps=50",), [6, 12], [6, 12]),
        (("trainer.eval_every_steps=4",), [4, 6, 8, 12], [4, 8, 12]),
        (("trainer.eval_every_steps=5",), [5, 6, 10, 12], [5, 10, 12]),
        (("trainer.eval_every_epochs=2",), [6, 12], [12]),
        (("trainer.max_epochs=3", "trainer.eval_every_epochs=2"), [6, 12, 18], [12, 18]),
    ],
)
def test_points_are_logged_and_evaluated_at_the_steps_asked_for(
    words: tuple[str, ...], logged: list[int], evaluated: list[int], train: Train
) -> None:
    run = train(*IRIS, *words)
    assert run.steps("train/loss") == logged
    assert run.steps("val/loss") == evaluated
    assert [point["epoch"] for point in run.points] == [-(-p["step"] // 6) for p in run.points]


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        (("trainer.max_steps=8",), 8),
        (("trainer.max_steps=100",), 12),
        (("trainer.max_epochs=null", "trainer.max_steps=7"), 7),
        (("trainer.batch_size=20",), 10),
        (("trainer.batch_size=20", "trainer.drop_last=true"), 8),
        (("trainer.batch_size=full",), 2),
        (("trainer.batch_size=1", "trainer.max_epochs=1"), 96),
        # A last batch of one sample joins the one before it.
        (("trainer.batch_size=19",), 10),
        (("trainer.fast_dev_run=true",), 1),
        (("trainer.overfit_batches=2",), 4),
    ],
)
def test_a_run_takes_as_many_steps_as_its_settings_say(
    words: tuple[str, ...], steps: int, train: Train
) -> None:
    run = train(*IRIS, *words)
    assert (run.code, run.summary["status"], run.summary["step"]) == (0, "completed", steps)
    assert run.checkpoint()["step"] == steps
    assert max(point["step"] for point in run.points) == steps


def test_the_full_batch_descends_the_mean_loss_of_all_rows(train: Train) -> None:
    words = (*IRIS, *SGD, "trainer.batch_size=full", "trainer.precision=fp64")
    made = assembled(*words)
    expected = by_hand(made, lambda p: torch.optim.SGD(p, lr=0.1, fused=True), batch=96)
    for name, weight in train(*words).weights.items():
        torch.testing.assert_close(weight, expected.state_dict()[name], rtol=1e-12, atol=1e-12)


def test_a_few_batches_are_learned_by_heart(train: Train) -> None:
    run = train(
        "name=test", "dataset=digits", "model=mlp", "trainer.accelerator=cpu",
        "trainer.overfit_batches=2", "trainer.max_epochs=60", "trainer.eval_every_epochs=20",
        "tracking.tensorboard=false",
    )  # fmt: skip
    assert run.summary["step"] == 120
    assert run.values("train/accuracy")[-1] == 1.0
    assert run.values("val/accuracy")[-1] == 1.0
    assert run.summary["final"]["test/loss"] < 0.1


def test_without_a_validation_part_the_training_loss_chooses(train: Train) -> None:
    run = train(*IRIS, *SGD, "dataset.val_fraction=0", "trainer.monitor=train/loss")
    assert run.steps("val/loss") == []
    best = run.summary["best"]
    assert best["step"] == run.steps("train/loss")[-1]
    assert best["metrics"]["train/loss"] == min(run.values("train/loss"))
    assert "test/accuracy" in run.summary["final"]


def test_early_stopping_waits_its_patience_and_tests_the_best_weights(train: Train) -> None:
    run = train(*NEVER_IMPROVES, "trainer.early_stopping.patience=2")
    assert run.steps("val/loss") == [6, 12, 18]
    assert (run.summary["status"], run.summary["stopped_early"]) == ("completed", True)
    assert (run.summary["best"]["epoch"], run.summary["epoch"]) == (1, 3)

    one_epoch = train(*IRIS, *SGD, "trainer.max_epochs=1")
    assert same(run.checkpoint("best")["model"], one_epoch.weights)
    assert run.values("test/loss") == one_epoch.values("test/loss")


def test_the_last_weights_are_tested_where_the_best_are_not_wanted(train: Train) -> None:
    run = train(
        *NEVER_IMPROVES, "trainer.early_stopping.patience=2",
        "trainer.early_stopping.restore_best=false",
    )  # fmt: skip
    three_epochs = train(*IRIS, *SGD, "trainer.max_epochs=3")
    assert run.values("test/loss") == three_epochs.values("test/loss")


def test_a_gain_below_min_delta_is_no_improvement(train: Train) -> None:
    words = (*IRIS, *SGD, "trainer.max_epochs=5", "trainer.early_stopping.patience=1")
    assert train(*words).summary["epoch"] == 5
    impatient = train(*words, "trainer.early_stopping.min_delta=10")
    assert (impatient.summary["epoch"], impatient.summary["best"]["epoch"]) == (2, 1)


def test_an_improving_run_is_not_stopped_early(train: Train) -> None:
    run = train(*IRIS, *SGD, "trainer.early_stopping.patience=1")
    assert (run.summary["stopped_early"], run.summary["best"]["epoch"]) == (False, 2)


def test_the_plateau_schedule_lowers_the_rate_after_each_wait(train: Train) -> None:
    run = train(
        *NEVER_IMPROVES, "schedule=plateau", "schedule.patience=2", "schedule.factor=0.5",
        "schedule.minimum=0.3",
    )  # fmt: skip
    # The first evaluation is the best; waits end after epochs 3, 5 and 7.
    assert run.values("lr") == pytest.approx([0.1, 0.1, 0.1, 0.05, 0.05, 0.03, 0.03, 0.03])


class Poisoned(nn.Module):
    """Scores that are not numbers from its training step `bad_step` on."""

    def __init__(self, spec: Spec, *, bad_step: int) -> None:
        super().__init__()
        self.linear = nn.Linear(spec.num_features, spec.num_outputs)
        self.bad_step, self.steps = bad_step, 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.steps += self.training and torch.is_grad_enabled()
        scores: Tensor = self.linear(inputs)
        return scores * float("nan") if self.steps >= self.bad_step else scores


def poisoned(bad_step: int) -> dict[str, Any]:
    return {"_target_": f"{__name__}.Poisoned", "freeze": None, "bad_step": bad_step}


def test_a_loss_that_is_no_number_ends_the_run_with_step_values_and_remedy(
    train: Train, tmp_path: Path
) -> None:
    words = (*IRIS, "checkpoint.every_steps=2", "trainer.log_every_steps=3")
    with pytest.raises(Diverged) as caught:
        train(*words, model=poisoned(10))
    run = last_run(tmp_path)
    message = str(caught.value)
    assert "step 10 " in message
    assert "optimizer.lr" in message
    assert f"val/loss {run.values('val/loss')[-1]:.4g}" in message
    assert "train/loss" in message
    assert "nan" not in message.lower()

    assert run.summary["status"] == "failed"
    assert run.summary["error"] == {"kind": "Diverged", "message": message, "step": 10}
    assert all(math.isfinite(value) for value in run.values("train/loss"))
    for name in ("last", "best"):
        state = run.checkpoint(name)
        assert state["step"] < 10
        assert all(torch.isfinite(weight).all() for weight in state["model"].values())
    json.loads((run.directory.path / "summary.json").read_text(), parse_constant=pytest.fail)


def test_a_run_that_diverged_goes_on_from_its_last_good_checkpoint(train: Train) -> None:
    run = train(*IRIS, *SGD, "trainer.max_epochs=1")
    high = composed(*IRIS, "optimizer=sgd", "optimizer.lr=1e30", "trainer.max_epochs=3")
    with pytest.raises(Diverged):
        resume.resume(high, run.directory, overrides=[])
    assert (run.summary["status"], run.checkpoint()["step"]) == ("failed", 6)
    low = composed(*IRIS, *SGD, "trainer.max_epochs=3")
    assert resume.resume(low, run.directory, overrides=[]) == 0
    assert (run.summary["status"], run.summary["error"]) == ("completed", None)
    assert same(run.weights, train(*IRIS, *SGD, "trainer.max_epochs=3").weights)


def test_no_checkpoint_keeps_weights_that_are_not_finite(train: Train, tmp_path: Path) -> None:
    words = (*IRIS, "optimizer=sgd", "optimizer.lr=1e39", "checkpoint.every_steps=1")
    with pytest.raises(Diverged):
        train(*words)
    for file in (tmp_path / "run0" / "checkpoints").glob("*.pt"):
        state = torch.load(file, weights_only=True)
        assert all(torch.isfinite(weight).all() for weight in state["model"].values()), file.name


def test_divergence_exits_with_1_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["optimizer=sgd", "optimizer.lr=1e30", "dataset=diabetes", "model=logistic"]
    assert main(["train", *words, "tracking.tensorboard=false"]) == 1
    text = capsys.readouterr().err
    assert text.startswith("dlrun: error: the loss is not a finite number at step ")
    assert text.count("\n") == 1


def test_out_of_memory_names_the_batch_size_and_what_to_try(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*batch: Tensor) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 GB")

    monkeypatch.setattr(Engine, "train_step", exhausted)
    with pytest.raises(RunFailed, match="out of memory on cpu") as caught:
        train(*IRIS)
    for words in ("trainer.batch_size=16", "trainer.batch_size=8", "trainer.accumulate=2"):
        assert words in str(caught.value)
    assert last_run(tmp_path).summary["status"] == "failed"


def test_an_error_in_the_users_model_keeps_its_traceback_and_fails_the_run(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*batch: Tensor) -> None:
        raise ZeroDivisionError("in the model")

    monkeypatch.setattr(Engine, "train_step", broken)
    with pytest.raises(ZeroDivisionError):
        train(*IRIS)
    run = last_run(tmp_path)
    assert run.summary["status"] == "failed"
    assert run.summary["error"]["kind"] == "ZeroDivisionError"
    assert "Traceback" in run.directory.log.read_text()


class Restless(nn.Module):
    """Draws from every random state there is: the run's, torch's, NumPy's and Python's."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.drop = Dropout(0.1)
        self.hidden = nn.Linear(spec.num_features, 8)
        self.head = nn.Linear(8, spec.num_outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        inputs = self.drop(inputs)
        hidden = F.dropout(torch.relu(self.hidden(inputs)), 0.5, self.training)
        if self.training:
            hidden = hidden * (1 + 0.1 * np.random.rand() + 0.1 * random.random())
        scores: Tensor = self.head(hidden)
        return scores


RESTLESS = {"_target_": f"{__name__}.Restless", "freeze": None}


def without_times(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in point.items() if k != "samples_per_second"} for point in points]


def test_the_same_seed_gives_the_same_run_bit_for_bit_and_another_seed_another(
    train: Train,
) -> None:
    first, second = train(*IRIS, model=RESTLESS), train(*IRIS, model=RESTLESS)
    other = train(*IRIS, "seed=1", "dataset.split_seed=0", model=RESTLESS)
    assert same(first.weights, second.weights)
    assert without_times(first.points) == without_times(second.points)
    assert not same(first.weights, other.weights)


def test_a_model_that_draws_from_every_random_state_resumes_exactly(
    train: Train, tmp_path: Path
) -> None:
    words = (*IRIS, "checkpoint.every_steps=5")
    whole = train(*words, model=RESTLESS)
    run = RunDirectory(tmp_path / "resumed")
    plain = composed(*words) | {"model": RESTLESS}
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(Engine, "train_step", failing_at(9))
        start.train(plain, run, overrides=[], choices={})
    resumed = Run(run, resume.resume(plain, run, overrides=[]))
    assert resumed.summary["status"] == "completed"
    assert same(resumed.weights, whole.weights)
    assert without_times(resumed.points) == without_times(whole.points)


def failing_at(step: int) -> Callable[..., None]:
    train_step, taken = Engine.train_step, [0]

    def take(self: Engine, *batch: Tensor) -> None:
        taken[0] += 1
        if taken[0] == step:
            raise ZeroDivisionError
        train_step(self, *batch)

    return take


def test_masks_of_dropout_are_those_of_the_seed_whatever_the_global_state(train: Train) -> None:
    words = (*IRIS, "model.dropout=0.5")
    first = train(*words)
    train_step, taken = Engine.train_step, []

    def disturbed(self: Engine, *batch: Tensor) -> None:
        taken.append(torch.rand(3))
        train_step(self, *batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "train_step", disturbed)
        second = train(*words)
    assert taken and same(first.weights, second.weights)
    assert not same(first.weights, train(*IRIS).weights)


def test_batch_norm_and_dropout_are_off_in_evaluation_and_on_again_after(train: Train) -> None:
    words = (*IRIS, "model.dropout=0.5", "model.batch_norm=before", "trainer.precision=fp64")
    often, seldom = (
        train(*words, f"trainer.eval_every_steps={every}", "trainer.mode=max") for every in (1, 12)
    )
    # An evaluation leaves neither the weights, nor the running statistics, nor the draws changed.
    assert same(often.weights, seldom.weights)
    assert often.values("val/loss")[-1] == seldom.values("val/loss")[-1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("trainer.monitor=val/acuracy",), "did you mean val/accuracy"),
        (("dataset.val_fraction=0",), "trainer.monitor=train/loss"),
        (("trainer.max_epochs=null",), "both null"),
        (("trainer.batch_size=97", "trainer.drop_last=true"), "96 training samples"),
        (("schedule.warmup_steps=12",), "only 12 steps"),
    ],
)
def test_settings_at_odds_are_refused_before_anything_is_written(
    words: tuple[str, ...], message: str, train: Train, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(*IRIS, *words)
    assert list(tmp_path.iterdir()) == []
