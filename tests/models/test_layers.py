"""Activations against their formulas, initialisations against the variances of their papers."""

import math

import pytest
import torch
from torch import nn

from dlrun.models.layers import activation_layer, fill_weight, gain_of, initialized

POINTS = [-2.0, -0.5, 0.0, 1.5]


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("sigmoid", lambda x: 1 / (1 + math.exp(-x))),
        ("tanh", math.tanh),
        ("relu", lambda x: max(x, 0.0)),
        ("leaky_relu", lambda x: x if x > 0 else 0.3 * x),
        ("prelu", lambda x: x if x > 0 else 0.25 * x),
        ("elu", lambda x: x if x > 0 else math.expm1(x)),
        ("gelu", lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2)))),
        ("silu", lambda x: x / (1 + math.exp(-x))),
    ],
)
def test_an_activation_is_its_formula(name, formula):
    layer = activation_layer(name, negative_slope=0.3)
    expected = torch.tensor([formula(x) for x in POINTS])
    torch.testing.assert_close(layer(torch.tensor(POINTS)), expected)


@pytest.mark.parametrize(
    ("name", "gain"),
    [
        ("sigmoid", 1.0),
        ("tanh", 5 / 3),
        ("relu", math.sqrt(2)),
        ("leaky_relu", math.sqrt(2 / (1 + 0.3**2))),
        ("prelu", math.sqrt(2 / (1 + 0.25**2))),
        ("elu", math.sqrt(2)),
        ("gelu", math.sqrt(2)),
        ("silu", math.sqrt(2)),
    ],
)
def test_the_gain_fits_the_activation(name, gain):
    assert gain_of(name, negative_slope=0.3) == pytest.approx(gain)


FAN_IN, FAN_OUT, GAIN = 200, 300, 1.5
VARIANCES = {
    "xavier_uniform": GAIN**2 * 2 / (FAN_IN + FAN_OUT),
    "xavier_normal": GAIN**2 * 2 / (FAN_IN + FAN_OUT),
    "kaiming_uniform": GAIN**2 / FAN_IN,
    "kaiming_normal": GAIN**2 / FAN_IN,
    "normal": 0.01**2,
}


@pytest.mark.parametrize("init", VARIANCES)
def test_the_weights_have_the_variance_of_the_paper(init):
    weight = torch.empty(FAN_OUT, FAN_IN)
    fill_weight(weight, init, gain=GAIN)
    assert weight.mean().item() == pytest.approx(0, abs=3e-3)
    assert weight.var().item() == pytest.approx(VARIANCES[init], rel=0.03)
    # A uniform draw ends at sqrt(3) standard deviations; a normal one of 60,000 goes beyond 3.
    reach = weight.abs().max().item() / math.sqrt(VARIANCES[init])
    assert reach == pytest.approx(math.sqrt(3), rel=0.01) if "uniform" in init else reach > 3


def test_a_convolution_counts_its_kernel_in_the_fans():
    weight = torch.empty(64, 32, 3, 3)
    fill_weight(weight, "kaiming_normal")
    assert weight.var().item() == pytest.approx(1 / (32 * 9), rel=0.05)
    fill_weight(weight, "xavier_normal")
    assert weight.var().item() == pytest.approx(2 / (32 * 9 + 64 * 9), rel=0.05)


def test_orthogonal_rows_have_the_length_of_the_gain():
    weight = torch.empty(20, 50)
    fill_weight(weight, "orthogonal", gain=GAIN)
    torch.testing.assert_close(weight @ weight.T, GAIN**2 * torch.eye(20), atol=1e-5, rtol=0)


def test_zeros_are_zeros_and_the_bias_too():
    layer = initialized(nn.Linear(3, 2), "zeros")
    assert not layer.weight.any() and not layer.bias.any()


def test_biases_become_zero_with_every_init_but_the_default():
    assert not initialized(nn.Linear(3, 2), "xavier_uniform").bias.any()
    assert initialized(nn.Linear(3, 2, bias=False), "xavier_uniform").bias is None


def test_default_is_torchs_own():
    torch.manual_seed(3)
    ours = initialized(nn.Linear(3, 2), "default", gain=GAIN)
    torch.manual_seed(3)
    torchs = nn.Linear(3, 2)
    assert torch.equal(ours.weight, torchs.weight) and torch.equal(ours.bias, torchs.bias)
