"""When views are drawn: of a run of its own at every evaluation, of trials at the end."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from dlrun.config.settings import TrackingSettings
from dlrun.data.arrays.scaling import Scaling
from dlrun.data.base import Dataset, Spec
from dlrun.data.loaders import Split
from dlrun.data.tables.encoding import TableEncoding
from dlrun.diagnostics import decision_boundary, views
from dlrun.diagnostics.views import Views


class Shown:
    """A tracker that remembers what it was shown."""

    def __init__(self):
        self.tags, self.pictures = [], []

    def image(self, tag, picture, step):
        self.tags.append(tag)
        self.pictures.append(picture)

    def histograms(self, model, step):
        self.tags.append("histograms")

    def graph(self, model, example, *, kind):
        self.tags.append("graph")


class Judge:
    """An engine that only judges."""

    def __init__(self, inputs=2):
        self.step, self.model = 7, nn.Sequential(nn.Flatten(), nn.Linear(inputs, 2))

    def outputs(self, split):
        with torch.no_grad():
            return self.model(split.inputs)


ALL = TrackingSettings(
    tensorboard=True, graph=True, images=True, histograms=True, gradient_flow=False
)
AS_IT_IS = Scaling([0.0], [1.0], [], [], 0.0)


def of(kind, inputs):
    targets = torch.arange(len(inputs)) % 2
    split = Split(inputs, targets)
    spec = Spec("multiclass", kind, tuple(inputs.shape[1:]), 2, ("a", "b"))
    return Dataset(spec, AS_IT_IS, split, split, split)


def plane():
    return of("features", torch.randn(20, 2))


def evaluate(view, times=1):
    """The tags of what some evaluations show."""
    shown = Shown()
    for _ in range(times):
        view.at_evaluation(Judge(), shown)
    return shown.tags


@pytest.fixture
def clock(monkeypatch):
    """[seconds], which only the test moves on."""
    now = [100.0]
    monkeypatch.setattr(views.time, "perf_counter", lambda: now[0])
    return now


def test_a_run_of_its_own_shows_its_boundary_at_every_evaluation(clock):
    assert evaluate(Views(plane(), ALL, model="m"), 3).count("decision_boundary") == 3


def test_codes_of_categories_span_no_plane_to_draw_a_boundary_in(clock):
    data = plane()
    data = replace(data, spec=replace(data.spec, categories=(3,)))
    assert "decision_boundary" not in evaluate(Views(data, ALL, model="m"))


@pytest.mark.parametrize("kind", ["tokens", "sequence"])
def test_two_tokens_are_no_point_of_a_plane(kind, clock):
    data = plane()
    data = replace(data, spec=replace(data.spec, kind=kind))
    assert "decision_boundary" not in evaluate(Views(data, ALL, model="m"))


def test_the_axes_of_a_table_are_in_its_own_units(monkeypatch):
    table = TableEncoding({}, [0.0] * 2, [170.0, 60.0], [10.0, 5.0], [], [], [])
    data, ends = replace(plane(), preprocessing=table), []
    monkeypatch.setattr(
        decision_boundary, "framed", lambda picture, names, extent, classes: ends.append(extent)
    )
    evaluate(Views(data, ALL, model="m"))
    low, high = data.val.inputs.amin(0) - 0.3, data.val.inputs.amax(0) + 0.3
    left, right = (170 + 10 * float(end[0]) for end in (low, high))
    bottom, top = (60 + 5 * float(end[1]) for end in (low, high))
    assert ends[0] == pytest.approx((left, right, bottom, top))


@pytest.mark.parametrize("trials", [1, 64])
def test_a_trial_draws_only_once_the_time_it_shares_has_grown_long(trials, clock):
    view = Views(plane(), ALL, model="m", trials_at_once=trials)
    clock[0] += 0.9 * trials
    assert evaluate(view, 3) == []
    clock[0] += 0.2 * trials
    assert evaluate(view) == ["decision_boundary", "histograms"]


def test_what_drawing_costs_a_trial_is_counted(clock, monkeypatch):
    view = Views(plane(), ALL, model="m", trials_at_once=1)
    clock[0] += 1
    draw = Shown.histograms

    def slow(self, *args):
        clock[0] += 1
        draw(self, *args)

    monkeypatch.setattr(Shown, "histograms", slow)
    assert "histograms" in evaluate(view)
    clock[0] += 95
    assert evaluate(view) == []
    clock[0] += 5
    assert "histograms" in evaluate(view)


@pytest.mark.parametrize("trials", [None, 8])
def test_the_end_shows_everything_that_training_may_have_left_out(trials):
    data, shown, engine = plane(), Shown(), Judge()
    view = Views(data, ALL, model="m", trials_at_once=trials)
    view.at_end(engine, shown, data.val, engine.outputs(data.val))
    expected = {"histograms", "graph", "confusion_matrix"}
    assert set(shown.tags) == expected | ({"decision_boundary"} if trials else set())


def test_what_is_switched_off_is_not_drawn():
    data, shown, engine = plane(), Shown(), Judge()
    nothing = replace(ALL, graph=False, images=False, histograms=False)
    view = Views(data, nothing, model="m")
    view.at_start(shown)
    view.at_evaluation(engine, shown)
    view.at_end(engine, shown, data.val, engine.outputs(data.val))
    assert shown.tags == []


def test_samples_are_drawn_once_for_all_runs_on_the_same_data():
    images = torch.randn(40, 1, 8, 8)
    shown = Shown()
    for inputs in (images, images.clone(), images + torch.randn(40, 1, 8, 8)):
        Views(of("image", inputs), ALL, model="m").at_start(shown)
    first, same, other = shown.pictures
    assert first is same
    assert not np.array_equal(first.pixels, other.pixels)


def test_the_surest_mistakes_come_first():
    images = torch.zeros(4, 1, 2, 2)
    data, shown, engine = of("image", images), Shown(), Judge(4)
    outputs = torch.tensor([[0.0, 1], [3, 0], [5, 0], [1, 0]])  # wrong: the first two, and the last
    captions = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(views, "image_grid", lambda images, words: captions.extend(words))
        Views(data, ALL, model="m").at_end(engine, shown, data.val, outputs)
    assert captions == ["b as a, 95%", "a as b, 73%", "b as a, 73%"]
    assert "worst_mistakes" in shown.tags
