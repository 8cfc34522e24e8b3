"""Inputs given again: losses against formulas and torch's own distributions, learned planes against PCA."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from sklearn.decomposition import PCA
from torch.distributions import Bernoulli, Categorical, Normal, kl_divergence

from dlrun.config.compose import compose
from dlrun.config.instantiate import Component
from dlrun.config.settings import parse
from dlrun.data.arrays.scaling import Scaling
from dlrun.data.base import Spec
from dlrun.errors import ConfigError
from dlrun.models.gaussian import GaussianSample, divergence
from dlrun.training.build import assemble
from dlrun.training.losses.classes import BinaryCrossEntropy
from dlrun.training.losses.quantities import MAE, MSE, Huber
from dlrun.training.tasks import learned_spec, make_task

WORDS = ("name=x", "trainer.accelerator=cpu", "trainer.max_epochs=1", "tracking.tensorboard=false")


def made(*words):
    plain = OmegaConf.to_container(compose([*WORDS, *words]), resolve=True)
    del plain["sweep"]
    return assemble(parse(plain))


def task_of(spec, loss="mse", *, reduction="mean", scaling=None):
    chosen = {
        "mse": MSE(), "mae": MAE(), "huber": Huber(delta=1.0),
        "binary_cross_entropy": BinaryCrossEntropy(label_smoothing=0.0, positive_weight=1.0),
    }[loss]  # fmt: skip
    chosen.reduction = reduction
    return make_task(spec, chosen, scaling or Scaling([0.0], [1.0], [], [], 0.0))


def rows(width, *, latent=2, beta=None, categories=(), kind="features", shape=None):
    outputs = width - len(categories) + sum(categories) + latent * (1 if beta is None else 2)
    return Spec(
        "reconstruction", kind, shape or (width,), outputs, categories=categories, latent=latent, beta=beta
    )  # fmt: skip


def test_the_divergence_is_that_of_normal_distributions_from_the_standard_one():
    torch.manual_seed(0)
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    own = Normal(mean, (log_variance / 2).exp())
    expected = kl_divergence(own, Normal(torch.zeros(3), torch.ones(3))).sum(1)
    torch.testing.assert_close(divergence(mean, log_variance), expected)


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_the_loss_of_a_distribution_is_the_negative_evidence_lower_bound(beta):
    torch.manual_seed(0)
    spec, x, outputs = rows(4, beta=beta), torch.randn(6, 4), torch.randn(6, 8)
    again, mean, log_variance = outputs.split([4, 2, 2], 1)
    constant = 4 * np.log(2 * np.pi) / 2
    log_likelihood = Normal(again, 1.0).log_prob(x).sum(1) + constant
    expected = beta * divergence(mean, log_variance) - log_likelihood
    task = task_of(spec)
    torch.testing.assert_close(task.sample_losses(outputs, x, {}), expected)
    torch.testing.assert_close(task.loss(outputs, x), expected.mean())
    torch.testing.assert_close(task_of(spec, reduction="sum").loss(outputs, x), expected.sum())
    metrics = task.metrics(task.kept(outputs, x), task.kept_targets(x))
    assert metrics["loss"] == pytest.approx(expected.mean().item())
    assert metrics["mse"] == pytest.approx(((again - x) ** 2).mean().item())
    assert metrics["kl"] == pytest.approx(divergence(mean, log_variance).mean().item())


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_a_plain_code_has_the_mean_loss_of_the_columns(loss):
    torch.manual_seed(0)
    x, outputs = torch.randn(6, 4), torch.randn(6, 6)
    function = {
        "mse": torch.nn.MSELoss(), "mae": torch.nn.L1Loss(), "huber": torch.nn.HuberLoss()
    }[loss]  # fmt: skip
    torch.testing.assert_close(task_of(rows(4), loss).loss(outputs, x), function(outputs[:, :4], x))


def test_pixels_are_given_again_as_probabilities_of_being_bright_whatever_the_scaling():
    torch.manual_seed(0)
    spec = rows(4, kind="image", shape=(1, 2, 2), beta=1.0)
    raw = torch.tensor([[0.0, 16.0, 4.0, 8.0]])
    scaling = Scaling([[[5.0]]], [[[6.0]]], [], [], 16.0)
    task = task_of(spec, "binary_cross_entropy", scaling=scaling)
    inputs = scaling.inputs(raw.view(1, 1, 2, 2).numpy())
    outputs = torch.randn(1, 8)
    brightness, logits = raw / 16, outputs[:, :4]
    expected = -Bernoulli(logits=logits, validate_args=False).log_prob(brightness).sum(1)
    expected += divergence(*outputs[:, 4:].split(2, 1))
    aims = task.aims(inputs, torch.zeros(1))
    torch.testing.assert_close(task.sample_losses(outputs, aims, {}), expected)
    again = (torch.sigmoid(logits) * 16 - 5) / 6
    torch.testing.assert_close(task.given_again(outputs), again)
    squared = ((again - aims) ** 2).mean().item()
    assert task.kept(outputs, aims)[0, 1].item() == pytest.approx(squared)


def test_a_category_is_given_again_as_a_score_for_each_of_its_codes():
    torch.manual_seed(0)
    spec = rows(3, categories=(3, 2))
    x = torch.tensor([[0.5, 2.0, 1.0], [-1.0, 0.0, 0.0]])
    outputs = torch.randn(2, 8)
    number, first, second, _ = outputs.split([1, 3, 2, 2], 1)
    columns = [
        (number[:, 0] - x[:, 0]) ** 2,
        -Categorical(logits=first).log_prob(x[:, 1]),
        -Categorical(logits=second).log_prob(x[:, 2]),
    ]
    expected = torch.stack(columns, 1).mean(1)
    torch.testing.assert_close(task_of(spec).sample_losses(outputs, x, {}), expected)


def test_the_sample_is_the_mean_in_evaluation_and_spread_as_asked_in_training():
    layer = GaussianSample()
    mean, log_variance = torch.full((20_000, 2), 3.0), torch.full((20_000, 2), -2.0)
    assert layer.eval()(mean, log_variance) is mean
    torch.manual_seed(0)
    sample = layer.train()(mean, log_variance)
    assert sample.mean().item() == pytest.approx(3, abs=0.01)
    assert sample.std().item() == pytest.approx(np.exp(-1), abs=0.01)


def test_a_linear_autoencoder_finds_the_plane_of_pca():
    words = (
        "dataset=iris", "model=autoencoder", "model.hidden=[]", "model.latent=2", "optimizer.lr=0.03",
        "trainer.batch_size=full", "dataset.val_fraction=0", "trainer.monitor=train/loss",
    )  # fmt: skip
    engine = made(*words).engine
    ((inputs, targets),) = engine.batches.epoch(0)
    for _ in range(400):
        engine.train_step(inputs, targets)
    x = engine.data.train.inputs.numpy()
    reference = PCA(2).fit(x)
    best = ((reference.inverse_transform(reference.transform(x)) - x) ** 2).mean()
    learned = engine.task.metrics(engine.outputs(engine.data.train), targets)["mse"]
    assert learned == pytest.approx(best, rel=0.01)


def test_the_baselines_are_the_variance_and_pca_of_as_many_numbers():
    data = made("dataset=iris", "model=autoencoder", "model.latent=3").data
    train, test = data.train.inputs.numpy(), data.test.inputs.numpy()
    reference = PCA(3).fit(train)
    again = reference.inverse_transform(reference.transform(test))
    assert data.baselines["training mean"]["mse"] == pytest.approx(
        ((test - train.mean(0)) ** 2).mean(), rel=1e-5
    )
    assert data.baselines["PCA of 3"]["mse"] == pytest.approx(
        ((again - test) ** 2).mean(), rel=1e-4
    )
    for words in (("model=vae",), ("model=autoencoder", "model.latent=4")):  # all that there is
        assert [*made("dataset=iris", *words).data.baselines] == ["training mean"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("dataset=iris", "loss=binary_cross_entropy"), "gives pixels again, but the inputs are features"),
        (("dataset=iris", "loss=cross_entropy"), "inputs to give again"),
        (("dataset=text_lines",), "model=autoencoder reads images and rows of tables"),
        (("dataset=airline",), "model=autoencoder reads images and rows of tables"),
        (("dataset=iris", "loss.label_smoothing=0.1"), "reconstruction has no labels"),
        (("dataset=iris", "loss=quantile"), "inputs to give again"),
        (("dataset=digits", "loss=binary_cross_entropy", "loss.positive_weight=2"), "set it to 1"),
        (("dataset=iris", "trainer.monitor=val/accuracy"), "which this run does not log"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_a_line(words, said):
    with pytest.raises(ConfigError, match=said):
        made("model=autoencoder", *words)


def test_a_class_that_reconstructs_without_a_code_is_refused():
    class Plain:
        task = "reconstruction"

    with pytest.raises(
        ConfigError,
        match="is Plain, a class that gives its inputs again, but has no setting latent",
    ):
        learned_spec(rows(4), Component("model", Plain, {}))
