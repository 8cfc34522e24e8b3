"""Successive origins of a series: folds follow one another, and nothing after an origin is known at it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dlrun.config.settings import DataSettings
from dlrun.data.series.dataset import prepare_series, simple_forecasts, split_series
from dlrun.data.series.rolling import folds
from dlrun.data.series.series import Series
from dlrun.data.series.windows import Cutting
from dlrun.errors import ConfigError

SETTINGS = DataSettings(0.2, 0.4, 0, "standard", None)


def series_of(*lengths, horizon=3, difference=1):
    values = np.random.default_rng(0).standard_normal(sum(lengths)).cumsum()
    values[sum(lengths) // 2] = np.nan
    members = tuple((f"s{n}", rows) for n, rows in enumerate(lengths))
    return Series(
        {"y": values}, {}, ("y",), ("y",), Cutting(4, horizon, difference, None, True), "linear", None, {},
        members=members if len(lengths) > 1 else (),
    )  # fmt: skip


@pytest.mark.parametrize("lengths", [(60,), (60, 41)])
@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize("count", [1, 4, 7])
def test_folds_share_out_the_forecasts_of_a_part_in_the_order_of_time(lengths, horizon, count):
    series = series_of(*lengths, horizon=horizon)
    whole = split_series(series, SETTINGS)
    data = prepare_series(series, SETTINGS, whole, None)
    cut = folds(series, whole["test"], count, val_fraction=0.2)
    assert sorted(np.concatenate([fold.windows for fold in cut])) == [*range(len(data.test))]
    for fold in cut:
        own = prepare_series(series, SETTINGS, fold.parts, data.preprocessing)
        same = data.test.rows(torch.from_numpy(fold.windows))
        torch.testing.assert_close(own.test.inputs, same.inputs)
        # A gap in a horizon is filled by what the part has of it.
        torch.testing.assert_close(own.test.targets[:, :horizon], same.targets[:, :horizon])
        values, rules = simple_forecasts(series, fold.parts, data.preprocessing)
        assert values.shape == rules["persistence"].shape == (len(same), horizon, 1)
    sizes = [len(fold.windows) for fold in cut]
    assert max(sizes) - min(sizes) <= len(lengths)


@pytest.mark.parametrize("lengths", [(60,), (60, 41)])
def test_nothing_after_an_origin_is_known_at_it(lengths):
    series = series_of(*lengths)
    starts = [first for first, _ in series.bounds.values()] or [0]
    for fold in folds(series, split_series(series, SETTINGS)["test"], 3, val_fraction=0.2):
        train, val, test = (np.asarray(fold.parts[name]) for name in ("train", "val", "test"))
        before = prepare_series(series, SETTINGS, fold.parts, None)
        later = series.numbers["y"].copy()
        later[test] = 1e6
        after = prepare_series(replace(series, numbers={"y": later}), SETTINGS, fold.parts, None)
        assert after.preprocessing == before.preprocessing
        for name in ("train", "val"):
            one, other = getattr(before, name), getattr(after, name)
            torch.testing.assert_close(one.inputs, other.inputs, rtol=0, atol=0)
            torch.testing.assert_close(one.targets, other.targets, rtol=0, atol=0)
        numbers = before.test.series
        firsts = [0] if numbers is None else [int((numbers < n).sum()) for n in range(len(starts))]
        for first in firsts:  # the forecast from the origin itself
            torch.testing.assert_close(
                before.test.inputs[first], after.test.inputs[first], rtol=0, atol=0
            )
        assert not {*train, *val} & {*test} and not {*train} & {*val}


def test_each_series_is_trained_on_all_of_its_rows_up_to_the_origin():
    series = series_of(60, 41)
    for fold in folds(series, split_series(series, SETTINGS)["test"], 3, val_fraction=0.25):
        for first, end in series.bounds.values():
            own = [
                [row for row in np.asarray(fold.parts[name]).tolist() if first <= row < end]
                for name in ("train", "val", "test")
            ]
            known = len(own[0]) + len(own[1])
            assert own[0] + own[1] == [*range(first, first + known)]
            assert len(own[1]) == round(0.25 * known) and own[2][0] == first + known


def test_too_many_origins_are_refused_with_the_most_that_there_can_be():
    series = series_of(60, 41)
    with pytest.raises(ConfigError) as caught:
        folds(series, split_series(series, SETTINGS)["test"], 30, val_fraction=0.2)
    assert str(caught.value) == (
        "--backtest is 30, but the part of the series s1 has 16 rows, for 14 forecasts of 3: ask for at most 14"
    )
