"""When views are drawn: of a run of its own at every evaluation, of trials at the end."""

from collections import Counter
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dlrun.config.compose import compose
from dlrun.config.settings import parse
from dlrun.diagnostics import decision_boundary, views
from dlrun.diagnostics.views import Views
from dlrun.runner import start
from dlrun.storage.run_directory import RunDirectory
from dlrun.tracking.tracker import Tracker
from dlrun.training.build import assemble

WORDS = (
    "name=x", "trainer.accelerator=cpu", "trainer.max_epochs=3", "tracking.graph=true", "tracking.images=true",
    "tracking.histograms=true", "tracking.gradient_flow=false",
)  # fmt: skip
PLANE = ("dataset=moons", "dataset.size=60", "model=mlp", "model.hidden=[4]")
CURVES = ("curves/roc", "curves/precision_recall", "curves/calibration", "curves/scores")
DIGITS = ("dataset=digits", "dataset.val_fraction=0.02", "model=linear")


class Shown(Tracker):
    """A tracker that remembers what it was shown."""

    def __init__(self, folder):
        super().__init__(folder / "m.jsonl", folder, tensorboard=False, start_step=0)
        self.tags, self.pictures = [], []

    def image(self, tag, picture, step):
        self.tags.append(tag)
        self.pictures.append(picture)

    def histograms(self, model, step):
        self.tags.append("histograms")

    def graph(self, model, example, *, kind):
        self.tags.append("graph")


def composed(*words):
    plain = OmegaConf.to_container(compose([*WORDS, *words]), resolve=True)
    del plain["sweep"]  # no part of a run
    return plain


def made(*words):
    """An experiment, with the engine that trains it."""
    return assemble(parse(composed(*words)))


def views_of(experiment, **more):
    return Views(experiment.data, experiment.config.tracking, model="m", **more)


@pytest.fixture(scope="module")
def plane():
    """Points of two classes, and a small model; none of the tests trains it."""
    return made(*PLANE)


@pytest.fixture
def shown(tmp_path):
    with closing(Shown(tmp_path)) as tracker:
        yield tracker


@pytest.fixture
def evaluate(shown):
    """(view, engine, times) -> the tags of what some evaluations show."""

    def judge(view, engine, times=1):
        before = len(shown.tags)
        for _ in range(times):
            view.at_evaluation(engine, shown)
        return shown.tags[before:]

    return judge


@pytest.fixture
def clock(monkeypatch):
    """[seconds], which only the test moves on."""
    now = [100.0]
    monkeypatch.setattr(views.time, "perf_counter", lambda: now[0])
    return now


@pytest.fixture
def table(tmp_path):
    """(kinds) -> a table of two columns, numbers (n) or words (w), and a target of two classes."""

    def write(kinds):
        rng = np.random.default_rng(0)
        numbers = rng.normal([170, 60], [10, 5], (60, 2)).round(1)
        rows = ["first,second,target"]
        for i, row in enumerate(numbers):
            cells = (
                str(x) if kind == "n" else "abc"[int(x) % 3]
                for x, kind in zip(row, kinds, strict=True)
            )
            rows.append(",".join([*cells, "yn"[i % 2]]))
        (tmp_path / "table.csv").write_text("\n".join(rows))
        return (
            "dataset=csv",
            f"dataset.path={tmp_path}/table.csv",
            "dataset.target=target",
            "model=linear",
        )

    return write


def test_a_run_of_its_own_shows_its_boundary_at_every_evaluation_and_the_rest_at_its_end(tmp_path):
    run = RunDirectory(tmp_path / "run")
    assert start.train(composed(*PLANE), run, overrides=[], choices={}) == 0
    sizes = {"images": 0, "histograms": 0}
    events = EventAccumulator(str(run.tensorboard), sizes).Reload()
    boundaries = [event.step for event in events.Images("decision_boundary")]
    assert boundaries == sorted(set(boundaries))
    assert boundaries == [event.step for event in events.Scalars("val/loss")]
    assert len(boundaries) == 3
    assert set(events.Tags()["images"]) == {"decision_boundary", "confusion_matrix", *CURVES}
    assert events.Histograms(events.Tags()["histograms"][0])[-1].step == boundaries[-1]
    assert events.Tags()["graph"]


