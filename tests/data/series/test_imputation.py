"""Missing values of a series: what each rule puts there, and that none looks ahead."""

import numpy as np
import pytest

from dlrun.data.series.windows import fill

NAN = np.nan
VALUES = np.array([NAN, 2.0, NAN, NAN, 8.0, NAN])[:, None]
MEAN = np.array([5.0])


def seen_from(rule, end, values=VALUES):
    """All rows up to `end`, as known in row `end`."""
    rows = np.arange(end + 1)
    return fill(values, rule, MEAN).at(rows, np.full(end + 1, end))[:, 0].tolist()


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("zero", [0, 2, 0, 0, 8, 0]),
        ("mean", [5, 2, 5, 5, 8, 5]),
        ("forward", [5, 2, 2, 2, 8, 8]),
        ("linear", [5, 2, 4, 6, 8, 8]),
    ],
)
def test_each_rule_fills_gaps_in_its_way(rule, expected):
    assert seen_from(rule, 5) == expected


def test_a_line_through_a_gap_is_drawn_once_its_end_is_known():
    assert seen_from("linear", 3) == [5, 2, 2, 2]
    assert seen_from("linear", 4) == [5, 2, 4, 6, 8]


@pytest.mark.parametrize("rule", ["zero", "mean", "forward", "linear"])
def test_what_is_known_at_a_time_does_not_depend_on_later_values(rule):
    rng = np.random.default_rng(0)
    values = rng.random((30, 1))
    values[rng.random((30, 1)) < 0.5] = NAN
    for end in range(29):
        changed = values.copy()
        changed[end + 1 :] = 1000.0
        assert seen_from(rule, end, values) == seen_from(rule, end, changed)


def test_columns_are_filled_each_by_itself():
    values = np.array([[1.0, NAN], [NAN, 4.0], [3.0, NAN]])
    known = fill(values, "linear", np.array([0.0, 7.0]))
    assert known.at(np.arange(3), np.full(3, 2)).tolist() == [[1, 7], [2, 4], [3, 4]]


def test_a_series_without_gaps_is_left_as_it_is():
    values = np.arange(6.0).reshape(3, 2)
    assert np.array_equal(fill(values, "linear", np.zeros(2)).closed, values)
