"""The MLP: its size by formula, the order of its layers, and dropout and batch norm at work."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from dlrun.errors import ConfigError
from dlrun.models.dropout import Dropout


@pytest.fixture
def mlp(build, make_spec):
    """(overrides) -> an MLP for 7 plain features and 4 classes."""
    return lambda **overrides: build("mlp", make_spec("features"), **overrides)


def kinds(model):
    return [type(layer).__name__ for layer in model]


@pytest.mark.parametrize("hidden", [[], [5], [8, 3], [6, 6, 6, 6]])
def test_parameters_are_one_weight_a_connection_and_one_bias_a_unit(hidden, mlp):
    expected = sum(a * b + b for a, b in pairwise([7, *hidden, 4]))
    assert sum(p.numel() for p in mlp(hidden=hidden).parameters()) == expected


def test_scores_are_those_of_two_matrix_products(mlp):
    model = mlp(hidden=[5], activation="tanh")
    x = torch.randn(6, 7)
    w_1, b_1, w_2, b_2 = model.parameters()
    torch.testing.assert_close(model(x), torch.tanh(x @ w_1.T + b_1) @ w_2.T + b_2)


def test_a_list_gives_each_hidden_layer_its_own_activation(mlp):
    model = mlp(hidden=[5, 4], activation=["sigmoid", "tanh"])
    x = torch.randn(6, 7)
    w_1, b_1, w_2, b_2, w_3, b_3 = model.parameters()
    hidden = torch.tanh(torch.sigmoid(x @ w_1.T + b_1) @ w_2.T + b_2)
    torch.testing.assert_close(model(x), hidden @ w_3.T + b_3)


def test_each_layer_is_initialised_for_its_own_activation(mlp):
    torch.manual_seed(0)
    model = mlp(hidden=[900, 900], activation=["tanh", "relu"], init="kaiming_normal")
    stds = [layer.weight.std().item() for layer in model if isinstance(layer, nn.Linear)]
    expected = [5 / 3 / 7**0.5, 2**0.5 / 900**0.5, 1 / 900**0.5]
    assert stds == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("hidden", [[], [5], [5, 4, 3]])
def test_as_many_activations_as_hidden_layers_are_asked_for(hidden, mlp):
    with pytest.raises(ConfigError, match=rf"lists 2 activations.* has {len(hidden)} layers"):
        mlp(hidden=hidden, activation=["sigmoid", "tanh"])


def test_an_unknown_activation_in_a_list_is_named_with_its_place(mlp):
    with pytest.raises(ConfigError, match=r"model\.activation\[1\] is rleu.*relu"):
        mlp(hidden=[5, 4], activation=["relu", "rleu"])


def test_no_hidden_layers_is_one_linear_layer(mlp):
    assert kinds(mlp(hidden=[], dropout=0.5)) == ["Linear"]


def test_only_what_is_not_flat_is_flattened(mlp, build, make_spec):
    assert kinds(mlp(hidden=[5])) == ["Linear", "ReLU", "Linear"]
    images = build("mlp", make_spec("image"), hidden=[5])
    assert kinds(images) == ["Flatten", "Linear", "ReLU", "Linear"]
    assert images[1].in_features == 28 * 28


def test_batch_norm_before_stands_between_linear_and_activation_and_replaces_the_bias(mlp):
    model = mlp(hidden=[5, 3], batch_norm="before")
    block = ["Linear", "BatchNorm1d", "ReLU"]
    assert kinds(model) == [*block, *block, "Linear"]
    assert [layer.bias is None for layer in model if isinstance(layer, nn.Linear)] == [
        True,
        True,
        False,
    ]


def test_batch_norm_after_stands_behind_the_activation_and_leaves_the_bias(mlp):
    model = mlp(hidden=[5], batch_norm="after")
    assert kinds(model) == ["Linear", "ReLU", "BatchNorm1d", "Linear"]
    assert model[0].bias is not None


def test_batch_norm_before_centres_what_the_activation_is_given(mlp):
    model = mlp(hidden=[5], batch_norm="before")
    linear, norm, *_ = model
    x = norm(linear(torch.randn(64, 7) * 3 + 2))
    torch.testing.assert_close(x.mean(0), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.var(0, unbiased=False), torch.ones(5), atol=1e-3, rtol=0)


def test_dropout_stands_behind_each_hidden_layer_and_on_the_inputs(mlp):
    model = mlp(hidden=[5, 3], dropout=0.5, input_dropout=0.2)
    assert kinds(model) == ["Dropout", *["Linear", "ReLU", "Dropout"] * 2, "Linear"]
    assert [layer.p for layer in model if isinstance(layer, Dropout)] == [0.2, 0.5, 0.5]


def test_input_dropout_zeroes_its_share_and_scales_the_rest(mlp, build, make_spec):
    features = 20_000
    spec = make_spec("features", shape=(features,))
    drop = build("mlp", spec, hidden=[], input_dropout=0.3)[0]
    kept = drop(torch.ones(features))
    assert (kept == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert kept.max().item() == pytest.approx(1 / 0.7, rel=2**-16)  # p is a multiple of it


def test_dropout_is_random_in_training_and_off_in_evaluation(mlp):
    model = mlp(hidden=[64], dropout=0.5, input_dropout=0.2)
    x = torch.randn(8, 7)
    assert not torch.equal(model(x), model(x))
    bare = mlp(hidden=[64]).eval()
    for ours, other in zip(model.parameters(), bare.parameters(), strict=True):
        other.data.copy_(ours)
    assert torch.equal(model.eval()(x), bare(x))


def test_hidden_weights_take_the_gain_of_their_activation_and_the_last_none(build, make_spec):
    spec = make_spec("features", shape=(300,))
    model = build("mlp", spec, hidden=[400, 300], activation="tanh", init="kaiming_normal")
    first, second, last = (layer for layer in model if isinstance(layer, nn.Linear))
    assert first.weight.std().item() == pytest.approx(5 / 3 / math.sqrt(300), rel=0.02)
    assert second.weight.std().item() == pytest.approx(5 / 3 / math.sqrt(400), rel=0.02)
    assert last.weight.std().item() == pytest.approx(1 / math.sqrt(300), rel=0.1)


def test_the_negative_slope_reaches_leaky_relu(mlp):
    assert mlp(hidden=[5], activation="leaky_relu", negative_slope=0.3)[1].negative_slope == 0.3


@pytest.mark.parametrize("place", ["before", "after"])
def test_stacked_copies_train_with_batch_norm_and_dropout(place, mlp):
    twins = [mlp(hidden=[5], batch_norm=place) for _ in range(2)]
    parameters, buffers = stack_module_state(twins)
    x = torch.randn(9, 7)

    def scores(parameters, buffers):
        return functional_call(twins[0], (parameters, buffers), (x,))

    stacked = vmap(scores)(parameters, buffers)
    for i, twin in enumerate(twins):
        torch.testing.assert_close(stacked[i], twin(x))
        torch.testing.assert_close(
            {path: buffer[i] for path, buffer in buffers.items()}, dict(twin.named_buffers())
        )
    dropping = mlp(hidden=[5], dropout=0.5)
    parameters, buffers = stack_module_state([dropping, dropping])
    first, second = vmap(
        lambda p, b: functional_call(dropping, (p, b), (x,)), randomness="different"
    )(parameters, buffers)
    assert not torch.equal(first, second)