def test_codes_of_categories_span_no_plane_to_draw_a_boundary_in(table, clock, evaluate):
    numbers, words = (made(*table(kinds)) for kinds in ("nn", "nw"))
    assert words.data.spec.num_features == 2
    assert "decision_boundary" in evaluate(views_of(numbers), numbers.engine)
    assert "decision_boundary" not in evaluate(views_of(words), words.engine)


@pytest.mark.parametrize("kind", ["tokens", "sequence"])
def test_two_tokens_are_no_point_of_a_plane(kind, clock, plane, evaluate):
    data = replace(plane.data, spec=replace(plane.data.spec, kind=kind))
    view = views_of(replace(plane, data=data))
    assert "decision_boundary" not in evaluate(view, plane.engine)


def test_the_axes_of_a_table_are_in_its_own_units(table, evaluate, monkeypatch):
    experiment, ends = made(*table("nn")), []
    monkeypatch.setattr(
        decision_boundary,
        "framed",
        lambda picture, names, extent, classes: ends.append((names, extent)),
    )
    evaluate(views_of(experiment), experiment.engine)
    scale = experiment.data.preprocessing
    assert scale.mean == pytest.approx([170, 60], abs=4)
    rows = experiment.data.val.inputs.numpy() * scale.std + scale.mean
    left, bottom = rows.min(0) - 0.3 * np.array(scale.std)
    right, top = rows.max(0) + 0.3 * np.array(scale.std)
    ((names, extent),) = ends
    assert names == ("first", "second")
    assert extent == pytest.approx((left, right, bottom, top))


@pytest.mark.parametrize("trials", [1, 64])
def test_a_trial_draws_only_once_the_time_it_shares_has_grown_long(trials, clock, plane, evaluate):
    view = views_of(plane, trials_at_once=trials)
    clock[0] += 0.9 * trials
    assert evaluate(view, plane.engine, 3) == []
    clock[0] += 0.2 * trials
    assert evaluate(view, plane.engine) == ["decision_boundary", "histograms"]


def test_what_drawing_costs_a_trial_is_counted(clock, plane, evaluate, monkeypatch):
    view = views_of(plane, trials_at_once=1)
    clock[0] += 1
    draw = Shown.histograms

    def slow(self, *args):
        clock[0] += 1
        draw(self, *args)

    monkeypatch.setattr(Shown, "histograms", slow)
    assert "histograms" in evaluate(view, plane.engine)
    clock[0] += 95
    assert evaluate(view, plane.engine) == []
    clock[0] += 5
    assert "histograms" in evaluate(view, plane.engine)


@pytest.mark.parametrize("trials", [None, 8])
def test_the_end_shows_everything_that_training_may_have_left_out(trials, plane, shown):
    part = plane.data.val
    view = views_of(plane, trials_at_once=trials)
    view.at_end(plane.engine, shown, part, plane.engine.outputs(part))
    expected = Counter(["histograms", "graph", "confusion_matrix", *(() if trials else CURVES)])
    assert Counter(shown.tags) == expected + Counter(["decision_boundary"] if trials else [])


def test_what_is_switched_off_is_not_drawn(shown):
    off = [f"tracking.{name}=false" for name in ("graph", "images", "histograms")]
    experiment = made(*PLANE, *off)
    view, engine, part = views_of(experiment), experiment.engine, experiment.data.val
    view.at_start(shown)
    view.at_evaluation(engine, shown)
    view.at_end(engine, shown, part, engine.outputs(part))
    assert shown.tags == []


