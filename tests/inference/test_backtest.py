"""`dlrun eval --backtest`: against the test part as a whole, and against runs that are trained up to an origin."""

import json
from pathlib import Path

import numpy as np
import pytest

from dlrun.cli import main

QUICK = ("model=mlp", "model.hidden=[4]", "trainer.max_epochs=2", "trainer.accelerator=cpu",
         "tracking.tensorboard=false", "optimizer.lr=0.01")  # fmt: skip
SERIES = ("dataset=series", "dataset.path=s.csv", "dataset.target=y", "dataset.horizon=3",
          "dataset.val_fraction=0.2", "dataset.test_fraction=0.4", "dataset.season=6")  # fmt: skip
VALUES = np.round(np.random.default_rng(0).standard_normal(80).cumsum() + 20, 3)


def write(path, values):
    Path(path).write_text("y\n" + "".join(f"{value}\n" for value in values))


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("s.csv", VALUES)
    return tmp_path


def train(*words):
    assert main(["train", *SERIES, *QUICK, *words]) == 0


def measured(capsys, *words):
    capsys.readouterr()
    assert main(["eval", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_forecasts_of_all_origins_are_those_of_the_test_part(project, capsys):
    train("name=a", "loss=quantile")
    whole, found = measured(capsys, "a"), measured(capsys, "a", "--backtest", "4")
    counts = [origin["forecasts"] for origin in found["origins"]]
    assert sum(counts) == whole["rows"] == 30 and [*map(len, found["steps"])] == [2, 2, 2]
    for name in ("mae", "quantile_loss", "coverage_80"):
        each = [origin["metrics"][name] for origin in found["origins"]]
        assert np.average(each, weights=counts) == pytest.approx(whole["metrics"][f"test/{name}"])
        assert found["mean"][name] == pytest.approx(np.mean(each))
        assert found["spread"][name] == pytest.approx(np.std(each, ddof=1))
    for rule in ("persistence", "seasonal"):
        each = [origin["baselines"][rule]["mae"] for origin in found["origins"]]
        assert np.average(each, weights=counts) == pytest.approx(whole["baselines"][rule]["mae"])
    # By hand: two steps ahead, the value that is known at each origin.
    first, last = found["origins"][1]["rows"]
    origins = np.arange(first - 2, last - 3)
    error = np.abs(VALUES[origins + 2] - VALUES[origins]).mean()
    assert found["origins"][1]["baseline_steps"]["persistence"][1]["mae"] == pytest.approx(error)
    steps = [np.mean([origin["steps"][n]["mae"] for origin in found["origins"]]) for n in range(3)]
    assert [step["mean"]["mae"] for step in found["steps"]] == pytest.approx(steps)
    assert all(Path(file).read_bytes().startswith(b"\x89PNG") for file in found["pictures"])


def test_a_model_trained_anew_is_that_of_a_run_whose_file_ends_with_the_fold(project, capsys):
    train("name=a", "dataset.difference=1")
    found = measured(capsys, "a", "--backtest", "3", "--refit")
    for origin in found["origins"]:
        first, last = origin["rows"]
        assert origin["trained_rows"] == first - 1
        write("cut.csv", VALUES[:last])
        share = (last - first + 1) / last
        train(
            "name=b",
            "dataset.difference=1",
            "dataset.path=cut.csv",
            f"dataset.test_fraction={share}",
        )
        alone = measured(capsys, "last")["metrics"]
        assert origin["metrics"]["rmse"] == pytest.approx(alone["test/rmse"], rel=1e-6)
        assert origin["metrics"]["r2"] == pytest.approx(alone["test/r2"], rel=1e-6)


def test_a_backtest_is_shown_by_origin_and_by_step(project, capsys):
    train("name=a")
    capsys.readouterr()
    assert main(["eval", "a", "--backtest", "2", "--output", "pictures"]) == 0
    shown = capsys.readouterr().out
    heads = [line.split() for line in shown.splitlines()]
    assert ["1", "1-48", "49-65", "15"] in [words[:4] for words in heads]
    assert [words[0] for words in heads if words[:1] in (["mean"], ["±"])] == ["mean", "±"]
    assert sum(words[:1] == ["3"] for words in heads) == 1  # the last step
    assert (project / "pictures" / "y.png").is_file()
    assert "2 origins in the test part, best weights (epoch" in shown


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--backtest", "31"], "has 32 rows, for 30 forecasts of 3: ask for at most 30"),
        (["--backtest", "2", "split=train"], "split is train, but --backtest measures forecasts of rows that"),
        (["--backtest", "2", "dataset.test_path=s.csv"], "leave out dataset.test_path"),
        (["--backtest", "2", "--refit", "checkpoint=last"], "but --refit trains new models"),
        (["--refit"], "--refit belongs to --backtest: add --backtest 5, or leave it out"),
    ],
)  # fmt: skip
def test_what_has_no_origins_is_refused(words, expected, project, capsys):
    train("name=a")
    assert main(["eval", "a", *words]) == 2
    assert expected in capsys.readouterr().err


def test_rows_that_follow_no_time_have_no_backtest(project, capsys):
    assert main(["train", "dataset=iris", *QUICK, "name=a"]) == 0
    assert main(["eval", "a", "--backtest", "5"]) == 2
    said = "--backtest follows a series in time, but this run was trained on features; leave it out"
    assert said in capsys.readouterr().err


def test_origins_are_named_by_their_times_and_a_single_forecast_has_no_r2(project, capsys):
    months = [f"{2000 + n // 12}-{n % 12 + 1:02}" for n in range(80)]
    rows = (f"{month},{value}\n" for month, value in zip(months, VALUES, strict=True))
    Path("s.csv").write_text("month,y\n" + "".join(rows))
    train("name=a", "dataset.time=month", "dataset.horizon=1")
    found = measured(capsys, "a", "--backtest", "32")
    assert found["origins"][0]["times"] == [months[48], months[48]]
    assert found["origins"][0]["metrics"]["r2"] is found["mean"]["r2"] is None
    assert main(["eval", "a", "--backtest", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert " forecasts from " in lines[2] + lines[3]
    assert lines[4].split()[:4] == ["1", "1-48", months[48], months[63]]
