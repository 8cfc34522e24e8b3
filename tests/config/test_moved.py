"""Targets of version 0.1: in run directories and in users' own YAML they are found where they stand today."""

import pytest

from dlrun.config.instantiate import component
from dlrun.config.moved import current
from dlrun.config.search_path import packaged_configs
from dlrun.errors import ConfigError

TARGETS_OF_0_1 = """
dlrun.data.characters.char_lm
dlrun.data.image_folder.image_folder
dlrun.data.points.blobs
dlrun.data.points.circles
dlrun.data.points.gaussians
dlrun.data.points.moons
dlrun.data.points.pass_class
dlrun.data.points.spiral
dlrun.data.points.xor
dlrun.data.scikit_learn.breast_cancer
dlrun.data.scikit_learn.diabetes
dlrun.data.scikit_learn.digits
dlrun.data.scikit_learn.iris
dlrun.data.scikit_learn.wine
dlrun.data.series_file.series
dlrun.data.series_sets.pollution
dlrun.data.series_sets.sunspots
dlrun.data.synthetic_series.synthetic_series
dlrun.data.tables.boston
dlrun.data.tables.census
dlrun.data.tables.csv
dlrun.data.tables.pima
dlrun.data.tables.wine_quality
dlrun.data.text_files.text_csv
dlrun.data.text_files.text_lines
dlrun.data.text_folder.text_folder
dlrun.data.text_sets.film_reviews
dlrun.data.text_sets.trec
dlrun.data.torchvision_sets.cifar10
dlrun.data.torchvision_sets.fashion_mnist
dlrun.data.torchvision_sets.mnist
dlrun.models.bag_of_words.BagOfWords
dlrun.models.cnn.CNN
dlrun.models.language.RecurrentLanguageModel
dlrun.models.lenet5.LeNet5
dlrun.models.linear.Linear
dlrun.models.logistic.LogisticRegression
dlrun.models.mlp.MLP
dlrun.models.perceptron.Perceptron
dlrun.models.rnn.RecurrentClassifier
dlrun.models.text_cnn.TextCNN
dlrun.models.torchvision_model.TorchvisionModel
dlrun.models.wide_deep.WideDeep
dlrun.optim.adadelta
dlrun.optim.adagrad
dlrun.optim.adam
dlrun.optim.adamw
dlrun.optim.momentum
dlrun.optim.nesterov
dlrun.optim.rmsprop
dlrun.optim.sgd
dlrun.schedules.Plateau
dlrun.schedules.constant
dlrun.schedules.cosine
dlrun.schedules.exponential
dlrun.schedules.inverse_sqrt
dlrun.schedules.inverse_time
dlrun.schedules.linear
dlrun.schedules.one_cycle
dlrun.schedules.step_decay
dlrun.sweep.coarse_to_fine.CoarseToFineSampler
dlrun.sweep.grid.GridSampler
"""


def test_every_target_of_version_0_1_is_offered_and_found_today() -> None:
    files = packaged_configs().rglob("*.yaml")
    offered = {line.strip() for file in files for line in file.read_text().splitlines()}
    targets = TARGETS_OF_0_1.split()
    assert not [target for target in targets if f"_target_: {current(target)}" not in offered]
    for target in targets:
        with pytest.raises(ConfigError) as refused:
            component("group", {"_target_": target, "no_such_setting": 1})
        assert "no_such_setting" in str(refused.value), target


def test_a_target_of_today_and_one_of_the_users_own_stay_as_they_are() -> None:
    for target in ("dlrun.training.optim.sgd", "my_module.MyModel", "model"):
        assert current(target) == target
