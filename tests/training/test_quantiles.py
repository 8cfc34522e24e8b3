"""Quantiles to predict: the loss against scikit-learn, crossing scores, bands, and whole runs."""

import csv
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics as reference
from torch import nn

from dlrun.cli import main
from dlrun.config.metrics import bands, direction, quantile_metrics
from dlrun.data.arrays.scaling import Scaling
from dlrun.data.base import Dataset, Spec
from dlrun.data.loaders import Split
from dlrun.errors import ConfigError
from dlrun.inference.export import description, export
from dlrun.inference.load import Trained
from dlrun.training.losses.quantities import pinball_loss
from dlrun.training.scores import sorted_quantiles
from dlrun.training.tasks import make_task
from losses import loss

FIVE = [0.025, 0.1, 0.5, 0.9, 0.975]
STD, MEAN = [10.0, 0.1], [0.0, 5.0]


def task_of(quantiles=FIVE, *, reduction="mean"):
    """The task of two targets."""
    pinball = loss("quantile", quantiles=quantiles, reduction=reduction)
    spec = pinball.spec(Spec("regression", "features", (2,), 2))
    assert (spec.num_outputs, spec.num_targets) == (2 * len(quantiles), 2)
    return make_task(spec, pinball, Scaling([0.0], [1.0], MEAN, STD, 0.0))


@pytest.mark.parametrize(
    ("quantiles", "expected"),
    [
        (None, "loss.quantiles is null, but must be a list"),
        ([0.9, 0.5, 0.1], "must ascend, each of them once; set it to [0.1, 0.5, 0.9]"),
        ([0.5, 0.5], "must ascend, each of them once; set it to [0.5]"),
        ([0.1, 0.9], "must contain 0.5: the median is the prediction"),
        ([], "must contain 0.5"),
        ([0.5, 1], "loss.quantiles[1] is 1, but must be a number above 0 and below 1"),
        ([0, 0.5], "loss.quantiles[0] is 0, but must be a number above 0 and below 1"),
        (0.5, "as in loss.quantiles=[0.5]"),
    ],
)
def test_quantiles_that_cannot_be_predicted_are_refused(quantiles, expected):
    with pytest.raises(ConfigError) as caught:
        loss("quantile", quantiles=quantiles)
    assert expected in str(caught.value)


def drawn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_loss_is_scikit_learns_pinball_loss_averaged_over_the_quantiles():
    outputs, targets = drawn(0, 30, 10), drawn(1, 30, 2)
    each = [
        reference.mean_pinball_loss(targets, outputs.view(30, 2, 5)[:, :, place], alpha=quantile)
        for place, quantile in enumerate(FIVE)
    ]
    task = task_of()
    assert task.loss(outputs, targets).item() == pytest.approx(np.mean(each), rel=1e-5)
    total = task_of(reduction="sum").loss(outputs, targets).item()
    assert total == pytest.approx(60 * np.mean(each), rel=1e-5)
    rows = task.sample_losses(outputs, targets, {})
    torch.testing.assert_close(rows.mean(), task.loss(outputs, targets))


def test_the_least_loss_is_at_the_quantiles_of_the_targets():
    targets = drawn(2, 2001, 1).exp()
    best = torch.from_numpy(np.quantile(targets.numpy(), FIVE)).float()
    least = pinball_loss(best.expand(2001, 5), targets, FIVE)
    for place, step in itertools.product(range(5), (-0.05, 0.05)):
        moved = best.clone()
        moved[place] += step
        assert pinball_loss(moved.expand(2001, 5), targets, FIVE) > least


def test_crossing_scores_are_sorted_within_their_target_and_never_lose_by_it():
    outputs, targets = drawn(3, 200, 10), drawn(4, 200, 2)
    found = sorted_quantiles(outputs, 5)
    assert bool((found.diff(dim=-1) >= 0).all())
    assert found[0, 1].tolist() == sorted(outputs[0, 5:].tolist())
    raw, fixed = (pinball_loss(o, targets, FIVE) for o in (outputs, found.flatten(1)))
    assert fixed < raw and task_of().plain_loss(outputs, targets) == fixed


