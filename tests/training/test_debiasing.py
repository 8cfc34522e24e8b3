"""A classifier that finds what is rare in its training part: weights, losses, groups that are measured, whole runs."""

import json

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from dlrun.cli import main
from dlrun.config.compose import compose
from dlrun.config.settings import parse
from dlrun.data.arrays.scikit_learn import digits
from dlrun.data.arrays.unbalanced import unbalanced_digits
from dlrun.data.base import Spec
from dlrun.errors import ConfigError
from dlrun.models.debiasing_vae import DebiasingVAE
from dlrun.stacked.grouping import no_rule
from dlrun.training.build import assemble
from dlrun.training.forward import loss_and_kept
from test_contract import assert_resumes_identically

SMALL = ("model=debiasing_vae", "model.filters=[]", "model.hidden=[8]", "trainer.accelerator=cpu")
LATENT = ("dataset=unbalanced_digits", "dataset.balance=latent", *SMALL)


def composed(*words):
    plain = OmegaConf.to_container(compose(["name=x", *words]), resolve=True)
    del plain["sweep"]
    return plain


def model_of(**changes):
    spec = Spec("multiclass", "features", (5,), 3, class_names=("a", "b", "c"))
    settings = {
        "latent": 2, "reconstruction": 2.0, "beta": 0.5, "bins": 4, "smoothing": 0.1, "filters": [],
        "hidden": [6], "activation": "tanh",
    }  # fmt: skip
    return DebiasingVAE(spec, **{**settings, **changes})


def test_a_sample_is_as_rare_as_its_code_in_the_histogram_of_the_number_that_finds_it_rarest():
    torch.manual_seed(0)
    model = model_of().eval()
    x = torch.randn(50, 5)
    with torch.no_grad():
        found = model.rarity(x.split(7)).numpy()
        codes = model.encoder(x)[:, 3:5].double().numpy()
    rarities = []
    for numbers in codes.T:
        counts, edges = np.histogram(numbers, bins=4)
        place = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, 3)
        rarity = 1 / (counts[place] / 50 + 0.1)
        rarities.append(rarity / rarity.sum())
    np.testing.assert_allclose(found, np.max(rarities, 0), rtol=1e-6)


def test_equal_codes_are_equally_rare():
    model = model_of().eval()
    with torch.no_grad():
        found = model.rarity([torch.zeros(6, 5)])
    torch.testing.assert_close(found, torch.full((6,), 1 / 6, dtype=torch.float64))


def test_in_training_a_sample_adds_what_a_variational_autoencoder_loses():
    spec_loss = assemble(parse(composed("dataset=iris", *SMALL))).task
    torch.manual_seed(0)
    model, x, targets = model_of(), torch.randn(4, 5), torch.tensor([0, 2, 1, 0])
    torch.manual_seed(1)
    outputs = model(x)
    scores, mean, log_variance = model.encoder(x).split([3, 2, 2], 1)
    torch.manual_seed(1)
    again = model.decoder(mean + (log_variance / 2).exp() * torch.randn(4, 2))
    own = Normal(mean, (log_variance / 2).exp())
    divergence = kl_divergence(own, Normal(torch.zeros(2), torch.ones(2))).sum(1)
    expected = 2 * ((again - x) ** 2).mean(1) + 0.5 * divergence
    torch.testing.assert_close(outputs, torch.cat([scores, expected.unsqueeze(1)], 1))
    loss, kept = loss_and_kept(spec_loss, model, outputs, targets)
    torch.testing.assert_close(loss, F.cross_entropy(scores, targets) + expected.mean())
    torch.testing.assert_close(kept, scores)
    torch.testing.assert_close(model.eval()(x), scores)


def test_a_share_of_the_training_images_and_half_of_the_test_images_are_inverted():
    made, plain = unbalanced_digits(rare=0.1, seed=3), digits().inputs
    assert made.groups.mean() == pytest.approx(0.1, abs=0.001)
    assert made.test_groups.mean() == pytest.approx(0.5, abs=0.001)
    whole = {image.tobytes() for image in plain}
    for images, groups in ((made.inputs, made.groups), (made.test_inputs, made.test_groups)):
        again = np.where((groups == 1)[:, None, None, None], 16 - images, images)
        assert {image.astype(np.float32).tobytes() for image in again} <= whole
    assert len(made.inputs) + len(made.test_inputs) == len(plain)


def test_epochs_follow_from_the_codes_at_their_beginning_and_a_resume_within_one_is_exact(
    tmp_path, monkeypatch
):
    words = (
        "trainer.max_epochs=3", "trainer.batch_size=200", "trainer.log_every_steps=1",
        "tracking.tensorboard=false",
    )  # fmt: skip
    assert_resumes_identically(composed(*LATENT, *words), tmp_path, monkeypatch, stop_at=7)


def test_each_group_is_measured_at_the_end_and_by_eval(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ("trainer.max_epochs=2", "tracking.tensorboard=false", "hydra.run.dir=run")
    assert main(["train", *LATENT, *words]) == 0
    ended = json.loads((tmp_path / "run/summary.json").read_text())["best"]["metrics"]
    capsys.readouterr()
    assert main(["eval", "run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["metrics"]
    of_groups = {name: found[f"test/accuracy/{name}"] for name in ("common", "rare")}
    assert sum(of_groups.values()) / 2 == pytest.approx(found["test/accuracy"], abs=0.002)
    assert of_groups["common"] > of_groups["rare"]
    assert {name: ended[f"test/accuracy/{name}"] for name in of_groups} == pytest.approx(of_groups)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("dataset=digits", "dataset.balance=latent", "model=mlp"), "does not say which samples are rare"),
        ((*LATENT, "trainer.shuffle=false"), "trainer.shuffle keeps the rows as they are"),
        (("dataset=csv", *SMALL), "categories"),
        (("dataset=text_lines", *SMALL), "model=debiasing_vae reads images and rows of tables"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_a_line(words, said):
    with pytest.raises(ConfigError, match=said):
        assemble(parse(composed(*words)))


def test_it_is_trained_alone():
    assert "draws the rows" in no_rule(assemble(parse(composed(*LATENT))).engine)
    assert "adds a loss" in no_rule(assemble(parse(composed("dataset=iris", *SMALL))).engine)
