"""One order of better: values of a metric sorted by what they are worth, whoever sorts them."""

import math

import pytest

from dlrun.config.metrics import direction_in_run, rank


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
