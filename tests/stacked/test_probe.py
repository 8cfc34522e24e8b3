"""Whether runs can be trained as one is found out by trying; what cannot be is not."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from stacks import DIGITS, engine
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from dlrun.models.dropout import use_generators
from dlrun.stacked import probe
from dlrun.stacked.grouping import layout, no_rule
from dlrun.stacked.probe import probe_stack
from dlrun.stacked.stack import Stack
from dlrun.system.torch_internals import DispatchMode
from dlrun.training.loop import Engine

MLP = (*DIGITS, "model=mlp", "model.hidden=[8]", "model.batch_norm=before", "model.dropout=0.1")


class Wrapped(nn.Module):
    """A linear model of the user's own, with something in its way."""

    def __init__(self, change: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.change, self.layer = change, nn.Linear(64, 10)
        self.dropout = nn.Dropout(0.5)
        self.register_buffer("mean", torch.zeros(10))
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.layer(x.flatten(1))
        return self.change(self, scores)


def runs_of(change: Callable[[Any, Tensor], Tensor]) -> list[Engine]:
    """Two runs of such a model."""
    runs = [engine(*DIGITS, "model=logistic", f"seed={seed}") for seed in (0, 1)]
    for run in runs:
        run.model = Wrapped(change)
        run.descent.optimizer.param_groups[0]["params"] = list(run.model.parameters())
        run.descent.parameters = list(run.model.parameters())
    return runs


def reason(change: Callable[[Any, Tensor], Tensor]) -> str | None:
    first, second = runs_of(change), runs_of(change)
    for run, same in zip(first, second, strict=True):
        run.model.load_state_dict(same.model.state_dict())
    return probe_stack(Stack(first, eval_rows=100), second[0])


def follow_mean(model: Any, scores: Tensor) -> Tensor:
    """A running mean that is assigned, not changed in place."""
    if model.training:
        model.mean = 0.5 * model.mean + 0.5 * scores.detach().mean(0)
    return scores - model.mean


def test_a_model_of_the_users_own_may_be_stacked() -> None:
    assert reason(lambda model, scores: torch.tanh(scores)) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda model, scores: model.dropout(scores), "the model draws random numbers"),
        (lambda model, scores: scores + torch.randn_like(scores), "the model draws random numbers"),
        (lambda model, scores: scores if scores.sum() > 0 else -scores, "the model cannot be batched: "),
        (lambda model, scores: scores * scores.detach().norm().item(), "the model cannot be batched: "),
    ],
    ids=["torch_dropout", "noise", "control_flow", "item"],
)  # fmt: skip
def test_what_cannot_be_batched_is_said_on_one_line(
    change: Callable[[Any, Tensor], Tensor], said: str
) -> None:
    why = reason(change)
    assert why is not None
    assert why.startswith(said)
    assert "\n" not in why


@pytest.mark.parametrize("draw", [random.random, np.random.rand], ids=["python", "numpy"])
def test_a_model_that_draws_from_a_state_that_runs_would_share_is_not_stacked(
    draw: Callable[[], float],
) -> None:
    def noisy(model: Any, scores: Tensor) -> Tensor:
        return scores * draw() if model.training else scores

    assert "random" in str(reason(noisy))


def test_a_buffer_that_is_assigned_in_training_is_kept_for_each_run() -> None:
    runs, singles = runs_of(follow_mean), runs_of(follow_mean)
    for run, single in zip(runs, singles, strict=True):
        run.model.load_state_dict(single.model.state_dict())
    assert reason(follow_mean) is None
    stack = Stack(runs, eval_rows=100)
    for inputs, targets in stack.batches.epoch(0):
        stack.train_step(inputs, targets)
    for run, single in zip(runs, singles, strict=True):
        for inputs, targets in single.batches.epoch(0):
            single.train_step(inputs, targets)
        torch.testing.assert_close(run.model.state_dict(), single.model.state_dict())


