"""The update rules of stacks against torch.optim itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlrun.stacked.rules import Part, Rates, Rule, has_rule
from dlrun.training.optimizer_classes import Lion

SIZE, STEPS = 6, 5
Make = Callable[..., torch.optim.Optimizer]
# Of each kind: what all runs share, then what each has of its own beside the learning rate.
CASES: dict[str, tuple[Make, dict[str, Any], list[dict[str, Any]]]] = {
    "sgd": (torch.optim.SGD, {}, [{}, {}, {}]),
    "momentum": (torch.optim.SGD, {}, [{"momentum": 0.9}, {"momentum": 0.5}, {"momentum": 0.0}]),
    "nesterov": (torch.optim.SGD, {"nesterov": True}, [{"momentum": 0.9}, {"momentum": 0.1}]),
    "rmsprop": (torch.optim.RMSprop, {}, [{"alpha": 0.9}, {"eps": 0.1}, {"alpha": 0.5}]),
    "rmsprop_momentum": (torch.optim.RMSprop, {}, [{"momentum": 0.9}, {"momentum": 0.0}]),
    "rmsprop_centered": (
        torch.optim.RMSprop, {"centered": True}, [{"momentum": 0.9}, {"alpha": 0.5}],
    ),
    "adagrad": (
        torch.optim.Adagrad, {},
        [{"lr_decay": 0.3}, {"initial_accumulator_value": 2.0}, {"eps": 0.1}],
    ),
    "adadelta": (torch.optim.Adadelta, {}, [{"rho": 0.5}, {"eps": 0.1}, {}]),
    "adam": (torch.optim.Adam, {}, [{"betas": (0.5, 0.9)}, {"eps": 0.1}, {"betas": (0.0, 0.99)}]),
    "amsgrad": (torch.optim.Adam, {"amsgrad": True}, [{"betas": (0.9, 0.1)}, {"eps": 0.1}]),
    # Where runs differ in the learning rate alone, a kernel of torch's own does it.
    "adam_alike": (torch.optim.Adam, {"betas": (0.5, 0.9), "eps": 0.01}, [{}, {}, {}]),
    "amsgrad_alike": (torch.optim.Adam, {"amsgrad": True, "betas": (0.9, 0.1)}, [{}, {}, {}]),
    "adamw_alike": (torch.optim.AdamW, {"betas": (0.5, 0.9)}, [{}, {}, {}]),
    "adamw": (torch.optim.AdamW, {}, [{"betas": (0.5, 0.9)}, {"eps": 0.1}, {}]),
    "adamw_amsgrad": (torch.optim.AdamW, {"amsgrad": True}, [{"betas": (0.9, 0.1)}, {}]),
    "lion": (Lion, {}, [{"betas": (0.9, 0.99)}, {"betas": (0.5, 0.9)}, {"betas": (0.0, 0.5)}]),
}  # fmt: skip
SHAPES: dict[str, tuple[int, ...]] = {}
if hasattr(torch.optim, "Muon"):  # from version 2.9 on
    muon = torch.optim.Muon
    CASES |= {
        "muon": (muon, {}, [{}, {"momentum": 0.5}, {"momentum": 0.0}]),
        "muon_tall": (muon, {"adjust_lr_fn": "original"}, [{}, {"momentum": 0.5}]),
        "muon_adjusted": (
            muon, {"adjust_lr_fn": "match_rms_adamw", "nesterov": False}, [{}, {"momentum": 0.5}],
        ),
    }  # fmt: skip
    SHAPES = {"muon": (2, 3), "muon_tall": (3, 2), "muon_adjusted": (2, 3)}


def rule_of(
    optimizers: Sequence[torch.optim.Optimizer], weights: Tensor, shape: tuple[int, ...]
) -> Rule:
    part = Part("weight", 0, SIZE, torch.Size(shape))
    return Rule(optimizers, weights, [part], type(optimizers[0]))


@pytest.mark.parametrize("decays", [None, (0.1, 0.0, 0.5)], ids=["plain", "decayed"])
@pytest.mark.parametrize("case", CASES)
def test_a_rule_moves_the_weights_of_each_run_as_its_namesake_in_torch_does(
    case: str, decays: tuple[float, ...] | None
) -> None:
    make, shared, own = CASES[case]
    decay = torch.zeros(len(own)) if decays is None else torch.tensor(decays[: len(own)])
    rates = torch.tensor([[0.1], [0.3], [0.01]], dtype=torch.float64)[: len(own)]
    start = torch.randn(len(own), SIZE, dtype=torch.float64)
    shape = SHAPES.get(case, (SIZE,))
    parameters = [nn.Parameter(row.clone().view(shape)) for row in start]
    optimizers = [
        make([p], lr=rate.item(), weight_decay=d.item(), **shared, **more)
        for p, rate, d, more in zip(parameters, rates, decay, own, strict=True)
    ]
    weights = start.clone()
    rule = rule_of(optimizers, weights, shape)
    take_memory(rule, optimizers)
    column = None if decays is None else decay.double().unsqueeze(1)
    for step in range(STEPS):
        gradients = torch.randn(len(own), SIZE, dtype=torch.float64)
        factor = 1 / (step + 1)  # as a schedule would
        for p, g, optimizer, rate in zip(parameters, gradients, optimizers, rates, strict=True):
            p.grad = g.clone().view(shape)
            optimizer.param_groups[0]["lr"] = rate.item() * factor
            optimizer.step()
        move(rule, weights, gradients.clone(), rates * factor, column)
        expected = torch.stack([p.detach().flatten() for p in parameters])
        # Muon iterates in bfloat16, whose products another kernel may round otherwise.
        rounding = 0.02 * rates.max().item() if case in SHAPES else 1e-14
        torch.testing.assert_close(weights, expected, rtol=1e-12, atol=rounding)


def move(
    rule: Rule, weights: Tensor, gradients: Tensor, lr: Tensor, decay: Tensor | None = None
) -> None:
    """One more step of a rule."""
    numbers = rule.advance(lr, torch.ones(1, 1, dtype=torch.float64))
    rule.update(weights, gradients, Rates(lr, decay, numbers))


def take_memory(rule: Rule, optimizers: list[torch.optim.Optimizer]) -> None:
    """What torch's optimizers begin with: Adagrad's accumulators."""
    for name, tensor in rule.state.items():
        for row, optimizer in zip(tensor, optimizers, strict=True):
            (memory,) = optimizer.state.values() or [{}]
            if isinstance(known := memory.get(name), Tensor):
                row.copy_(known)


@pytest.mark.parametrize("case", CASES)
def test_a_rule_remembers_under_the_names_that_torch_uses(case: str) -> None:
    make, shared, own = CASES[case]
    shape = SHAPES.get(case, (SIZE,))
    parameters = [nn.Parameter(torch.randn(shape, dtype=torch.float64)) for _ in own]
    optimizers = [
        make([p], lr=0.1, **shared, **more) for p, more in zip(parameters, own, strict=True)
    ]
    rule = rule_of(optimizers, torch.zeros(len(own), SIZE, dtype=torch.float64), shape)
    take_memory(rule, optimizers)
    for _ in range(STEPS):
        gradients = torch.randn(len(own), SIZE, dtype=torch.float64)
        for p, g, optimizer in zip(parameters, gradients, optimizers, strict=True):
            p.grad = g.clone().view(shape)
            optimizer.step()
        weights = torch.zeros_like(gradients)
        move(rule, weights, gradients, torch.full((len(own), 1), 0.1).double())
    for row, (p, optimizer) in enumerate(zip(parameters, optimizers, strict=True)):
        known = {n: t for n, t in optimizer.state[p].items() if isinstance(t, Tensor)}
        steps = known.pop("step", rule.counts)
        assert steps.item() == rule.counts.item() == STEPS
        assert known.keys() <= rule.state.keys()
        for name, tensor in known.items():
            torch.testing.assert_close(
                rule.state[name][row], tensor.flatten(), rtol=1e-12, atol=1e-14
            )


def test_going_on_with_some_runs_leaves_these_as_they_were() -> None:
    parameters = [nn.Parameter(torch.zeros(SIZE, dtype=torch.float64)) for _ in range(3)]
    optimizers = [
        torch.optim.Adam([p], lr=0.1, betas=(0.1 * k, 0.9)) for k, p in enumerate(parameters)
    ]
    whole, part = (
        rule_of(optimizers, torch.zeros(3, SIZE, dtype=torch.float64), (SIZE,)) for _ in range(2)
    )
    weights, kept, rows = torch.zeros(3, SIZE).double(), torch.zeros(2, SIZE).double(), [0, 2]
    rate = torch.full((3, 1), 0.1, dtype=torch.float64)
    for step in range(STEPS):
        gradients = torch.randn(3, SIZE, dtype=torch.float64)
        move(whole, weights, gradients, rate)
        if step == 0:
            move(part, copy := torch.zeros(3, SIZE).double(), gradients, rate)
            part.keep(rows)
            kept = copy[rows]
        else:
            move(part, kept, gradients[rows], rate[rows])
    assert torch.equal(kept, weights[rows])


def test_an_optimizer_of_the_users_own_has_no_rule() -> None:
    class Mine(torch.optim.Adam):
        """Not Adam any more, perhaps."""

    weights = [nn.Parameter(torch.zeros(SIZE))]
    assert not has_rule(Mine(weights))
    assert not has_rule(torch.optim.Rprop(weights))


@pytest.mark.parametrize("case", CASES)
def test_those_of_dlrun_have_one(case: str) -> None:
    make, shared, own = CASES[case]
    parameter = nn.Parameter(torch.zeros(SHAPES.get(case, (SIZE,))))
    assert has_rule(make([parameter], lr=0.1, **shared, **own[0]))


@pytest.mark.parametrize(
    "odd",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.5),
        lambda p: torch.optim.Adam(p, maximize=True),
        lambda p: torch.optim.Adam([{"params": p[:1]}, {"params": p[1:], "eps": 0.1}]),
        pytest.param(
            lambda p: torch.optim.Adam(p, weight_decay=0.1, decoupled_weight_decay=True),
            marks=pytest.mark.skipif(
                "decoupled_weight_decay" not in signature(torch.optim.Adam).parameters,
                reason="this version of torch has no such setting",
            ),
        ),
    ],
    ids=["dampening", "maximize", "eps_by_layer", "decoupled"],
)
def test_settings_that_no_rule_knows_are_not_passed_over(odd: Make) -> None:
    weights = [nn.Parameter(torch.zeros(SIZE)), nn.Parameter(torch.zeros(SIZE))]
    assert not has_rule(odd(weights))
