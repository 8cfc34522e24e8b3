"""The CNN: sizes by the formula, one knob a block, and refusals that say what to change."""

import math
import warnings

import pytest
import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from dlrun.errors import ConfigError


@pytest.fixture
def cnn(build, make_spec):
    """(shape, overrides) -> a CNN for images of `shape`."""
    return lambda shape=(1, 8, 8), **overrides: build(
        "cnn", make_spec("image", shape=shape), **overrides
    )


def kinds(layers):
    return [type(layer).__name__ for layer in layers]


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("padding", ["same", "valid", 0, 2])
def test_a_block_has_the_size_of_the_formula(padding, kernel, stride, cnn):
    shape = (2, 13, 9)
    model = cnn(
        shape, filters=[3], padding=padding, kernel=kernel, stride=stride, pool="none", dense=[]
    )

    def size(n):
        if padding == "same":
            return math.ceil(n / stride)
        p = 0 if padding == "valid" else padding
        return math.floor((n + 2 * p - kernel) / stride) + 1

    assert model.blocks(torch.zeros(1, *shape)).shape == (1, 3, size(13), size(9))
    assert model(torch.zeros(1, *shape)).shape == (1, 4)


@pytest.mark.parametrize("pool_size", [1, 2, 3])
@pytest.mark.parametrize("pool", ["max", "average"])
def test_pooling_divides_the_size_and_drops_the_rest(pool, pool_size, cnn):
    model = cnn((1, 11, 8), filters=[3], pool=pool, pool_size=pool_size)
    expected = (1, 3, 11 // pool_size, 8 // pool_size)
    assert model.blocks(torch.zeros(1, 1, 11, 8)).shape == expected


@pytest.mark.parametrize("kernel", [2, 3, 4])
def test_same_padding_is_torchs_own_and_does_not_warn(kernel, cnn):
    images = torch.randn(2, 1, 8, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = cnn(filters=[3], kernel=kernel, pool="none", batch_norm=True)
        layers = [layer for layer in model.blocks[0] if not isinstance(layer, nn.BatchNorm2d)]
        ours = nn.Sequential(*layers)(images)
    conv = next(layer for layer in layers if isinstance(layer, nn.Conv2d))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own even kernels
        torchs = F.conv2d(images, conv.weight, padding="same")
    torch.testing.assert_close(ours, F.relu(torchs))


def test_the_defaults_read_digits_and_mnist(cnn):
    for side, maps in ((8, 2), (28, 7)):
        model = cnn((1, side, side))
        expected = (9 + 1) * 16 + (16 * 9 + 1) * 32 + (32 * maps**2 + 1) * 64 + (64 + 1) * 4
        assert sum(p.numel() for p in model.parameters()) == expected


def test_a_block_is_convolution_norm_pooling_activation_dropout(cnn):
    model = cnn(filters=[3], batch_norm=True, dropout=0.2, activation="tanh", dense=[5, 6])
    block = ["Conv2d", "BatchNorm2d", "MaxPool2d", "Tanh", "Dropout"]
    assert kinds(model.blocks[0]) == block
    assert model.blocks[0][0].bias is None
    assert kinds(model.head) == ["Flatten", "Linear", "Tanh", "Linear", "Tanh", "Linear"]


def test_without_norm_and_dropout_neither_is_there(cnn):
    model = cnn(filters=[3], pool="none", dense=[])
    assert kinds(model.blocks[0]) == ["Conv2d", "ReLU"]
    assert model.blocks[0][0].bias is not None
    assert kinds(model.head) == ["Flatten", "Linear"]


@pytest.mark.parametrize(
    ("activation", "slope"),
    [("sigmoid", 0.0), ("tanh", 0.0), ("relu", 0.0), ("leaky_relu", 0.1), ("elu", 0.0)],
)
def test_max_pooling_before_the_activation_changes_no_output_and_no_gradient(
    activation, slope, cnn
):
    model = cnn(activation=activation, negative_slope=slope, batch_norm=True)
    after = nn.Sequential(*[swapped(block) for block in model.blocks])
    images, seen = torch.randn(5, 1, 8, 8), []
    assert kinds(model.blocks[0])[-2] == kinds(after[0])[-1] == "MaxPool2d"
    for blocks in (model.blocks, after):
        model.zero_grad()
        maps = blocks(images)
        (maps * torch.linspace(-1, 1, maps.numel()).view_as(maps)).sum().backward()
        seen.append([maps, *[p.grad.clone() for p in model.blocks.parameters()]])
    exact = {"rtol": 0, "atol": 0} if activation == "relu" else {}
    torch.testing.assert_close(*seen, **exact)


def swapped(block):
    """The same layers, the last two the other way round."""
    *first, pool, activation = block
    return nn.Sequential(*first, activation, pool)


@pytest.mark.parametrize(
    ("pool", "activation", "slope"),
    [
        ("max", "gelu", 0.0),
        ("max", "silu", 0.0),
        ("max", "prelu", 0.0),
        ("max", "leaky_relu", -0.1),
        ("average", "relu", 0.0),
    ],
)
def test_pooling_stays_after_an_activation_with_which_it_does_not_commute(
    pool, activation, slope, cnn
):
    model = cnn(pool=pool, activation=activation, negative_slope=slope)
    assert "Pool" in kinds(model.blocks[0])[-1]


def test_the_names_of_the_weights_do_not_tell_where_the_pooling_is(cnn):
    before, after = (
        cnn(activation=name, batch_norm=True, dropout=0.1).state_dict() for name in ("relu", "gelu")
    )
    assert list(before) == list(after)


def test_lists_give_each_block_its_own(cnn):
    model = cnn(
        (1, 28, 28),
        filters=[2, 3, 4],
        kernel=[5, 3, 1],
        stride=[2, 1, 1],
        padding=["same", "valid", 1],
        pool=["none", "max", "average"],
        pool_size=[9, 2, 3],
        dropout=[0.0, 0.25, 0.5],
        dense_dropout=0.1,
    )
    first, second, third = model.blocks
    assert kinds(first) == ["Conv2d", "ReLU"]
    assert kinds(second) == ["Conv2d", "MaxPool2d", "ReLU", "Dropout"]
    assert kinds(third) == ["Conv2d", "ReLU", "AvgPool2d", "Dropout"]
    assert [block[0].kernel_size for block in model.blocks] == [(5, 5), (3, 3), (1, 1)]
    assert first[0].stride == (2, 2) and second[-1].p == 0.25 and third[-1].p == 0.5
    assert kinds(model.head) == ["Flatten", "Linear", "ReLU", "Dropout", "Linear"]
    # 28 / 2 = 14; 14 - 2 = 12, / 2 = 6; 6 + 2 = 8, / 3 = 2
    assert model.blocks(torch.zeros(1, 1, 28, 28)).shape == (1, 4, 2, 2)


def test_weights_take_the_gain_of_the_activation(cnn):
    model = cnn((64, 8, 8), filters=[64], init="kaiming_normal", activation="relu")
    conv = model.blocks[0][0]
    assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.02)
    assert not conv.bias.any()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"kernel": [3, 3, 3]},
            "model.kernel is [3, 3, 3], 3 values for the 2 blocks of model.filters=[16, 32]; "
            "give one value for all blocks, or a list of 2",
        ),
        (
            {"filters": [4], "pool": ["max", "none"]},
            "model.pool is ['max', 'none'], 2 values for the 1 block of model.filters=[4]; "
            "give one value for all blocks, or a list of 1",
        ),
        (
            {"filters": [4, 4, 4, 4]},
            "model.filters is [4, 4, 4, 4], but block 4 leaves nothing of the image "
            "(8x8 -> 4x4 -> 2x2 -> 1x1, then pooling by 2); "
            "choose fewer blocks, or pool=none or a smaller pool_size there",
        ),
        (
            {"filters": [4, 4], "kernel": 5, "padding": "valid"},
            "model.filters is [4, 4], but block 2 leaves nothing of the image "
            "(8x8 -> 2x2, then a kernel of 5); "
            "choose fewer blocks, or padding=same or a smaller kernel there",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(overrides, message, cnn):
    with pytest.raises(ConfigError) as refused:
        cnn(**overrides)
    assert str(refused.value) == message


def test_the_shorter_side_decides(cnn):
    with pytest.raises(
        ConfigError, match=r"block 2 leaves nothing of the image \(8x3 -> 4x1, then"
    ):
        cnn((1, 8, 3))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            "features",
            "model=cnn reads images, but the data has 7 plain features; "
            "choose model=mlp or a dataset of images",
        ),
        (
            "sequence",
            "model=cnn reads images, but the data has sequences of 5 steps with 3 features; "
            "choose model=lstm or a dataset of images",
        ),
    ],
)
def test_only_images_are_read(kind, message, build, make_spec):
    with pytest.raises(ConfigError) as refused:
        build("cnn", make_spec(kind))
    assert str(refused.value) == message


def test_stacked_copies_train_with_batch_norm(cnn):
    twins = [cnn(filters=[3], kernel=2, batch_norm=True, activation="prelu") for _ in range(2)]
    parameters, buffers = stack_module_state(twins)
    images = torch.randn(5, 1, 8, 8)
    stacked = vmap(lambda p, b: functional_call(twins[0], (p, b), (images,)))(parameters, buffers)
    for i, twin in enumerate(twins):
        torch.testing.assert_close(stacked[i], twin(images), rtol=1e-4, atol=1e-5)
        for path, buffer in twin.named_buffers():
            torch.testing.assert_close(buffers[path][i], buffer)
