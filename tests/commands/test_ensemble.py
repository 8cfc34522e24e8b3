"""`dlrun ensemble`: made of runs, and then used as one run."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from dlrun.cli import main
from dlrun.commands._ensemble_page import members_table
from dlrun.storage.run_directory import RunDirectory
from dlrun.storage.run_summary import RunSummary
from dlrun.storage.sweep_directory import SweepDirectory

QUICK = (
    "model=mlp", "model.hidden=[4]", "trainer.max_epochs=2", "trainer.accelerator=cpu",
    "tracking.tensorboard=false",
)  # fmt: skip
ROWS = np.random.default_rng(0).integers(0, 9, (60, 2))
SERIES = np.round(np.random.default_rng(0).standard_normal(80).cumsum() + 20, 3)


def write(path, head, rows):
    Path(path).write_text("\n".join([head, *(",".join(map(str, row)) for row in rows)]) + "\n")


def train(name, *words):
    assert main(["train", f"name={name}", *QUICK, *words]) == 0


def made(*words):
    """The directory of the ensemble of these words."""
    assert main(["ensemble", *words]) == 0
    return max(Path("outputs/runs").glob("*_ens_*"))


def asked(capsys, *words):
    capsys.readouterr()
    assert main([*words]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def refused(capsys, *words):
    capsys.readouterr()
    assert main([*words]) == 2
    return capsys.readouterr().err


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Runs of a table of classes, of which one leaves a column out, of numbers and of a series."""
    folder = tmp_path_factory.mktemp("ensembles")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write("t.csv", "a,b,kind", [(a, b, "high" if a + b > 8 else "low") for a, b in ROWS])
        write("n.csv", "a,b,price", [(a, b, a * b) for a, b in ROWS])
        write("s.csv", "y", [(value,) for value in SERIES])
        classes = ("dataset=table", "dataset.path=t.csv", "dataset.target=kind")
        train("one", *classes)
        train(
            "two",
            *classes,
            "seed=1",
            "dataset.split_seed=0",
            "dataset.drop=[b]",
            "model.hidden=[3]",
        )
        train("apart", *classes, "seed=2")
        numbers = ("dataset=table", "dataset.path=n.csv", "dataset.target=price")
        train("cheap", *numbers)
        train("dear", *numbers, "seed=1", "loss=mae")
        series = ("dataset=series", "dataset.path=s.csv", "dataset.target=y", "loss=quantile")
        train("near", *series, "dataset.horizon=2", "dataset.window=4")
        train("far", *series, "dataset.horizon=2", "dataset.window=9", "dataset.difference=1")
    return folder


@pytest.fixture
def here(project, monkeypatch):
    monkeypatch.chdir(project)
    yield project
    for ensemble in Path("outputs/runs").glob("*_ens_*"):
        shutil.rmtree(ensemble)


def predicted(capsys, run, file):
    asked(capsys, "predict", str(run), file, "--output", "p.csv")
    with open("p.csv") as found:
        return [*csv.DictReader(found)]


def test_it_predicts_the_weighted_mean_of_what_its_members_predict(here, capsys):
    ensemble = made("_one_", "_two_", "--weights", "3,1", "--name", "ens")
    each = [predicted(capsys, name, "t.csv") for name in ("_one_", "_two_")]
    found = predicted(capsys, ensemble, "t.csv")
    chances = [np.array([float(row["p(high)"]) for row in rows]) for rows in (*each, found)]
    np.testing.assert_allclose(chances[2], 0.75 * chances[0] + 0.25 * chances[1], rtol=1e-6)
    assert [row["prediction"] == "high" for row in found] == [*(chances[2] > 0.5)]
    kept = asked(capsys, "predict", str(ensemble), "t.csv", "--keep", "kind", "--no-probabilities")
    assert len(kept.splitlines()) == 60 and "p(high)" not in kept


def test_it_is_measured_as_a_run_and_its_end_shows_each_member_and_their_mean(here, capsys):
    said = asked(capsys, "ensemble", "_one_", "_two_", "--name", "ens")
    ensemble = max(Path("outputs/runs").glob("*_ens_*"))
    found = json.loads(asked(capsys, "eval", str(ensemble), "--json"))
    summary = json.loads((ensemble / "summary.json").read_text())
    assert found["metrics"] == summary["final"] and summary["kind"] == "ensemble"
    members = [
        json.loads(asked(capsys, "eval", name, "--json"))["metrics"] for name in ("_one_", "_two_")
    ]
    assert [one["metrics"] for one in summary["members"]] == members
    for line in ("mean of members", "ensemble", "majority class (baseline)"):
        assert f"\n{line}" in said
    rows = predicted(capsys, ensemble, "t.csv")
    right = np.mean(
        [
            row["prediction"] == ("high" if a + b > 8 else "low")
            for row, (a, b) in zip(rows, ROWS, strict=True)
        ]
    )
    new = json.loads(asked(capsys, "eval", str(ensemble), "dataset.test_path=t.csv", "--json"))
    assert new["rows"] == 60 and new["metrics"]["test/accuracy"] == pytest.approx(right)


