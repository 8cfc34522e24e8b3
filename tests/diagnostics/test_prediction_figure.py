"""The picture of predictions over true values: each target has one, points lie where they belong."""

import numpy as np
import torch

from dlrun.data.arrays.scaling import Scaling
from dlrun.data.base import Dataset, Spec
from dlrun.data.loaders import Split
from dlrun.diagnostics.prediction_figure import prediction_picture, prediction_pictures

BLUE = (31, 119, 180)


def points(picture):
    """Where the centres of the points are, (rows, columns)."""
    return np.argwhere((picture.rgb_HW3 == BLUE).all(2))


def test_right_predictions_lie_on_the_diagonal_and_high_ones_above_it():
    true = np.linspace(10, 50, 9)
    rows, columns = points(prediction_picture("price", true, true)).T
    assert np.corrcoef(rows, columns)[0, 1] < -0.999
    above = points(prediction_picture("price", true, np.full(9, 50.0)))
    assert np.ptp(above[:, 0]) <= 3 and above[:, 0].max() < rows.mean()


def test_each_of_several_targets_has_a_picture_in_its_own_units():
    targets = torch.tensor([[0.0, 1.0], [1.0, -1.0]])
    part = Split(torch.zeros(2, 1), targets)
    scaling = Scaling([0.0], [1.0], [100.0, 5.0], [10.0, 2.0], 0.0)
    several = Spec("regression", "features", (1,), 2, target_names=("price", "rent"))
    data = Dataset(several, scaling, part, part, part)
    names = [name for name, _ in prediction_pictures(data, part, targets)]
    assert names == ["price", "rent"]
    one = Dataset(
        Spec("regression", "features", (1,), 1),
        Scaling([0.0], [1.0], [0.0], [1.0], 0.0),
        part,
        part,
        part,
    )
    assert [name for name, _ in prediction_pictures(one, part, targets)] == [""]
    classes = Dataset(
        Spec("binary", "features", (1,), 1, class_names=("a", "b")), scaling, part, part, part
    )
    assert not [*prediction_pictures(classes, part, targets)]


def test_a_run_that_diverged_draws_an_empty_picture():
    assert not len(points(prediction_picture("y", np.ones(3), np.full(3, np.nan))))


def test_of_quantiles_the_median_is_drawn():
    targets = torch.tensor([[0.0, 1.0], [1.0, -1.0]])
    part = Split(torch.zeros(2, 1), targets)
    scaling = Scaling([0.0], [1.0], [100.0, 5.0], [10.0, 2.0], 0.0)
    names = ("price", "rent")
    alone = Spec("regression", "features", (1,), 2, target_names=names)
    bands = Spec("regression", "features", (1,), 6, target_names=names, quantiles=(0.1, 0.5, 0.9))
    crossed = torch.stack([targets + 1, targets - 1, targets], -1).flatten(1)
    drawn = [
        [picture.rgb_HW3 for _, picture in prediction_pictures(Dataset(spec, scaling, part, part, part), part, scores)]
        for spec, scores in ((alone, targets), (bands, crossed))
    ]  # fmt: skip
    assert len(drawn[0]) == 2 and all(map(np.array_equal, *drawn))
