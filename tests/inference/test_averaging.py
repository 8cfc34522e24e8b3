"""The mean of predictions, against its formula: of probabilities, of values in their own units, of quantiles."""

import numpy as np
import pytest
import torch

from dlrun.data.arrays.scaling import Scaling
from dlrun.data.base import Spec
from dlrun.data.loaders import Split
from dlrun.inference.averaging import MeanModel, Order, Units, mean_scores, mean_values

SHARES = [0.5, 0.3, 0.2]
torch.manual_seed(0)


def scores(*shape):
    return [3 * torch.randn(*shape, dtype=torch.float64) for _ in SHARES]


def test_the_mean_of_classes_is_that_of_probabilities_in_the_order_of_the_first():
    spec = Spec("multiclass", "features", (2,), 3, ("a", "b", "c"))
    outputs = scores(5, 3)
    orders = [Order.of([0, 1, 2]), Order.of([2, 0, 1]), Order.of([0, 1, 2])]
    found = mean_scores(outputs, SHARES, orders, spec).softmax(1)
    expected = (
        0.5 * outputs[0].softmax(1) + 0.3 * outputs[1].softmax(1)[:, [2, 0, 1]]
    ) + 0.2 * outputs[2].softmax(1)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_the_mean_of_yes_and_no_is_that_of_probabilities_whatever_their_order(task):
    width = 1 if task == "binary" else 2
    spec = Spec(task, "features", (2,), width)
    outputs = scores(5, width)
    places = [*range(width)]
    orders = [Order.of(places), Order.of(places[::-1], [-1] * width), Order.of(places)]
    found = mean_scores(outputs, SHARES, orders, spec).sigmoid()
    first, second, third = (one.sigmoid() for one in outputs)
    torch.testing.assert_close(found, 0.5 * first + 0.3 * (1 - second.flip(1)) + 0.2 * third)


def test_members_that_are_sure_leave_scores_that_are_finite():
    sure = [torch.tensor([[200.0, -200.0]]), torch.tensor([[-200.0, 200.0]]), torch.zeros(1, 2)]
    both = [Order.of([0, 1])] * 3
    for spec in (
        Spec("multiclass", "features", (2,), 2, ("a", "b")),
        Spec("multilabel", "features", (2,), 2),
    ):
        assert mean_scores(sure, SHARES, both, spec).isfinite().all()


def test_tokens_that_a_member_does_not_know_share_the_chance_of_its_unknown_one():
    spec = Spec("language", "tokens", (4,), 4, vocabulary=4)
    outputs = [torch.randn(1, 2, 4).double(), torch.randn(1, 2, 2).double()]
    orders = [Order.of([0, 1, 2, 3]), Order.of([0, 0, 1, 0])]  # knows the second character alone
    found = mean_scores(outputs, [0.5, 0.5], orders, spec).exp()
    torch.testing.assert_close(found.sum(-1), torch.ones(1, 2).double())
    unknown, known = outputs[1].softmax(-1).unbind(-1)
    other = torch.stack([unknown / 3, unknown / 3, known, unknown / 3], -1)
    torch.testing.assert_close(found, (outputs[0].softmax(-1) + other) / 2)


@pytest.mark.parametrize("quantiles", [(), (0.1, 0.5, 0.9)])
def test_the_mean_of_numbers_is_that_of_values_in_their_own_units(quantiles):
    width = 2 * max(1, len(quantiles))
    spec = Spec("regression", "features", (2,), width, quantiles=quantiles)
    scalings = [
        Scaling([], [], [m, m], [s, 2 * s], 0.0) for m, s in ((1.0, 2.0), (5.0, 3.0), (0.0, 1.0))
    ]
    units = [Units.of(scaling, spec) for scaling in scalings]
    outputs = scores(4, width)
    orders = [Order.of([0, 1]), Order.of([1, 0]), Order.of([0, 1])]
    found = units[0].values(mean_values(outputs, SHARES, orders, units)).numpy()
    expected = np.zeros(found.shape)
    for one, scaling, share, order in zip(
        outputs, scalings, SHARES, ([0, 1], [1, 0], [0, 1]), strict=True
    ):
        by_target = np.sort(one.numpy().reshape(4, 2, -1), 2)
        std, mean = (np.array(x)[:, None] for x in (scaling.target_std, scaling.target_mean))
        expected += share * (by_target * std + mean)[:, order].reshape(found.shape)
    np.testing.assert_allclose(found, expected)


def test_each_sample_of_a_series_has_its_own_base():
    spec = Spec("regression", "sequence", (3, 1), 1)
    scaling = Scaling([], [], [1.0], [2.0], 0.0)
    part = Split(
        torch.zeros(3, 3, 1), torch.zeros(3, 1), bases=torch.tensor([[10.0], [20.0], [30.0]])
    )
    units = Units.of(scaling, spec, part)
    values = units.values(torch.tensor([[0.0], [1.0], [2.0]]))
    assert values.flatten().tolist() == [11.0, 23.0, 35.0]
    torch.testing.assert_close(
        units.scores(values).flatten(), torch.tensor([0.0, 1.0, 2.0]).double()
    )


def test_one_model_of_all_takes_the_inputs_of_each():
    spec = Spec("multiclass", "features", (2,), 3, ("a", "b", "c"))
    models = [torch.nn.Linear(2, 3), torch.nn.Linear(4, 3), torch.nn.Linear(2, 3)]
    whole = MeanModel(models, SHARES, [Order.of([0, 1, 2])] * 3, spec, reads=[0, 1, 0])
    first, second = torch.randn(5, 2), torch.randn(5, 4)
    inputs = (first, second, first)
    chances = [s * m(x).softmax(1) for s, m, x in zip(SHARES, models, inputs, strict=True)]
    torch.testing.assert_close(whole(first, [second]).softmax(1), sum(chances))


def test_the_mean_of_rates_is_that_of_the_rates_themselves():
    spec = Spec("regression", "features", (2,), 1, link="log")
    scalings = [Scaling([], [], [mean], [7.0], 0.0) for mean in (2.0, 5.0, 1.0)]
    units = [Units.of(scaling, spec) for scaling in scalings]
    outputs = scores(4, 1)
    found = mean_values(outputs, SHARES, [Order.of([0])] * 3, units).exp() * 2.0
    expected = [
        share * one.exp() * scaling.target_mean[0]
        for share, one, scaling in zip(SHARES, outputs, scalings, strict=True)
    ]
    torch.testing.assert_close(found, sum(expected))


def test_one_model_makes_the_input_of_each_member_of_another_scale():
    spec = Spec("multiclass", "features", (2,), 3, ("a", "b", "c"))
    scalings = [Scaling([m, 2 * m], [s, 3 * s], [], [], 0.0) for m, s in ((1.0, 2.0), (5.0, 3.0))]
    assert scalings[1].rescaling(Scaling([1.0], [1.0], [], [], 255.0)) is None
    models = [torch.nn.Linear(2, 3), torch.nn.Linear(2, 3)]
    rescalings = [scaling.rescaling(scalings[0]) for scaling in scalings]
    whole = MeanModel(models, [0.5, 0.5], [Order.of([0, 1, 2])] * 2, spec, rescalings=rescalings)
    raw = np.random.default_rng(0).standard_normal((4, 2))
    chances = [
        model(scaling.inputs(raw)).softmax(1)
        for model, scaling in zip(models, scalings, strict=True)
    ]
    torch.testing.assert_close(whole(scalings[0].inputs(raw)).softmax(1), sum(chances) / 2)
