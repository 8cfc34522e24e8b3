"""Layer norm and residuals in recurrent models, against their equations written out step by step."""

import pytest
import torch
from torch import nn

CELLS = ["rnn", "lstm", "gru"]
H = 4


def norm(x):
    """(x - mean) / std over the last axis, without gain and shift."""
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + 1e-5)


@pytest.fixture
def model_of(build, make_spec):
    def make(cell, **settings):
        model = build(cell, make_spec("sequence"), hidden_size=H, **settings).double().eval()
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.7)
        return model

    return make


def normalised_states(cell, rnn, norms, x_BTF):
    """Ba et al. (2016), supplementary material, with torch's order of gates."""
    w, u, b, d = (
        getattr(rnn, f"{name}_l0") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    of_x, of_h = norms.of_input.gain, norms.of_hidden.gain
    h = c = torch.zeros(len(x_BTF), H).double()
    states = []
    for x in x_BTF.unbind(1):
        a, r = x @ w.T, h @ u.T
        if cell == "gru":  # both gates together, the candidate by itself
            a = torch.cat((norm(a[:, : 2 * H]), norm(a[:, 2 * H :])), 1) * of_x + b
            r = torch.cat((norm(r[:, : 2 * H]), norm(r[:, 2 * H :])), 1) * of_h + d
            reset, update = torch.sigmoid((a + r)[:, : 2 * H]).chunk(2, 1)
            candidate = torch.tanh(a[:, 2 * H :] + reset * r[:, 2 * H :])
            h = (1 - update) * candidate + update * h
        else:
            gates = norm(a) * of_x + b + norm(r) * of_h + d
            if cell == "rnn":
                h = torch.tanh(gates)
            else:
                i, f, g, o = gates.chunk(4, 1)
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                shown = norm(c) * norms.of_memory.weight + norms.of_memory.bias
                h = torch.sigmoid(o) * torch.tanh(shown)
        states.append(h)
    return torch.stack(states, 1)


def scores(model, pooled):
    return pooled @ model.head[-1].weight.T + model.head[-1].bias


@pytest.mark.parametrize("cell", CELLS)
@torch.no_grad()
def test_gates_are_normalised_as_in_the_paper(cell, model_of):
    model, x = model_of(cell, layer_norm="gates"), torch.randn(3, 5, 3).double()
    states = normalised_states(cell, model.rnn, model.cell_norms[0]["l0"], x)
    torch.testing.assert_close(model(x), scores(model, states[:, -1]))


@pytest.mark.parametrize("cell", CELLS)
@torch.no_grad()
def test_gates_of_each_layer_and_direction_have_norms_of_their_own(cell, model_of):
    model = model_of(cell, layer_norm="gates", layers=2, bidirectional=True, pooling="mean")
    assert [sorted(norms) for norms in model.cell_norms] == [["l0", "l0_reverse"]] * 2
    before = model(x := torch.randn(3, 5, 3).double())
    for norms in model.cell_norms:
        for direction in norms.values():
            direction.of_hidden.gain.mul_(2)
            after = model(x)
            assert not torch.allclose(after, before)
            before = after


@pytest.mark.parametrize("pooling", ["last", "mean"])
@torch.no_grad()
def test_outputs_are_normalised_layer_by_layer_and_residuals_add_the_layer_below(pooling, model_of):
    settings = {"layers": 3, "bidirectional": True, "pooling": pooling}
    model, x = (
        model_of("gru", layer_norm="outputs", residual=True, **settings),
        torch.randn(3, 5, 3),
    )
    below = None
    for rnn, layer_norm in zip((model.rnn, *model.above), model.output_norms, strict=True):
        outputs, _ = rnn(x.double() if below is None else below)
        outputs = norm(outputs) * layer_norm.weight + layer_norm.bias
        below = outputs if below is None else below + outputs
    pooled = below.mean(1)
    if pooling == "last":  # each direction at its own end
        pooled = torch.cat((below[:, -1, :H], below[:, 0, H:]), 1)
    torch.testing.assert_close(model(x.double()), scores(model, pooled))


@pytest.mark.parametrize("cell", CELLS)
def test_without_the_options_the_weights_have_the_names_they_always_had(cell, model_of):
    names = {name for name, _ in model_of(cell, layers=2).named_parameters()}
    parts = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    rnn = {f"rnn.{part}_l{layer}" for part in parts for layer in (0, 1)}
    assert names == rnn | {"head.0.weight", "head.0.bias"}
    names = {name for name, _ in model_of(cell, layers=2, dropout=0.5).named_parameters()}
    split = {f"{rnn}.{part}_l0" for part in parts for rnn in ("rnn", "above.0")}
    assert names == split | {"head.1.weight", "head.1.bias"}


@torch.no_grad()
def test_max_pooling_takes_the_largest_of_each_value_over_time(model_of):
    model, x = model_of("rnn", pooling="max"), torch.randn(3, 5, 3).double()
    outputs, _ = model.rnn(x)
    torch.testing.assert_close(model(x), scores(model, outputs.max(1).values))
