"""What follows the end of a text changes no answer, whatever the model, and a model reads all before it."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from dlrun.models.cells import CELLS as CELL_CLASSES
from dlrun.models.pooling import AttentionPooling
from dlrun.models.rnn import read, read_both_ways

CELLS = ["rnn", "lstm", "gru"]
POOLINGS = ["last", "mean", "max", "attention"]
LENGTHS = [6, 3, 1, 5]
WIDER = 11


@pytest.fixture
def ids():
    """Texts of these lengths, padded to the longest."""
    ids = torch.randint(1, 9, (len(LENGTHS), max(LENGTHS)))
    return ids * (torch.arange(ids.shape[1]) < torch.tensor(LENGTHS)[:, None])


@pytest.fixture
def model_of(build, make_spec):
    """(name, settings) -> a small model in float64, in evaluation mode, with weights that are not small."""

    def make(name, **settings):
        small = {"hidden_size": 4} if name in CELLS else {}
        small |= {} if name == "transformer" else {"embedding_size": 5}
        model = build(name, make_spec("tokens"), **small, **settings).double()
        with torch.no_grad():
            for path, parameter in model.named_parameters():
                parameter.normal_(std=0.5)
                if path.endswith("vectors.weight"):
                    parameter[0] = 0
        return model.eval()

    return make


@torch.no_grad()
def assert_padding_is_not_read(model, ids):
    alone = [model(row[:length][None]) for row, length in zip(ids, LENGTHS, strict=True)]
    for padded in (ids, nn.functional.pad(ids, (0, WIDER - ids.shape[1]))):
        torch.testing.assert_close(model(padded), torch.cat(alone), rtol=0, atol=1e-9)
    answers = model(ids)
    last = torch.tensor(LENGTHS) - 1
    changed = ids.clone()
    changed[range(len(ids)), last] = ids[range(len(ids)), last] % 8 + 1
    # Of the largest values over time, a text may have none from its last word.
    assert (model(changed) != answers).any(1).sum() > 1, "the last words are not read"


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_models(cell, pooling, bidirectional, layers, model_of, ids):
    model = model_of(cell, pooling=pooling, bidirectional=bidirectional, layers=layers)
    assert_padding_is_not_read(model, ids)


@pytest.mark.parametrize("layer_norm", ["outputs", "gates"])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_models_with_norms_and_residuals(cell, pooling, layer_norm, model_of, ids):
    settings = {"layers": 2, "bidirectional": True, "residual": True, "dropout": 0.3}
    model = model_of(cell, pooling=pooling, layer_norm=layer_norm, **settings)
    assert_padding_is_not_read(model, ids)


@pytest.mark.parametrize("settings", [{}, {"widths": [1, 4], "max_norm": None}])
def test_text_cnn(settings, model_of, ids):
    assert_padding_is_not_read(model_of("text_cnn", **settings), ids)


@pytest.mark.parametrize("pooling", ["mean", "max", "attention", "cls"])
@pytest.mark.parametrize("positions", ["sinusoidal", "rotary"])
def test_transformer(positions, pooling, model_of, ids):
    small = {"width": 8, "heads": 2}
    assert_padding_is_not_read(
        model_of("transformer", positions=positions, pooling=pooling, **small), ids
    )


@pytest.mark.parametrize("pooling", POOLINGS)
def test_tcn(pooling, model_of, ids):
    assert_padding_is_not_read(model_of("tcn", pooling=pooling, channels=4), ids)


def test_bag_of_words(model_of, ids):
    assert_padding_is_not_read(model_of("bag_of_words"), ids)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("cell", CELLS)
@torch.no_grad()
def test_stacked_copies_read_padded_texts_as_each_alone(
    cell, pooling, bidirectional, model_of, ids
):
    twins = [model_of(cell, pooling=pooling, bidirectional=bidirectional) for _ in range(2)]
    parameters, _ = stack_module_state(twins)
    stacked = vmap(lambda p: functional_call(twins[0], p, (ids,)))(parameters)
    torch.testing.assert_close(stacked, torch.stack([twin(ids) for twin in twins]))


@pytest.mark.parametrize("name", [*CELLS, "text_cnn", "bag_of_words", "transformer", "tcn"])
def test_an_empty_text_has_a_finite_answer(name, model_of):
    assert model_of(name)(torch.zeros(2, 3, dtype=torch.long)).isfinite().all()


def test_padding_has_no_vector_and_learns_none(model_of, ids):
    model = model_of("lstm", pooling="mean")
    model(ids).sum().backward()
    gradient = model.embedding.vectors.weight.grad
    assert not gradient[0].any() and gradient[ids[0, 0]].any()


@torch.no_grad()
def test_attention_weighs_the_real_steps_alone_by_its_equation():
    pool = AttentionPooling(3).double()
    outputs, real = torch.randn(2, 4, 3).double(), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]).bool()
    weights = pool.weights(outputs, real)
    torch.testing.assert_close(weights.sum(1), torch.ones(2).double())
    assert not weights[1, 2:].any()
    hidden = torch.tanh(outputs[1, :2] @ pool.hidden.weight.T + pool.hidden.bias)
    chances = torch.exp(hidden @ pool.question.weight[0])
    torch.testing.assert_close(weights[1, :2], chances / chances.sum())
    expected = (chances / chances.sum()) @ outputs[1, :2]
    torch.testing.assert_close(pool(outputs, real)[1], expected)


@pytest.mark.parametrize("cell", CELLS)
def test_texts_are_read_both_ways_without_lengths_on_the_cpu_as_when_they_are_packed(cell):
    rnn = CELL_CLASSES[cell](5, 4, batch_first=True, bidirectional=True).double()
    real = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    found = []
    for reading in (read_both_ways, read):
        x = torch.ones(*real.shape, 5, dtype=torch.float64, requires_grad=True)
        with torch.no_grad():
            x.copy_(torch.linspace(-1, 1, x.numel()).view(x.shape))
        outputs = reading(rnn, x, real)[real]
        gradients = torch.autograd.grad((outputs**2).sum(), [x, *rnn.parameters()])
        found.append([outputs, *gradients])
    torch.testing.assert_close(*found, rtol=0, atol=1e-12)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("cell", CELLS)
def test_a_card_reads_both_ways_as_the_cpu_does(cell):
    rnn = CELL_CLASSES[cell](5, 4, batch_first=True, bidirectional=True).double()
    real = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    x = torch.randn(*real.shape, 5, dtype=torch.float64)
    expected = read(rnn, x, real)[real].detach()
    found = read(rnn.cuda(), x.cuda(), real.cuda())[real.cuda()].detach().cpu()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
