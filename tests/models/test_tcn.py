"""The temporal convolutional network: what each step sees, and each part against what it is written down as."""

import pytest
import torch
from torch import nn

from dlrun.data.base import Spec
from dlrun.errors import ConfigError
from dlrun.models.tcn import blocks_to_see


@pytest.fixture
def model_of(build):
    """(steps, settings) -> a small model in float64 of sequences of 2 features."""

    def make(steps=20, **settings):
        spec = Spec("regression", "sequence", (steps, 2), 1)
        usual = {"channels": 3, "dropout": 0.0, "activation": "tanh"}
        return build("tcn", spec, **usual | settings).double()

    return make


@pytest.mark.parametrize(("kernel", "layers"), [(2, 3), (3, 2), (1, 2)])
def test_the_last_step_sees_as_far_back_as_is_said_and_no_further(kernel, layers, model_of):
    model = model_of(kernel=kernel, layers=layers)
    x = torch.randn(1, 20, 2).double().requires_grad_()
    model(x).sum().backward()
    reach = 1 + 2 * (kernel - 1) * (2**layers - 1)
    assert x.grad[0].any(1).tolist() == [step >= 20 - reach for step in range(20)]


@pytest.mark.parametrize(
    ("steps", "kernel", "blocks"),
    [(1, 3, 1), (5, 3, 1), (6, 3, 2), (13, 3, 2), (28, 3, 3), (9, 1, 1)],
)
def test_auto_is_the_fewest_blocks_that_see_everything(steps, kernel, blocks, model_of):
    assert blocks_to_see(steps, kernel) == blocks
    assert len(model_of(steps, kernel=kernel, layers="auto").blocks) == blocks


@torch.no_grad()
def test_no_step_sees_what_comes_later(model_of):
    blocks = model_of().blocks
    x = torch.randn(1, 2, 20).double()
    before = blocks(x)
    x[:, :, 12] += 1
    assert (blocks(x) != before).any(1)[0].tolist() == [step >= 12 for step in range(20)]


@torch.no_grad()
def test_a_block_is_two_convolutions_and_what_it_was_given(model_of):
    model = model_of(layers=2, kernel=2, weight_norm=False)
    x = given = torch.randn(1, 2, 6).double()
    for number, block in enumerate(model.blocks):
        inside = x
        for layer in (block.body[1], block.body[4]):
            earlier = torch.zeros_like(inside)
            earlier[:, :, 2**number :] = inside[:, :, : -(2**number)]
            taps = layer.weight[:, :, 0] @ earlier + layer.weight[:, :, 1] @ inside
            inside = torch.tanh(taps + layer.bias[:, None])
        x = torch.tanh(inside + block.shortcut(x))
    torch.testing.assert_close(model.blocks(given), x)
    assert isinstance(model.blocks[1].shortcut, nn.Identity)


@torch.no_grad()
def test_weight_norm_is_torch_s_own(model_of):
    layer = model_of().blocks[0].body[1]
    assert torch.allclose(layer.length, layer.weight.flatten(1).norm(dim=1))
    layer.length.mul_(torch.tensor([0.5, 2.0, 3.0]))
    layer.weight.mul_(7.0)  # of which the length is the other weight's alone
    twin = nn.utils.parametrizations.weight_norm(nn.Conv1d(2, 3, 3)).double()
    weights = twin.parametrizations.weight
    weights.original0.copy_(layer.length[:, None, None])
    weights.original1.copy_(layer.weight), twin.bias.copy_(layer.bias)
    x = torch.randn(4, 2, 9).double()
    torch.testing.assert_close(layer(x), twin(x))


@torch.no_grad()
def test_an_image_is_read_row_by_row(build):
    image = Spec("multiclass", "image", (2, 5, 3), 4, class_names=tuple("abcd"))
    rows = Spec("multiclass", "sequence", (5, 6), 4, class_names=tuple("abcd"))
    model, twin = (build("tcn", spec).eval() for spec in (image, rows))
    twin.load_state_dict(model.state_dict())
    x = torch.randn(2, 2, 5, 3)
    torch.testing.assert_close(model(x), twin(x.permute(0, 2, 1, 3).reshape(2, 5, 6)))


def test_data_without_time_is_refused(build, make_spec):
    with pytest.raises(ConfigError, match="model=tcn reads sequences"):
        build("tcn", make_spec("features"))
