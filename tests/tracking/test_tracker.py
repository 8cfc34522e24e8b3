"""What a run logs, read back: metrics.jsonl line by line, TensorBoard by its own reader."""

import io
import json
import math
import time

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from torch import nn

from dlrun.tracking.picture import Picture
from dlrun.tracking.tracker import Tracker


@pytest.fixture
def track(tmp_path):
    """(start_step) -> a tracker of the run; all are closed at the end."""
    trackers = []

    def make(*, tensorboard=True, start_step=0, **more):
        folder = tmp_path / "tensorboard"
        tracker = Tracker(
            tmp_path / "metrics.jsonl",
            folder,
            tensorboard=tensorboard,
            start_step=start_step,
            **more,
        )
        trackers.append(tracker)
        return tracker

    yield make
    for tracker in trackers:
        tracker.close()


@pytest.fixture
def lines(tmp_path):
    """() -> metrics.jsonl as a strict reader takes it, which knows no NaN."""

    def refuse(constant):
        raise ValueError(f"{constant} is no JSON")

    def read():
        text = (tmp_path / "metrics.jsonl").read_text()
        return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]

    return read


@pytest.fixture
def events(tmp_path):
    """() -> all that TensorBoard finds."""

    def read():
        # Nothing of images and histograms may be sampled away.
        sizes = {"images": 0, "histograms": 0, "tensors": 0, "scalars": 0}
        return EventAccumulator(str(tmp_path / "tensorboard"), sizes).Reload()

    return read


