"""Ways out that a sweep finds or tells: of a deadly trial, of configs from elsewhere, of what is missing."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from scratch import QUICK, Look, Result

Dlrun = Callable[..., Result]
Looks = Callable[..., Look]
LR = "optimizer.lr=interval(0.1,0.2)"


def test_a_trial_that_kills_the_process_is_put_last_and_in_the_end_recorded(
    away: Dlrun, look: Looks
) -> None:
    words = ("train", "-m", *QUICK, "model.width=13,4,8", "hydra.sweep.dir=sweep")
    assert away(*words, SIGKILL="13").code == -signal.SIGKILL
    states = []
    for _ in range(4):
        code = away("resume", "sweep", SIGKILL="13").code
        states.append((code, look().states))
    waiting = ["running", "complete", "complete"]
    assert states[1] == (-signal.SIGKILL, waiting)  # in the second go the others had their turn
    assert states[-1] == (1, ["fail", "complete", "complete"])
    assert "without an error message" in look().trials[0].user_attrs["error"]
    assert look().summary("0")["status"] == "failed"
    assert "without an error message" in (look().path / "0/train.log").read_text()


@pytest.mark.slow
def test_a_trial_that_was_interrupted_often_but_went_on_each_time_is_no_deadly_one(
    away: Dlrun, look: Looks
) -> None:
    steps = ("trainer.max_epochs=6", "checkpoint.every_steps=1")
    quick = [word for word in QUICK if not word.startswith("trainer.max_epochs")]
    words = ("train", "-m", *quick, *steps, "model.width=13,4", "hydra.sweep.dir=sweep")
    code = away(*words, SIGKILL="13", AT_STEP="3").code
    for _ in range(6):  # each go gets two steps further
        assert code == -signal.SIGKILL
        code = away("resume", "sweep", SIGKILL="13", AT_STEP="3").code
    assert away("resume", "sweep").code == 0
    assert look().states == ["complete", "complete"]


def test_commands_of_a_sweep_with_configs_from_elsewhere_can_be_typed(
    dlrun: Dlrun, project: Path
) -> None:
    theirs = project / "their configs" / "model"
    theirs.mkdir(parents=True)
    (theirs / "narrow.yaml").write_text("_target_: faulty.Net\nwidth: 2\nbias: true\n")
    quick = [word for word in QUICK if not word.startswith("model=")]
    sweep = ("--config-dir", "their configs", *quick, "model=narrow", "optimizer.lr=0.1,0.2")
    out = dlrun("train", "-m", *sweep, "hydra.sweep.dir=sweep").out
    best = next(line for line in out.splitlines() if line.startswith("  dlrun train "))
    assert dlrun(*shlex.split(best)[1:], "hydra.run.dir=again").code == 0
    config = yaml.safe_load(Path("again/config.yaml").read_text())
    assert config["model"]["width"] == 2


def test_any_metric_of_the_end_may_be_the_objective(dlrun: Dlrun, look: Looks) -> None:
    words = ("sweep=random", "sweep.trials=2", LR, "sweep.objective=test/f1")
    assert dlrun("train", *QUICK, *words, "hydra.sweep.dir=sweep").code == 0
    values = [trial.value for trial in look().trials]
    assert values == [look().summary(str(n))["final"]["test/f1"] for n in range(2)]


def test_a_launcher_that_is_not_installed_says_how_to_install_it(dlrun: Dlrun) -> None:
    if find_spec("hydra_plugins.hydra_joblib_launcher") is not None:
        pytest.skip("joblib's launcher is installed here")
    result = dlrun("train", *QUICK, "sweep=random", LR, "hydra/launcher=joblib")
    assert result.code == 2
    assert (
        "hydra/launcher=joblib: that launcher is not installed: pip install 'dlrun[joblib]'"
        in result.err
    )


def test_a_folder_that_holds_something_else_is_no_place_for_a_sweep(
    dlrun: Dlrun, project: Path
) -> None:
    before = sorted(project.rglob("*"))
    result = dlrun("train", *QUICK, "sweep=random", LR, "hydra.sweep.dir=configs")
    assert (result.code, "is no sweep: choose a new folder" in result.err) == (2, True)
    assert [path for path in sorted(project.rglob("*")) if "__pycache__" not in str(path)] == before
