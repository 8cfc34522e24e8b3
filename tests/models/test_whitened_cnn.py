"""The whitened network: patches without correlation, copies at first, images of any size, the paper's weights."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dlrun.data.loaders import Split
from dlrun.errors import ConfigError
from dlrun.models.whitened_cnn import Whitening
from dlrun.training.build import fit_layers

NARROW = {"widths": [8, 16, 16]}


def smooth_images(count, channels=3, side=9):
    """Images whose neighbouring pixels and channels are alike, with means of their own."""
    rough = torch.randn(count, channels + 1, side + 2, side + 2)
    mixed = rough[:, 1:] + 0.7 * rough[:, :-1]
    means = torch.linspace(-2, 3, channels)[:, None, None]
    return F.avg_pool2d(mixed, 3, 1) + means


@pytest.mark.parametrize(("channels", "kernel"), [(3, 2), (1, 3), (3, 1)])
def test_whitened_patches_have_no_mean_and_the_identity_as_covariance(channels, kernel):
    images = smooth_images(250, channels)
    layer = Whitening(channels, kernel, eps=1e-9, fits=True)
    layer.fit(images)
    outputs = layer(images)
    half = channels * kernel**2
    torch.testing.assert_close(outputs[:, half:], -outputs[:, :half], rtol=1e-4, atol=1e-4)
    rows = outputs[:, :half].movedim(1, 3).flatten(0, 2).detach().double().numpy()
    np.testing.assert_allclose(rows.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(rows.T, bias=True), np.eye(half), atol=2e-3)


def test_variances_smaller_than_eps_stay_small():
    images = smooth_images(50)
    layer = Whitening(3, 2, eps=0.5, fits=True)
    layer.fit(images)
    patches = F.unfold(images, 2).movedim(1, 2).flatten(0, 1).double()
    values = np.linalg.eigvalsh(np.cov(patches.numpy().T, bias=True))
    rows = layer(images)[:, :12].movedim(1, 3).flatten(0, 2).detach().double()
    np.testing.assert_allclose(np.sort(rows.var(0)), values / (values + 0.5), rtol=1e-3)


def test_images_of_one_colour_are_whitened_to_zero():
    layer = Whitening(1, 2, eps=1e-4, fits=True)
    layer.fit(torch.full((3, 1, 4, 4), 0.3))
    assert layer(torch.full((2, 1, 4, 4), 0.3)).abs().max() < 1e-3


def test_a_run_whitens_by_its_training_part_and_trains_the_bias_alone(build, make_spec):
    spec = make_spec("image", shape=(3, 9, 9))
    model, images = build("whitened_cnn", spec, **NARROW), smooth_images(40)
    fit_layers(model, Split(images, torch.zeros(40)))
    alone = Whitening(3, 2, eps=5e-4, fits=True)
    alone.fit(images)
    assert torch.equal(model.whitening.conv.weight, alone.conv.weight)
    assert not model.whitening.conv.weight.requires_grad
    assert model.whitening.conv.bias.requires_grad
    plain = build("whitened_cnn", spec, **NARROW, whitening=False)
    before = plain.whitening.conv.weight.clone()
    fit_layers(plain, Split(images, torch.zeros(40)))
    assert torch.equal(plain.whitening.conv.weight, before)
    assert plain.whitening.conv.weight.requires_grad


def test_it_has_as_many_weights_as_in_the_paper(build, make_spec):
    with torch.device("meta"):
        model = build("whitened_cnn", make_spec("image", shape=(3, 32, 32)), dirac=False)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == 1.97


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (2, 7, 5), (1, 2, 2)])
def test_images_may_be_of_any_size(build, make_spec, shape):
    model = build("whitened_cnn", make_spec("image", shape=shape), **NARROW)
    assert model(torch.randn(2, *shape)).shape == (2, 4)


def test_an_image_smaller_than_the_first_kernel_is_refused(build, make_spec):
    with pytest.raises(ConfigError, match=r"whitening_kernel is 3, .* 2 pixels a side"):
        build("whitened_cnn", make_spec("image", shape=(1, 5, 2)), whitening_kernel=3)


def test_convolutions_begin_as_copies_of_the_maps_that_they_read(build, make_spec):
    model = build("whitened_cnn", make_spec("image"), widths=[12, 8])
    convolutions = [m for m in model.blocks.modules() if isinstance(m, nn.Conv2d)]
    for conv in convolutions:
        x = torch.randn(2, conv.in_channels, 5, 5)
        shared = min(conv.in_channels, conv.out_channels)
        torch.testing.assert_close(conv(x)[:, :shared], x[:, :shared])
    assert [(c.in_channels, c.out_channels) for c in convolutions] == [
        (8, 12),
        (12, 12),
        (12, 8),
        (8, 8),
    ]
    assert convolutions[0](torch.randn(1, 8, 5, 5))[:, 8:].abs().min() > 0


def test_batch_norms_have_no_gain_to_learn_and_the_momentum_of_the_setting(build, make_spec):
    model = build("whitened_cnn", make_spec("image"), **NARROW, batch_norm_momentum=0.3)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 6
    for norm in norms:
        assert not norm.weight.requires_grad
        assert torch.equal(norm.weight, torch.ones_like(norm.weight))
        assert norm.bias.requires_grad
        assert norm.momentum == 0.3


def test_scores_are_scaled(build, make_spec):
    model = build("whitened_cnn", make_spec("image"), **NARROW, output_scale=0.25)
    x = torch.randn(3, 1, 28, 28)
    maps = model.eval().blocks(model.activation(model.whitening(x)))
    expected = 0.25 * maps.amax((2, 3)) @ model.head[2].weight.T
    torch.testing.assert_close(model(x), expected)
