"""Linear models with crosses, and wide & deep ones as the sum of their two halves."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F


@pytest.fixture
def spec(make_spec):
    """Two columns of categories, of 3 codes each, and no numbers."""
    return dataclasses.replace(
        make_spec("features", "binary", (2,)), feature_names=("u", "v"), categories=(3, 3)
    )


# Exclusive or: no single column tells anything, each combination tells all.
X = torch.tensor([[1.0, 1.0], [1.0, 2.0], [2.0, 1.0], [2.0, 2.0]])
Y = torch.tensor([0.0, 1.0, 1.0, 0.0])


def accuracy_after_training(model):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(50):
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(model(X).squeeze(1), Y).backward()
        optimizer.step()
    return ((model(X).squeeze(1) > 0) == (Y > 0.5)).float().mean().item()


def test_a_linear_model_learns_exclusive_or_from_a_cross_alone(build, spec):
    assert accuracy_after_training(build("linear", spec, crosses=[["u", "v"]])) == 1
    assert accuracy_after_training(build("linear", spec)) < 1


def test_a_linear_model_starts_at_zero(build, spec):
    assert not build("linear", spec, crosses=[["u", "v"]])(X).any()


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_wide_and_deep_scores_are_the_sum_of_both(build, make_spec, task):
    mixed = dataclasses.replace(
        make_spec("features", task, (3,)), feature_names=("a", "u", "v"), categories=(3, 3)
    )
    model = build("wide_deep", mixed, crosses=[["u", "v"]], hidden=[8])
    with torch.no_grad():
        for parameter in model.wide.parameters():
            parameter.normal_()
    x = torch.cat([torch.randn(4, 1), X], 1)
    torch.testing.assert_close(model(x), model.wide(x) + model.deep(x))
    assert model(x).shape == (4, mixed.num_outputs)


def test_wide_and_deep_have_one_bias_between_them(build, spec):
    names = [name for name, _ in build("wide_deep", spec).wide.named_parameters()]
    assert names == ["linear.1.weight"]


def test_both_parts_learn_in_one_step(build, spec):
    model = build("wide_deep", spec, crosses=[["u", "v"]], hidden=[8])
    F.binary_cross_entropy_with_logits(model(X).squeeze(1), Y).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())
