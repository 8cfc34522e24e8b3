"""The setting `metrics` of a run: what it adds, what is refused, and metrics of the user's own."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dlrun.cli import main
from dlrun.config.chosen_metrics import check_choices
from dlrun.config.metrics import TOP_K
from dlrun.data.arrays.scaling import Scaling
from dlrun.data.base import Spec
from dlrun.data.loaders import Split
from dlrun.errors import RunFailed
from dlrun.storage.run_directory import RunDirectory, read_metrics
from dlrun.training.metrics.chosen import ChosenMetrics, own_metrics
from dlrun.training.tasks import make_task, suited
from losses import loss

OWN = """
import torch

def cost(predictions, targets, *, miss: float = 1.0):
    assert predictions.dtype == torch.float64 and not predictions.is_cuda
    return miss * (predictions.argmax(1) != targets).double().mean()

class Distance:
    def __init__(self, *, power: float) -> None:
        self.power = power

    def __call__(self, predictions, targets):
        assert targets.abs().mean() > 10  # in their own units
        return ((predictions - targets).abs() ** self.power).mean().item() ** (1 / self.power)

def words(predictions, targets):
    return "good"

def each(predictions, targets):
    return predictions.mean(0)

def later(predictions, targets):
    if predictions.std() > 0:
        raise KeyError("later")
    return 1
