"""Trials that fail, workers that die, signals: what a sweep makes of them and what it says."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from multiprocessing.process import BaseProcess

import pytest
from scratch import JOBLIB, QUICK, Look, Result, wait_for

Dlrun = Callable[..., Result]
Looks = Callable[..., Look]

TRAIN = ("train", "-m", *QUICK, "hydra.sweep.dir=sweep")


# Trials that fail.


def test_a_failed_trial_is_recorded_with_its_traceback_and_the_sweep_goes_on(
    sweep: Dlrun, look: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAISE", "13")
    result = sweep("model.width=4,13,20", "optimizer.lr=0.1,0.2")
    assert (result.code, result.err) == (1, "")
    assert look().states == ["complete"] * 2 + ["fail"] * 2 + ["complete"] * 2

    summary = look().summary(2)
    assert summary["status"] == "failed"
    assert summary["error"] == {"kind": "IndexError", "message": "width 13 has a bug", "step": 0}
    assert summary["swept"] == {"model.width": "13", "optimizer.lr": "0.1"}
    assert "Traceback (most recent call last)" in look().log(2)
    assert "IndexError: width 13 has a bug" in look().log(2)
    assert "Traceback" not in look().log(4)

    assert "6 of 6 done, 2 failed" in result.out
    for trial, lr in ((2, "0.1"), (3, "0.2")):
        setting = f"model.width=13 optimizer.lr={lr}"
        said = f"failed: trial {trial} ({setting}): IndexError: width 13 has a bug"
        assert f"{said}; see sweep/{trial}/train.log\n" in result.out
    failed = [row for row in look().rows if row["status"] == "failed"]
    assert [(row["trial"], row["rank"], row["val/loss"], row["error"]) for row in failed] == [
        ("2", "", "", "IndexError: width 13 has a bug"),
        ("3", "", "", "IndexError: width 13 has a bug"),
    ]
    assert [row["status"] for row in look().rows] == ["completed"] * 4 + ["failed"] * 2


def test_a_diverged_trial_has_failed_and_is_never_the_best(sweep: Dlrun, look: Looks) -> None:
    result = sweep("optimizer.lr=0.1,1e30", "sweep.direction=maximize")
    assert result.code == 1
    assert look().states == ["complete", "fail"]
    assert look().summary(1)["error"]["kind"] == "Diverged"
    assert "the loss is not a finite number" in look().rows[1]["error"]
    assert "best: trial 0" in result.out


@pytest.mark.parametrize("widths", ["4,13,20", "13,20", "4,13"])
def test_a_model_that_raises_as_it_is_built_fails_its_own_trials(
    widths: str, sweep: Dlrun, look: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAISE_AT_BIRTH", "13")
    assert sweep(f"model.width={widths}").code == 1
    trial = widths.split(",").index("13")
    assert look().states.count("fail") == 1
    summary = look().summary(trial)
    assert (summary["status"], summary["choices"]["model"]) == ("failed", "net")
    assert summary["error"]["message"] == "no weights of width 13 today"
    assert "faulty.py" in look().log(trial)
    assert look().config(trial)["model"]["width"] == 13


def test_a_model_that_is_never_built_ends_the_sweep_before_its_first_trial(
    sweep: Dlrun, look: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAISE_AT_BIRTH", "all")
    result = sweep("model.width=4,13")
    assert result.code == 1
    assert "RuntimeError: no weights of width 4 today" in result.err
    assert not look().path.exists()


def test_values_that_are_refused_only_together_fail_their_trial(
    sweep: Dlrun, look: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEEDS_BIAS", "13")
    assert sweep("model.width=4,13", "model.bias=true,false").code == 1
    assert look().states == ["complete"] * 3 + ["fail"]
    assert look().summary(3)["error"]["kind"] == "ConfigError"
    assert look().rows[3]["error"] == "model: a width of 13 needs a bias"
    assert "a width of 13 needs a bias" in look().log(3)


def test_a_failing_seed_fails_the_whole_trial(
    sweep: Dlrun, look: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAISE", "13")
    assert sweep("sweep.seeds=2", "model.width=4,13").code == 1
    assert look().states == ["complete", "fail"]
    assert look().summary("1/seed0")["status"] == "failed"
    assert not look().run("1/seed1").path.exists()


def test_all_trials_may_fail(
    sweep: Dlrun, look: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setenv("RAISE", "all")
    result = sweep("model.width=1,2,3,4,5,6,7,8")
    assert (result.code, result.err) == (1, "")
    assert "8 of 8 done, 8 failed" in result.out
    assert "failed: 3 more" in result.out
    assert "best:" not in result.out
    assert not (look().path / "best.yaml").exists()
    assert [row["status"] for row in look().rows] == ["failed"] * 8


def test_fail_fast_stops_at_the_first_failure_and_a_resume_goes_on_from_there(
    sweep: Dlrun, dlrun: Dlrun, look: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAISE", "13,20")
    result = sweep("sweep.fail_fast=true", "model.width=4,13,8,20,6")
    assert result.code == 1
    assert look().states == ["complete", "fail"]
    assert "2 of 5 done, 1 failed" in result.out
    assert "stopped at a failed trial" in result.out
    assert "continue with `dlrun resume sweep`" in result.out

    result = dlrun("resume", "sweep")
    assert result.code == 1
    assert look().states == ["complete", "fail", "complete", "fail"]

    assert dlrun("resume", "sweep").code == 1
    assert look().states == ["complete", "fail", "complete", "fail", "complete"]

    result = dlrun("resume", "sweep")
    assert result.code == 1
    assert "nothing was left to train" in result.out
    assert "sweep.trials" not in result.out  # a complete grid has no more to add


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [JOBLIB, ("hydra/launcher=submitit_local",)])
def test_fail_fast_stops_several_processes_too(
    launcher: tuple[str, ...], away: Dlrun, look: Looks
) -> None:
    words = ("model.width=13,4,5,6,7,8", "sweep.fail_fast=true", *launcher)
    assert away(*TRAIN, *words, RAISE="13", PAUSE="0.2").code == 1
    assert look().states[0] == "fail"
    assert "waiting" in look().states
    result = away("resume", "sweep", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert result.code == 1
    assert look().states == ["fail"] + ["complete"] * 5


# Workers that end without an error message.


@pytest.mark.slow
def test_a_worker_that_dies_costs_its_own_trial_alone(away: Dlrun, look: Looks) -> None:
    result = away(
        *TRAIN, "model.width=4,13", "checkpoint.every_steps=1", *JOBLIB, SIGKILL="13", AT_STEP="3"
    )
    assert result.code == 1, result.err
    assert look().states == ["complete", "fail"]
    assert "its process ended twice without an error message" in look().rows[1]["error"]
    assert "failed: trial 1 (model.width=13): its process ended" in result.out
    assert "2 of 2 done, 1 failed" in result.out
    assert look().starts(1) == [0, 2]  # its second chance went on from the checkpoint
    assert_trained_once(look(), 0)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [JOBLIB, ("hydra/launcher=submitit_local",)])
def test_a_process_killed_once_costs_nothing(
    launcher: tuple[str, ...], away: Dlrun, look: Looks
) -> None:
    words = ("model.width=4,13,21", "checkpoint.every_steps=1", *launcher)
    result = away(*TRAIN, *words, SIGKILL_ONCE="13", AT_STEP="3")
    assert (result.code, result.err) == (0, "")
    assert look().states == ["complete"] * 3
    assert look().starts(1) == [0, 2]
    for trial in range(3):
        assert_trained_once(look(), trial)


@pytest.mark.slow
def test_a_job_that_dies_costs_its_own_trial_alone(away: Dlrun, look: Looks) -> None:
    words = ("model.width=4,13", "checkpoint.every_steps=1", "hydra/launcher=submitit_local")
    assert away(*TRAIN, *words, SIGKILL="13", AT_STEP="3").code == 1
    assert look().states == ["complete", "fail"]
    assert look().starts(1) == [0, 2]
    assert_trained_once(look(), 0)


def assert_trained_once(look: Look, trial: int) -> None:
    assert [point["step"] for point in look.points(trial)] == [3, 6, 6]
    assert look.log(trial).count(" INFO completed\n") == 1


# Signals.


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_in_a_trial_saves_it_and_says_how_to_go_on(
    name: str, code: int, away: Dlrun, sweep: Dlrun, look: Looks
) -> None:
    words = ("model.width=4,13,20", "trainer.eval_every_steps=2")
    assert sweep(*words, "hydra.sweep.dir=whole").code == 0
    result = away(*TRAIN, *words, AT_STEP="3", **{name: "13"})
    assert result.code == code
    assert result.err == (
        "dlrun: stopped with 1 of 3 done; continue with `dlrun resume sweep`\n"
    )  # fmt: skip
    assert look().states == ["complete", "running"]
    assert look().summary(1)["status"] == "stopped"
    assert [row["status"] for row in look().rows] == ["completed"]

    result = away("resume", "sweep")
    assert (result.code, result.err) == (0, "")
    assert look().starts(1) == [0, 3]
    assert_same_trials(look(), look("whole"))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_sweep_of_several_processes_which_a_resume_completes(
    number: signal.Signals,
    code: int,
    start: Callable[..., BaseProcess],
    away: Dlrun,
    look: Looks,
) -> None:
    process = start(*TRAIN, "model.width=4,13,20", *JOBLIB, PAUSE="0.2")
    wait_for(lambda: look().path.exists() and any(look().path.glob("*/metrics.jsonl")))
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == code
    result = away("resume", "sweep", "hydra/launcher=basic")
    assert (result.code, result.err) == (0, "")
    assert look().states == ["complete"] * 3


def assert_same_trials(look: Look, whole: Look) -> None:
    assert look.states == whole.states
    assert look.values == whole.values
    assert look.swept == whole.swept
    for number in whole.runs:
        assert look.points(number) == whole.points(number)
