"""One order of better: values of a metric sorted by what they are worth, whoever sorts them."""

import math

import pytest

from dlrun.config.chosen_metrics import check_choices, own_directions
from dlrun.config.metrics import REGRESSION, direction, direction_in_run, quantile_metrics, rank


@pytest.mark.parametrize(
    ("minimize", "expected"), [(True, [0.1, 0.5, 0.9]), (False, [0.9, 0.5, 0.1])]
)
def test_the_best_value_comes_first_and_what_is_no_number_last(minimize, expected):
    values = [0.5, None, 0.1, math.nan, 0.9]
    ordered = sorted(values, key=lambda value: rank(value, minimize=minimize))
    assert ordered[:3] == expected
    assert all(value is None or math.isnan(value) for value in ordered[3:])


@pytest.mark.parametrize(
    ("metric", "monitor", "mode", "way"),
    [
        ("val/bits", "val/bits", "auto", "min"),
        ("val/accuracy", "val/loss", "min", "max"),  # the mode is of another metric
        ("val/taste", "val/taste", "max", "max"),  # of the user's own
        ("val/taste", "val/loss", "min", None),
        ("val/accuracy", "val/accuracy", "min", "min"),  # as it is asked for
        (
            "val/mae/price",
            "val/loss",
            "auto",
            "min",
        ),  # of one of several targets, whatever it is called
        ("test/r2/loss/m2", "val/loss", "auto", "max"),
    ],
)
def test_the_direction_of_a_metric_is_declared_or_asked_for_and_never_guessed(
    metric, monitor, mode, way
):
    assert direction_in_run(metric, monitor=monitor, mode=mode) == way


def test_a_metric_of_the_users_own_has_the_direction_that_it_is_given():
    own = own_directions(["mcc", {"_target_": "my.cost", "direction": "min"}])
    assert own == {"cost": "min"}
    assert direction_in_run("val/cost", monitor="val/loss", mode="auto", own=own) == "min"
    assert direction_in_run("val/cost", monitor="val/cost", mode="max", own=own) == "max"
    assert direction("test/cost") is None


@pytest.mark.parametrize(
    ("name", "way"),
    [("mcc", "max"), ("brier", "min"), ("top_5_accuracy", "max"), ("mase", "min"), ("coverage_80", None)],
)  # fmt: skip
def test_the_metrics_that_may_be_named_have_their_directions(name, way):
    (choice,) = check_choices([name])
    assert (choice.direction, direction(f"val/{name}")) == (way, way)


def test_metrics_of_quantiles_may_be_named_where_there_are_quantiles():
    kind = quantile_metrics([0.1, 0.5, 0.9])
    for name in ("coverage_80", "quantile_loss", "smape"):
        assert kind.may_choose(name)
    assert not kind.may_choose("coverage_90")
    assert not REGRESSION.may_choose("coverage_80")
