"""Logistic, softmax and linear regression against the same computed by hand."""

import math

import pytest
import torch
from torch.nn import functional as F

from dlrun.models.logistic import LogisticRegression


@pytest.fixture
def by_hand(make_spec):
    """A model with the given weight and bias, for inputs of two features."""

    def make(task, weight, bias):
        model = LogisticRegression(make_spec("features", task, (2,)), bias=True, init="default")
        model.load_state_dict({"0.weight": torch.tensor(weight), "0.bias": torch.tensor(bias)})
        return model

    return make


def test_binary_scores_and_gradient_are_those_of_the_sigmoid_model(by_hand):
    model = by_hand("binary", [[0.5, -1.0]], [0.25])
    (score,) = model(torch.tensor([[2.0, 3.0]]))
    assert score.item() == pytest.approx(0.5 * 2 - 1.0 * 3 + 0.25)
    F.binary_cross_entropy_with_logits(score, torch.ones(1)).backward()
    error = 1 / (1 + math.exp(1.75)) - 1.0  # sigmoid(score) - target
    assert model[0].weight.grad.tolist()[0] == pytest.approx([error * 2, error * 3])
    assert model[0].bias.grad.item() == pytest.approx(error)


def test_multiclass_scores_and_gradient_are_those_of_the_softmax_model(by_hand):
    weight = [[1.0, 0.0], [0.0, 1.0], [-1.0, 1.0], [0.5, 0.5]]
    model = by_hand("multiclass", weight, [0.1, 0.0, -0.1, 0.0])
    scores = model(torch.tensor([[2.0, -1.0]]))
    assert scores[0].tolist() == pytest.approx([2.1, -1.0, -3.1, 0.5])
    F.cross_entropy(scores, torch.tensor([1])).backward()
    powers = [math.exp(s) for s in (2.1, -1.0, -3.1, 0.5)]
    errors = [p / sum(powers) - (k == 1) for k, p in enumerate(powers)]
    expected = torch.tensor([[e * 2.0, e * -1.0] for e in errors])
    torch.testing.assert_close(model[0].weight.grad, expected)


def test_regression_scores_are_linear(by_hand):
    model = by_hand("regression", [[1.0, 2.0], [3.0, 4.0]], [5.0, 6.0])
    assert model(torch.tensor([[1.0, 1.0]])).tolist() == [[8.0, 13.0]]


def test_without_bias_zero_scores_zero(make_spec):
    model = LogisticRegression(make_spec("features"), bias=False, init="default")
    assert sum(p.numel() for p in model.parameters()) == 7 * 4
    assert not model(torch.zeros(1, 7)).any()


def test_images_are_read_as_their_pixels(make_spec):
    model = LogisticRegression(make_spec("image", shape=(2, 3, 3)), bias=True, init="default")
    images = torch.randn(5, 2, 3, 3)
    linear = model[-1]
    expected = images.reshape(5, 18) @ linear.weight.T + linear.bias
    torch.testing.assert_close(model(images), expected)


def test_zeros_give_even_odds(make_spec):
    model = LogisticRegression(make_spec("features"), bias=True, init="zeros")
    assert not model(torch.randn(3, 7)).any()