def test_metrics_are_of_the_median_and_of_the_bands_in_the_targets_own_units():
    outputs, targets = drawn(5, 50, 10), drawn(6, 50, 2)
    metrics = task_of().metrics(outputs, targets)
    in_order = np.sort(outputs.double().numpy().reshape(50, 2, 5), -1)
    predicted = in_order * np.array(STD)[:, None] + np.array(MEAN)[:, None]
    true = targets.double().numpy() * STD + MEAN
    assert metrics["mae"] == pytest.approx(reference.mean_absolute_error(true, predicted[:, :, 2]))
    inside = (predicted[:, :, 1] <= true) & (true <= predicted[:, :, 3])
    assert metrics["coverage_80"] == pytest.approx(inside.mean())
    assert metrics["width_95"] == pytest.approx((predicted[:, :, 4] - predicted[:, :, 0]).mean())
    each = [
        reference.mean_pinball_loss(true, predicted[:, :, n], alpha=q) for n, q in enumerate(FIVE)
    ]
    assert metrics["quantile_loss"] == pytest.approx(np.mean(each))
    assert tuple(metrics) == tuple(task_of().declared.always)


def test_several_runs_at_once_have_the_metrics_that_each_has_alone():
    from dlrun.training.task import stacked_metrics

    tasks = [task_of(), task_of()]
    outputs, targets = drawn(7, 2, 20, 10), drawn(8, 2, 20, 2)
    variances = [task.variance(Split(y, y)) for task, y in zip(tasks, targets, strict=True)]
    together = stacked_metrics(tasks, outputs, targets, variances)
    for task, x, y, found in zip(tasks, outputs, targets, together, strict=True):
        assert found == pytest.approx(task.metrics(x, y), rel=1e-6)


@pytest.mark.parametrize(
    ("quantiles", "expected"),
    [
        ([0.5], []),
        ([0.1, 0.5, 0.9], [("80", 0, 2)]),
        (FIVE, [("95", 0, 4), ("80", 1, 3)]),
        ([0.05, 0.3, 0.5, 0.95], [("90", 0, 3)]),
        ([0.0125, 0.5, 0.9875], [("97.5", 0, 2)]),
    ],
)
def test_bands_lie_between_a_quantile_and_one_minus_it(quantiles, expected):
    assert [(b.percent, b.lower, b.upper) for b in bands(quantiles)] == expected


def test_the_quantile_loss_is_to_be_low_and_a_coverage_neither_low_nor_high():
    declared = quantile_metrics(FIVE).directions
    assert direction("val/quantile_loss") == "min" == declared["quantile_loss"]
    assert direction("val/coverage_80") is None is declared["coverage_80"]


def test_the_baseline_is_the_quantiles_of_the_training_targets():
    train, test = drawn(9, 400, 2), drawn(10, 100, 2)
    spec = Spec("regression", "features", (2,), 10, quantiles=tuple(FIVE))
    parts = [Split(part, part) for part in (train, test[:0], test)]
    data = Dataset(spec, Scaling([0.0], [1.0], MEAN, STD, 0.0), *parts, baselines={"mean": {}})
    found = task_of().with_baselines(data).baselines["training quantiles"]
    usual = np.quantile(train.numpy(), FIVE, axis=0)
    inside = (usual[1] <= test.numpy()) & (test.numpy() <= usual[3])
    assert found["coverage_80"] == pytest.approx(inside.mean())
    assert found["mae"] == pytest.approx((np.abs(test.numpy() - usual[2]) * STD).mean(), rel=1e-5)


def test_classes_have_no_quantiles():
    spec = Spec("multiclass", "features", (2,), 3, ("a", "b", "c"))
    with pytest.raises(ConfigError, match=r"loss is quantile, but the data set has 3 classes"):
        make_task(spec, loss("quantile"), Scaling([0.0], [1.0], [], [], 0.0))


def test_an_exported_model_gives_ascending_scores_and_says_what_they_are(tmp_path):
    torch.manual_seed(0)
    spec = Spec("regression", "features", (2,), 6, quantiles=(0.1, 0.5, 0.9))
    model = nn.Linear(2, 6)
    trained = Trained(model.eval(), spec, Scaling([0.0], [1.0], MEAN, STD, 0.0), epoch=1, step=1)
    batch = drawn(11, 4, 2)
    found = export(trained, tmp_path / "m", how="torch_export", samples=[batch])
    scores = torch.export.load(tmp_path / "m").module()(batch).detach()
    torch.testing.assert_close(scores, sorted_quantiles(model(batch), 3).flatten(1).detach())
    reading = description(trained, found)["reading"]
    assert reading.startswith("of each target one score for each of the quantiles 0.1, 0.5, 0.9")


