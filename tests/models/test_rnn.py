"""RNN, LSTM and GRU against their equations, written out one gate at a time."""

import math
import warnings

import pytest
import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from dlrun.errors import ConfigError

CELLS = ["rnn", "lstm", "gru"]
sigmoid, tanh = torch.sigmoid, torch.tanh


@pytest.fixture
def classifier(build, make_spec):
    """(cell, overrides) -> a classifier, of sequences of 5 steps with 3 features unless told."""

    def make(cell, kind="sequence", shape=None, **overrides):
        model = build(cell, make_spec(kind, shape=shape), **{"hidden_size": 6, **overrides})
        # Away from torch's small numbers, so that no term can be left out unseen.
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.5)
        return model

    return make


# The lecture's equations. x(k) is W_k x_t + b_k for gate k, h(k) is U_k h_{t-1} + d_k.


def rnn_step(x, h, h_before, c_before):
    return tanh(x(0) + h(0)), None


def lstm_step(x, h, h_before, c_before):
    i, f, g, o = (x(k) + h(k) for k in range(4))
    c = sigmoid(f) * c_before + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


def gru_step(x, h, h_before, c_before):
    r, z = sigmoid(x(0) + h(0)), sigmoid(x(1) + h(1))
    n = tanh(x(2) + r * h(2))
    return (1 - z) * n + z * h_before, None


STEPS = {"rnn": rnn_step, "lstm": lstm_step, "gru": gru_step}