def points(events, tag):
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_each_point_is_a_line_of_json(track, lines):
    tracker = track()
    tracker.log(10, 1, {"train/loss": 0.5, "lr": 1e-3})
    tracker.log(20, 2, {"val/loss": 0.25})
    assert lines() == [
        {"step": 10, "epoch": 1, "train/loss": 0.5, "lr": 1e-3},
        {"step": 20, "epoch": 2, "val/loss": 0.25},
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_null_in_json_and_itself_in_tensorboard(value, track, lines, events):
    tracker = track()
    tracker.log(1, 1, {"a": value, "b": 1.0})
    tracker.close()
    assert lines() == [{"step": 1, "epoch": 1, "a": None, "b": 1.0}]
    ((step, read),) = points(events(), "a")
    assert step == 1
    assert read == value or (math.isnan(read) and math.isnan(value))


def test_lines_are_there_at_once_and_counted_in_bytes(track, lines, tmp_path):
    tracker = track()
    assert tracker.metrics_size == 0
    tracker.log(1, 1, {"a": 1.0})
    assert len(lines()) == 1
    assert tracker.metrics_size == (tmp_path / "metrics.jsonl").stat().st_size
    tracker.close()
    assert track(start_step=1).metrics_size == (tmp_path / "metrics.jsonl").stat().st_size


def test_a_second_process_appends_to_the_lines(track, lines):
    first = track()
    first.log(1, 1, {"a": 1.0})
    first.close()
    track(start_step=1).log(2, 1, {"a": 2.0})
    assert [line["a"] for line in lines()] == [1.0, 2.0]


def test_a_curve_has_its_own_axis_counted_from_one(track, events):
    tracker = track()
    tracker.curve("norms/step 100", [0.5, 0.25, 2.0])
    tracker.close()
    assert points(events(), "norms/step 100") == [(1, 0.5), (2, 0.25), (3, 2.0)]


def test_scalars_are_read_back_with_their_steps(track, events):
    tracker = track()
    for step in (1, 2, 3):
        tracker.log(step, 1, {"train/loss": 1 / step, "lr": 0.5})
    tracker.close()
    assert points(events(), "train/loss") == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert points(events(), "lr") == [(1, 0.5), (2, 0.5), (3, 0.5)]


def test_lines_and_events_that_may_wait_are_counted_and_written_by_a_flush(track, lines, events):
    tracker = track(flush_seconds=1000)
    tracker.log(1, 1, {"a": 1.0})
    tracker.log(2, 1, {"a": 2.0})
    size = tracker.metrics_size
    tracker.flush()
    assert [line["a"] for line in lines()] == [1.0, 2.0]
    assert points(events(), "a") == [(1, 1.0), (2, 2.0)]
    assert size == tracker.metrics_size > 0


def test_points_of_a_run_of_its_own_are_readable_at_once(track, events):
    track().log(1, 1, {"a": 1.0})
    assert points(events(), "a") == [(1, 1.0)]


def test_flush_makes_points_readable_while_the_run_goes_on(track, events):
    tracker = track()
    tracker.log(1, 1, {"a": 1.0})
    tracker.flush()
    assert points(events(), "a") == [(1, 1.0)]


def test_a_resume_replaces_what_an_earlier_process_logged_beyond_its_start(track, events, tmp_path):
    first = track()
    for step in (1, 2, 3, 4):
        first.log(step, 1, {"a": float(step)})
    first.close()
    # Event files are read by name, which starts with the second they were made in.
    (file,) = (tmp_path / "tensorboard").iterdir()
    file.rename(file.with_name("events.out.tfevents.1000000000.earlier"))
    second = track(start_step=2)
    second.log(3, 1, {"a": 30.0})
    second.close()
    assert points(events(), "a") == [(1, 1.0), (2, 2.0), (3, 30.0)]


def test_without_tensorboard_only_the_lines_are_written(track, lines, tmp_path):
    tracker = track(tensorboard=False)
    tracker.log(1, 1, {"a": 1.0})
    tracker.text("note", "text", 7)
    tracker.image("picture", Picture(np.zeros((4, 4, 3), np.uint8)), 1)
    tracker.histograms(nn.Linear(2, 2), 1)
    tracker.graph(nn.Linear(2, 2), torch.ones(1, 2), kind="linear")
    tracker.hparams({"lr": 0.1})
    tracker.flush()
    tracker.close()
    assert len(lines()) == 1
    assert not (tmp_path / "tensorboard").exists()


def test_nothing_is_written_for_tensorboard_before_there_is_something_to_write(track, tmp_path):
    track().close()
    assert not (tmp_path / "tensorboard").exists()


def test_a_picture_is_read_back_pixel_by_pixel(track, events):
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    tracker = track()
    tracker.image("data/samples", Picture(picture), 3)
    tracker.close()
    (image,) = events().Images("data/samples")
    assert (image.step, image.width, image.height) == (3, 7, 5)
    decoded = np.asarray(Image.open(io.BytesIO(image.encoded_image_string)))
    np.testing.assert_array_equal(decoded, picture)


def test_text_is_read_back(track, events):
    tracker = track()
    tracker.text("profile", "| a table |", 0)
    tracker.text("profile", "| a longer table |", 7)
    tracker.close()
    pages = events().Tensors("profile/text_summary")
    shown = [(page.step, page.tensor_proto.string_val) for page in pages]
    assert shown == [(0, [b"| a table |"]), (7, [b"| a longer table |"])]


def test_histograms_count_every_weight_and_gradient(track, events):
    model = nn.Linear(30, 20)
    model(torch.randn(4, 30)).sum().backward()
    model.bias.grad = None
    tracker = track()
    tracker.histograms(model, 5)
    tracker.close()
    found = events()
    assert set(found.Tags()["histograms"]) == {"weights/weight", "weights/bias", "gradients/weight"}
    for tag, values in [
        ("weights/weight", model.weight.detach()),
        ("gradients/weight", model.weight.grad),
    ]:
        (event,) = found.Histograms(tag)
        histogram, values = event.histogram_value, values.double()
        assert event.step == 5
        assert histogram.num == sum(histogram.bucket) == 600
        assert (histogram.min, histogram.max) == (values.min().item(), values.max().item())
        assert histogram.sum == pytest.approx(values.sum().item(), rel=1e-4)
        assert histogram.sum_squares == pytest.approx((values**2).sum().item(), rel=1e-4)
        below = values.flatten() < histogram.bucket_limit[30]
        assert sum(histogram.bucket[:31]) == pytest.approx(below.sum().item(), abs=1)


def test_weights_that_are_all_the_same_have_a_histogram(track, events):
    norm = nn.BatchNorm1d(8)
    tracker = track()
    tracker.histograms(norm, 1)
    tracker.close()
    (event,) = events().Histograms("weights/weight")
    assert event.histogram_value.num == sum(event.histogram_value.bucket) == 8


@pytest.mark.parametrize(
    "values",
    [
        [0.0, 1e-45],  # what a saturated unit passes back
        [1.0, 1.0000001],  # neighbours among floats
        [3e38, -3e38],
        [float("nan"), 1.0],
        [float("inf"), 1.0],
        [float("nan"), float("inf")],
    ],
)
def test_a_gradient_of_any_values_stops_no_run(values, track, events):
    model = nn.Linear(2, 1)
    model.weight.grad = torch.tensor([values])
    tracker = track()
    tracker.histograms(model, 1)
    tracker.close()
    assert "weights/weight" in events().Tags()["histograms"]


@pytest.mark.parametrize("values", [[1.0, 1.0000000000000002], [1e308, -1e308]])
def test_a_gradient_of_any_values_in_fp64_stops_no_run(values, track, events):
    model = nn.Linear(2, 1).double()
    model.weight.grad = torch.tensor([values], dtype=torch.float64)
    tracker = track()
    tracker.histograms(model, 1)
    tracker.close()
    assert "weights/weight" in events().Tags()["histograms"]


def test_the_graph_of_a_model_is_read_back(track, events):
    tracker = track()
    tracker.graph(nn.Sequential(nn.Linear(3, 4), nn.ReLU()).eval(), torch.ones(1, 3), kind="relu")
    tracker.close()
    graph = events().Graph()
    assert any("Linear" in node.name for node in graph.node)
    assert any(node.op == "aten::relu" for node in graph.node)


def test_drawing_the_graph_says_nothing_and_changes_no_mode(track, capfd):
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout()).eval()
    track().graph(model, torch.ones(1, 3), kind="quiet")
    assert not model.training
    assert capfd.readouterr() == ("", "")