def test_a_forward_pass_that_goes_by_another_way_than_its_layers_is_noticed() -> None:
    runs = [engine(*DIGITS, "model=mlp", "model.hidden=[8]") for _ in range(3)]
    for run in runs:
        layer = next(m for m in run.model.modules() if isinstance(m, nn.Linear))
        layer.register_forward_hook(lambda module, inputs, output: output * 2)
    assert "other outputs" in str(probe_stack(Stack(runs[:2], eval_rows=100), runs[2]))


class Coarse(DispatchMode):
    """Factors of products are rounded to so many bits, as TF32 (11) and bf16 (8) do it."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(word in func.overloadpacket.__name__ for word in ("mm", "convolution", "lstm")):
            args = tree_map(self._rounded, args)
        return func(*args, **(kwargs or {}))

    def _rounded(self, value: Any) -> Any:
        if not isinstance(value, Tensor) or value.dtype != torch.float32:
            return value
        significand, exponent = torch.frexp(value)
        return torch.ldexp((significand * 2**self.bits).round() / 2**self.bits, exponent)


def slow(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


KINDS = {
    "mlp": ("model=mlp", "model.hidden=[64]", "model.dropout=0.1", "optimizer=adam"),
    "norm": ("model=mlp", "model.hidden=[32,32,32]", "model.batch_norm=before", "optimizer=momentum"),
    "cnn": ("model=cnn", "model.filters=[4,8]"),
    "lstm": ("model=lstm", "model.hidden_size=16"),
}  # fmt: skip


def trial(kind: str, precision: str) -> tuple[Stack, Engine]:
    """A stack of two and the first of them alone; with tf32, which no CPU has, as if they were computed so."""
    is_real = precision != "tf32"
    words = (*DIGITS, *KINDS[kind], f"trainer.precision={precision if is_real else 'fp32'}")
    first, second, alone = runs = [engine(*words) for _ in range(3)]
    for run in runs:
        run.device = replace(run.device, precision=precision)
    return Stack([first, second], eval_rows=100), alone


@pytest.mark.parametrize("precision", [slow("fp64"), slow("fp32"), "bf16"])
@pytest.mark.parametrize("kind", ["mlp", "norm", slow("cnn"), "lstm"])
def test_a_stack_that_only_rounds_differently_is_right(kind: str, precision: str) -> None:
    assert probe_stack(*trial(kind, precision)) is None


@pytest.mark.parametrize(("precision", "bits"), [("tf32", 11), slow("bf16", 8)])
@pytest.mark.parametrize("kind", ["mlp", "norm", slow("cnn"), slow("lstm")])
def test_so_is_one_whose_products_alone_are_rounded_coarsely(
    kind: str, precision: str, bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, alone = trial(kind, precision)
    step, outputs = stack.train_step, stack.outputs

    def coarse_step(*batch: Tensor) -> None:
        with Coarse(bits):
            step(*batch)

    def coarse_outputs(*samples: Any) -> Tensor:
        with Coarse(bits):
            return outputs(*samples)

    monkeypatch.setattr(stack, "train_step", coarse_step)
    monkeypatch.setattr(stack, "outputs", coarse_outputs)
    monkeypatch.setattr(probe, "_MIXED", ())  # its first step, too, counts as one in bf16
    assert probe_stack(stack, alone) is None


def wrong_masks(stack: Stack) -> None:
    seeds = enumerate((7, 8))
    use_generators(stack.template, [torch.Generator().manual_seed(seed) for _, seed in seeds])


def weights_of_the_other_run(stack: Stack) -> None:
    forward, name = stack._forward, stack.weights.parts[-2].name
    stack._forward = lambda weights, x: forward({**weights, name: weights[name].flip(0)}, x)


def no_bias(stack: Stack) -> None:
    forward, name = stack._forward, stack.weights.parts[-1].name
    stack._forward = lambda weights, x: forward({**weights, name: weights[name] * 0}, x)


def samples_out_of_turn(stack: Stack) -> None:
    forward = stack._forward
    stack._forward = lambda weights, x: forward(weights, x.roll(1, 1))


def outputs_of_the_other_run(stack: Stack) -> None:
    outputs = stack.outputs
    stack.outputs = lambda *samples: outputs(*samples).flip(0)  # type: ignore[method-assign]


def gradients_of_the_other_run(stack: Stack) -> None:
    collect = stack.weights.collect
    stack.weights.collect = (  # type: ignore[method-assign]
        lambda gradients, *, first: collect([g.flip(0) for g in gradients], first=first)
    )


FAULTS = [
    wrong_masks, weights_of_the_other_run, no_bias, samples_out_of_turn, outputs_of_the_other_run,
    gradients_of_the_other_run,
]  # fmt: skip


@pytest.mark.parametrize("precision", [slow("fp64"), slow("fp32"), slow("tf32"), "bf16"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_in_each_precision(fault: Callable[[Stack], None], precision: str) -> None:
    stack, alone = trial("mlp", precision)
    fault(stack)
    assert "other outputs" in str(probe_stack(stack, alone))


def test_an_optimizer_of_the_users_own_is_named() -> None:
    class Mine(torch.optim.SGD):
        """Whatever it does."""

    runs = [engine(*MLP) for _ in range(2)]
    for run in runs:
        run.descent.optimizer = Mine(run.descent.parameters, lr=0.1)
    with pytest.raises(KeyError):  # nobody builds a stack before he has asked
        Stack(runs, eval_rows=100)


def test_a_try_draws_from_no_random_state_that_others_use() -> None:
    runs = [engine(*MLP, "optimizer=adam", f"seed={seed}") for seed in (0, 1)]
    stack, alone = Stack(runs, eval_rows=100), engine(*MLP, "optimizer=adam", "seed=0")
    shared = torch.get_rng_state()
    assert probe_stack(stack, alone) is None
    assert torch.equal(torch.get_rng_state(), shared)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("dataset=char_lm", "model=char_rnn"), "its hidden state from batch to batch"),
        (("dataset=text_lines", "model=text_cnn"), "texts of different lengths"),
        (("dataset=image_folder", "model=logistic", "dataset.in_memory=false"), "read from their files"),
        (("dataset=text_lines", "model=text_cnn", "dataset.tokens.bucketing=false"), None),
    ],
)  # fmt: skip
def test_of_batches_that_are_not_read_for_many_runs_it_is_said_why(
    words: tuple[str, ...], why: str | None
) -> None:
    found = no_rule(engine(*words, "trainer.accelerator=cpu"))
    assert found is None if why is None else why in str(found)


def test_runs_fit_together_by_their_sizes_and_by_how_far_they_are() -> None:
    first, second = (engine(*MLP, f"seed={seed}") for seed in (0, 1))
    assert layout(first) == layout(second)
    second.step = 3
    assert layout(first) != layout(second)
    for words in (("trainer.batch_size=7",), ("dataset.val_fraction=0.5",), ("model.hidden=[9]",)):
        assert layout(engine(*MLP, *words)) != layout(first)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp64", "fp32", "tf32", "bf16"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stack_on_a_card_is_right_in_each_precision(kind: str, precision: str) -> None:
    if precision == "tf32" and torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("the card has no TF32")
    words = (*DIGITS, *KINDS[kind], "trainer.accelerator=cuda", f"trainer.precision={precision}")
    first, second, alone = (engine(*words) for _ in range(3))
    assert probe_stack(Stack([first, second], eval_rows=100), alone) is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("fault", [weights_of_the_other_run, samples_out_of_turn, no_bias])
def test_a_fault_on_a_card_is_found(fault: Callable[[Stack], None]) -> None:
    words = (*DIGITS, *KINDS["mlp"], "trainer.accelerator=cuda", "trainer.precision=bf16")
    first, second, alone = (engine(*words) for _ in range(3))
    stack = Stack([first, second], eval_rows=100)
    fault(stack)
    assert "other outputs" in str(probe_stack(stack, alone))
