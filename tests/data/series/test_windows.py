"""Windows of a series: what they see, what they tell, and that differences are undone exactly."""

import itertools

import numpy as np
import pytest

from dlrun.data.series.windows import Cutting, fill, seasons_before

SERIES = np.random.default_rng(0).random((60, 2)) * 100
KNOWN = fill(SERIES, "none", np.zeros(2))


def cut(window=4, horizon=1, difference=0, seasonal=None, difference_inputs=True):
    return Cutting(window, horizon, difference, seasonal, difference_inputs)


def test_a_window_holds_the_rows_up_to_its_origin():
    windows = cut().windows(KNOWN, np.array([3, 10]), [0])
    assert windows.shape == (2, 4, 2)
    np.testing.assert_array_equal(windows[0], SERIES[:4])
    np.testing.assert_array_equal(windows[1], SERIES[7:11])


@pytest.mark.parametrize(("first", "end", "horizon"), [(0, 20, 1), (20, 30, 3), (5, 6, 1)])
def test_origins_tell_rows_of_their_own_part_alone(first, end, horizon):
    cutting = cut(horizon=horizon)
    origins = cutting.origins(first, end)
    told = origins[:, None] + np.arange(1, horizon + 1)
    assert told.min() == max(first, 4)
    assert told.max() == end - 1
    assert (np.diff(origins) == 1).all()


def test_a_part_shorter_than_the_horizon_has_no_origins():
    assert len(cut(horizon=5).origins(20, 24)) == 0


@pytest.mark.parametrize(
    ("difference", "seasonal", "horizon"),
    [*itertools.product([0, 1], [None, 3, 7], [1, 2, 5, 8])],
)
def test_a_base_is_made_of_known_rows_and_needs_all_that_reach_says(difference, seasonal, horizon):
    cutting = cut(1, horizon, difference, seasonal, difference_inputs=False)
    origin = np.array([cutting.reach - 1])
    changed = SERIES.copy()
    changed[origin[0] + 1 :] = -1.0
    base = cutting.bases(KNOWN, origin)
    np.testing.assert_array_equal(base, cutting.bases(fill(changed, "none", np.zeros(2)), origin))
    if seasonal:  # the first row is looked back on
        changed = SERIES.copy()
        changed[0] += 1.0
        other = cutting.bases(fill(changed, "none", np.zeros(2)), origin)
        assert not np.array_equal(base, other)


@pytest.mark.parametrize(
    ("difference", "seasonal", "expected"),
    [
        (0, None, lambda y, t: y[t]),
        (1, None, lambda y, t: y[t] - y[t - 1]),
        (0, 7, lambda y, t: y[t] - y[t - 7]),
        (1, 7, lambda y, t: (y[t] - y[t - 1]) - (y[t - 7] - y[t - 8])),
    ],
)
def test_what_is_told_one_step_ahead_is_what_windows_show(difference, seasonal, expected):
    cutting = cut(3, 1, difference, seasonal)
    origins = cutting.origins(0, 60)
    told = cutting.values_after(KNOWN, origins, 60) - cutting.bases(KNOWN, origins)
    wanted = [expected(SERIES, t + 1) for t in origins]
    np.testing.assert_allclose(told[:, 0], wanted, atol=1e-9)
    windows = cutting.windows(KNOWN, origins, [0, 1])
    shown = [[expected(SERIES, t - 2 + step) for step in range(3)] for t in origins]
    np.testing.assert_allclose(windows, shown, atol=1e-9)


def test_several_steps_ahead_are_changes_from_the_last_known_rows():
    cutting = cut(2, 5, 1, 3)
    told = cutting.bases(KNOWN, np.array([20]))[0]
    for step in range(1, 6):
        back = 3 if step <= 3 else 6
        same = SERIES[20 + step - back]
        np.testing.assert_allclose(told[step - 1], same + SERIES[20] - SERIES[20 - back])


def test_only_the_targets_are_shown_as_changes_and_only_where_asked_for():
    windows = cut(2, difference=1).windows(KNOWN, np.array([5]), [1])
    np.testing.assert_allclose(windows[0, :, 0], SERIES[4:6, 0])
    np.testing.assert_allclose(windows[0, :, 1], SERIES[4:6, 1] - SERIES[3:5, 1])
    plain = cut(2, difference=1, difference_inputs=False).windows(KNOWN, np.array([5]), [1])
    np.testing.assert_array_equal(plain[0], SERIES[4:6])


def test_the_same_season_is_the_last_one_known():
    before = seasons_before(KNOWN, np.array([20]), 5, 3)[0]
    np.testing.assert_array_equal(before, SERIES[[18, 19, 20, 18, 19]])
