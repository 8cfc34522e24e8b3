"""Shapes of what is given again: of images of any size, of tables with categories, of codes."""

import pytest
import torch

from dlrun.data.base import Spec
from dlrun.models.autoencoder import VAE, Autoencoder

SIZES = {"latent": 3, "hidden": [5], "activation": "relu"}


def build(kind, spec, filters):
    if kind is VAE:
        return VAE(spec, beta=1.0, filters=filters, **SIZES)
    return Autoencoder(spec, filters=filters, **SIZES)


@pytest.mark.parametrize("filters", [[], [2], [2, 3, 4, 5]])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 5), (2, 1, 9), (1, 28, 28)])
@pytest.mark.parametrize("kind", [Autoencoder, VAE])
def test_images_of_any_size_are_given_again_in_their_own_with_their_codes(kind, shape, filters):
    numbers = shape[0] * shape[1] * shape[2]
    model = build(kind, Spec("multiclass", "image", shape, 4), filters)
    outputs = model(torch.randn(2, *shape))
    assert outputs.shape == (2, numbers + (3 if kind is Autoencoder else 6))
    outputs.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("kind", [Autoencoder, VAE])
def test_rows_are_given_again_with_a_score_for_each_code_of_a_category(kind):
    spec = Spec("regression", "features", (4,), 1, categories=(3, 2))
    model = build(kind, spec, [16])
    rows = torch.tensor([[0.3, -1.0, 2.0, 0.0], [0.1, 1.0, 0.0, 1.0]])
    assert model(rows).shape == (2, 2 + 3 + 2 + (3 if kind is Autoencoder else 6))


def test_codes_are_those_that_are_given_again_from():
    model = build(Autoencoder, Spec("multiclass", "features", (4,), 3), [])
    outputs = model(torch.randn(2, 4))
    torch.testing.assert_close(model.decoder(outputs[:, 4:]), outputs[:, :4])