"""
TRAIN = ("train", "trainer.max_epochs=2", "trainer.num_threads=1", "trainer.accelerator=cpu",
         "tracking.tensorboard=false", "hydra.run.dir=run", "model=logistic")  # fmt: skip
SERIES = ("dataset=series", "dataset.path=s.csv", "dataset.target=y", "dataset.horizon=2",
          "dataset.window=3", "dataset.val_fraction=0.2", "dataset.test_fraction=0.3")  # fmt: skip


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "mymetrics.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "mymetrics", raising=False)
    return tmp_path


@pytest.fixture
def refused(project, capsys):
    def run(*words):
        assert main([*TRAIN, *words]) == 2
        return capsys.readouterr().err

    return run


def summary(path="run"):
    return RunDirectory(Path(path)).read_summary()


def measured(capsys, *words):
    capsys.readouterr()
    assert main(["eval", "run", "--json", *words]) == 0
    return json.loads(capsys.readouterr().out)


def task_and_spec(kind, outputs, names=()):
    classes = {"binary": 2, "multiclass": outputs}.get(kind, 0)
    labels = ("no", "yes") * outputs if kind == "multilabel" else ()
    class_names = tuple(map(str, range(classes)))
    spec = Spec(kind, "features", (2,), outputs, class_names, target_names=names, labels=labels)
    scale = outputs if kind == "regression" else 0
    preprocessing = Scaling([0.0], [1.0], [3.0] * scale, [2.0] * scale, 0.0)
    return make_task(spec, suited(loss(), spec), preprocessing), spec, preprocessing


@pytest.mark.parametrize(
    ("kind", "outputs", "names"),
    [
        ("binary", 1, ()),
        ("multiclass", 3, ()),
        ("multilabel", 2, ("a", "b/c")),
        ("regression", 1, ()),
        ("regression", 2, ("a", "b/c")),
    ],
)
def test_all_metrics_that_a_task_declares_are_measured_and_no_others(kind, outputs, names):
    task, spec, preprocessing = task_and_spec(kind, outputs, names)
    every = [{TOP_K: "top_2_accuracy"}.get(n, n) for n in task.declared.optional]
    every += [name for name in task.declared.at_the_end if "/" not in name]
    every = check_choices([*every, "loss"])
    chosen = ChosenMetrics(every, (), task, spec, preprocessing)
    scores = torch.randn(2, 20, outputs)
    targets = {
        "multiclass": torch.arange(20) % 3,
        "binary": torch.arange(20) % 2.0,
        "multilabel": torch.rand(20, 2).round(),
        "regression": torch.randn(20, outputs),
    }[kind]
    part = Split(targets, targets, naive=torch.ones(20, outputs, dtype=torch.float64))
    first, second = chosen.measure_each(scores, [chosen.truth(part)])
    assert {*first} == {*second} == {*chosen.declared.chosen}
    assert "loss" not in first  # measured anyway
    assert chosen.measure(scores[1], chosen.truth(part)) == pytest.approx(second, nan_ok=True)
    usual = task.final_metrics(scores[0], targets)
    shared = {*usual} & {*first}
    assert {n: first[n] for n in shared} == pytest.approx({n: usual[n] for n in shared})


def test_chosen_metrics_are_logged_at_every_evaluation_monitored_and_tested(project, capsys):
    words = ("dataset=iris", "metrics=[macro_f1,mcc,top_2_accuracy,f1]", "trainer.monitor=val/mcc")
    assert main([*TRAIN, *words]) == 0
    points = [point for point in read_metrics(RunDirectory(Path("run"))) if "val/mcc" in point]
    assert len(points) == 2 and all("val/f1" in point for point in points)
    assert not any(name == "train/mcc" for point in points for name in point)
    found = summary()
    assert found["mode"] == "max" and found["directions"]["mcc"] == "max"
    assert found["best"]["metrics"]["val/mcc"] == max(point["val/mcc"] for point in points)
    again = measured(capsys)["metrics"]
    assert again["test/top_2_accuracy"] == found["final"]["test/top_2_accuracy"]
    assert [row["name"] for row in found["per_class"]] == ["setosa", "versicolor", "virginica"]


def test_a_function_of_the_users_own_gets_probabilities_and_class_numbers(project, capsys):
    own = "{_target_:mymetrics.cost,direction:min,name:price,miss:2}"
    words = ("dataset=iris", f"metrics=[{own}]", "trainer.monitor=val/price")
    assert main([*TRAIN, *words]) == 0
    found = summary()
    assert (found["mode"], found["directions"]["price"]) == ("min", "min")
    wrong = 1 - found["final"]["test/accuracy"]
    assert found["final"]["test/price"] == pytest.approx(2 * wrong)
    assert main(["resume", "run", "trainer.max_epochs=3", "--allow", "mymetrics.cost"]) == 0
    assert main(["eval", "run"]) == 2
    assert "--allow mymetrics.cost" in capsys.readouterr().err


def test_a_class_of_the_users_own_gets_values_in_their_own_units(project, capsys):
    own = "{_target_: mymetrics.Distance, power: 2.0, direction: min, name: far}"
    Path("configs/experiment").mkdir(parents=True)
    Path("configs/experiment/mine.yaml").write_text(
        f"# @package _global_\ndefaults:\n  - override /dataset: diabetes\nmetrics:\n  - {own}\n  - smape\n"
    )
    assert main([*TRAIN, "experiment=mine"]) == 0
    final = measured(capsys)["metrics"]  # a config of the folder offers it
    assert final["test/far"] == pytest.approx(final["test/rmse"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["metrics=[makro_f1]"], "metrics[0] is makro_f1, which is no metric; did you mean macro_f1?"),
        (["metrics=[mcc,mcc]"], "metrics[1] is mcc, as metrics[0] is already: leave one out"),
        (["metrics=mcc"], "as in metrics=[mcc]"),
        (["metrics=[mape]"], "metrics[0] is mape, but the data set has 3 classes; choose from: accuracy"),
        (["metrics=[top_3_accuracy]"], "with 3 classes it is always 1"),
        (["metrics=[{direction:min}]"], "metrics[0] has no _target_: name a function"),
        (["metrics=[{_target_:mymetrics.cost}]"], "metrics[0].direction is missing"),
        (["metrics=[{_target_:mymetrics.cost,direction:min,name:f1}]"], "a metric of dlrun's own"),
        (["metrics=[{_target_:mymetrics.cost,direction:min,name:a/b}]"], "must consist of letters"),
        (["metrics=[{_target_:mymetrics.cost,direction:min,mis:1}]"], "did you mean miss?"),
        (["metrics=[{_target_:mymetrics.cost,direction:min,miss:much}]"], "miss is much, but must be a number"),
        (["metrics=[{_target_:mymetrics.words,direction:min}]"], "gave 'good', but must give one number"),
        (["metrics=[{_target_:mymetrics.each,direction:min}]"], "gave tensor([0.3333, 0.3333, 0.3333]"),
        (["metrics=[{_target_:mymetrics.Distance,power:1,direction:min}]"], "metrics[0], Distance, raised"),
        (["dataset=diabetes", "metrics=[mase]"], "error of a naive forecast of a series"),
        (["dataset=diabetes", "metrics=[coverage_80]"], "set loss=quantile"),
        (["trainer.monitor=val/makro_f1"], "did you mean val/macro_f1?"),
        (["trainer.monitor=val/mcc"], "add it to metrics, as in metrics=[mcc]"),
        (["trainer.monitor=train/mcc", "metrics=[mcc]"], "which this run does not log"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(refused, words, message):
    said = refused(*([] if words[0].startswith("dataset") else ["dataset=iris"]), *words)
    assert message in said and said.count("\n") == 1
    assert not Path("run").exists()


def test_mape_of_a_part_with_zeros_is_refused(refused):
    rows = "\n".join(f"{x},{x % 20}" for x in range(200))
    Path("t.csv").write_text(f"x,y\n{rows}\n")
    words = ("dataset=csv", "dataset.path=t.csv", "dataset.target=y", "dataset.task=regression")
    said = refused(*words, "metrics=[mape]")
    assert "some of the val part are 0: use smape or mae" in said


def test_a_metric_of_the_users_own_that_fails_later_ends_that_model_alone(project):
    task, spec, preprocessing = task_and_spec("binary", 1)
    choices = check_choices([{"_target_": "mymetrics.later", "direction": "max"}, "mcc"])
    chosen = ChosenMetrics(choices, own_metrics(choices), task, spec, preprocessing)
    scores = torch.stack([torch.zeros(6, 1), torch.randn(6, 1)])
    good, bad = chosen.measure_each(scores, [torch.arange(6) % 2.0])
    assert good == {"mcc": 0.0, "later": 1.0}
    assert isinstance(bad, RunFailed) and "metrics[0], later, raised KeyError" in str(bad)


def naive_error(values, lag):
    return np.abs(values[lag:] - values[:-lag]).mean()


@pytest.mark.parametrize("season", ["null", 6])
def test_mase_divides_by_what_a_naive_forecast_errs_by_in_training(project, capsys, season):
    values = np.random.default_rng(0).standard_normal(70).cumsum() + 30
    Path("s.csv").write_text("y\n" + "".join(f"{value}\n" for value in values))
    words = (*SERIES, f"dataset.season={season}", "dataset.difference=1")
    assert main([*TRAIN, *words, "metrics=[mase,smape,mape]"]) == 0
    found = measured(capsys)["metrics"]
    trained = values[: round(0.8 * round(0.7 * 70))]
    naive = naive_error(trained, 1 if season == "null" else season)
    assert found["test/mase"] == pytest.approx(found["test/mae"] / naive)
    origins = measured(capsys, "--backtest", "2")["origins"]
    each = [origin["metrics"]["mase"] * origin["forecasts"] for origin in origins]
    assert sum(each) == pytest.approx(found["test/mase"] * sum(o["forecasts"] for o in origins))


def test_mase_of_several_series_divides_each_by_its_own(project, capsys):
    walk = np.random.default_rng(1).standard_normal(50).cumsum()
    series = {"a": walk, "b": 9 * walk}  # what is learned of one is true of the other
    rows = [f"{name},{value}" for name, values in series.items() for value in values]
    Path("s.csv").write_text("store,y\n" + "\n".join(rows) + "\n")
    assert main([*TRAIN, *SERIES, "dataset.series=store", "metrics=[mase]"]) == 0
    found = measured(capsys)["metrics"]
    error_of_a = found["test/mae"] / 5  # the mean of 1 and 9 times that
    assert found["test/mase"] == pytest.approx(error_of_a / naive_error(walk[:28], 1), rel=1e-5)
