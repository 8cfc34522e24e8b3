"""A run that gives its inputs again: its pictures, scores of new inputs, the threshold of anomalies, and new images."""

import csv
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dlrun.cli import main
from dlrun.config.settings import parse
from dlrun.data.arrays.scikit_learn import digits
from dlrun.errors import ConfigError
from dlrun.inference.evaluate import task_of
from dlrun.inference.load import load_trained, read_config
from dlrun.inference.samples import sample_inputs
from dlrun.inference.threshold import anomaly_threshold
from dlrun.storage.run_directory import RunDirectory

VAE = (
    "dataset=digits",
    "model=vae",
    "model.filters=[]",
    "model.hidden=[16]",
    "trainer.max_epochs=2",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a VAE on digits."""
    folder = tmp_path_factory.mktemp("vae") / "run"
    assert main(["train", *VAE, f"hydra.run.dir={folder}", "trainer.accelerator=cpu"]) == 0
    return folder


@pytest.fixture
def dlrun(capsys, monkeypatch, tmp_path):
    """(words, code) -> what a command says."""
    monkeypatch.chdir(tmp_path)

    def call(*words, code=0):
        capsys.readouterr()
        assert main([str(word) for word in words]) == code
        return capsys.readouterr()

    return call


def test_it_shows_pairs_of_images_codes_and_samples(run):
    (events,) = run.rglob("events*")
    shown = EventAccumulator(str(events.parent))
    shown.Reload()
    assert {"reconstructions", "latent_space", "samples"} <= {*shown.Tags()["images"]}
    assert "left out" not in (run / "train.log").read_text()


def test_the_score_of_an_input_is_its_negative_evidence_lower_bound(run, dlrun):
    images = digits().inputs[:5]
    np.save("images.npy", images)
    dlrun("predict", run, "images.npy", "--output", "scores.csv")
    with Path("scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [*rows[0]] == ["input", "row", "anomaly_score"]
    trained = load_trained(RunDirectory(run), read_config(RunDirectory(run)))
    x = trained.preprocessing.inputs(images)
    with torch.inference_mode():
        again, mean, log_variance = trained.model(x).split([64, 8, 8], 1)
    expected = ((again - x.flatten(1)) ** 2).sum(1) / 2
    expected += (mean**2 + log_variance.exp() - 1 - log_variance).sum(1) / 2
    scores = [float(row["anomaly_score"]) for row in rows]
    assert scores == pytest.approx(expected.tolist(), rel=1e-5)


def test_from_a_chosen_score_on_inputs_are_anomalies(run, dlrun):
    noise = np.random.default_rng(0).choice([0, 16], (3, 1, 8, 8))
    np.save("images.npy", np.concatenate([digits().inputs[:5], noise]))
    dlrun("eval", run, "--threshold", "quantile=0.99")
    assert "(anomaly)" in dlrun("predict", run, "images.npy").out
    dlrun("predict", run, "images.npy", "--output", "scores.json")
    answers = [row["anomaly"] for row in json.loads(Path("scores.json").read_text())]
    assert answers == ["no"] * 5 + ["yes"] * 3
    assert "quantile=0.99" in dlrun("eval", run, "--threshold", "f1", code=2).err
    dlrun("eval", run, "--threshold", "none")
    assert "(anomaly)" not in dlrun("predict", run, "images.npy").out


def test_a_quantile_is_a_share_of_the_scores():
    scores = torch.arange(101.0)
    assert anomaly_threshold("quantile=0.95", scores) == pytest.approx(95)
    assert anomaly_threshold("7.5", scores) == 7.5
    for rule in ("quantile=1", "quantile=x", "0.5=1", "nan", "f1"):
        with pytest.raises(ConfigError, match="must be quantile"):
            anomaly_threshold(rule, scores)


def test_images_are_drawn_from_the_prior(run, dlrun):
    assert dlrun("generate", run, "--number", "3", "--output", "a.png").out == "3 images in a.png\n"
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")
    said = dlrun("generate", run, "--prompt", "x", "--output", "a.png", code=2).err
    assert "--prompt is for texts" in said


def test_samples_follow_from_the_seed_and_the_first_ones_from_no_number(run):
    plain = read_config(RunDirectory(run))
    trained = load_trained(RunDirectory(run), plain)
    draw = partial(sample_inputs, trained.model, task_of(trained, parse(plain)))
    few, many = draw(number=2, seed=5), draw(number=4, seed=5)
    assert few.shape == (2, 1, 8, 8)
    torch.testing.assert_close(many[:2], few)
    assert not torch.allclose(draw(number=2, seed=6), few)
