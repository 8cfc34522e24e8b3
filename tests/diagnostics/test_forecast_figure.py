"""Pictures of forecasts: the curves are where their values are."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dlrun.cli import main
from dlrun.config.metrics import Band
from dlrun.config.settings import DataSettings, TrackingSettings
from dlrun.data.prepare import prepare as prepare_series
from dlrun.data.series.series import Series
from dlrun.data.series.windows import Cutting
from dlrun.diagnostics.forecast_figure import Rule, drawn, forecast_picture, forecast_pictures
from dlrun.diagnostics.line_chart import Curve, line_chart, round_numbers
from dlrun.diagnostics.views import Views

RED, BLUE = (200, 0, 0), (0, 0, 200)


def middle_row(picture, colour):
    """The mean height of what has this colour, below the legend."""
    rows = np.argwhere((picture.rgb_HW3[50:] == colour).all(2))[:, 0]
    return rows.mean()


def has(picture, colour, below=50):
    return bool((picture.rgb_HW3[below:] == colour).all(2).any())


def test_a_higher_curve_stands_higher_and_the_highest_number_at_the_top():
    low, high = (
        Curve("low", RED, np.zeros(9), width=4),
        Curve("high", BLUE, np.full(9, 3.0), width=4),
    )
    picture = line_chart("title", [low, high])
    assert (picture.width, picture.height) == (960, 360)
    assert middle_row(picture, BLUE) < middle_row(picture, RED)
    assert has(picture, RED, below=0)


def test_a_curve_is_left_out_where_it_has_no_value():
    half = np.array([1.0, 1.0, 1.0, np.nan, np.nan, np.nan])
    whole = Curve("b", BLUE, np.arange(6.0))
    picture = line_chart("", [whole, Curve("a", RED, half, width=4)]).rgb_HW3[50:]
    assert np.argwhere((picture == RED).all(2))[:, 1].max() < 500
    line_chart("", [Curve("a", RED, np.full(3, np.nan))])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (-3, 110, [-50, 0, 50, 100, 150]), (7, 7, [6, 8]),
     (0.1, 0.2, [0.1, 0.12, 0.14, 0.16, 0.18, 0.2])],
)  # fmt: skip
def test_the_numbers_at_the_side_are_round_and_reach_over_the_range(low, high, expected):
    assert round_numbers(low, high, about=5) == expected


def test_a_forecast_shows_targets_forecast_and_rule_and_far_forecasts_where_there_are_any():
    targets = np.arange(30.0).reshape(10, 3) % 7
    fan, rule, forecast = (158, 202, 235), (255, 170, 90), (31, 119, 180)
    far = forecast_picture("y", targets, targets + 3, rule=Rule("seasonal", 2))
    near = forecast_picture("y", targets[:, :1], targets[:, :1] + 3, rule=Rule("seasonal", 2))
    assert [has(far, colour, below=0) for colour in (fan, rule, forecast)] == [True, True, True]
    assert [has(near, colour, below=0) for colour in (fan, rule, forecast)] == [False, True, True]


def test_what_is_drawn_is_in_the_own_units_of_the_series(monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        "dlrun.diagnostics.forecast_figure.forecast_picture",
        lambda name, targets, forecasts, **rule: drawn.update({name: (targets, forecasts, rule)}),
    )
    values = np.arange(60.0) ** 2
    data = of_values(values, val_fraction=0.2, season=3)
    forecasts = data.test.targets + torch.tensor([0.0, 1.0])
    assert [name for name, _ in forecast_pictures(data, data.test, forecasts)] == ["y"]
    targets, forecasts, rule = drawn["y"]
    wanted = [values[row : row + 2] for row in range(48, 59)]
    np.testing.assert_allclose(targets, wanted, atol=1e-2)
    np.testing.assert_allclose(
        (forecasts - targets)[:, 1], data.preprocessing.target_std[1], rtol=1e-5
    )
    assert rule == {"rule": Rule("persistence", 1), "between": []}


def test_bands_lie_around_the_forecast_the_widest_behind_and_end_with_each_far_forecast():
    targets = np.full((6, 3), 5.0)
    band = (Band("80", 0, 2), targets - 2, targets + 2)
    far = forecast_picture("y", targets, targets, rule=None, between=[band]).rgb_HW3[50:]
    near = forecast_picture("y", targets[:, :1], targets[:, :1], rule=None,
                            between=[(band[0], *(side[:, :1] for side in band[1:]))]).rgb_HW3[50:]  # fmt: skip
    shaded = [(picture == (225, 236, 246)).all(2) for picture in (far, near)]
    gaps = [np.flatnonzero(np.diff(np.flatnonzero(one.any(0))) > 1) for one in shaded]
    assert [len(gap) for gap in gaps] == [1, 0]  # two forecasts of three steps each
    ink = np.argwhere((near == (31, 119, 180)).all(2))[:, 0].mean()
    rows = np.flatnonzero(shaded[1].any(1))
    assert rows.min() < ink < rows.max()


def test_of_several_series_the_first_few_are_drawn_each_at_its_own_level(monkeypatch):
    pictures = {}
    monkeypatch.setattr(
        "dlrun.diagnostics.forecast_figure.forecast_picture",
        lambda name, targets, forecasts, **rule: pictures.update({name: (targets, forecasts)}),
    )
    values = [10.0**size * np.arange(40.0) ** 2 for size in range(5)]
    members = tuple((name, 40) for name in "abcde")
    data = of_values(np.concatenate(values), val_fraction=0.2, members=members)
    part = drawn(data.test)
    outputs = part.targets.chunk(2, 1)[0]
    for of, scores in ((part, outputs), (data.test, data.test.targets.chunk(2, 1)[0])):
        names = [name for name, _ in forecast_pictures(data, of, scores)]
        assert names == [f"y, {name}" for name in "abcd"]
        for name, own in zip(names, values, strict=False):
            wanted = [own[row : row + 2] for row in range(32, 39)]
            np.testing.assert_allclose(pictures[name][0], wanted, rtol=1e-4)
            np.testing.assert_allclose(pictures[name][1], wanted, rtol=1e-4)


def test_without_a_measured_rule_targets_and_forecast_are_drawn_alone():
    data = of_values(np.arange(60.0) ** 2, val_fraction=0.2).limited(train=4, evaluation=1)
    ((name, picture),) = forecast_pictures(data, data.test, data.test.targets)
    assert (name, has(picture, (255, 170, 90), below=0)) == ("y", False)
    assert has(picture, (30, 30, 30), below=0)


@pytest.mark.parametrize("quick", ["trainer.fast_dev_run=true", "trainer.overfit_batches=1"])
def test_a_quick_check_of_a_series_draws_its_pictures(quick, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["dataset=series", "model=linear", "trainer.max_steps=1", "hydra.run.dir=run", quick]
    assert main(["train", *words]) == 0
    assert list(Path("run").rglob("events*"))


def of_values(values, *, val_fraction, season=None, members=()):
    cutting = Cutting(4, 2, 1, None, True)
    raw = Series({"y": values}, {}, ("y",), ("y",), cutting, "none", season, {}, members=members)
    return prepare_series(raw, DataSettings(val_fraction, 0.2, 0, "standard", None))


class Shown:
    """A tracker that remembers pictures."""

    def __init__(self):
        self.pictures = {}

    def image(self, tag, picture, step):
        self.pictures[tag] = picture


def tracking(*on):
    return TrackingSettings(**{field.name: field.name in on for field in fields(TrackingSettings)})


class Judge:
    """An engine whose model forecasts nothing but the mean change."""

    step, model = 7, nn.Identity()

    def outputs(self, split):
        return torch.zeros_like(split.targets)


@pytest.mark.parametrize("val_fraction", [0.2, 0.0])
def test_a_run_shows_its_forecasts_at_evaluations_and_at_the_end(val_fraction):
    values = np.random.default_rng(0).standard_normal(60).cumsum()
    data = of_values(values, val_fraction=val_fraction)
    shown, views = Shown(), Views(data, tracking("tensorboard", "images"), model="m")
    views.at_evaluation(Judge(), shown)
    assert list(shown.pictures) == (["forecasts/val/y"] if val_fraction else [])
    views.at_end(Judge(), shown, data.test, torch.zeros_like(data.test.targets))
    assert "forecasts/test/y" in shown.pictures
    without = Views(data, tracking("tensorboard"), model="m")
    without.at_end(Judge(), shown := Shown(), data.test, torch.zeros_like(data.test.targets))
    assert shown.pictures == {}
