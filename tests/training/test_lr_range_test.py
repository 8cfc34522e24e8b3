"""The range test: a curve that is known, a real problem, and what is refused."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from dlrun.config import settings
from dlrun.config.compose import compose
from dlrun.errors import RunFailed
from dlrun.training.build import assemble
from dlrun.training.loop import Engine
from dlrun.training.lr_range_test import RangeTest, draw_curve, range_test, smooth, write_curve

WORDS = ("name=test", "trainer.accelerator=cpu", "dataset=iris", "trainer.batch_size=full")


def engine(*words: str) -> Engine:
    plain = dict(OmegaConf.to_container(compose([*WORDS, *words]), resolve=True))
    del plain["sweep"]
    return assemble(settings.parse(plain)).engine


def known() -> RangeTest:
    """Falls by a step at 1e-3, is lowest at 1e-1, then rises."""
    rates = np.geomspace(1e-5, 1, 101)
    x = np.log10(rates)
    losses = 2 - 1 / (1 + np.exp(-6 * (x + 3))) + 4 * np.clip(x + 1, 0, None) ** 2 - 0.01 * x
    return RangeTest(rates, losses, losses, diverged=True)


def test_the_rates_of_a_known_curve() -> None:
    test = known()
    assert test.steepest_rate == pytest.approx(1e-3, rel=0.15)
    assert test.lowest_rate == pytest.approx(1e-1, rel=0.15)
    assert test.suggested_rate == pytest.approx(test.lowest_rate / 10, rel=0.05)


def test_smoothing_keeps_a_line_and_does_not_lag() -> None:
    line = np.linspace(0, 1, 101)
    np.testing.assert_allclose(smooth(line, 3.0)[20:-20], line[20:-20], atol=1e-9)
    step = np.repeat([0.0, 1.0], 50)
    assert smooth(step, 3.0)[49:51].mean() == pytest.approx(0.5)


def test_the_rate_rises_exponentially_and_gradient_descent_on_a_bowl_leaves_where_theory_says() -> (
    None
):
    """Full-batch least squares diverges from 2 / (largest curvature) on."""
    words = ("dataset=diabetes", "model=linear", "optimizer=sgd", "dataset.val_fraction=0.1")
    made = engine(*words)
    inputs = made.data.train.inputs.double()
    ones = torch.cat([inputs, torch.ones(len(inputs), 1, dtype=torch.float64)], 1)
    curvature = 2 * torch.linalg.eigvalsh(ones.T @ ones / len(ones)).max().item()
    test = range_test(made, low=1e-4, high=100.0, steps=120)
    np.testing.assert_allclose(np.diff(np.log(test.rates)), np.log(1e6) / 119)
    assert test.diverged
    assert 0.3 < test.lowest_rate / (2 / curvature) < 3
    assert test.suggested_rate < 2 / curvature


def test_a_classifier_gets_a_rate_that_it_learns_by(tmp_path: Path) -> None:
    test = range_test(engine("trainer.batch_size=16"), low=1e-6, high=10, steps=150)
    assert 1e-4 < test.suggested_rate < 0.1
    assert test.steepest_rate < test.lowest_rate
    write_curve(test, tmp_path / "a.csv")
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert [float(row["learning_rate"]) for row in rows] == test.rates.tolist()
    draw_curve(test, tmp_path / "a.png", title="iris")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (960, 576)


def test_a_loss_that_falls_to_the_end_has_no_edge_and_a_curve_without_rates(tmp_path: Path) -> None:
    whole = known()
    falling = RangeTest(*(part[:75] for part in (whole.rates, whole.losses, whole.smoothed)), False)
    assert falling.still_falls and not whole.still_falls
    assert not replace(falling, diverged=True).still_falls
    for name, test in (("falling", falling), ("known", replace(falling, diverged=True))):
        draw_curve(test, tmp_path / f"{name}.png", title="t")
    found = [green(tmp_path / f"{name}.png") for name in ("falling", "known")]
    assert found == [False, True]


def green(picture: Path) -> bool:
    """Whether the line of the suggested rate is in it."""
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    return bool((abs(pixels - (0x2C, 0xA0, 0x2C)).sum(-1) < 6).any())


def test_the_same_seed_gives_the_same_curve() -> None:
    first, second = (range_test(engine(), low=1e-5, high=1, steps=20) for _ in range(2))
    assert first.losses.tolist() == second.losses.tolist()


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_what_carries_state_is_tested_too(optimizer: str) -> None:
    words = (f"optimizer={optimizer}", "dataset=char_lm", "model=char_rnn", "trainer.batch_size=4",
             "model.hidden_size=8", "dataset.window=16")  # fmt: skip
    test = range_test(engine(*words), low=1e-5, high=10, steps=40)
    assert test.smoothed.min() < test.smoothed[0]


def test_rates_at_which_nothing_is_learned_are_no_answer() -> None:
    with pytest.raises(RunFailed, match=r"did not fall at any rate from 1e\+06"):
        range_test(engine("optimizer=sgd"), low=1e6, high=1e9, steps=20)