class Untraceable(nn.Module):
    def forward(self, x):
        raise RuntimeError("first line\nsecond line")


def test_a_model_that_cannot_be_traced_is_left_out_with_a_warning(track, events, capfd):
    tracker = track()
    with pytest.warns(UserWarning) as caught:
        tracker.graph(Untraceable(), torch.ones(1, 3), kind="untraceable")
    tracker.log(1, 1, {"a": 1.0})
    tracker.close()
    assert len(caught) == 1
    assert str(caught[0].message).startswith("TensorBoard has no graph of this model: ")
    assert "\n" not in str(caught[0].message)
    assert events().Tags()["graph"] is False
    assert capfd.readouterr() == ("", "")


def hparams_data(events):
    """What the HParams tab reads of one run: tag -> message."""
    return {
        tag: plugin_data_pb2.HParamsPluginData.FromString(metadata.plugin_data.content)
        for tag, metadata in events.summary_metadata.items()
        if metadata.plugin_data.plugin_name == "hparams"
    }


def test_the_settings_are_the_runs_row_in_the_hparams_tab(track, events):
    tracker = track()
    tracker.log(1, 1, {"val/loss": 0.5})
    tracker.hparams({"optimizer.lr": 0.1, "model": "mlp", "model.bias": False, "seed": 3})
    tracker.close()
    found = hparams_data(events())
    row = found["_hparams_/session_start_info"].session_start_info
    assert row.hparams["optimizer.lr"].number_value == 0.1
    assert row.hparams["model"].string_value == "mlp"
    assert row.hparams["model.bias"].WhichOneof("kind") == "bool_value"
    assert row.hparams["seed"].number_value == 3
    assert row.group_name == ""
    end = found["_hparams_/session_end_info"].session_end_info
    assert end.status == api_pb2.STATUS_SUCCESS
    assert points(events(), "val/loss") == [(1, 0.5)]


def test_no_run_lists_the_columns_which_would_hide_those_of_others(track, events):
    tracker = track()
    tracker.hparams({"lr": 0.1})
    tracker.close()
    assert set(hparams_data(events())) == {
        "_hparams_/session_start_info",
        "_hparams_/session_end_info",
    }


def test_a_failed_run_and_one_of_a_group_say_so(track, events):
    tracker = track()
    tracker.hparams({"lr": 0.1}, failed=True, group="12 of digits")
    tracker.close()
    found = hparams_data(events())
    end = found["_hparams_/session_end_info"].session_end_info
    assert end.status == api_pb2.STATUS_FAILURE
    row = found["_hparams_/session_start_info"].session_start_info
    assert row.group_name == "12 of digits"


def test_settings_and_metrics_go_into_the_runs_own_event_file(track, tmp_path):
    tracker = track()
    tracker.log(1, 1, {"val/loss": 0.5})
    tracker.hparams({"lr": 0.1})
    tracker.close()
    files = [path for path in (tmp_path / "tensorboard").rglob("*") if path.is_file()]
    assert len(files) == 1