def test_it_is_listed_and_shown_as_a_run_and_outlives_its_members(here, capsys):
    copies = [
        Path(shutil.copytree(run, f"outputs/runs/copy{at}"))
        for at, run in enumerate(sorted(Path("outputs/runs").glob("*_[ot][nw][eo]_*")))
    ]
    ensemble = made("copy0", "copy1", "--name", "ens")
    before = asked(capsys, "eval", "last", "split=train")
    for copy in copies:
        shutil.rmtree(copy)
    assert asked(capsys, "eval", "last", "split=train") == before
    assert "completed" in asked(capsys, "runs", "--filter", "name=ens")
    page = asked(capsys, "show", str(ensemble))
    assert "copy1" in page and "dlrun predict" in page


def test_rows_that_a_member_was_trained_on_are_left_out(here, capsys):
    ensemble = made("_one_", "_apart_", "--name", "ens")
    capsys.readouterr()
    found = json.loads(asked(capsys, "eval", str(ensemble), "--json"))
    assert 0 < found["rows"] < 12  # of 12 in the test part of each


def test_numbers_are_averaged_in_their_own_units(here, capsys):
    ensemble = made("_cheap_", "_dear_", "--name", "ens", "--no-test")
    each = [predicted(capsys, name, "n.csv") for name in ("_cheap_", "_dear_", str(ensemble))]
    first, second, mean = ([float(row["prediction"]) for row in rows] for rows in each)
    np.testing.assert_allclose(mean, np.mean([first, second], 0), rtol=1e-6)
    found = json.loads(asked(capsys, "eval", str(ensemble), "dataset.test_path=n.csv", "--json"))
    error = np.abs(np.array(mean) - ROWS.prod(1)).mean()
    assert found["metrics"]["test/mae"] == pytest.approx(error, rel=1e-5)


def test_forecasts_and_their_quantiles_are_averaged_whatever_the_windows(here, capsys):
    ensemble = made("_near_", "_far_", "--name", "ens")
    each = [predicted(capsys, name, "s.csv") for name in ("_near_", "_far_", str(ensemble))]
    for column in ("y", "y_q0.1"):
        first, second, mean = ([float(row[column]) for row in rows] for rows in each)
        np.testing.assert_allclose(mean, np.mean([first, second], 0), rtol=1e-6)
    found = json.loads(asked(capsys, "eval", str(ensemble), "--json"))
    assert "persistence" in found["baselines"] and "test/coverage_80" in found["metrics"]
    assert "forecast changes from different values" in refused(
        capsys, "export", str(ensemble), "--format", "torch_export"
    )


@pytest.mark.slow
def test_members_that_prepare_inputs_differently_are_exported_with_an_input_each(here, capsys):
    ensemble = made("_one_", "_two_", "_apart_", "--name", "ens", "--no-test")
    said = asked(capsys, "export", str(ensemble), "--format", "torch_export")
    assert "inputs_1 batch×2" in said and "inputs_2 batch×1" in said
    about = json.loads((ensemble / "export" / "model.pt2.json").read_text())
    assert [len(one["mean"]) for one in about["preprocessing"].values()] == [2, 1, 2]
    assert [round(one["share"], 2) for one in about["members"]] == [0.33] * 3


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["_one_", "_one_"], "is given twice"),
        (["_one_"], "needs at least 2"),
        (["_one_", "_cheap_"], "as their tasks differ: binary and regression"),
        (["_near_", "_cheap_"], "as their kinds of data differ"),
        (["_one_", "_two_", "--weights", "1"], "there are 2 members"),
        (["_one_", "_two_", "--weights", "1,0"], "must be positive numbers"),
        (["_one_", "_two_", "--best", "1"], "--best chooses among the trials of a sweep"),
        (["_one_", "_two_", "--name", "a/b"], "names a folder"),
    ],
)
def test_what_cannot_be_one_is_refused(here, capsys, words, reason):
    before = [*Path("outputs/runs").iterdir()]
    assert reason in refused(capsys, "ensemble", *words)
    assert [*Path("outputs/runs").iterdir()] == before


def test_it_is_no_run_for_what_trains_and_its_weights_are_one_set(here, capsys):
    ensemble = str(made("_one_", "_two_", "--name", "ens", "--no-test"))
    for words in (["resume", ensemble], ["summary", ensemble], ["ensemble", ensemble, "_one_"]):
        assert "is an ensemble" in refused(capsys, *words)
    assert "one set of weights" in refused(capsys, "eval", ensemble, "checkpoint=best")
    assert "leave it out" in refused(capsys, "eval", ensemble, "--backtest", "2")


