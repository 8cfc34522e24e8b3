"""The perceptron whose weights are written down: its answer, its line, and whether it keeps them."""

from __future__ import annotations

import math

import pytest
import torch

from dlrun.errors import ConfigError


@pytest.fixture
def perceptron(build, make_spec):
    """(overrides) -> the perceptron of perceptron.yaml for two features and two classes."""
    spec = make_spec("features", "binary", (2,))
    return lambda **overrides: build("perceptron", spec, **overrides)


def test_the_forward_pass_of_one_point_is_the_one_worked_out_by_hand(perceptron):
    score = perceptron()(torch.tensor([[-1.0, 2.0]]))
    assert score.tolist() == [[-6.0]]  # 1 + 3 (-1) - 2 (2)
    assert torch.sigmoid(score).item() == pytest.approx(1 / (1 + math.exp(6)))
    assert torch.sigmoid(score).item() == pytest.approx(0.0025, abs=0.0001)


def test_other_weights_are_taken_from_the_config(perceptron):
    assert perceptron(weights=[0.5, 4], bias=-1)(torch.tensor([[2.0, 1.0]])).item() == 4.0


@pytest.mark.parametrize(("trainable", "moves"), [(True, True), (False, False)])
def test_the_weights_move_only_where_they_are_to_be_trained(trainable, moves, perceptron):
    model = perceptron(trainable=trainable)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.tensor([[1.0, 2.0]])).sum().backward()
    optimizer.step()
    assert (model.weight.tolist() != [[3.0, -2.0]]) is moves
    assert (model.bias.tolist() != [1.0]) is moves


def test_as_many_weights_as_features_are_asked_for(build, make_spec):
    with pytest.raises(ConfigError, match=r"reads 2 features in two classes.* 7 plain features"):
        build("perceptron", make_spec("features", "binary"))
    with pytest.raises(
        ConfigError, match=r"4 outputs; choose model=mlp or a dataset of 2 features"
    ):
        build("perceptron", make_spec("features", "multiclass", (2,)))
