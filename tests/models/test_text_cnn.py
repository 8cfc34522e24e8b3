"""Kim's network against a loop over all places where a filter meets a word."""

import pytest
import torch

from dlrun.diagnostics.model_summary import layer_table
from dlrun.errors import ConfigError


@pytest.fixture
def model(build, make_spec):
    settings = {"embedding_size": 4, "widths": [1, 3], "filters": 5, "max_norm": None}
    return build("text_cnn", make_spec("tokens"), **settings).double().eval()


def strongest(filters, vectors_TE):
    """(K,): of each filter the largest answer, the text with zeros around it."""
    width = filters.kernel_size[0]
    around = torch.zeros(width - 1, vectors_TE.shape[1]).double()
    padded = torch.cat((around, vectors_TE, around))
    places = range(len(padded) - width + 1)
    answers = [
        (filters.weight * padded[place : place + width].T).sum((1, 2)) + filters.bias
        for place in places
    ]
    return torch.stack(answers).relu().max(0).values


@torch.no_grad()
def test_the_strongest_answers_of_each_width_are_scored(model):
    texts = torch.tensor([[3, 1, 4, 1, 5], [2, 7, 0, 0, 0]])
    for ids, answer in zip(texts, model(texts), strict=True):
        vectors = model.embedding.vectors.weight[ids[ids != 0]]
        found = torch.cat([strongest(filters, vectors) for filters in model.filters])
        torch.testing.assert_close(answer, model.head.weight @ found + model.head.bias)


@torch.no_grad()
def test_weights_of_a_score_longer_than_max_norm_count_as_just_as_long(build, make_spec):
    torch.manual_seed(1)
    free = build("text_cnn", make_spec("tokens"), dropout=0, max_norm=None)
    torch.manual_seed(1)
    held = build("text_cnn", make_spec("tokens"), dropout=0, max_norm=2.0)
    for model in (free, held):
        model.head.weight[0] *= 5 / model.head.weight[0].norm()  # too long
        model.head.weight[1] *= 1 / model.head.weight[1].norm()  # short enough
    ids = torch.tensor([[3, 1, 4]])
    bias = free.head.bias
    shrunk = (held(ids) - bias) / (free(ids) - bias)
    torch.testing.assert_close(shrunk[0, :2], torch.tensor([2 / 5, 1.0]))


@pytest.mark.parametrize("max_norm", [None, 2.0])
def test_the_head_is_a_layer_that_is_called_and_kept_as_any_linear_one(build, make_spec, max_norm):
    spec = make_spec("tokens")
    model = build("text_cnn", spec, max_norm=max_norm)
    assert {"head.weight", "head.bias"} <= set(model.state_dict())
    table = layer_table(model, spec)
    assert "not called" not in table
    assert [line.split()[2] for line in table.splitlines() if line.startswith("head ")] == [
        f"B×{spec.num_outputs}"
    ]


def test_no_widths_are_refused(build, make_spec):
    with pytest.raises(ConfigError, match=r"^model\.widths is empty: give one width or more"):
        build("text_cnn", make_spec("tokens"), widths=[])


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("cnn", "tokens", "model=cnn reads images, but the data has texts of at most 6 tokens; "
         "choose model=text_cnn or a dataset of images"),
        ("mlp", "tokens", "model=mlp reads numbers, but the data has texts of at most 6 tokens; "
         "choose model=text_cnn or a dataset of features, images or sequences"),
        ("text_cnn", "features", "model=text_cnn reads texts, but the data has 7 plain features; "
         "choose model=mlp or a dataset of texts"),
        ("bag_of_words", "image", "model=bag_of_words reads texts, but the data has images of "
         "1x28x28; choose model=cnn or a dataset of texts"),
    ],
)  # fmt: skip
def test_what_a_model_does_not_read_is_refused_with_what_does(
    name, kind, message, build, make_spec
):
    with pytest.raises(ConfigError) as refused:
        build(name, make_spec(kind))
    assert str(refused.value) == message