def test_samples_are_drawn_once_for_all_runs_on_the_same_data(shown):
    for seed in (0, 0, 1):
        views_of(made(*DIGITS, f"seed={seed}")).at_start(shown)
    first, same, other = shown.pictures
    assert first is same
    assert not np.array_equal(first.pixels, other.pixels)


def test_the_surest_mistakes_come_first(shown, monkeypatch):
    experiment, captions = made(*DIGITS), []
    part = experiment.data.val.first(4)
    right = part.targets.tolist()
    wrong = [(label + 1) % 10 for label in right]
    outputs = torch.zeros(4, 10)
    outputs[torch.arange(4), torch.tensor([wrong[0], wrong[1], right[2], wrong[3]])] = torch.tensor(
        [1.0, 4, 5, 3]
    )
    monkeypatch.setattr(views, "image_grid", lambda images, words: captions.extend(words))
    views_of(experiment).at_end(experiment.engine, shown, part, outputs)
    chances = {1: "86%", 3: "69%", 0: "23%"}  # e^4 / (e^4 + 9), and so on
    assert captions == [f"{right[i]} as {wrong[i]}, {chances[i]}" for i in chances]
    assert "worst_mistakes" in shown.tags


def test_a_regression_of_images_shows_predictions_and_the_largest_errors(shown, monkeypatch):
    words = ("dataset=image_table", "dataset.target=[x,y]", "model=linear")
    experiment, grids = made(*words), []
    part = experiment.data.test.first(5)
    mean, std = (
        torch.tensor(getattr(experiment.data.preprocessing, f"target_{what}"))
        for what in ("mean", "std")
    )
    outputs = part.targets + torch.tensor([[0.0, 0], [3, 0], [-1, 2], [0, 0], [0, 0]])
    drawn = []
    monkeypatch.setattr(views, "image_grid", lambda images, captions: grids.append(captions))
    monkeypatch.setattr(views, "scatter", lambda title, *values: drawn.append((title, *values)))
    views_of(experiment).at_end(experiment.engine, shown, part, outputs)
    assert [tag for tag in shown.tags if "/" in tag] == [
        f"{name}/{target}"
        for target in "xy"
        for name in ("predictions", "residuals", "residual_histogram", "largest_errors")
    ]  # fmt: skip
    true = part.targets.double() * std + mean
    (title, across, up), _ = drawn
    assert title == "x: 5 samples"
    assert np.allclose(across, true[:, 0]) and np.allclose(
        up - across, [0, 3 * std[0], -std[0], 0, 0]
    )
    assert grids[0][0] == f"{true[1, 0]:.3g} as {true[1, 0] + 3 * std[0]:.3g}"
    assert grids[1][0] == f"{true[2, 1]:.3g} as {true[2, 1] + 2 * std[1]:.3g}"


def test_of_quantiles_the_median_is_shown(shown, monkeypatch):
    words = (
        "dataset=image_table",
        "dataset.target=x",
        "loss=quantile",
        "loss.quantiles=[0.1,0.5,0.9]",
    )
    experiment, drawn = made(*words, "model=linear"), []
    part = experiment.data.test.first(3)
    outputs = torch.cat([part.targets + 1, part.targets, part.targets - 1], 1)
    monkeypatch.setattr(views, "scatter", lambda title, *values: drawn.append(values))
    views_of(experiment).at_end(experiment.engine, shown, part, outputs)
    assert np.allclose(*drawn[0])


def test_samples_of_a_regression_are_labelled_in_their_own_units(shown, monkeypatch):
    experiment, grids = made("dataset=image_table", "dataset.target=ink", "model=linear"), []
    monkeypatch.setattr(views, "_sample_picture", lambda images, captions: grids.extend(captions))
    views_of(experiment).at_start(shown)
    least, most = 25.0, 38.6  # of the table
    assert len(grids) == 32 and all(least <= float(caption) <= most for caption in grids)
