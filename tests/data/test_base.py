"""Splitting, normalising and describing a data set."""

from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler

from dlrun.config.settings import DataSettings
from dlrun.data import splits
from dlrun.data.arrays.scaling import Scaling
from dlrun.data.arrays.source import Source
from dlrun.data.base import Spec
from dlrun.data.prepare import prepare, preprocessing_from
from dlrun.errors import ConfigError


def settings(val=0.25, test=0.2, seed=0, normalize="standard"):
    return DataSettings(val, test, seed, normalize, None)


def features(samples=100, classes=4, seed=0, **changes):
    """Three features on scales of their own; classes have unequal shares."""
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((samples, 3)) * [1, 10, 0.01] + [0, -5, 3]
    targets = np.repeat(np.arange(classes), -(-samples // classes))[:samples]
    usual = {
        "inputs": inputs.astype(np.float32),
        "targets": targets,
        "task": "classification",
        "kind": "features",
        "class_names": tuple(f"c{i}" for i in range(classes)),
        "feature_names": ("a", "b", "c"),
    }
    return Source(**(usual | changes))


def split_rows(source, settings):
    strata = source.targets if source.task == "classification" else None
    has_test = source.test_inputs is not None
    return splits.split_rows(len(source.targets), strata, settings, has_test=has_test)


def regression(targets, **changes):
    return features(len(targets), task="regression", targets=targets, class_names=(), **changes)


def images(samples=40, with_test=True):
    rng = np.random.default_rng(1)
    make = lambda n: rng.integers(0, 256, (n, 3, 4, 4)).astype(np.uint8)  # noqa: E731
    part = {"test_inputs": make(10), "test_targets": np.arange(10) % 2} if with_test else {}
    return Source(
        inputs=make(samples) // np.array([1, 2, 4], np.uint8)[:, None, None],
        targets=np.arange(samples) % 2,
        task="classification",
        kind="image",
        class_names=("no", "yes"),
        pixel_max=255.0,
        **part,
    )


def refusal(function, *arguments):
    with pytest.raises(ConfigError) as caught:
        function(*arguments)
    return str(caught.value)


@pytest.mark.parametrize(("val", "test"), [(0.25, 0.2), (0.0, 0.5), (0.9, 0.1), (0.1, 0.33)])
def test_parts_are_disjoint_and_complete(val, test):
    parts = split_rows(features(), settings(val, test))
    assert sorted(np.concatenate(parts)) == list(range(100))


def test_fractions_are_of_all_rows_for_the_test_part_and_of_the_rest_for_validation():
    train, val, test = split_rows(features(200), settings(0.25, 0.2))
    assert (len(train), len(val), len(test)) == (120, 40, 40)


def test_classes_keep_their_shares_in_every_part():
    targets = np.repeat([0, 1, 2], [120, 60, 20])
    parts = split_rows(features(200, 3, targets=targets), settings(0.25, 0.2))
    shares = [Counter(targets[rows].tolist()) for rows in parts]
    assert shares == [{0: 72, 1: 36, 2: 12}, {0: 24, 1: 12, 2: 4}, {0: 24, 1: 12, 2: 4}]


def test_the_split_seed_decides_the_split():
    first, again, other = (split_rows(features(), settings(seed=seed)) for seed in (3, 3, 4))
    for a, b, c in zip(first, again, other, strict=True):
        assert a.tolist() == b.tolist()
        assert sorted(a) != sorted(c)


def test_every_part_is_shuffled():
    for rows in split_rows(features(200, 2), settings(0.3, 0.3)):
        assert rows.tolist() != sorted(rows)
        labels = features(200, 2).targets[rows]
        changes = (labels[1:] != labels[:-1]).sum()
        assert changes > len(rows) / 4  # sorted by class it would be one


def test_numbers_to_predict_are_split_without_classes():
    train, val, test = split_rows(regression(np.arange(100.0)), settings(0.25, 0.2))
    assert (len(train), len(val), len(test)) == (60, 20, 20)


def test_without_a_validation_fraction_there_is_no_validation_part():
    data = prepare(features(), settings(val=0.0))
    assert (len(data.train), len(data.val), len(data.test)) == (80, 0, 20)
    message = refusal(data.split, "val")
    assert message == "split is val, but this run has no val part (its fraction is 0)"
    assert refusal(data.split, "dev") == "split is dev, but must be one of train, val, test"
    assert data.split("test") is data.test


def test_a_test_part_of_its_own_is_kept_whole_and_in_order():
    source = images()
    data = prepare(source, settings(0.25, None, normalize="none"))
    assert (len(data.train), len(data.val)) == (30, 10)
    np.testing.assert_array_equal(data.test.inputs, source.test_inputs)
    assert data.test.targets.tolist() == source.test_targets.tolist()


def test_a_second_test_part_is_refused():
    assert refusal(prepare, images(), settings(test=0.2)) == (
        "dataset.test_fraction is 0.2, but this data set has a test part of its own; leave it at null"
    )


def test_no_test_part_at_all_is_refused():
    assert refusal(prepare, features(), settings(test=None)) == (
        "dataset.test_fraction is null, but this data set has no test part: set it, as in 0.2"
    )


@pytest.mark.parametrize(
    ("samples", "val", "test", "left"),
    [
        (100, 0.2, 1.0, "0 to train, 0 to validate and 100 to test"),
        (12, 0.1, 0.3, "8 to train, 0 to validate and 4 to test"),
        (12, 0.3, 0.1, "8 to train, 4 to validate and 0 to test"),
        (4, 0.0, 0.7, "0 to train, 0 to validate and 4 to test"),
    ],
)
def test_fractions_that_leave_a_part_empty_are_refused(samples, val, test, left):
    message = refusal(prepare, features(samples), settings(val, test))
    assert message.startswith(
        f"dataset.val_fraction is {val} and dataset.test_fraction is {test}: "
        f"of {samples} rows that leaves {left}; "
        "change the fractions so that at least 2 are left to train and 1 in each other part asked for"
    )


def test_classes_too_small_for_any_split_are_what_a_refused_split_names():
    small = features(12, 6)
    assert refusal(prepare, small, settings(0.2, 0.2)).endswith(
        "of 12 rows that leaves 12 to train, 0 to validate and 0 to test; classes keep their shares, but none of "
        "the 6 has a row for each part, the largest 2: give more rows a class"
    )


def test_inputs_are_normalised_as_scikit_learn_does_from_the_training_rows():
    source = features()
    train, val, test = split_rows(source, settings())
    scaler = StandardScaler().fit(source.inputs[train].astype(np.float64))
    data = prepare(source, settings())
    for part, rows in [(data.train, train), (data.val, val), (data.test, test)]:
        expected = scaler.transform(source.inputs[rows].astype(np.float64))
        np.testing.assert_allclose(part.inputs, expected, atol=1e-4)
        assert part.targets.tolist() == source.targets[rows].tolist()
        assert part.inputs.dtype == torch.float32


@pytest.mark.parametrize("part", [1, 2])
def test_rows_to_validate_or_test_have_no_say_in_the_normalisation(part):
    source = features()
    rows = split_rows(source, settings())[part]
    changed = source.inputs.copy()
    changed[rows] += 1000
    before = prepare(source, settings()).preprocessing
    after = prepare(features(inputs=changed), settings()).preprocessing
    assert after == before
    changed[split_rows(source, settings())[0][0]] += 1000
    assert prepare(features(inputs=changed), settings()).preprocessing != before


def test_validation_and_test_targets_have_no_say_in_the_scale_of_targets():
    targets = np.random.default_rng(0).standard_normal(100)
    train, val, test = split_rows(regression(targets), settings())
    before = prepare(regression(targets), settings()).preprocessing
    targets[[*val, *test]] += 1000
    assert prepare(regression(targets), settings()).preprocessing == before
    targets[train[0]] += 1000
    assert prepare(regression(targets), settings()).preprocessing != before


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_feature_is_only_centred(dtype):
    """0.1 is no binary fraction: the mean of many may miss it by a rounding error."""
    inputs = features().inputs.astype(dtype)
    inputs[:, 1] = 0.1
    data = prepare(features(inputs=inputs), settings())
    assert data.preprocessing.std[1] == 1
    assert data.train.inputs[:, 1].abs().max() < 1e-6
    unseen = data.preprocessing.inputs(np.full((1, 3), 0.6, dtype))
    assert unseen[0, 1].item() == pytest.approx(0.5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_targets_that_are_all_the_same_are_only_centred(dtype):
    data = prepare(regression(np.full(100, 0.1, dtype)), settings())
    assert data.preprocessing.target_std == [1.0]
    assert data.train.targets.abs().max() < 1e-6


def test_normalisation_can_be_turned_off():
    source = features()
    train, _, _ = split_rows(source, settings())
    data = prepare(source, settings(normalize="none"))
    np.testing.assert_array_equal(data.train.inputs, source.inputs[train])


def test_images_share_one_scale_a_channel():
    source = images()
    train, _, _ = split_rows(source, settings(test=None))
    data = prepare(source, settings(test=None))
    pixels = source.inputs[train].astype(np.float64)
    for channel in range(3):
        mean, std = pixels[:, channel].mean(), pixels[:, channel].std()
        assert data.preprocessing.mean[channel][0][0] == pytest.approx(mean)
        expected = (source.test_inputs[:, channel] - mean) / std
        np.testing.assert_allclose(data.test.inputs[:, channel], expected, rtol=1e-4, atol=1e-5)


def test_sequences_share_one_scale_a_feature_over_all_times():
    inputs = np.random.default_rng(0).standard_normal((100, 6, 3)) * [1, 10, 0.1] + 4
    source = features(inputs=inputs.astype(np.float32), kind="sequence")
    train, _, _ = split_rows(source, settings())
    data = prepare(source, settings())
    flat = inputs[train].reshape(-1, 3)
    np.testing.assert_allclose(np.ravel(data.preprocessing.mean), flat.mean(0), rtol=1e-4)
    np.testing.assert_allclose(np.ravel(data.preprocessing.std), flat.std(0), rtol=1e-4)
    assert data.spec.input_shape == (6, 3)


def test_statistics_of_many_rows_are_those_of_all_rows_together():
    """Large sets are summed in pieces."""
    inputs = np.random.default_rng(0).standard_normal((700_000, 3)).astype(np.float32) + 100
    inputs[350_000:] += 5
    source = features(len(inputs), 2, inputs=inputs)
    train, _, _ = split_rows(source, settings())
    data = prepare(source, settings())
    exact = inputs[train].astype(np.float64)
    np.testing.assert_allclose(data.preprocessing.mean, exact.mean(0), rtol=1e-9)
    np.testing.assert_allclose(data.preprocessing.std, exact.std(0), rtol=1e-9)


def test_targets_to_predict_are_standardised_and_scale_back():
    targets = np.stack([np.arange(100.0), 1000 - np.arange(100.0) ** 2], 1)
    source = regression(targets.astype(np.float32))
    _, _, test = split_rows(source, settings())
    data = prepare(source, settings())
    np.testing.assert_allclose(data.train.targets.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(data.train.targets.std(0, correction=0), 1, rtol=1e-5)
    back = data.test.targets.numpy() * data.preprocessing.target_std
    np.testing.assert_allclose(back + data.preprocessing.target_mean, targets[test], atol=1e-2)
    assert data.spec == Spec("regression", "features", (3,), 2, (), ("a", "b", "c"))


def test_a_single_column_of_targets_is_a_column():
    data = prepare(regression(np.arange(100.0)), settings())
    assert data.train.targets.shape == (60, 1)
    assert data.spec.num_outputs == 1


def test_two_classes_are_one_score_with_targets_0_and_1():
    data = prepare(features(classes=2), settings())
    assert (data.spec.task, data.spec.num_outputs, data.spec.num_classes) == ("binary", 1, 2)
    assert data.train.targets.dtype == torch.float32
    assert set(data.train.targets.tolist()) == {0.0, 1.0}


def test_more_classes_are_one_score_each_with_class_numbers_as_targets():
    data = prepare(features(classes=4), settings())
    assert (data.spec.task, data.spec.num_outputs, data.spec.num_classes) == ("multiclass", 4, 4)
    assert data.train.targets.dtype == torch.int64
    assert data.spec.num_features == 3
    assert prepare(images(), settings(test=None)).spec.num_features == 48


def test_preprocessing_survives_as_plain_values():
    preprocessing = prepare(images(), settings(test=None)).preprocessing
    raw = images().test_inputs
    again = preprocessing_from(preprocessing.to_dict())
    assert isinstance(again, Scaling)
    assert torch.equal(again.inputs(raw), preprocessing.inputs(raw))
    assert again.pixel_max == 255


def test_data_takes_the_precision_asked_for_but_class_numbers_stay_whole():
    cpu = torch.device("cpu")
    data = prepare(features(), settings()).to(cpu, torch.float64, channels_last=False)
    assert data.train.inputs.dtype == torch.float64
    assert data.train.targets.dtype == torch.int64
    data = prepare(regression(np.arange(100.0)), settings()).to(
        cpu, torch.float64, channels_last=True
    )
    assert data.val.targets.dtype == torch.float64


def test_channels_last_changes_the_layout_of_images_and_no_value():
    data = prepare(images(), settings(test=None))
    moved = data.to(torch.device("cpu"), torch.float32, channels_last=True)
    assert moved.train.inputs.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(moved.train.inputs, data.train.inputs)


def test_a_limited_data_set_is_the_first_samples_of_each_part():
    data = prepare(features(), settings())
    limited = data.limited(train=7, evaluation=3)
    assert (len(limited.train), len(limited.val), len(limited.test)) == (7, 3, 3)
    assert torch.equal(limited.train.inputs, data.train.inputs[:7])
    assert limited.spec == data.spec


def test_overfitting_trains_validates_and_tests_on_the_same_few_samples():
    data = prepare(features(), settings())
    few = data.overfit(5)
    for part in (few.train, few.val, few.test):
        assert torch.equal(part.inputs, data.train.inputs[:5])


def test_the_most_frequent_class_of_the_training_part_is_the_baseline_of_a_classifier():
    source = features(targets=np.repeat([0, 1], [70, 30]), classes=2)
    data = prepare(source, settings())
    assert data.baselines == {"majority class": {"accuracy": pytest.approx(0.7)}}


def test_the_training_mean_is_the_baseline_of_a_regression_in_its_own_units():
    targets = np.random.default_rng(0).standard_normal(100) * 7 + 3
    train, _, test = split_rows(regression(targets), settings())
    errors = targets[test] - targets[train].mean()
    found = prepare(regression(targets), settings()).baselines["training mean"]
    assert found == {
        "rmse": pytest.approx(np.sqrt((errors**2).mean()), rel=1e-5),
        "mae": pytest.approx(np.abs(errors).mean(), rel=1e-5),
        "r2": pytest.approx(1 - (errors**2).mean() / targets[test].var(), rel=1e-5),
    }


def test_a_target_that_returns_no_data_set_is_refused():
    with pytest.raises(ConfigError, match=r"dataset\._target_ returned a list, but must return"):
        prepare([1, 2], settings())


@pytest.mark.parametrize(
    ("groups", "names", "said"),
    [
        (np.array([0, 1]), ("a", "b"), "one for each of 4 inputs"),
        (np.zeros(4), ("a",), "must be whole numbers"),
        (
            np.array([0, 1, 2, 0]),
            ("a", "b"),
            "run from 0 to 2, but dataset.group_names has 2 names",
        ),
    ],
)
def test_groups_that_do_not_fit_are_refused(groups, names, said):
    with pytest.raises(ConfigError, match=said):
        features(4, groups=groups, group_names=names)
