"""By what the trials of a sweep are compared, where what is swept changes what a loss means, or what is asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from scratch import Look, Result

from dlrun.storage.sweep_directory import SweepDirectory
from dlrun.sweep.report.page import page
from dlrun.sweep.report.sections import Contents
from dlrun.sweep.snapshot import take

Dlrun = Callable[..., Result]
Looks = Callable[..., Look]

SERIES = "dataset=synthetic_series model=linear"
DIABETES = "dataset=diabetes model=linear"
IRIS = "dataset=iris model=logistic"
TIPS = "dataset=csv dataset.infer=[] model=linear"
POINTS = "model=logistic"
QUICK = ("trainer.max_epochs=2", "tracking.tensorboard=false", "trainer.accelerator=cpu")


def question(dlrun: Dlrun, words: str) -> tuple[str, str]:
    """What a sweep of these words would aim at, and what is said of it."""
    result = dlrun("train", "-m", *words.split(), "--dry-run")
    assert result.code == 0, result.err
    return result.out.splitlines()[0].partition("; ")[2], result.err


@pytest.mark.parametrize(
    ("words", "objective", "keys"),
    [
        (f"{SERIES} dataset.difference=0,1 dataset.seasonal_difference=null,12 dataset.window=6,12",
         "minimize val/rmse",
         "dataset.difference, dataset.seasonal_difference and dataset.window change"),
        (f"{DIABETES} loss=mse,mae seed=0,1", "minimize val/rmse", "loss and seed change"),
        (f"{DIABETES} loss=mse,quantile", "minimize val/rmse", "loss changes"),
        (f"{IRIS} trainer.monitor=train/loss loss.label_smoothing=0,0.1", "maximize train/accuracy",
         "loss.label_smoothing changes"),
    ],
)  # fmt: skip
def test_where_the_loss_changes_its_unit_a_metric_in_the_targets_own_units_counts(
    words: str, objective: str, keys: str, dlrun: Dlrun
) -> None:
    aim, said = question(dlrun, words)
    assert aim == objective
    assert said.startswith(f"dlrun: the objective is {objective.split()[1]} and not ")
    assert f": {keys} the unit of " in said and said.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        f"{SERIES} dataset.normalize=standard,none",  # of the inputs: targets are scaled all the same
        f"{IRIS} loss.label_smoothing=0,0.1 loss.reduction=mean,sum seed=0,1",  # of training alone
        f"{TIPS} dataset.drop=[],[sex] optimizer.lr=0.1,0.01",
    ],
)
def test_where_it_keeps_its_unit_the_loss_counts(words: str, dlrun: Dlrun) -> None:
    assert question(dlrun, words) == ("minimize val/loss", "")


def test_blocks_of_a_text_are_compared_though_some_lack_a_rare_character(dlrun: Dlrun) -> None:
    words = (
        "dataset=char_lm model=char_gru dataset.folds=3 dataset.test_fraction=null dataset.fold=0,1"
    )
    aim, said = question(dlrun, words)
    assert aim == "minimize val/loss" and "unseen in training" in said


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (f"{POINTS} dataset=moons,circles", "dataset changes"),  # with the same labels
        (f"{POINTS} dataset=moons dataset.noise=0.1,0.4 dataset.size=100,200", "dataset.noise changes"),
        (f"{SERIES} dataset.horizon=1,3 dataset.noise=0.1,0.5", "dataset.horizon and dataset.noise change"),
        (f"{TIPS} dataset.target=tip,total_bill,smoker", "dataset.target changes"),
    ],
)  # fmt: skip
def test_where_the_question_changes_no_trial_is_the_best(
    words: str, keys: str, dlrun: Dlrun
) -> None:
    aim, said = question(dlrun, words)
    assert aim == "not compared"
    assert said.startswith(f"dlrun: {keys} the question (data set, target or horizon), so that ")
    assert "no trial is called the best" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "aim", "expected"),
    [
        (f"{SERIES} dataset.difference=0,1 sweep.objective=val/loss", "minimize val/loss",
         "its values cannot be compared; val/rmse can"),
        ("dataset=iris,wine model=logistic sweep.objective=test/accuracy", "maximize test/accuracy",
         "may only mean an easier question"),
        (f"{IRIS} optimizer.lr=0.1,0.2 sweep.direction=maximize", "maximize val/loss",
         "sweep.direction asks for the highest val/loss, though lower is better"),
    ],
)  # fmt: skip
def test_what_is_asked_for_is_done_with_a_warning(
    words: str, aim: str, expected: str, dlrun: Dlrun
) -> None:
    found, said = question(dlrun, words)
    assert found == aim
    assert expected in said and said.count("\n") == 1


@pytest.mark.parametrize("words", ["sweep.pruner=median", "sweep=tpe sweep.trials=20"])
def test_a_search_by_results_that_cannot_be_compared_is_refused(words: str, dlrun: Dlrun) -> None:
    result = dlrun("train", "-m", "dataset=iris,wine", "model=logistic", *words.split())
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert (
        "results cannot be compared, but sweep._target_ or sweep.pruner goes by them" in result.err
    )


def test_cases_count_by_what_they_set(dlrun: Dlrun, project: Path) -> None:
    option = {
        "defaults": ["grid@sweep"],
        "sweep": {
            "space": {
                "told": {"values": {"dataset.difference": 0}, "changes": {"dataset.difference": 1}}
            }
        },
    }
    folder = project / "configs/sweep"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "told.yaml").write_text("# @package _global_\n" + yaml.safe_dump(option))
    aim, said = question(dlrun, f"{SERIES} sweep=told")
    assert aim == "minimize val/rmse"
    assert "told changes the unit of val/loss" in said


def test_a_sweep_without_a_best_says_so_wherever_it_is_looked_at(
    dlrun: Dlrun, project: Path
) -> None:
    where = "hydra.sweep.dir=sweep"
    words = ("train", "-m", "dataset=wine,iris", "model=logistic", *QUICK, where)
    result = dlrun(*words)
    assert result.code == 0
    assert "none is the best: the trials have different data or targets" in result.out
    assert "\nbest:" not in result.out and "best so far" not in result.out
    assert not (project / "sweep/best.yaml").exists()
    board = (project / "sweep/leaderboard.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in board[1:]] == [["", "0"], ["", "1"]]
    rows = dlrun("runs", "sweep").out.splitlines()
    assert [row.split()[0] for row in rows if row[:1].isdigit()][:2] == ["0", "1"]
    shown = dlrun("show", "sweep").out
    assert "none is the best" in shown and "minimize" not in shown and "best first" not in shown
    snapshot = take(SweepDirectory(project / "sweep"))
    report = page(snapshot, [])
    assert "No best trial" in report and 'class="winner"' not in report
    sections = {section.kind: section for section in Contents(snapshot).sections()}
    assert sections["curves"].panels and not sections["history"].panels
    assert "different data or targets" in sections["importance"].caption
    again = dlrun("resume", "sweep")  # settled once: nothing more is said of it
    assert (again.code, again.err) == (0, "")


def test_the_row_of_a_sweep_among_runs_is_of_the_trial_that_its_objective_names(
    dlrun: Dlrun, look: Looks
) -> None:
    words = (*SERIES.split(), *QUICK, "dataset.difference=0,1", "trainer.num_threads=1")
    result = dlrun("train", "-m", *words, "hydra.sweep.dir=outputs/sweeps/changes")
    assert result.code == 0
    trials = look("outputs/sweeps/changes").trials
    rmse = min(trial.user_attrs["metrics"]["val/rmse"] for trial in trials)
    assert min(trial.value for trial in trials) == pytest.approx(rmse)
    best = min(trials, key=lambda trial: trial.value)
    shown = dlrun("runs").out
    assert "val/rmse" in shown and "val/loss" not in shown
    row = next(line for line in shown.splitlines() if line.startswith("changes"))
    assert f"{best.user_attrs['metrics']['test/rmse']:.4f}" in row
