"""The transformer that reads the whole of an input: against torch's own layers, by what it may and may not see."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dlrun.data.base import Spec
from dlrun.errors import ConfigError
from dlrun.models.transformer import waves

SMALL = {"width": 8, "heads": 2, "layers": 2, "dropout": 0.0}


@pytest.fixture
def model_of(build, make_spec):
    """(kind or spec, settings) -> a small model in float64, with weights that are not small."""

    def make(kind, **settings):
        spec = make_spec(kind) if isinstance(kind, str) else kind
        model = build("transformer", spec, **SMALL | settings).double()
        for path, parameter in model.named_parameters():
            if not path.startswith("vectors"):
                nn.init.normal_(parameter, std=0.5)
        return model

    return make


@torch.no_grad()
def test_a_block_is_torch_s_encoder_layer_with_the_norms_in_front(model_of):
    model = model_of("sequence", positions="none", activation="relu", pooling="mean")
    x = torch.randn(3, 5, 3).double()
    expected = model.vectors(x)
    for block in model.blocks:
        layer = nn.TransformerEncoderLayer(
            8, 2, dim_feedforward=16, dropout=0, activation="relu", norm_first=True, batch_first=True, bias=False
        ).double()  # fmt: skip
        layer.self_attn.in_proj_weight.copy_(block.attention.input.weight)
        layer.self_attn.out_proj.weight.copy_(block.attention.output.weight)
        layer.linear1.weight.copy_(block.feed_forward.input.weight)
        layer.linear2.weight.copy_(block.feed_forward.output.weight)
        for name in ("norm1", "norm2"):
            own = block.attention_norm if name == "norm1" else block.feed_forward_norm
            setattr(layer, name, own)  # torch's has no shifts where it has no biases
        expected = layer(expected)
    scores = model.head(model.norm(expected).mean(1))
    torch.testing.assert_close(model(x), scores)


@torch.no_grad()
def test_positions_alone_tell_an_order_from_another(model_of):
    x = torch.randn(2, 5, 3).double()
    for positions, told in (("none", False), ("sinusoidal", True), ("rotary", True)):
        model = model_of("sequence", positions=positions).eval()
        assert (not torch.allclose(model(x), model(x.flip(1)))) == told


@torch.no_grad()
def test_an_image_is_read_row_by_row(model_of):
    image = Spec("multiclass", "image", (2, 5, 3), 4, class_names=tuple("abcd"))
    rows = Spec("multiclass", "sequence", (5, 6), 4, class_names=tuple("abcd"))
    model, twin = model_of(image), model_of(rows)
    twin.load_state_dict(model.state_dict())
    x = torch.randn(2, 2, 5, 3).double()
    torch.testing.assert_close(model(x), twin(x.permute(0, 2, 1, 3).reshape(2, 5, 6)))


@torch.no_grad()
def test_columns_of_a_table_are_vectors_of_their_own_and_an_unknown_category_says_nothing(model_of):
    table = Spec("binary", "features", (4,), 1, class_names=("a", "b"), categories=(3, 4))
    model = model_of(table, positions="rotary")
    x = torch.tensor([[0.5, -2.0, 2, 3], [0.5, -2.0, 0, 0]]).double()
    vectors = model.vectors
    expected = torch.stack([
        0.5 * vectors.scaled[0], -2.0 * vectors.scaled[1], vectors.tables[0].weight[2], vectors.tables[1].weight[3]
    ])  # fmt: skip
    torch.testing.assert_close(vectors(x)[0], expected + vectors.added)
    torch.testing.assert_close(vectors(x)[1, 2:], vectors.added[2:])
    only = Spec("binary", "features", (2,), 1, class_names=("a", "b"), categories=(3, 4))
    assert model_of(only)(x[:, 2:]).shape == (2, 1)


def test_waves_are_those_of_the_equation():
    found = waves(50, 6, like=torch.zeros(1, dtype=torch.float64))
    for place, number in ((0, 0), (7, 1), (49, 2)):
        angle = torch.tensor(place / 10_000 ** (2 * number / 6), dtype=torch.float64)
        torch.testing.assert_close(found[place, number], angle.sin(), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found[place, 3 + number], angle.cos(), rtol=1e-5, atol=1e-5)
    assert waves(4, 5, like=torch.zeros(1)).shape == (4, 5)


@torch.no_grad()
def test_a_gate_lets_through_what_it_says(model_of):
    model = model_of("sequence", activation="swiglu")
    part, x = model.blocks[0].feed_forward, torch.randn(3, 8).double()
    gate, value = (x @ part.input.weight.T).split(16, 1)
    torch.testing.assert_close(part(x), (F.silu(gate) * value) @ part.output.weight.T)


def test_what_does_not_fit_is_refused(model_of):
    language = Spec("language", "tokens", (5,), 7, vocabulary=7)
    with pytest.raises(
        ConfigError, match=r"model=transformer reads sequences.*choose model=char_lstm"
    ):
        model_of(language)
    with pytest.raises(ConfigError, match=r"model\.width is 10, .* a multiple of model\.heads: 4;"):
        model_of("sequence", width=10, heads=4)
    with pytest.raises(ConfigError, match=r"a multiple of 2 x model\.heads, since rotary .*: 8;"):
        model_of("sequence", width=12, heads=4, positions="rotary")
