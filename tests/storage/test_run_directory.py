"""The run directory is a contract: its files, their fields, and what eval and predict make of them."""

from __future__ import annotations

import csv
import json
import math
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from dlrun import __version__
from dlrun.cli import main
from dlrun.data.arrays.scikit_learn import digits, iris
from dlrun.storage.run_directory import RunDirectory, read_metrics

Capture = pytest.CaptureFixture[str]

CPU = ("trainer.accelerator=cpu", "trainer.num_threads=1", "trainer.max_epochs=2")
TRAINING = {"train/loss", "train/accuracy", "lr", "gradient_norm", "samples_per_second"}
VALIDATION = {"val/loss", "val/accuracy"}
TEST = {"test/loss", "test/accuracy", "test/precision", "test/recall", "test/f1"}


def trained(folder: Path, *words: str) -> RunDirectory:
    assert main(["train", *CPU, f"hydra.run.dir={folder}", *words]) == 0
    return RunDirectory(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """Softmax regression on digits, two epochs of 41 steps."""
    return trained(tmp_path_factory.mktemp("digits") / "run", "model=logistic", "seed=3")


@pytest.fixture(scope="module")
def moons(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    words = ("dataset=moons", "model=mlp", "dataset.size=200")
    return trained(tmp_path_factory.mktemp("moons") / "run", *words)


@pytest.fixture(scope="module")
def diabetes(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    words = ("dataset=diabetes", "model=mlp", "optimizer.lr=0.01")
    return trained(tmp_path_factory.mktemp("diabetes") / "run", *words)


@pytest.fixture(scope="module")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    words = ("dataset=iris", "model=logistic", "tracking.tensorboard=false")
    return trained(tmp_path_factory.mktemp("iris") / "run", *words)


def summary_of(run: RunDirectory) -> dict[str, Any]:
    return run.read_summary() or {}


def events(run: RunDirectory) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(run.tensorboard), size_guidance={"images": 0, "scalars": 0})
    read.Reload()
    return read


def test_a_run_leaves_every_file_of_the_contract(run: RunDirectory) -> None:
    names = {str(file.relative_to(run.path)) for file in run.path.rglob("*") if file.is_file()}
    assert names >= {
        "config.yaml", "overrides.yaml", "environment.json", "metrics.jsonl", "summary.json",
        "train.log", "checkpoints/last.pt", "checkpoints/best.pt",
    }  # fmt: skip
    assert any(name.startswith("tensorboard/events.out.tfevents.") for name in names)
    assert not any("tmp" in name for name in names)


def test_the_config_is_complete_and_holds_no_references(run: RunDirectory) -> None:
    config = yaml.safe_load(run.config_file.read_text())
    assert set(config) == {
        "name", "seed", "dataset", "model", "optimizer", "schedule", "trainer", "loss",
        "checkpoint", "tracking", "metrics", "init_from",
    }  # fmt: skip
    assert config["name"] == "digits_logistic"
    assert config["seed"] == config["dataset"]["split_seed"] == 3
    assert config["model"]["_target_"] == "dlrun.models.logistic.LogisticRegression"
    assert config["trainer"]["max_epochs"] == 2
    assert "${" not in run.config_file.read_text()


def test_the_overrides_are_what_the_command_line_changed(run: RunDirectory) -> None:
    words = yaml.safe_load(run.overrides_file.read_text())
    assert words == [*CPU, "model=logistic", "seed=3"]


def test_the_environment_names_versions_device_and_command(run: RunDirectory) -> None:
    environment = json.loads(run.environment_file.read_text())
    assert environment["dlrun"] == __version__
    assert environment["torch"] == torch.__version__.partition("+")[0]
    assert environment["numpy"] == np.__version__
    assert (environment["device"], environment["threads"]) == ("cpu", 1)
    assert "model=logistic" in environment["command"]
    assert environment.keys() >= {"python", "platform", "hydra-core", "git_commit", "git_dirty"}


def test_the_metrics_are_one_object_a_point_with_the_documented_names(run: RunDirectory) -> None:
    points = [json.loads(line) for line in run.metrics_file.read_text().splitlines()]
    assert [(point["step"], point["epoch"]) for point in points] == [(41, 1), (82, 2), (82, 2)]
    for point in points[:2]:
        assert set(point) == {"step", "epoch"} | TRAINING | VALIDATION
        assert point["lr"] == 0.001
        assert point["samples_per_second"] > 0
        assert point["gradient_norm"] > 0
    assert set(points[2]) == {"step", "epoch"} | TEST
    assert points[1]["train/loss"] < points[0]["train/loss"] < math.log(10) * 1.2
    assert all(0 <= point[name] <= 1 for point in points for name in point if "accuracy" in name)


def test_the_summary_tells_how_the_run_ended(run: RunDirectory) -> None:
    summary, points = summary_of(run), read_metrics(run)
    expected = {
        "name": "digits_logistic", "status": "completed", "seed": 3, "parameters": 65 * 10,
        "step": 82, "epoch": 2, "max_epochs": 2, "stopped_early": False, "monitor": "val/loss",
        "mode": "min", "device": "cpu", "precision": "fp32", "error": None, "version": __version__,
        "choices": {
            "dataset": "digits", "model": "logistic", "optimizer": "adam", "schedule": "constant",
            "loss": "auto", "trainer": "default",
        },
    }  # fmt: skip
    assert {name: summary[name] for name in expected} == expected
    assert summary["seconds"] > 0
    assert datetime.fromisoformat(summary["created"]) <= datetime.fromisoformat(summary["updated"])
    assert datetime.fromisoformat(summary["created"]).tzinfo is not None
    begun = datetime.fromisoformat(summary["created"]).timestamp()
    assert begun - 100 < summary["order"] <= begun + 0.001

    best = min(points[:2], key=lambda point: point["val/loss"])
    assert (summary["best"]["epoch"], summary["best"]["step"]) == (best["epoch"], best["step"])
    names = {"train/loss", "train/accuracy"} | VALIDATION
    tested = {name: points[2][name] for name in TEST}
    assert summary["tested"] == "best"  # so the test metrics belong to the best evaluation
    assert summary["best"]["metrics"] == {name: best[name] for name in names} | tested
    assert summary["final"] == {name: points[1][name] for name in names} | tested


def test_the_confusion_matrix_counts_the_test_part(run: RunDirectory) -> None:
    summary = summary_of(run)
    confusion = np.array(summary["confusion"])
    assert confusion.shape == (10, 10)
    # The test part holds a fifth of each digit.
    assert confusion.sum(1).tolist() == [
        round(0.2 * count) for count in np.bincount(digits().targets)
    ]
    assert np.trace(confusion) / confusion.sum() == pytest.approx(summary["final"]["test/accuracy"])


def test_checkpoints_open_without_running_code_and_name_their_step(run: RunDirectory) -> None:
    last, best = (
        torch.load(run.checkpoints / f"{name}.pt", weights_only=True) for name in ("last", "best")
    )
    assert last["step"] == 82
    assert best["step"] == summary_of(run)["best"]["step"]
    assert {name: weight.shape for name, weight in best["model"].items()} == {
        name: weight.shape for name, weight in last["model"].items()
    }


def test_the_log_tells_the_evaluations_and_the_end(run: RunDirectory) -> None:
    text = run.log.read_text()
    for number, point in enumerate(read_metrics(run)[:2], 1):
        assert f"epoch {number}/2" in text
        assert f"val/loss {point['val/loss']:.4g}" in text
    assert "completed" in text
    assert f"{summary_of(run)['final']['test/accuracy']:.4f}" in text


def test_what_is_printed_ends_with_the_test_metrics_and_where_the_run_is(
    tmp_path: Path, capsys: Capture
) -> None:
    folder = tmp_path / "run"
    run = trained(folder, "dataset=iris", "model=logistic", "trainer.fast_dev_run=true")
    *_, classes, facts = capsys.readouterr().out.split("\n\n")
    assert [line.split()[0] for line in classes.splitlines()[-3:]] == [
        "virginica",
        "macro",
        "weighted",
    ]
    rows = dict(line.split(maxsplit=1) for line in facts.splitlines())
    assert rows["test/accuracy"] == f"{summary_of(run)['final']['test/accuracy']:.4f}"
    assert rows["run"] == str(folder)
    assert rows["TensorBoard"] == f"dlrun tensorboard {folder}"


def test_the_scalars_in_tensorboard_are_those_of_the_metrics(run: RunDirectory) -> None:
    found = events(run)
    for name in TRAINING | VALIDATION | TEST:
        logged = [(p["step"], p[name]) for p in read_metrics(run) if name in p]
        scalars = [(event.step, event.value) for event in found.Scalars(name)]
        assert [step for step, _ in scalars] == [step for step, _ in logged]
        assert [v for _, v in scalars] == pytest.approx([v for _, v in logged], rel=1e-6)


def test_images_of_classes_are_shown_in_tensorboard(run: RunDirectory) -> None:
    found = events(run)
    images = {name for name in found.Tags()["images"] if not name.startswith("curves/")}
    assert images == {"data/samples", "confusion_matrix", "worst_mistakes"}
    assert found.Tags()["graph"]
    assert {"weights/1.weight", "gradients/1.weight"} <= set(found.Tags()["histograms"])


def test_points_in_the_plane_show_their_decision_boundary_at_each_evaluation(
    moons: RunDirectory,
) -> None:
    images = events(moons).Images("decision_boundary")
    steps = [point["step"] for point in read_metrics(moons) if "val/loss" in point]
    assert len(steps) == 2
    assert [image.step for image in images] == steps
    assert len({image.encoded_image_string for image in images}) == 2  # it moves
    assert all(image.width == image.height > 100 for image in images)


def test_a_binary_run_has_the_metrics_of_its_positive_class(moons: RunDirectory) -> None:
    final, confusion = summary_of(moons)["final"], summary_of(moons)["confusion"]
    (true_negative, false_positive), (false_negative, true_positive) = confusion
    assert final["test/precision"] == pytest.approx(
        true_positive / (true_positive + false_positive)
    )
    assert final["test/recall"] == pytest.approx(true_positive / (true_positive + false_negative))
    assert 0.5 < final["test/roc_auc"] <= 1
    assert true_negative + false_positive == false_negative + true_positive == 20


def test_a_regression_has_its_own_metrics_in_the_units_of_the_targets(
    diabetes: RunDirectory, capsys: Capture
) -> None:
    summary = summary_of(diabetes)
    assert summary["confusion"] is None
    names = {"loss", "mse", "rmse", "mae", "r2"}
    assert {name.removeprefix("test/") for name in summary["final"] if "test/" in name} == names
    final = {name: summary["final"][f"test/{name}"] for name in names}
    assert final["mae"] <= math.sqrt(final["mse"])
    assert 30 < final["mae"] < 100  # progression runs from 25 to 346
    assert final["r2"] < 1
    assert main(["eval", str(diabetes.path)]) == 0
    assert f"{final['r2']:.4f}" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["run", "moons", "diabetes", "flowers"])
def test_eval_measures_what_the_run_measured(
    name: str, capsys: Capture, request: pytest.FixtureRequest
) -> None:
    run: RunDirectory = request.getfixturevalue(name)
    capsys.readouterr()
    assert main(["eval", str(run.path), "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    final = summary_of(run)["final"]
    tested = {name: value for name, value in final.items() if name.startswith("test/")}
    assert measured["metrics"] == pytest.approx(tested, rel=1e-6)
    assert measured["confusion"] == summary_of(run)["confusion"]
    assert measured["per_class"] == summary_of(run)["per_class"]


def test_each_class_is_shown_by_show_and_eval_and_in_tensorboard(
    run: RunDirectory, capsys: Capture
) -> None:
    final, rows = summary_of(run)["final"], summary_of(run)["per_class"]
    assert [row["name"] for row in rows] == list("0123456789")
    assert np.mean([row["f1"] for row in rows]) == pytest.approx(final["test/f1"])
    assert "per_class/text_summary" in events(run).Tags()["tensors"]
    capsys.readouterr()
    for command in ("show", "eval"):
        assert main([command, str(run.path)]) == 0
        (mean,) = re.findall(r"macro mean +(.*)", capsys.readouterr().out)
        assert mean.split()[2] == f"{final['test/f1']:.4f}"
    assert main(["eval", str(run.path), "--json"]) == 0
    macro, weighted = json.loads(capsys.readouterr().out)["class_means"]
    assert macro["precision"] == pytest.approx(final["test/precision"])
    assert weighted["recall"] == pytest.approx(final["test/accuracy"])


@pytest.mark.parametrize(("split", "checkpoint"), [("val", "best"), ("val", "last")])
def test_eval_measures_another_part_and_another_checkpoint(
    split: str, checkpoint: str, run: RunDirectory, capsys: Capture
) -> None:
    words = ["eval", str(run.path), f"split={split}", f"checkpoint={checkpoint}", "--json"]
    assert main(words) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    summary = summary_of(run)
    expected = summary["best"]["metrics"] if checkpoint == "best" else summary["final"]
    assert metrics["val/loss"] == pytest.approx(expected["val/loss"], rel=1e-6)
    assert metrics["val/accuracy"] == expected["val/accuracy"]


QUICK_IRIS = ("dataset=iris", "model=mlp", "tracking.tensorboard=false")


@pytest.mark.parametrize("precision", ["fp64", "bf16"])
def test_eval_measures_what_a_run_in_another_precision_measured(
    precision: str, tmp_path: Path, capsys: Capture
) -> None:
    run = trained(tmp_path / "run", *QUICK_IRIS, f"trainer.precision={precision}")
    capsys.readouterr()
    assert main(["eval", str(run.path), "--json"]) == 0
    loss = json.loads(capsys.readouterr().out)["metrics"]["test/loss"]
    assert loss == pytest.approx(summary_of(run)["final"]["test/loss"], rel=1e-2)


@pytest.mark.parametrize(
    "checkpoint",
    [
        "best",
        "last",
    ],
)
def test_eval_and_predict_use_the_averaged_weights_of_a_run_that_kept_them(
    checkpoint: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = trained(tmp_path / "run", *QUICK_IRIS, "trainer.ema_decay=0.9")
    capsys.readouterr()
    assert main(["eval", "run", f"checkpoint={checkpoint}", "--json"]) == 0
    loss = json.loads(capsys.readouterr().out)["metrics"]["test/loss"]
    assert loss == pytest.approx(summary_of(run)["final"]["test/loss"], rel=1e-6)
    np.save("rows.npy", iris().inputs[:2])
    assert main(["predict", "run", "rows.npy", "--checkpoint", checkpoint]) == 0


@pytest.mark.parametrize(
    "words",
    [
        ("eval", "{run}", "--json", "split=val"),
        ("resume", "{run}", "--allow", "mynet.Net", "trainer.max_epochs=4"),
    ],
)
def test_options_may_come_before_the_choices(words: tuple[str, ...], tmp_path: Path) -> None:
    run = trained(tmp_path / "run", *QUICK_IRIS)
    assert main([word.format(run=run.path) for word in words]) == 0


def predictions(run: RunDirectory, *words: str) -> list[dict[str, Any]]:
    """What `dlrun predict` writes as JSON."""
    output = Path("predictions.json")
    assert main(["predict", str(run.path), *words, "--output", str(output)]) == 0
    records: list[dict[str, Any]] = json.loads(output.read_text())
    return records


def by_hand(run: RunDirectory, raw: np.ndarray) -> np.ndarray:
    """Softmax regression on raw images, from the weights in best.pt."""
    state = torch.load(run.checkpoints / "best.pt", weights_only=True)
    mean, std = (np.asarray(state["preprocessing"][name]) for name in ("mean", "std"))
    weight, bias = (tensor.double().numpy() for tensor in state["model"].values())
    scores = ((raw - mean) / std).reshape(len(raw), -1) @ weight.T + bias
    chances = np.exp(scores - scores.max(1, keepdims=True))
    return np.asarray(chances / chances.sum(1, keepdims=True))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("shape", [(-1, 1, 8, 8), (-1, 8, 8), (-1, 64)])
def test_predict_reads_arrays_in_every_shape_that_fits(
    shape: tuple[int, ...], run: RunDirectory, here: Path
) -> None:
    raw = digits().inputs[:50]
    np.save("images.npy", raw.reshape(shape))
    records = predictions(run, "images.npy")
    chances = np.array([list(record["probabilities"].values()) for record in records])
    np.testing.assert_allclose(chances.sum(1), 1, rtol=1e-9)
    np.testing.assert_allclose(chances, by_hand(run, raw), atol=1e-5)
    labels = [str(label) for label in chances.argmax(1)]
    assert [record["prediction"] for record in records] == labels
    assert [record["row"] for record in records] == list(range(50))


def test_predict_reads_a_picture_scaled_to_the_range_it_was_trained_on(
    run: RunDirectory, here: Path
) -> None:
    raw = digits().inputs[0]
    pixels = (raw[0] * 255 / 16).round().astype(np.uint8)
    Image.fromarray(pixels).save("small.png")
    Image.fromarray(pixels).resize((64, 64)).convert("RGB").save("large.png")
    small, large = predictions(run, "small.png", "large.png")
    expected = by_hand(run, (pixels * (16 / 255))[None, None])[0]
    np.testing.assert_allclose(list(small["probabilities"].values()), expected, atol=1e-5)
    assert sum(large["probabilities"].values()) == pytest.approx(1)
    assert (small["input"], large["input"]) == ("small.png", "large.png")


def test_predict_reads_rows_by_position_or_by_the_names_in_the_header(
    flowers: RunDirectory, here: Path
) -> None:
    source = iris()
    rows = source.inputs[::30].astype(float).tolist()
    names = list(source.feature_names)
    with open("plain.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    with open("named.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", *reversed(names)])
        writer.writerows([number, *reversed(row)] for number, row in enumerate(rows))
    plain, named = predictions(flowers, "plain.csv"), predictions(flowers, "named.csv")
    assert [r["probabilities"] for r in plain] == [r["probabilities"] for r in named]
    chances = np.array([list(record["probabilities"].values()) for record in plain])
    np.testing.assert_allclose(chances, by_hand(flowers, source.inputs[::30]), atol=1e-5)


def test_predict_writes_a_table_with_a_column_for_each_class(
    flowers: RunDirectory, here: Path
) -> None:
    np.save("rows.npy", iris().inputs[:3])
    assert main(["predict", str(flowers.path), "rows.npy", "--output", "out.csv"]) == 0
    with open("out.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    names = [f"p({name})" for name in iris().class_names]
    assert list(rows[0]) == ["input", "row", "prediction", *names]
    for row in rows:
        assert sum(float(row[name]) for name in names) == pytest.approx(1)
        assert row["prediction"] == max(names, key=lambda name: float(row[name]))[2:-1]


def test_predict_prints_a_line_for_each_input(
    flowers: RunDirectory, here: Path, capsys: Capture
) -> None:
    np.save("rows.npy", iris().inputs[:2])
    capsys.readouterr()
    assert main(["predict", str(flowers.path), "rows.npy"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["rows.npy[0]", "rows.npy[1]"]
    assert all("%" in line for line in lines)


def test_predict_gives_numbers_in_the_units_of_the_targets(
    diabetes: RunDirectory, here: Path
) -> None:
    from dlrun.data.arrays.scikit_learn import diabetes as source

    np.save("rows.npy", source().inputs)
    values = np.array([record["prediction"] for record in predictions(diabetes, "rows.npy")])
    assert values.shape == (442, 1)
    assert values.mean() == pytest.approx(source().targets.mean(), rel=0.15)
    assert np.corrcoef(values[:, 0], source().targets)[0, 1] > 0.5
