"""`dlrun train` as a command: several jobs, and what ends it before training."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dlrun.cli import main

QUICK = ["dataset=iris", "model=logistic", "trainer.max_epochs=1", "tracking.tensorboard=false"]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def test_a_multirun_goes_on_past_a_job_that_diverges_and_names_it_at_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["optimizer=sgd", "optimizer.lr=1e30,0.1", "trainer.max_epochs=3"]
    assert main(["train", "-m", *QUICK[:2], *words, "hydra.sweep.dir=sweep"]) == 1
    printed = capsys.readouterr().out
    assert "failed: trial 0 (optimizer.lr=1e30): the loss is not a finite number" in printed
    assert "2 of 2 done, 1 failed" in printed
    assert "dlrun runs sweep" in printed
    assert Path("sweep/1/checkpoints/best.pt").exists()


def test_each_trial_of_a_multirun_says_what_it_changes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "-m", *QUICK, "seed=3,4", "hydra.sweep.dir=sweep"]) == 0
    printed = capsys.readouterr().out
    assert "trial 1: seed=4  val/loss" in printed
    assert "2 of 2 done" in printed


def test_one_directory_for_many_runs_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "-m", *QUICK, "seed=1,2", "hydra.run.dir=run"]) == 2
    assert "use hydra.sweep.dir=DIR" in capsys.readouterr().err


def test_a_config_that_is_not_yaml_is_refused_in_one_line(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "configs/model").mkdir(parents=True)
    (project / "configs/model/broken.yaml").write_text("x: [")
    assert main(["train", "model=broken"]) == 2
    text = capsys.readouterr().err
    assert "not valid YAML" in text and "broken.yaml" in text
    assert text.count("\n") == 1


def test_sigterm_before_training_leaves_nothing_behind(project: Path) -> None:
    command = [sys.executable, "-m", "dlrun.cli", "train", *QUICK]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (project / "outputs/runs").exists() and time.monotonic() < deadline:
        time.sleep(0.005)  # the run directory is made just before torch is imported
    time.sleep(0.3)  # into that import
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(60) == 143
    assert not any((project / "outputs").glob("runs/*/summary.json"))
    assert not (project / "outputs").exists()


def test_a_run_without_tensorboard_does_not_advise_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *QUICK, "hydra.run.dir=run"]) == 0
    assert "TensorBoard" not in capsys.readouterr().out


def test_divergence_says_how_to_go_on_from_the_checkpoint_before_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["train", *QUICK, "optimizer=sgd", "hydra.run.dir=run"]) == 0
    assert main(["resume", "run", "optimizer.lr=1e30", "trainer.max_epochs=4"]) == 1
    text = capsys.readouterr().err
    assert "the checkpoint before it is kept: `dlrun resume run optimizer.lr=…`" in text


def test_a_missing_file_of_the_users_data_is_not_blamed_on_the_place_of_the_run(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "filedata.py").write_text("def load():\n    open('rows.csv')\n")
    (project / "configs/dataset").mkdir(parents=True)
    (project / "configs/dataset/rows.yaml").write_text(
        "_target_: filedata.load\nval_fraction: 0.1\ntest_fraction: 0.2\nsplit_seed: 0\n"
        "normalize: none\naugment: null\n"
    )
    assert main(["train", "dataset=rows"]) == 2
    text = capsys.readouterr().err
    assert "rows.csv: No such file or directory" in text
    assert "hydra.run.dir" not in text
