"""Residual networks for small images: the paper's sizes, its shortcuts, images of any size."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dlrun.errors import ConfigError
from dlrun.models.resnet import Block


@pytest.mark.parametrize(
    ("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)]
)
def test_it_has_as_many_weights_as_in_the_paper(build, make_spec, depth, millions):
    with torch.device("meta"):
        model = build("resnet", make_spec("image", shape=(3, 32, 32)), depth=depth, init="default")
    weights = sum(parameter.numel() for parameter in model.parameters())
    digits = 1 if depth == 110 else 2
    assert round(weights / 1e6, digits) == millions
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) + 1 == depth


@pytest.mark.parametrize("depth", [9, 18, 49])
def test_another_depth_is_refused_with_those_beside_it(build, make_spec, depth):
    below = (depth - 2) // 6 * 6 + 2
    with pytest.raises(ConfigError, match=f"6 n \\+ 2 layers: choose {below} or {below + 6}$"):
        build("resnet", make_spec("image"), depth=depth)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (2, 7, 5), (1, 1, 1)])
@pytest.mark.parametrize("shortcut", ["identity", "projection"])
def test_images_may_be_of_any_size(build, make_spec, shape, shortcut):
    spec = make_spec("image", shape=shape)
    model = build("resnet", spec, depth=8, width=4, shortcut=shortcut)
    assert model(torch.randn(2, *shape)).shape == (2, 4)
    maps = model.blocks(model.stem(torch.randn(2, *shape)))
    assert maps.shape == (2, 16, -(-shape[1] // 4), -(-shape[2] // 4))


def test_a_shortcut_without_weights_skips_pixels_and_fills_up_with_zeros():
    block = Block(2, 4, stride=2, shortcut="identity", zero_last_norm=False, init="zeros").eval()
    images = torch.rand(3, 2, 5, 6)
    found = block(images)
    assert torch.equal(found[:, 1:3], images[:, :, ::2, ::2])
    assert not found[:, [0, 3]].any()


def test_a_block_adds_what_its_convolutions_find_to_its_shortcut():
    block = Block(
        2, 4, stride=2, shortcut="projection", zero_last_norm=False, init="default"
    ).eval()
    x = torch.randn(3, 2, 5, 5)
    scale = (1 + block.first[1].eps) ** -0.5  # of batch norm before anything is learned
    found = F.conv2d(x, block.first[0].weight, stride=2, padding=1) * scale
    found = F.conv2d(found.relu(), block.second[0].weight, padding=1) * scale
    short = F.conv2d(x, block.projection[0].weight, stride=2) * scale
    torch.testing.assert_close(block(x), (found + short).relu())


def test_a_block_may_begin_as_its_shortcut(build, make_spec):
    spec = make_spec("image", shape=(1, 8, 8))
    model = build("resnet", spec, depth=14, width=4, zero_last_norm=True)
    x = torch.rand(2, 4, 8, 8)
    assert torch.equal(model.blocks[0](x), x)
