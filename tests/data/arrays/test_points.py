"""Points made from a seed: their shapes, their classes and their geometry."""

import numpy as np
import pytest

from dlrun.config.instantiate import component
from dlrun.data.arrays import points
from dlrun.errors import ConfigError

ALL = {
    "blobs": {"classes": 3},
    "moons": {},
    "circles": {"factor": 0.5},
    "xor": {},
    "spiral": {"classes": 3, "turns": 2},
}


def make(name, *, size=300, noise=0.0, seed=0, **changes):
    return getattr(points, name)(size=size, noise=noise, seed=seed, **(ALL[name] | changes))


def angle_of(inputs):
    return np.arctan2(inputs[:, 1], inputs[:, 0])


@pytest.mark.parametrize("name", ALL)
def test_points_lie_in_the_plane_with_a_class_each(name):
    source = make(name)
    assert source.inputs.shape == (300, 2)
    assert source.inputs.dtype == np.float32
    assert (source.task, source.kind) == ("classification", "features")
    assert source.feature_names == ("x1", "x2")
    assert sorted(set(source.targets)) == list(range(len(source.class_names)))


@pytest.mark.parametrize("name", ["blobs", "moons", "circles", "spiral"])
def test_classes_have_equal_shares(name):
    counts = np.bincount(make(name, size=301).targets)
    assert counts.sum() == 301
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("name", ALL)
def test_the_seed_decides_every_point(name):
    first, again, other = (make(name, noise=0.1, seed=seed).inputs for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("name", ALL)
def test_noise_is_added_to_both_coordinates_with_its_standard_deviation(name):
    # The same seed draws the same points first, so that their difference is the noise alone.
    noise = make(name, size=5000, noise=0.3).inputs - make(name, size=5000).inputs
    np.testing.assert_allclose(noise.std(0), 0.3, rtol=0.05)
    np.testing.assert_allclose(noise.mean(0), 0, atol=0.02)


def test_blobs_are_centred_evenly_on_the_unit_circle():
    source = make("blobs", classes=4)
    for number, centre in enumerate([(1, 0), (0, 1), (-1, 0), (0, -1)]):
        members = source.inputs[source.targets == number]
        np.testing.assert_allclose(members, np.tile(centre, (len(members), 1)), atol=1e-6)


def test_moons_are_two_half_circles_that_interleave():
    source = make("moons")
    upper, lower = (source.inputs[source.targets == number] for number in (0, 1))
    np.testing.assert_allclose(np.linalg.norm(upper, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(lower - [1, 0.5], axis=1), 1, rtol=1e-5)
    assert upper[:, 1].min() >= 0
    assert lower[:, 1].max() <= 0.5
    assert lower[:, 0].min() < upper[:, 0].max()


def test_circles_have_the_radii_1_and_factor_all_around():
    source = make("circles", factor=0.3)
    radius = np.linalg.norm(source.inputs, axis=1)
    np.testing.assert_allclose(radius, np.where(source.targets == 0, 1, 0.3), rtol=1e-5)
    for number in (0, 1):
        angles = angle_of(source.inputs[source.targets == number])
        assert np.histogram(angles, 4, (-np.pi, np.pi))[0].min() > 10


def test_xor_is_decided_by_whether_the_signs_differ():
    source = make("xor")
    assert source.class_names == ("same sign", "other sign")
    np.testing.assert_array_equal(source.targets, source.inputs.prod(1) < 0)
    assert np.abs(source.inputs).max() <= 1
    assert 0.3 < source.targets.mean() < 0.7


def test_spiral_arms_wind_by_their_half_turns_and_are_the_same_curve_turned():
    source = make("spiral", classes=3, turns=2)
    radius = np.linalg.norm(source.inputs, axis=1)
    assert radius.min() >= 0.05 - 1e-6
    assert radius.max() <= 1 + 1e-6
    expected = 2 * np.pi * source.targets / 3 + 2 * np.pi * radius
    difference = np.angle(np.exp(1j * (angle_of(source.inputs) - expected)))
    np.testing.assert_allclose(difference, 0, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("moons", {"size": 9}, "dataset.size is 9, but must be a whole number of at least 10"),
        ("blobs", {"classes": 1}, "dataset.classes is 1, but must be a whole number of at least 2"),
        ("xor", {"noise": -0.1}, "dataset.noise is -0.1, but must be a number of at least 0"),
        ("circles", {"factor": -1}, "dataset.factor is -1, but must be a number of at least 0"),
        ("spiral", {"turns": 0}, "dataset.turns is 0, but must be a whole number of at least 1"),
        ("moons", {"seed": -1}, "dataset.seed is -1"),
    ],
)
def test_settings_out_of_range_are_refused(name, changes, words):
    node = {
        "_target_": f"dlrun.data.arrays.points.{name}",
        "size": 20,
        "noise": 0,
        "seed": 0,
        **ALL[name],
    }
    with pytest.raises(ConfigError) as caught:
        component("dataset", node | changes)()
    assert words in str(caught.value)


COVARIANCES = [[[1.0, 0.5], [0.5, 2.0]], [[0.2, -0.1], [-0.1, 0.3]]]
MEANS = [[-1.0, 2.0], [3.0, 0.0]]


def test_each_gaussian_cloud_has_its_mean_and_covariance():
    source = points.gaussians(size=20_000, means=MEANS, covariances=COVARIANCES, seed=0)
    for label, (mean, covariance) in enumerate(zip(MEANS, COVARIANCES, strict=True)):
        cloud = source.inputs[source.targets == label]
        assert len(cloud) == 10_000
        np.testing.assert_allclose(cloud.mean(0), mean, atol=0.05)
        np.testing.assert_allclose(np.cov(cloud.T), covariance, atol=0.06)


@pytest.mark.parametrize(
    ("means", "covariances", "said"),
    [
        (MEANS[:1], COVARIANCES[:1], "means has 1 points"),
        (MEANS, COVARIANCES[:1], "covariances 1 matrices"),
        ([[1.0], [2.0]], COVARIANCES, r"means\[0\] is \[1.0\]"),
        (MEANS, [COVARIANCES[0], [[1.0, 2.0], [2.0, 1.0]]], r"covariances\[1\].*positive definite"),
        (MEANS, [[[1.0, 0.0], [0.5, 1.0]], COVARIANCES[0]], r"covariances\[0\].*symmetric"),
        (MEANS, [[[1.0, 0.0], [0.0]], COVARIANCES[0]], r"covariances\[0\]"),
    ],
)
def test_what_is_no_gaussian_is_refused(means, covariances, said):
    with pytest.raises(ConfigError, match=said):
        points.gaussians(size=20, means=means, covariances=covariances, seed=0)


def test_students_pass_by_the_documented_chance():
    source = points.pass_class(size=40_000, seed=0)
    lectures, hours = source.inputs.T.astype(float)
    assert source.feature_names == ("lectures", "hours")
    assert set(lectures) == set(range(11))
    assert 0 <= hours.min() < hours.max() <= 10
    chance = 1 / (1 + np.exp(-(lectures + 1.5 * hours - 9)))
    for low in np.arange(0, 1, 0.1):
        among = (chance >= low) & (chance < low + 0.1)
        assert source.targets[among].mean() == pytest.approx(chance[among].mean(), abs=0.05)