def test_a_table_and_a_series_are_trained_evaluated_continued_and_resumed(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    rows = np.round(generator.standard_normal((80, 2)), 3)
    Path("t.csv").write_text("a,y\n" + "".join(f"{a},{y}\n" for a, y in rows))
    quick = ["model=mlp", "model.hidden=[4]", "loss=quantile", "tracking.tensorboard=false"]
    words = [*quick, "trainer.max_epochs=1", "trainer.accelerator=cpu"]
    table = ["dataset=table", "dataset.path=t.csv", "dataset.target=y", "dataset.task=regression"]
    assert main(["train", *table, *words, "name=t"]) == 0
    assert main(["predict", "t", "t.csv", "--output", "p.csv"]) == 0
    with Path("p.csv").open() as file:
        predicted = list(csv.DictReader(file))
    names = ["prediction_q0.1", "prediction_q0.5", "prediction_q0.9"]
    assert list(predicted[0]) == ["input", "row", "prediction", *names]
    for row in predicted:
        low, middle, high = (float(row[name]) for name in names)
        assert low <= middle <= high and float(row["prediction"]) == middle

    series = ["dataset=series", "dataset.path=t.csv", "dataset.target=[y,a]", "dataset.horizon=3"]
    assert main(["train", *series, *words, "name=s"]) == 0
    assert main(["resume", "s", "trainer.max_epochs=2"]) == 0
    assert main(["resume", "s", "trainer.max_epochs=3", "loss.quantiles=[0.2,0.5,0.8]"]) == 2
    assert "loss.quantiles is [0.2, 0.5, 0.8], but was [0.1, 0.5, 0.9]" in capsys.readouterr().err
    assert main(["eval", "s", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert 0 <= found["metrics"]["test/coverage_80"] <= 1
    assert "coverage_80" in found["baselines"]["training quantiles"]
    assert main(["predict", "s", "t.csv", "--output", "p.json"]) == 0
    (first, *_) = json.loads(Path("p.json").read_text())
    assert first["prediction"] == first["quantiles"]["0.5"]
    assert main(["predict", "s", "t.csv"]) == 0
    assert "t.csv[80]  y " in (said := capsys.readouterr().out) and "(0.1: " in said


def test_several_targets_of_a_table_have_quantiles_and_metrics_each(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(2).standard_normal((60, 3)) * [1, 1, 100]
    Path("t.csv").write_text("a,y,z\n" + "".join(f"{a},{y},{z}\n" for a, y, z in values))
    words = ["dataset=table", "dataset.path=t.csv", "dataset.target=[y,z]", "loss=quantile"]
    quick = ["model=mlp", "model.hidden=[4]", "tracking.tensorboard=false", "trainer.max_epochs=1"]
    assert main(["train", *words, *quick, "trainer.accelerator=cpu"]) == 0
    capsys.readouterr()
    assert main(["eval", "last", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    metrics, usual = found["metrics"], found["baselines"]["training quantiles"]
    for name in ("quantile_loss", "coverage_80", "width_80", "mae"):
        each = [metrics[f"test/{name}/{target}"] for target in "yz"]
        assert metrics[f"test/{name}"] == pytest.approx(np.mean(each))
    assert usual["width_80/z"] > 30 * usual["width_80/y"]
    assert main(["predict", "last", "t.csv", "--output", "p.csv"]) == 0
    with Path("p.csv").open() as file:
        row = next(csv.DictReader(file))
    assert row["prediction_z"] == row["prediction_z_q0.5"]
    assert float(row["prediction_y_q0.1"]) <= float(row["prediction_y_q0.9"])
    assert main(["predict", "last", "t.csv"]) == 0
    assert "  y " in (said := capsys.readouterr().out) and "(0.1: " in said


def test_quantiles_of_several_series_have_the_scale_of_each(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    drawn_values = np.random.default_rng(1).standard_normal((60, 2)) * [1, 1000]
    rows = [f"{s},{y}\n" for pair in drawn_values for s, y in zip("ab", pair, strict=True)]
    Path("s.csv").write_text("store,y\n" + "".join(rows))
    words = ["dataset=series", "dataset.path=s.csv", "dataset.target=y", "dataset.series=store"]
    quick = ["model=mlp", "model.hidden=[4]", "loss=quantile", "tracking.tensorboard=false"]
    assert main(["train", *words, *quick, "trainer.max_epochs=1", "trainer.accelerator=cpu"]) == 0
    capsys.readouterr()
    assert main(["eval", "last", "--json"]) == 0
    usual = json.loads(capsys.readouterr().out)["baselines"]["training quantiles"]
    assert 0.5 < usual["coverage_80"] < 1 and 500 < usual["width_80"] < 2500
    assert main(["predict", "last", "s.csv", "--output", "p.json"]) == 0
    widths = {
        record["series"]: record["quantiles"]["0.9"][0] - record["quantiles"]["0.1"][0]
        for record in json.loads(Path("p.json").read_text())
    }
    assert widths["b"] > 100 * widths["a"]
