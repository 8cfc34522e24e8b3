"""LeNet-5 as in the paper."""

import pytest
import torch
from torch import nn

from dlrun.data.base import Spec
from dlrun.errors import ConfigError
from dlrun.models.lenet5 import LeNet5


def digits(*shape):
    return Spec("multiclass", "image", shape, 10, class_names=tuple("0123456789"))


@pytest.mark.parametrize("side", [28, 32])
@pytest.mark.parametrize("variant", ["classic", "modern"])
def test_ten_digits_take_61706_parameters(variant, side):
    model = LeNet5(digits(1, side, side), variant=variant)
    assert sum(p.numel() for p in model.parameters()) == 61_706
    assert model(torch.zeros(2, 1, side, side)).shape == (2, 10)


@pytest.mark.parametrize("side", [28, 32])
def test_the_maps_have_the_sizes_of_the_paper(side):
    x, shapes = torch.zeros(1, 1, side, side), []
    for layer in LeNet5(digits(1, side, side), variant="classic"):
        x = layer(x)
        if isinstance(layer, (nn.Conv2d, nn.AvgPool2d, nn.Linear)):
            shapes.append(tuple(x.shape[1:]))
    c1_to_s4 = [(6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5)]
    assert shapes == [*c1_to_s4, (120,), (84,), (10,)]


@pytest.mark.parametrize(
    ("variant", "activation", "pool"),
    [("classic", nn.Tanh, nn.AvgPool2d), ("modern", nn.ReLU, nn.MaxPool2d)],
)
def test_the_variant_chooses_activation_and_pooling(variant, activation, pool):
    model = LeNet5(digits(1, 28, 28), variant=variant)
    assert sum(isinstance(layer, activation) for layer in model) == 4
    assert sum(isinstance(layer, pool) for layer in model) == 2


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 30, 64), (1, 96, 33)])
def test_colours_and_larger_images_are_read(shape):
    assert LeNet5(digits(*shape), variant="modern")(torch.zeros(2, *shape)).shape == (2, 10)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 27, 40)])
def test_smaller_images_are_refused(shape):
    with pytest.raises(ConfigError) as refused:
        LeNet5(digits(*shape), variant="classic")
    assert str(refused.value) == (
        "model=lenet5 reads images of at least 28x28, but the data has images of "
        f"{'x'.join(map(str, shape))}; choose model=cnn or a dataset of larger images"
    )
