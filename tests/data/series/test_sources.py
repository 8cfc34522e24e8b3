"""The series made from a seed: its parts as its formula says."""

import numpy as np
import pytest

from dlrun.data.series.sources import synthetic_series
from dlrun.errors import ConfigError

SETTINGS = {
    "length": 200, "level": 3.0, "trend": 0.5, "periods": [4, 10], "amplitudes": [2.0, 1.0], "noise": 0.0, "seed": 0,
    "window": 4, "horizon": 1, "difference": 0, "seasonal_difference": None, "difference_inputs": True, "season": None,
}  # fmt: skip


def made(**settings):
    return synthetic_series(**(SETTINGS | settings)).numbers["y"]


def test_trend_and_seasons_add_up():
    t = np.arange(200)
    wanted = 3 + 0.5 * t + 2 * np.sin(np.pi * t / 2) + np.sin(np.pi * t / 5)
    np.testing.assert_allclose(made(), wanted, atol=1e-9)


def test_noise_is_drawn_from_the_seed_with_its_standard_deviation():
    noise = made(noise=0.5, length=20_000) - made(length=20_000)
    assert noise.std() == pytest.approx(0.5, rel=0.02)
    assert np.array_equal(made(noise=0.5), made(noise=0.5))
    assert not np.array_equal(made(noise=0.5), made(noise=0.5, seed=1))


def test_every_period_needs_an_amplitude():
    with pytest.raises(
        ConfigError, match=r"dataset.periods has 2 numbers, but dataset.amplitudes 1"
    ):
        made(amplitudes=[1.0])
