"""Recurrent models of language: read on as if there had been no break, learn as far back as a window."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dlrun.data.base import Spec
from dlrun.errors import ConfigError
from dlrun.training.forward import advance

CELLS = ["rnn", "lstm", "gru"]
SPEC = Spec("language", "tokens", (5,), 7, vocabulary=7)
STREAMS, TIME = 3, 20


@pytest.fixture
def model_of(build):
    """(cell, overrides) -> a small model in float64, its weights large enough for all terms to count."""

    def make(cell, **overrides):
        usual = {"hidden_size": 6, "embedding_size": 4, "layers": 2}
        model = build(f"char_{cell}", SPEC, **usual | overrides).double()
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.5)
        return model

    return make


@pytest.fixture
def text():
    return torch.randint(0, SPEC.vocabulary, (STREAMS, TIME + 1))


def loss_of(scores, targets):
    return F.cross_entropy(scores.flatten(0, 1), targets.flatten())


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("window", [1, 4, 7, TIME])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("more", [{}, {"layer_norm": "outputs", "residual": True, "tied": True}])
def test_windows_with_a_carried_state_are_one_long_window(cell, window, more, model_of, text):
    model = model_of(cell, **more).eval()
    whole, end = model(text)
    state, parts = None, []
    for part in text.split(window, dim=1):
        scores, state = model(part, state)
        parts.append(scores)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-12, atol=1e-12)
    for left, right in zip(flat(state), flat(end), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)


def flat(state):
    return [state] if isinstance(state, torch.Tensor) else [t for part in state for t in flat(part)]


@pytest.mark.parametrize("cell", CELLS)
def test_a_gradient_goes_back_to_the_beginning_of_its_window_and_no_further(cell, model_of, text):
    """Against single steps of torch's cells over the whole text, cut from what came before by hand."""
    model, cut = model_of(cell), TIME - 8
    inputs, targets = text[:, :-1], text[:, 1:]
    _, state = advance(model, inputs[:, :cut], None, SPEC)
    scores, _ = advance(model, inputs[:, cut:], state, SPEC)
    found = gradients(model, loss_of(scores, targets[:, cut:]))

    truncated = gradients(model, unrolled_loss(model, cell, inputs, targets, cut=cut, detach=True))
    whole = gradients(model, unrolled_loss(model, cell, inputs, targets, cut=cut, detach=False))
    for name in found:
        torch.testing.assert_close(found[name], truncated[name], rtol=1e-9, atol=1e-12)
    recurrent = [name for name in found if "weight_hh" in name]
    assert all((found[name] - whole[name]).abs().max() > 1e-6 for name in recurrent)


@pytest.mark.parametrize("cell", CELLS)
def test_a_window_as_long_as_the_text_gives_the_whole_gradient(cell, model_of, text):
    model = model_of(cell)
    inputs, targets = text[:, :-1], text[:, 1:]
    scores, _ = model(inputs)
    found = gradients(model, loss_of(scores, targets))
    whole = gradients(model, unrolled_loss(model, cell, inputs, targets, cut=0, detach=False))
    for name in found:
        torch.testing.assert_close(found[name], whole[name], rtol=1e-9, atol=1e-12)


def unrolled_loss(model, cell, inputs, targets, *, cut, detach):
    """The loss from step `cut` on, each layer a cell that shares the model's weights."""
    kind = {"rnn": nn.RNNCell, "lstm": nn.LSTMCell, "gru": nn.GRUCell}[cell]
    cells = []
    for layer in model.layers:
        single = kind(layer.input_size, layer.hidden_size)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            delattr(single, name)
            setattr(single, name, getattr(layer, f"{name}_l0"))
        cells.append(single)
    states, scores = [None] * len(cells), []
    for step in range(inputs.shape[1]):
        if detach and step == cut:
            states = [tuple(t.detach() for t in s) if cell == "lstm" else s.detach() for s in states]  # fmt: skip
        x = model.embedding.weight[inputs[:, step]]
        for number, single in enumerate(cells):
            states[number] = single(x, states[number])
            x = states[number][0] if cell == "lstm" else states[number]
        scores.append(x @ model.head.weight.T + model.head.bias)
    return loss_of(torch.stack(scores[cut:], 1), targets[:, cut:])


def test_tied_scores_come_from_the_vectors_that_tokens_come_in_as(model_of, text):
    model = model_of("gru", tied=True)
    assert model.head.weight is model.embedding.weight
    assert model.projection.weight.shape == (4, 6)
    assert (
        sum(p.numel() for p in model_of("gru", tied=True, embedding_size=6).parameters())
        == sum(p.numel() for p in model_of("gru", embedding_size=6).parameters()) - 7 * 6
    )
    before = model(text)[0]
    with torch.no_grad():
        model.embedding.weight[2] += 1.0  # scored by it, whether or not it has been read
    assert not torch.allclose(before[:, 0, 2], model(text)[0][:, 0, 2])


def test_one_hot_vectors_are_columns_of_the_first_layer(model_of, text):
    model = model_of("rnn", embedding_size=None, layers=1)
    first = model.layers[0]
    expected = torch.tanh(first.weight_ih_l0.T[text[:, 0]] + first.bias_ih_l0 + first.bias_hh_l0)
    scores = model(text[:, :1])[0][:, 0]
    torch.testing.assert_close(scores, expected @ model.head.weight.T + model.head.bias)


def test_layer_norm_and_residual_act_on_each_layer(model_of, text):
    plain = model_of("lstm", layers=1, embedding_size=6)
    model = model_of("lstm", layers=1, embedding_size=6, layer_norm="outputs", residual=True)
    model.load_state_dict(plain.state_dict(), strict=False)
    nn.init.ones_(model.norms[0].weight), nn.init.zeros_(model.norms[0].bias)
    vectors = plain.embedding(text)
    outputs, _ = plain.layers[0](vectors)
    expected = plain.head(F.layer_norm(outputs, (6,)) + vectors)
    torch.testing.assert_close(model(text)[0], expected)


def test_dropout_acts_on_what_comes_in_between_layers_and_before_the_scores(model_of, text):
    for more in ({"input_dropout": 0.5}, {"dropout": 0.5}):
        model = model_of("gru", layers=1, **more)
        assert not torch.equal(model(text)[0], model(text)[0])
        model.eval()
        assert torch.equal(model(text)[0], model(text)[0])


def test_the_forget_bias_is_added_once_and_each_gate_is_drawn_by_itself(build):
    layer = build("char_lstm", SPEC, init="orthogonal", forget_bias=1.5, hidden_size=6).layers[0]
    bias = (layer.bias_ih_l0 + layer.bias_hh_l0).view(4, 6)
    assert (bias[1] == 1.5).all() and (bias[[0, 2, 3]] == 0).all()
    for gate in layer.weight_hh_l0.view(4, 6, 6):
        torch.testing.assert_close(gate @ gate.T, torch.eye(6), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"tied": True, "embedding_size": None}, "model.tied is true"),
        ({"residual": True, "layers": 1}, "model.embedding_size=6"),
        ({"forget_bias": 1.0}, "model.forget_bias is 1.0"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(overrides, words, model_of):
    with pytest.raises(ConfigError, match=words):
        model_of("gru", **overrides)


def test_data_that_is_no_text_to_continue_is_refused(build, make_spec):
    with pytest.raises(ConfigError, match="model=char_lstm reads a text to continue"):
        build("char_lstm", make_spec("tokens"))
