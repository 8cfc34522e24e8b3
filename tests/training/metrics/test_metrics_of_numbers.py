"""Metrics of quantities against scikit-learn and formulas written out."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from dlrun.training.metrics.numbers import FORMULAS, Predicted


def found(values, truth, naive=None, *, by_target=True):
    as_tensors = (torch.as_tensor(x, dtype=torch.float64) for x in (values, truth))
    naive = None if naive is None else torch.tensor(naive, dtype=torch.float64)
    return Predicted(*as_tensors, naive, by_target)


def samples(count, targets):
    generator = np.random.default_rng(count)
    truth = generator.normal(5, 3, (count, targets))
    return truth + generator.normal(0, 1, truth.shape), truth


@pytest.mark.parametrize("count", [30, 31, 1])
@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("mape", reference.mean_absolute_percentage_error),
        ("median_absolute_error", reference.median_absolute_error),
        ("explained_variance", reference.explained_variance_score),
    ],
)
def test_a_metric_is_what_scikit_learn_computes_for_each_target(name, function, count):
    values, truth = samples(count, 3)
    ours = FORMULAS[name](found(values, truth)).numpy()
    if name == "explained_variance" and count == 1:
        assert np.isnan(ours).all()  # one value has no variance
    else:
        np.testing.assert_allclose(ours, function(truth, values, multioutput="raw_values"))


def test_explained_variance_of_the_steps_of_a_forecast_is_weighted_as_r2_is():
    values, truth = samples(40, 3)
    ours = FORMULAS["explained_variance"](found(values, truth, by_target=False)).item()
    expected = reference.explained_variance_score(truth, values, multioutput="variance_weighted")
    assert ours == pytest.approx(expected)


def test_smape_lies_between_0_and_2_and_knows_what_to_do_with_zeros():
    ours = FORMULAS["smape"](found([[0.0], [1.0], [3.0]], [[0.0], [0.0], [1.0]])).item()
    assert ours == pytest.approx((0 + 2 + 2 * 2 / 4) / 3)


def test_mape_is_no_number_where_a_true_value_is_0_to_the_precision_of_32_bits():
    ours = FORMULAS["mape"](found([[1.0, 1.0], [2.0, 2.0]], [[1e-8, 0.5], [2.0, 4.0]]))
    assert math.isnan(ours[0]) and ours[1].item() == pytest.approx(0.75)


def test_mase_is_the_error_in_units_of_a_naive_forecasts():
    values, truth = [[1.0, 2.0], [3.0, 2.0]], [[2.0, 2.0], [3.0, 4.0]]
    ours = FORMULAS["mase"](found(values, truth, [[0.5, 0.0], [0.5, 0.0]]))
    assert ours[0].item() == 1.0 and math.isnan(ours[1])


def test_many_models_are_measured_as_each_of_them_alone():
    values, truth = samples(20, 2)
    many = np.stack([values, values + 1, truth])
    naive = [[2.0, 3.0]] * 20
    for formula in FORMULAS.values():
        together = formula(found(many, truth[None], naive))
        alone = torch.stack([formula(found(one, truth, naive)) for one in many])
        np.testing.assert_allclose(together, alone)
