"""Muon for matrices and AdamW for all else, against torch's two optimizers side by side."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from dlrun.config.settings import GradientSettings
from dlrun.errors import ConfigError
from dlrun.training import optim
from dlrun.training.optim import Descent, parameter_groups
from dlrun.training.optimizer_classes import hidden_matrices

RULES = GradientSettings(
    weight_decay=0.1,
    decay_biases_and_norms=False,
    l1=0.0,
    clip_norm=None,
    clip_value=None,
    lr_multipliers=None,
)
SETTINGS = {
    "lr": 0.02, "adamw_lr": 0.01, "momentum": 0.9, "nesterov": True, "adjust_lr": "original",
    "beta1": 0.8, "beta2": 0.99, "eps": 1e-8,
}  # fmt: skip
BATCH = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))

pytestmark = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch below 2.9")


def made() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 3), nn.Linear(3, 2))


def descent_of(model: nn.Module, rules: GradientSettings = RULES, **changes: object) -> Descent:
    optimizer = optim.muon(parameter_groups(model, rules), model=model, **{**SETTINGS, **changes})
    return Descent(
        optimizer, lambda step: 1 / (1 + step), rules, torch.amp.GradScaler("cpu", enabled=False)
    )


def train(model: nn.Module, descent: Descent, steps: range) -> None:
    for step in steps:
        descent.clear()
        descent.backward(model(BATCH).square().mean())
        descent.update(step)


@pytest.mark.parametrize("adjust_lr", ["original", "match_rms_adamw"])
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("adamw_lr", [0.01, None])
def test_the_matrices_move_as_by_torchs_muon_and_all_else_as_by_its_adamw(
    adjust_lr: str, nesterov: bool, adamw_lr: float | None
) -> None:
    model, other = made(), made()
    descent = descent_of(model, adjust_lr=adjust_lr, nesterov=nesterov, adamw_lr=adamw_lr)
    train(model, descent, range(4))
    first, norm, second, head = other
    vectors = [first.bias, norm.weight, norm.bias, second.bias, head.bias]
    muon = torch.optim.Muon(
        [first.weight, second.weight], lr=0.02, weight_decay=0.1, momentum=0.9, nesterov=nesterov,
        adjust_lr_fn=adjust_lr,
    )  # fmt: skip
    groups = [
        {"params": [head.weight], "weight_decay": 0.1},
        {"params": vectors, "weight_decay": 0},
    ]
    adamw = torch.optim.AdamW(groups, lr=adamw_lr or 0.02, betas=(0.8, 0.99))
    base = [group["lr"] for group in (*muon.param_groups, *adamw.param_groups)]
    for step in range(4):
        for group, lr in zip((*muon.param_groups, *adamw.param_groups), base, strict=True):
            group["lr"] = lr / (1 + step)
        other.zero_grad()
        other(BATCH).square().mean().backward()
        muon.step()
        adamw.step()
    for got, expected in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-7)


def test_a_resume_goes_on_bit_for_bit_with_settings_as_configured_now() -> None:
    whole, half = made(), made()
    train(whole, descent_of(whole), range(4))
    first = descent_of(half)
    train(half, first, range(2))
    resumed = copy.deepcopy(half)
    second = descent_of(resumed)
    second.load_state_dict(first.state_dict())
    train(resumed, second, range(2, 4))
    assert same(resumed, whole)
    changed = descent_of(half, replace(RULES, weight_decay=0.5), lr=0.5)
    changed.load_state_dict(first.state_dict())
    groups = changed.optimizer.param_groups
    assert [group["lr"] for group in groups] == [0.5, 0.01, 0.01]
    assert [group["weight_decay"] for group in groups] == [0.5, 0.5, 0.0]


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


class Reader(nn.Module):
    """Each kind of weight that a model of texts or images has."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.rnn = nn.Embedding(9, 4), nn.GRU(4, 5)
        self.question = nn.Linear(5, 1, bias=False)
        self.filters = nn.Conv2d(2, 3, 3)
        self.head = nn.Linear(5, 2)


def test_embeddings_the_head_filters_and_single_rows_are_left_to_adamw() -> None:
    model = Reader()
    found = {id(p) for p in hidden_matrices(model)}
    assert found == {id(model.rnn.weight_ih_l0), id(model.rnn.weight_hh_l0)}


def test_a_frozen_matrix_is_left_alone() -> None:
    model = made()
    model[0].weight.requires_grad_(False)
    before: Tensor = model[0].weight.clone()
    train(model, descent_of(model), range(2))
    assert torch.equal(model[0].weight, before)


def test_a_model_without_a_hidden_matrix_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no matrix to train .* take optimizer=adamw"):
        descent_of(nn.Linear(4, 2))


def test_a_torch_without_muon_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(ConfigError, match=r"has from version 2\.9, .* optimizer=adamw"):
        descent_of(made())
