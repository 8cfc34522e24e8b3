"""Runs that are no better than what needs no model say so, wherever their result is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from dlrun.cli import main
from dlrun.runner.baseline_check import find_shortfall, shortfall_of
from dlrun.storage.run_summary import RunSummary
from dlrun.storage.sweep_directory import SweepDirectory
from dlrun.sweep.leaderboard import Row
from dlrun.sweep.repetitions import Repetitions
from dlrun.sweep.summary import Answer, warning

SERIES = {
    "training mean": {"rmse": 9.0, "mae": 1.0},
    "persistence": {"rmse": 3.0, "mae": 2.0},
    "seasonal": {"rmse": 4.0, "mae": 0.1},
}
TEXT = {"character frequencies": {"loss": 3.0, "bits": 4.3}, "pairs": {"loss": 2.4, "bits": 3.5}}
QUICK = ("trainer.num_threads=1", "trainer.accelerator=cpu", "tracking.tensorboard=false")


@pytest.mark.parametrize(
    ("metrics", "baselines", "said"),
    [
        ({"test/accuracy": 0.4}, {"majority class": {"accuracy": 0.5}},
         "test/accuracy 0.4 is worse than majority class (0.5), which needs no model"),
        ({"test/accuracy": 0.5}, {"majority class": {"accuracy": 0.5}},
         "test/accuracy 0.5 is no better than majority class (0.5), which needs no model"),
        ({"test/rmse": 3.5, "test/mae": 0.01}, SERIES,  # of several the best one counts, by rmse
         "test/rmse 3.5 is worse than persistence (3), which needs no model"),
        ({"test/bits": 3.9, "test/loss": 2.7, "test/accuracy": 0.0}, TEXT,
         "test/bits 3.9 is worse than pairs (3.5), which needs no model"),
        ({"test/rmse": float("nan")}, SERIES,
         "test/rmse nan is worse than persistence (3), which needs no model"),
        ({"val/rmse": 3.5}, SERIES,  # there is no test part
         "val/rmse 3.5 is worse than persistence (3), which needs no model"),
    ],
)  # fmt: skip
def test_what_a_baseline_reaches_as_well_is_named(
    metrics: Mapping[str, float], baselines: Mapping[str, Mapping[str, float]], said: str
) -> None:
    assert str(find_shortfall(metrics, baselines)) == said


@pytest.mark.parametrize(
    ("metrics", "baselines"),
    [
        ({"test/accuracy": 0.6, "val/accuracy": 0.1}, {"majority class": {"accuracy": 0.5}}),
        ({"test/rmse": 2.9, "test/mae": 7.0}, SERIES),
        ({"test/bits": 3.4}, TEXT),
        ({"test/accuracy": 0.1}, {}),  # a quick check on a few rows has no baselines
        ({}, SERIES),
    ],
)
def test_what_surpasses_its_baseline_is_not(
    metrics: Mapping[str, float], baselines: Mapping[str, Mapping[str, float]]
) -> None:
    assert find_shortfall(metrics, baselines) is None


def test_of_several_seeds_the_means_are_compared() -> None:
    runs = [
        RunSummary(
            Path(f"seed{value}"),
            "completed",
            {
                "final": {"test/accuracy": value},
                "baselines": {"majority class": {"accuracy": 0.5}},
            },
        )
        for value in (0.4, 0.7)
    ]
    assert shortfall_of(runs[:1]) is not None
    assert shortfall_of(runs) is None


def test_the_mean_of_all_repetitions_counts_where_nothing_else_is_swept(tmp_path: Path) -> None:
    sweep, trials = SweepDirectory(tmp_path), []
    for number, accuracy in enumerate((0.2, 0.7)):
        metrics = {"test/accuracy": accuracy}
        sweep.trial(number).mkdir()
        (sweep.trial(number) / "summary.json").write_text(
            json.dumps(
                {
                    "status": "completed",
                    "final": metrics,
                    "baselines": {"majority class": {"accuracy": 0.5}},
                }
            )
        )
        swept = {"seed": str(number)}
        trials.append(Row(number, "completed", 1.0, None, [], swept, 1.0, metrics, each=[metrics]))
    answer = Answer(trials, "val/loss", True, Repetitions({"seed": "0,1"}))
    assert warning(answer, sweep) == (
        "warning: their test/accuracy 0.45 is worse than majority class (0.5), which needs no model"
    )
    assert warning(replace(answer, comparable=False), sweep) == ""


def test_a_run_and_a_sweep_end_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A rate of next to nothing leaves the first weights, and a forecast of the mean."""
    monkeypatch.chdir(tmp_path)
    words = ("dataset=series", "model=linear", "trainer.max_epochs=1", *QUICK)
    assert main(["train", *words, "optimizer.lr=1e-9", "hydra.run.dir=run"]) == 0
    (line,) = (s for s in capsys.readouterr().out.splitlines() if s.startswith("warning"))
    assert (
        "is worse than persistence (52.49), which needs no model: try dataset.difference=1" in line
    )
    assert line.removeprefix("warning ").strip() in Path("run/train.log").read_text()
    summary = json.loads(Path("run/summary.json").read_text())
    below, baseline = summary["below_baseline"], summary["baselines"]["persistence"]["rmse"]
    assert (below["metric"], below["baseline"]) == ("test/rmse", "persistence")
    assert below["value"] > below["reference"] == pytest.approx(baseline)

    assert main(["eval", "run"]) == 0
    assert "  warning: test/rmse" in capsys.readouterr().out

    assert main(["train", "-m", *words, "optimizer.lr=1e-9,1e-8", "hydra.sweep.dir=sweep"]) == 0
    assert "  warning: its test/rmse" in capsys.readouterr().out
    assert main(["show", "sweep"]) == 0
    assert "warning: its test/rmse" in capsys.readouterr().out


def test_a_run_above_its_baseline_has_nothing_to_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("dataset=iris", "model=logistic", "optimizer.lr=0.1", "trainer.max_epochs=3", *QUICK)
    assert main(["train", *words, "hydra.run.dir=run"]) == 0
    assert "warning" not in capsys.readouterr().out
    assert json.loads(Path("run/summary.json").read_text())["below_baseline"] is None
