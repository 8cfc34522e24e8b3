"""Frozen parameters and learning rates by name, against loops written out in bare PyTorch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.config.compose import compose
from dlrun.config.settings import parse
from dlrun.errors import ConfigError
from dlrun.system.signals import StopRequest
from dlrun.system.torch_internals import without_dynamo
from dlrun.training.build import assemble
from dlrun.training.engine_state import engine_state, load_engine_state
from dlrun.training.freezing import Freezing
from dlrun.training.loop import Engine
from dlrun.training.parameter_names import chosen

# 96 training rows in batches of 32: three steps an epoch.
IRIS = (
    "name=test", "dataset=iris", "model=mlp", "model.hidden=[8,6]", "trainer.accelerator=cpu",
    "trainer.batch_size=32", "trainer.max_epochs=3", "trainer.num_threads=1", "trainer.precision=fp64",
)  # fmt: skip
SGD = ("optimizer=sgd", "optimizer.lr=0.1")
FIRST = "0."  # the first layer of the MLP; the second is 2.


def engine(*words: str) -> Engine:
    plain: Any = OmegaConf.to_container(compose([*IRIS, *words]), resolve=True)
    return assemble(parse({key: value for key, value in plain.items() if key != "sweep"})).engine


class Quiet:
    """An observer that shows nothing."""

    def stepped(self, steps: int) -> None: ...
    def logged(self, step: int, values: dict[str, float]) -> None: ...
    def evaluated(self, values: dict[str, float]) -> None: ...


def fit(run: Engine, save: Callable[[], None] = lambda: None) -> Engine:
    run.fit(save=save, observer=Quiet(), stop=StopRequest())
    return run


def weights(run: Engine) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in run.model.state_dict().items()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def by_hand(
    run: Engine, prepare: Callable[[nn.Module, int], torch.optim.Optimizer], epochs: int
) -> nn.Module:
    """A copy of the run's model, trained without dlrun's loop; `prepare` gives the optimizer of each epoch."""
    model = copy.deepcopy(run.model).train()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    for epoch in range(epochs):
        optimizer = prepare(model, epoch)
        for inputs, targets in run.batches.epoch(epoch):
            model.zero_grad()
            F.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
    return model


def test_what_is_frozen_stays_as_it_was_whatever_else_moves_weights() -> None:
    regularised = (
        "optimizer=adamw",
        "optimizer.weight_decay=0.1",
        "optimizer.l1=0.01",
        "optimizer.clip_norm=0.1",
    )
    run = engine(*regularised, "model.freeze=[2.*]", "trainer.ema_decay=0.9")
    before = weights(run)
    after = weights(fit(run))
    frozen = {name for name in before if name.startswith("2.")}
    assert frozen and changed(before, after) == before.keys() - frozen
    assert run.averaged is not None
    averaged = run.averaged.module.state_dict()
    assert all(torch.equal(averaged[name], before[name]) for name in frozen)


def test_the_norm_of_the_gradient_and_its_clipping_leave_frozen_parameters_out() -> None:
    run = engine("model.freeze=[0.*]", *SGD)
    inputs, targets = next(run.batches.epoch(0))
    run.train_step(inputs, targets)
    trained = [p.grad for n, p in run.model.named_parameters() if not n.startswith(FIRST)]
    expected = torch.cat(
        [gradient.flatten() for gradient in trained if gradient is not None]
    ).norm()
    assert run._training_values()["gradient_norm"] == pytest.approx(expected.item())


def test_a_frozen_norm_normalises_by_its_statistics_and_keeps_them() -> None:
    words = ("model.batch_norm=before", *SGD)
    norms = [n for n, _ in engine(*words).model.named_buffers() if n.startswith("1.")]
    run = engine(*words, "model.freeze=[0.*,1.*]")
    before = weights(run)
    inputs, targets = next(run.batches.epoch(0))
    run.freezing.train(run.model)
    run.train_step(inputs, targets)
    run.outputs(run.data.val)  # after which it is in training mode again
    run.train_step(inputs, targets)
    moved = changed(before, weights(run))
    assert norms and not moved & {*norms}
    assert any("running_mean" in name for name in moved)  # of the norm that is not frozen
    assert not run.model.get_submodule("1").training and run.model.get_submodule("4").training


def test_a_pattern_of_weights_alone_leaves_the_statistics_to_training() -> None:
    run = fit(engine("model.batch_norm=before", *SGD, "model.freeze=[1.weight]"))
    assert run.model.get_submodule("1").training


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_layers_are_unfrozen_at_the_start_of_their_epoch_as_by_hand(optimizer: str) -> None:
    make: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
        "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        "adam": lambda p: torch.optim.Adam(p, lr=0.1),
    }
    run = engine(f"optimizer={optimizer}", "optimizer.lr=0.1", "model.freeze={0.*:2,2.*:1}")
    made: list[torch.optim.Optimizer] = []

    def prepare(model: nn.Module, epoch: int) -> torch.optim.Optimizer:
        for name, parameter in model.named_parameters():
            frozen = epoch < 2 if name.startswith(FIRST) else epoch < 1 and name.startswith("2.")
            parameter.requires_grad_(not frozen)
        # One optimizer for all epochs: what has no gradient is left out by torch itself.
        made.extend([] if made else [without_dynamo(lambda: make[optimizer](model.parameters()))])
        return made[0]

    expected = by_hand(run, prepare, 3).state_dict()
    for name, tensor in weights(fit(run)).items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-9, atol=0.0)


def test_a_run_resumed_between_two_unfreezings_is_the_same_bit_for_bit() -> None:
    words = (
        "optimizer=adam",
        "model.freeze={0.*:2,2.*:1}",
        "checkpoint.every_steps=1",
    )
    whole, states = engine(*words), list[Any]()
    fit(whole, save=lambda: states.append(copy.deepcopy(engine_state(whole))))
    for step in (1, 4, 6, 7):
        state = next(one for one in states if one["step"] == step)
        run = engine(*words)
        load_engine_state(run, copy.deepcopy(state))
        assert not changed(weights(fit(run)), weights(whole))


def test_multipliers_are_of_the_learning_rate_at_every_step_of_a_schedule() -> None:
    words = ("optimizer.lr_multipliers={0.*:0.1,2.weight:3}", "schedule=cosine")
    run = engine(*SGD, *words, "schedule.warmup_steps=2")
    alone = engine(*SGD, "schedule=cosine", "schedule.warmup_steps=2")
    for step in range(6):
        run.descent.schedule(step)
        alone.descent.schedule(step)
        assert run.descent.learning_rate == alone.descent.learning_rate  # what is logged
        rates = {p: g["lr"] for g in run.descent.optimizer.param_groups for p in g["params"]}
        for name, parameter in run.model.named_parameters():
            by = 0.1 if name.startswith(FIRST) else 3 if name == "2.weight" else 1
            assert rates[parameter] == pytest.approx(by * alone.descent.learning_rate)


def test_of_several_patterns_the_first_that_fits_holds() -> None:
    names = ["a.weight", "a.bias", "b.weight"]
    assert chosen("key", ["a.w*", "a.*", "*"], names) == {
        "a.weight": "a.w*", "a.bias": "a.*", "b.weight": "*",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (["a"], "key has a, which fits no parameter that is trained; did you mean a.*?"),
        (
            ["a.wieght"],
            "key has a.wieght, which fits no parameter that is trained; did you mean a.weight?",
        ),
        (
            ["zzz"],
            "key has zzz, which fits no parameter that is trained; there are a.weight, a.bias, b.weight",
        ),
        (
            ["*", "b.*"],
            "key has b.*, which changes nothing: all that it fits is chosen by * before it; put the narrower "
            "pattern first",
        ),
    ],
)
def test_a_pattern_that_chooses_nothing_is_refused(patterns: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        chosen("key", patterns, ["a.weight", "a.bias", "b.weight"])
    assert str(caught.value) == message


@pytest.mark.parametrize("freeze", ["[*]", "{*:1}", "{?.*:null}"])
def test_a_model_with_nothing_left_to_train_is_refused(freeze: str) -> None:
    with pytest.raises(ConfigError, match="leaves nothing to train in the first epoch"):
        engine(f"model.freeze={freeze}")


def test_what_a_model_of_the_users_own_does_not_train_is_not_trained_after_unfreezing() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].bias.requires_grad_(False)
    freezing = Freezing(model, {"0.*": 1, "1.*": None})
    freezing.enter(0)
    assert [p.requires_grad for p in model.parameters()] == [False] * 4 + [True] * 2
    freezing.enter(1)
    assert [p.requires_grad for p in model.parameters()] == [True, False, False, False, True, True]
    assert freezing.describe() == "frozen: 0.* for 1 epoch, 1.*: 6 of 18 weights"