DAMAGED = (
    "members: 3", "members: []", "[1]", "members: [{name: a, share: 2.0, checkpoint: best}]", "members: [a",
    "members: [{name: a, share: 1.0, checkpoint: ../best}]", "members: [{name: a, share: .nan, checkpoint: best}]",
)  # fmt: skip


def test_a_damaged_one_is_refused_in_a_line(here, capsys):
    ensemble = made("_one_", "_two_", "--name", "ens", "--no-test")
    for content in DAMAGED:
        (ensemble / "ensemble.yaml").write_text(content)
        said = refused(capsys, "eval", str(ensemble))
        assert "does not describe an ensemble" in said and said.count("\n") == 1


def test_a_member_may_not_name_code_of_its_own(here, capsys):
    ensemble = made("_one_", "_two_", "--name", "ens", "--no-test")
    config = ensemble / "members" / "1" / "config.yaml"
    plain = yaml.safe_load(config.read_text())
    plain["model"] = {"_target_": "os.system", "command": "true"}
    config.write_text(yaml.safe_dump(plain))
    assert "os.system" in refused(capsys, "predict", str(ensemble), "t.csv")


def test_the_members_of_a_sweep_are_its_completed_trials_the_best_or_the_seeds_of_one(here):
    (run,) = Path("outputs/runs").glob("*_one_*")
    sweep = SweepDirectory(Path("outputs/sweeps/some"))
    sweep.write({"space": {"x": "1,2"}, "objective": "val/loss", "direction": "minimize"})
    losses = {"0/seed0": 3.0, "0/seed1": 1.0, "1/seed0": 4.0, "1/seed1": 2.0, "2/seed0": 0.0}
    for name, loss in losses.items():
        trial = RunDirectory(shutil.copytree(run, sweep.path / name))
        status = "failed" if name.startswith("2") else "completed"
        best = {"best": {"metrics": {"val/loss": loss}}, "status": status}
        trial.write_summary({**(trial.read_summary() or {}), **best})

    def members(*words):
        ensemble = made(*words, "--name", "ens", "--no-test")
        found = yaml.safe_load((ensemble / "ensemble.yaml").read_text())["members"]
        shutil.rmtree(ensemble)
        return [one["name"].partition("/")[2] for one in found]

    assert members("some") == ["0/seed0", "0/seed1", "1/seed0", "1/seed1"]
    assert members("some/1") == ["1/seed0", "1/seed1"]
    assert members("some", "--best", "2") == ["0/seed1", "1/seed1"]
    shutil.rmtree("outputs/sweeps")


def test_texts_are_continued_by_the_mean_of_next_characters(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    letters = "".join(np.random.default_rng(0).choice([*"abcd \n"], 300))
    Path("text.txt").write_text(letters)
    words = ("dataset=char_lm", "dataset.path=text.txt", "dataset.window=7", "model=char_lstm", "model.hidden_size=4",
             "model.embedding_size=4", "trainer.batch_size=3", "trainer.max_epochs=1",
             "tracking.tensorboard=false")  # fmt: skip
    for name, seed in (("some", 0), ("other", 1)):
        assert main(["train", f"name={name}", f"seed={seed}", *words]) == 0
    ensemble = made("some", "other", "--name", "ens")
    found = json.loads((ensemble / "summary.json").read_text())
    members = [one["metrics"]["test/bits"] for one in found["members"]]
    assert found["final"]["test/bits"] < np.mean(
        members
    )  # the mean of logarithms is less than that of the mean
    text = asked(capsys, "generate", str(ensemble), "--prompt", "ab", "--length", "5")
    assert text.startswith("ab")
    assert asked(capsys, "generate", str(ensemble), "--prompt", "ab", "--length", "5") == text


def test_it_decides_by_a_threshold_of_its_own(here, capsys):
    ensemble = made("_one_", "_two_", "--name", "ens", "--no-test")
    asked(capsys, "eval", str(ensemble), "--threshold", "0.9")
    rows = predicted(capsys, ensemble, "t.csv")
    second = [*rows[0]][-1].removeprefix("p(").removesuffix(")")  # the class that comes last
    assert [row["prediction"] == second for row in rows] == [
        float(row[f"p({second})"]) > 0.9 for row in rows
    ]
    asked(capsys, "eval", str(ensemble), "--threshold", "none")
    assert predicted(capsys, ensemble, "t.csv") != rows


def test_a_metric_that_one_member_lacks_has_no_mean_of_members() -> None:
    metrics = ({"test/accuracy": 0.5, "test/mcc": 0.25}, {"test/accuracy": 0.7})
    members = [{"name": f"m{n}", "metrics": values} for n, values in enumerate(metrics)]
    table = members_table(RunSummary(Path("run"), "completed", {"members": members}))
    (mean,) = (line for line in table.splitlines() if line.startswith("mean of members"))
    assert mean.split()[-1] == "-" and "0.6 ±" in mean
