"""The data sets read from scikit-learn's files against scikit-learn's own loaders."""

import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn import datasets

from dlrun.data.arrays import scikit_learn
from dlrun.errors import ConfigError

LABELLED = {
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast_cancer": datasets.load_breast_cancer,
}


@pytest.mark.parametrize("name", LABELLED)
def test_a_labelled_table_is_scikit_learns_in_values_and_names(name):
    source, expected = getattr(scikit_learn, name)(), LABELLED[name]()
    np.testing.assert_array_equal(source.inputs, expected.data.astype(np.float32))
    np.testing.assert_array_equal(source.targets, expected.target)
    assert source.class_names == tuple(expected.target_names)
    assert source.feature_names == tuple(expected.feature_names)
    assert (source.task, source.kind) == ("classification", "features")
    assert source.test_inputs is None


def test_digits_are_scikit_learns_as_images_of_one_channel():
    source, expected = scikit_learn.digits(), datasets.load_digits()
    np.testing.assert_array_equal(source.inputs[:, 0], expected.images)
    np.testing.assert_array_equal(source.targets, expected.target)
    assert source.class_names == tuple(str(name) for name in expected.target_names)
    assert source.inputs.shape == (1797, 1, 8, 8)
    assert source.pixel_max == expected.images.max() == 16
    assert (source.task, source.kind) == ("classification", "image")


def test_diabetes_is_scikit_learns_before_its_own_scaling():
    source, expected = scikit_learn.diabetes(), datasets.load_diabetes(scaled=False)
    np.testing.assert_array_equal(source.inputs, expected.data.astype(np.float32))
    np.testing.assert_array_equal(source.targets, expected.target)
    assert source.feature_names == tuple(expected.feature_names)
    assert source.class_names == ()
    assert (source.task, source.kind) == ("regression", "features")


def test_a_missing_scikit_learn_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"^dataset needs scikit-learn.*pip install scikit-learn$"
    ):
        scikit_learn.iris()


def test_a_file_missing_from_scikit_learn_is_named_with_the_remedy(monkeypatch, tmp_path):
    package = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: package)
    file = tmp_path / "datasets" / "data" / "iris.csv"
    with pytest.raises(ConfigError) as caught:
        scikit_learn.iris()
    assert (
        str(caught.value) == f"{file} is missing from the installed scikit-learn: install it again"
    )