def read(cell, rnn, x_BTF, suffix, *, backwards=False):
    """Hidden states (B, T, H) of one layer in one direction, in the order of time."""
    w, u, b, d = (
        getattr(rnn, f"{name}_{suffix}").split(rnn.hidden_size)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    hidden = torch.zeros(x_BTF.shape[1], len(x_BTF), rnn.hidden_size)
    h = c = hidden[0]
    times = list(range(len(hidden)))
    for t in times[::-1] if backwards else times:
        x_t = x_BTF[:, t]

        def from_input(k, x_t=x_t):
            return x_t @ w[k].T + b[k]

        def from_hidden(k, h=h):
            return h @ u[k].T + d[k]

        h, c = STEPS[cell](from_input, from_hidden, h, c)
        hidden[t] = h
    return hidden.transpose(0, 1)


def head(model, pooled):
    return pooled @ model.head[-1].weight.T + model.head[-1].bias


@pytest.mark.parametrize("cell", CELLS)
@torch.no_grad()
def test_the_last_state_of_the_equations_is_scored(cell, classifier):
    model, x = classifier(cell), torch.randn(4, 5, 3)
    hidden = read(cell, model.rnn, x, "l0")
    torch.testing.assert_close(model(x), head(model, hidden[:, -1]))


@pytest.mark.parametrize("cell", CELLS)
@torch.no_grad()
def test_mean_pooling_averages_the_states_over_time(cell, classifier):
    model, x = classifier(cell, pooling="mean"), torch.randn(4, 5, 3)
    hidden = read(cell, model.rnn, x, "l0")
    torch.testing.assert_close(model(x), head(model, sum(hidden.unbind(1)) / 5))


@pytest.mark.parametrize("pooling", ["last", "mean"])
@pytest.mark.parametrize("cell", CELLS)
@torch.no_grad()
def test_two_layers_read_both_ways_and_each_direction_ends_at_its_own_end(
    cell, pooling, classifier
):
    model = classifier(cell, layers=2, bidirectional=True, pooling=pooling)
    x = below = torch.randn(4, 5, 3)
    for layer in ("l0", "l1"):
        forwards = read(cell, model.rnn, below, layer)
        backwards = read(cell, model.rnn, below, f"{layer}_reverse", backwards=True)
        below = torch.cat((forwards, backwards), dim=2)
    pooled = below.mean(1)
    if pooling == "last":
        pooled = torch.cat((forwards[:, -1], backwards[:, 0]), dim=1)
    torch.testing.assert_close(model(x), head(model, pooled))


@torch.no_grad()
def test_images_are_read_row_by_row_with_the_channels_side_by_side(classifier):
    model = classifier("gru", kind="image", shape=(2, 5, 3))
    images = torch.randn(4, 2, 5, 3)
    rows = torch.stack([torch.cat((images[:, 0, t], images[:, 1, t]), 1) for t in range(5)], 1)
    hidden = read("gru", model.rnn, rows, "l0")
    torch.testing.assert_close(model(images), head(model, hidden[:, -1]))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", ["last", "mean"])
@pytest.mark.parametrize("cell", CELLS)
@torch.no_grad()
def test_stacked_copies_score_as_each_alone(cell, pooling, bidirectional, classifier):
    twins = [
        classifier(cell, layers=2, pooling=pooling, bidirectional=bidirectional) for _ in range(2)
    ]
    x = torch.randn(4, 5, 3)
    parameters, _ = stack_module_state(twins)
    stacked = vmap(lambda p: functional_call(twins[0], p, (x,)))(parameters)
    torch.testing.assert_close(stacked, torch.stack([twin(x) for twin in twins]))
    # Their inputs may be stacked, too.
    many = torch.randn(2, 4, 5, 3)
    torch.testing.assert_close(vmap(twins[0])(many), torch.stack([twins[0](x) for x in many]))


@torch.no_grad()
def test_stacked_copies_drop_between_layers_in_training_alone(classifier):
    model, x = classifier("lstm", layers=2, dropout=0.5), torch.randn(4, 5, 3)
    parameters, _ = stack_module_state([model, model])
    # Without the head's own dropout, what differs comes from between the layers.
    model.head[0].eval()
    stacked = vmap(lambda p: functional_call(model, p, (x,)), randomness="different")
    first, second = stacked(parameters)
    assert not torch.equal(first, second)
    model.eval()
    torch.testing.assert_close(stacked(parameters)[0], model(x))


@torch.no_grad()
def test_dropout_acts_between_layers_and_before_the_head(classifier):
    model, x = classifier("lstm", layers=2, dropout=0.4), torch.randn(4, 5, 3)
    assert model.between.p == 0.4 and model.head[0].p == 0.4
    for other in (model.head[0], model.between):
        model.train()
        other.eval()
        assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


@pytest.mark.parametrize("cell", CELLS)
def test_dropout_with_one_layer_acts_before_the_head_and_does_not_warn(cell, classifier):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = classifier(cell, dropout=0.4)
    assert model.head[0].p == 0.4


def test_the_forget_bias_is_added_to_the_forget_gates_alone(build, make_spec):
    settings = {"hidden_size": 6, "layers": 2, "bidirectional": True}
    torch.manual_seed(1)
    plain = build("lstm", make_spec("sequence"), **settings, forget_bias=0).rnn
    torch.manual_seed(1)
    biased = build("lstm", make_spec("sequence"), **settings, forget_bias=1.5).rnn
    expected = torch.tensor([0.0, 1.5, 0.0, 0.0]).repeat_interleave(
        6
    )  # input, forget, cell, output
    for suffix in ("l0", "l0_reverse", "l1", "l1_reverse"):
        added = sum(
            getattr(biased, f"{bias}_{suffix}") - getattr(plain, f"{bias}_{suffix}")
            for bias in ("bias_ih", "bias_hh")
        )
        torch.testing.assert_close(added.detach(), expected)
        weight = f"weight_hh_{suffix}"
        assert torch.equal(getattr(biased, weight), getattr(plain, weight))


@pytest.mark.parametrize("cell", ["rnn", "gru"])
def test_a_forget_bias_without_a_forget_gate_is_refused(cell, build, make_spec):
    with pytest.raises(ConfigError) as refused:
        build(cell, make_spec("sequence"), forget_bias=1.0)
    assert str(refused.value) == (
        f"model.forget_bias is 1.0, but model.cell={cell} has no forget gate; set it to 0"
    )


@pytest.mark.parametrize(("cell", "gates"), [("rnn", 1), ("lstm", 4), ("gru", 3)])
def test_init_draws_each_gate_by_itself(cell, gates, build, make_spec):
    spec = make_spec("sequence", shape=(4, 100))
    model = build(cell, spec, hidden_size=80, init="orthogonal", forget_bias=0)
    for gate in model.rnn.weight_hh_l0.detach().split(80):
        torch.testing.assert_close(gate @ gate.T, torch.eye(80), atol=1e-4, rtol=0)
    assert not model.rnn.bias_ih_l0.any() and not model.rnn.bias_hh_l0.any()
    model = build(cell, spec, hidden_size=80, init="xavier_normal", forget_bias=0)
    weight = model.rnn.weight_ih_l0.detach()
    assert len(weight.split(80)) == gates
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (100 + 80)), rel=0.03)


@pytest.mark.parametrize("cell", CELLS)
def test_plain_features_are_refused(cell, build, make_spec):
    with pytest.raises(ConfigError) as refused:
        build(cell, make_spec("features", shape=(30,)))
    assert str(refused.value) == (
        f"model={cell} reads sequences, but the data has 30 plain features; "
        "choose model=mlp or a dataset of images or sequences"
    )