def test_what_a_killed_process_wrote_at_the_step_of_the_resume_is_not_written_twice(track, events):
    """Killed between the last checkpoint and the end: the test metrics are measured again."""
    first = track(start_step=0)
    first.log(5, 1, {"val/loss": 0.5})
    first.log(5, 1, {"test/loss": 0.25})
    first.close()
    second = track(start_step=5)
    second.log(5, 1, {"test/loss": 0.25, "test/accuracy": 1.0})
    second.close()
    read = events()
    assert points(read, "val/loss") == [(5, 0.5)]
    assert points(read, "test/loss") == [(5, 0.25)]
    assert points(read, "test/accuracy") == [(5, 1.0)]


def test_curves_of_a_run_that_is_carried_on_are_there_once_and_whole(track, events, tmp_path):
    """A curve is longer than the run so far, one came after the last checkpoint; both processes resume."""
    first = track()
    first.log(3, 1, {"val/loss": 0.5})
    first.curve("norms/step 3", [0.5, 0.25, 2.0, 4.0, 8.0])
    first.log(4, 1, {"val/loss": 9.0})
    first.curve("norms/step 4", [1.0, 1.0, 1.0, 1.0, 1.0])
    first.close()
    for number in range(2):
        if number:
            assert len(steps_shown(tmp_path)["norms/step 3"]) == 5
        again = track(start_step=3)
        assert again.earlier_curves("norms") == {3: [0.5, 0.25, 2.0, 4.0, 8.0]}
        again.curve("norms/step 3", [0.5, 0.25, 2.0, 4.0, 8.0])
        again.log(4, 1, {"val/loss": 0.25})
        again.curve("norms/step 4", [2.0, 2.0])
        again.close()
    read = events()
    assert points(read, "norms/step 3") == [(1, 0.5), (2, 0.25), (3, 2.0), (4, 4.0), (5, 8.0)]
    assert points(read, "norms/step 4") == [(1, 2.0), (2, 2.0)]
    assert points(read, "val/loss") == [(3, 0.5), (4, 0.25)]
    assert steps_shown(tmp_path) == {
        "norms/step 3": [1, 2, 3, 4, 5],
        "norms/step 4": [1, 2],
        "val/loss": [3, 4],
    }


def test_every_kind_of_value_is_there_once_after_any_chain_of_resumes(track, tmp_path, monkeypatch):
    """What a process wrote beyond the start of the next one counts no more, and the clock may be set back."""

    def write(tracker, *steps):
        for step in steps:
            tracker.log(step, 1, {"test/loss": float(step)})
            tracker.image("picture", Picture(np.zeros((4, 4, 3), np.uint8)), step)
            tracker.histograms(nn.Linear(2, 2), step)
            tracker.text("sample", f"{step}", step)
        tracker.hparams({"lr": 0.1})
        tracker.close()

    layer = ("weights/weight", "weights/bias")
    write(track(), 2, 5)
    write(track(start_step=2), 5)
    assert set(map(tuple, steps_shown(tmp_path).values())) == {(2, 5)}
    now = time.time()
    for back, start, steps in ((1000, 2, (4,)), (2000, 4, (4, 5)), (3000, 5, (5,))):
        monkeypatch.setattr("time.time", lambda back=back: now - back)
        write(track(start_step=start), *steps)
    assert steps_shown(tmp_path) == {
        tag: [2, 4, 5] for tag in ("test/loss", "picture", *layer, "sample/text_summary")
    }
    write(track(start_step=0), 2)
    assert set(map(tuple, steps_shown(tmp_path).values())) == {(2,)}


def steps_shown(run):
    """By tag, the steps that TensorBoard's own server shows, to which all kinds of values are tensors."""
    read = plugin_event_accumulator.EventAccumulator(str(run / "tensorboard"), {"tensors": 0})
    read.Reload()
    tags = (tag for tag in read.Tags()["tensors"] if not tag.startswith("_hparams_/"))
    return {tag: [one.step for one in read.Tensors(tag)] for tag in tags}


def test_a_restart_from_step_0_purges_all_earlier_points(track, events):
    first = track(start_step=0)
    for step in (1, 2, 3):
        first.log(step, 1, {"train/loss": 9.0})
    first.close()
    again = track(start_step=0)
    again.log(2, 1, {"train/loss": 0.5})
    again.close()
    assert points(events(), "train/loss") == [(2, 0.5)]
