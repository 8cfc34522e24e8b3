"""Jobs of Slurm: what becomes of a run or a trial whose job is ended and begun again. No Slurm is needed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace

import pytest
from scratch import QUICK, Look, Result, ended

from dlrun.sweep import launch
from dlrun.sweep.sweep import Sweep, open_sweep
from dlrun.sweep.trial import Interrupted, run_trial

Dlrun = Callable[..., Result]
Looks = Callable[..., Look]

DOCUMENT = Path(__file__).parents[2] / "docs" / "scaling.md"
SECONDS = 300  # that no job may take
WORDS = [word.replace("max_epochs=2", "max_epochs=5") for word in QUICK]  # 15 steps
WORDS += ["trainer.num_threads=1"]


@pytest.fixture
def jobs_here(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every job of a launcher runs in this process; the list fills with the numbers of their trials."""
    launched: list[int] = []

    class Launcher:
        def launch(self, jobs: list[list[str]], initial_job_idx: int) -> list[object]:
            for words in jobs:
                number = int(words[-1].partition("=")[2])
                launched.append(number)
                with suppress(Interrupted):
                    run_trial(open_sweep(Path("sweep").absolute()), number)
            return []

    monkeypatch.setattr(launch, "Plugins", SimpleNamespace(instance=lambda: Plugins))
    monkeypatch.setattr(Plugins, "instantiate_launcher", lambda **_: Launcher(), raising=False)
    return launched


class Plugins:
    """What the driver asks for a launcher."""


def test_a_trial_that_is_stopped_again_and_again_further_on_has_not_failed(
    jobs_here: list[int],
    dlrun: Dlrun,
    look: Looks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert dlrun("train", "-m", *WORDS, "model.width=4,13", "hydra.sweep.dir=whole").code == 0
    monkeypatch.setenv("AT_STEP", "6")
    monkeypatch.setenv("SIGTERM", "13")
    words = ("hydra/launcher=submitit_local", "hydra.sweep.dir=sweep")
    assert dlrun("train", "-m", *WORDS, "model.width=4,13", *words).code == 0
    assert jobs_here == [0, 1, 1, 1]
    assert look().states == ["complete"] * 2
    assert look().points(1) == look("whole").points(1)


def test_a_trial_that_is_stopped_where_it_was_stopped_before_has_failed(
    jobs_here: list[int], dlrun: Dlrun, look: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sweep, "stopped_at", lambda self, number: 4)
    monkeypatch.setenv("AT_STEP", "4")
    monkeypatch.setenv("SIGTERM", "13")
    words = ("hydra/launcher=submitit_local", "hydra.sweep.dir=sweep")
    assert dlrun("train", "-m", *WORDS, "model.width=13", *words).code == 1
    assert jobs_here == [0, 0]
    assert look().states == ["fail"]


@pytest.mark.cluster
def test_jobs_that_submitit_requeues_or_launches_again_end_as_undisturbed_ones(
    dlrun: Dlrun, start: Callable[..., BaseProcess], project: Path, look: Looks
) -> None:
    assert dlrun("train", "-m", *WORDS, "model.width=4,13", "hydra.sweep.dir=whole").code == 0
    process = start(
        "train", "-m", *WORDS, "model.width=4,13", "hydra/launcher=submitit_local",
        "hydra.sweep.dir=sweep", AT_STEP="8", SIGUSR2="13", SIGTERM="4",
    )  # fmt: skip
    process.join(SECONDS)
    result = ended(process, project)
    assert (result.code, result.err) == (0, "")
    assert look().states == ["complete"] * 2
    for number in (0, 1):
        assert look().starts(number) == [0, 8]
        assert look().points(number) == look("whole").points(number)
    logs = [file.read_text() for file in look().path.glob(".submitit/*/*_log.out")]
    # By itself submitit only notes SIGTERM: that trial's job has ended, and the sweep launched another.
    assert sorted(log.count("Requeued job") for log in logs) == [0, 0, 1]


# The scripts of the documents.


@pytest.fixture
def job(project: Path) -> Callable[..., int]:
    """Runs the script of docs/scaling.md that has the word, as a job whose srun is the shell's own call."""
    blocks = re.findall(r"```bash\n(#!.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    folder = project / "bin"
    folder.mkdir()
    for name, body in {
        "srun": 'exec "$@"',
        "scontrol": 'echo "scontrol $*" >> asked',
        "sleep": 'echo "sleep $*" >> asked',
        "dlrun": f'exec {sys.executable} -m dlrun.cli "$@"',
    }.items():
        (folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)

    def run(word: str, *arguments: str, **variables: str) -> int:
        (script,) = [block for block in blocks if word in block]
        Path("job.sh").write_text(script.replace("experiment=mnist_cnn", shlex.join(WORDS)))
        path = f"{folder}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "SLURM_JOB_ID": "77", **variables}
        return subprocess.run(
            ["bash", "job.sh", *arguments], env=environment, check=False, timeout=SECONDS
        ).returncode

    return run


@pytest.mark.cluster
def test_the_script_of_one_run_begins_it_and_resumes_it_when_its_job_is_requeued(
    job: Callable[..., int], dlrun: Dlrun, look: Looks
) -> None:
    assert dlrun("train", *WORDS, "hydra.run.dir=runs/whole").code == 0
    assert job("srun dlrun train", AT_STEP="6", SIGUSR1="8") == 138
    assert look("outputs/runs").summary("slurm-77")["status"] == "stopped"
    assert Path("asked").read_text() == "scontrol requeue 77\n"
    assert job("srun dlrun train", AT_STEP="6", SIGTERM="8") == 143
    assert Path("asked").read_text() == "scontrol requeue 77\nsleep 600\n"
    assert job("srun dlrun train") == 0
    found = look("outputs/runs")
    assert found.summary("slurm-77")["status"] == "completed"
    assert found.points("slurm-77") == look("runs").points("whole")
    assert Path("asked").read_text().count("\n") == 2


@pytest.mark.cluster
def test_the_script_of_workers_goes_on_with_a_sweep_when_its_job_is_requeued(
    job: Callable[..., int], dlrun: Dlrun, look: Looks
) -> None:
    train = ("train", "-m", *WORDS, "model.width=4,13")
    assert dlrun(*train, "hydra.sweep.dir=whole").code == 0
    assert dlrun(*train, "hydra.sweep.dir=sweep", "--no-driver").code == 0
    assert job("srun dlrun work", "sweep", AT_STEP="6", SIGUSR1="13") == 138
    assert Path("asked").read_text() == "scontrol requeue 77\n"
    assert look().summary(1)["status"] == "stopped"
    assert job("srun dlrun work", "sweep") == 0
    assert look().states == ["complete"] * 2
    assert [look().starts(number) for number in (0, 1)] == [[0], [0, 6]]
    for number in (0, 1):
        assert look().points(number) == look("whole").points(number)
