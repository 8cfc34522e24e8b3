"""Runs of two processes, started, killed, stopped and resumed as a user would: real processes, real signals.

Each case starts processes, which takes seconds, so one run goes through most of them. No process may be left.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dlrun.storage.run_directory import RunDirectory, read_metrics
from dlrun.storage.run_summary import read_run

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc"),
]

# DO="1:12:KILL" sends rank 1 that signal at the 12th step of its process; RAISE and EXIT are errors of the model.
# SLOW is the seconds of a step. DIFFER makes rank 1 see other data.
OWN = """
import dataclasses, os, signal, time
import torch
from torch import nn
from dlrun.data.arrays import scikit_learn

RANK = os.environ.get("RANK", "0")

def digits():
    source = scikit_learn.digits()
    if RANK == "1" and os.environ.get("DIFFER") == "data":
        return dataclasses.replace(source, inputs=source.inputs[::-1].copy())
    return source

class Net(nn.Module):
    def __init__(self, spec, *, hidden: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(spec.num_features, hidden), nn.ReLU(), nn.Linear(hidden, spec.num_outputs)
        )
        self.steps = 0

    def forward(self, x):
        if self.training and torch.is_grad_enabled():
            self.steps += 1
            time.sleep(float(os.environ.get("SLOW", 0)))
            for word in os.environ.get("DO", "").split():
                rank, step, what = word.split(":")
                if rank == RANK and int(step) == self.steps:
                    self.do(what)
        return self.layers(x)

    def do(self, what):
        if what == "RAISE":
            raise ValueError("the model is wrong")
        if what == "EXIT":
            os._exit(3)
        os.kill(os.getpid(), signal.Signals["SIG" + what])
"""
WORDS = (
    "name=two", "dataset=own", "model=own", "trainer.max_epochs=60", "trainer.accelerator=cpu",
    "trainer.devices=2", "trainer.num_threads=1", "trainer.log_every_steps=10", "checkpoint.every_steps=5",
    "tracking.tensorboard=false",
)  # fmt: skip
SECONDS = 240  # for a process to end, on a machine with much else to do
MARK = "DLRUN_TEST_MARK"


class Project:
    """A folder with a model and data of the user's own, and the processes that were started in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.mark = folder, uuid.uuid4().hex
        (folder / "own.py").write_text(OWN)
        for group, text in {
            "model": "_target_: own.Net\nhidden: 16\n",
            "dataset": "defaults: [digits]\n_target_: own.digits\n",
        }.items():
            option = folder / "configs" / group / "own.yaml"
            option.parent.mkdir(parents=True)
            option.write_text(text)

    def start(self, *words: str, **variables: str) -> subprocess.Popen[str]:
        """A dlrun command, or another one by its path."""
        program = [] if words[0].startswith("/") else [sys.executable, "-m", "dlrun"]
        return subprocess.Popen(
            [*program, *words],
            cwd=self.folder,
            env=os.environ | {MARK: self.mark, "PYTHONPATH": str(self.folder)} | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ends(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        """The exit code and what it said, once it and all that it has started have ended."""
        _, said = process.communicate(timeout=SECONDS)
        until = time.monotonic() + 15
        while (left := self.processes()) and time.monotonic() < until:
            time.sleep(0.1)
        assert not left
        return process.returncode, said

    def run(self, *words: str, **variables: str) -> tuple[int, str]:
        return self.ends(self.start(*words, **variables))

    def processes(self) -> list[int]:
        """All that run, of what was started here."""
        return [int(found.name) for found in Path("/proc").glob("[0-9]*") if self._is_mine(found)]

    def _is_mine(self, process: Path) -> bool:
        try:
            return f"{MARK}={self.mark}".encode() in (process / "environ").read_bytes()
        except OSError:
            return False

    def directory(self, name: str) -> RunDirectory:
        return RunDirectory(self.folder / name)

    def summary(self, name: str = "r") -> dict[str, Any]:
        return self.directory(name).read_summary() or {}

    def until(self, true: Callable[[], Any]) -> None:
        end = time.monotonic() + SECONDS
        while not true():
            assert time.monotonic() < end
            time.sleep(0.02)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = Project(tmp_path_factory.mktemp("several"))
    yield made
    for process in made.processes():
        os.kill(process, signal.SIGKILL)


def test_a_run_goes_on_after_each_way_to_end_it(project: Project) -> None:
    code, said = project.run("train", *WORDS, "hydra.run.dir=r", DO="1:25:RAISE")
    assert code == 1 and len(said.splitlines()) == 1
    assert "rank 1 of 2 failed (ValueError: the model is wrong; see r/ranks/1.log)" in said
    assert project.summary()["status"] == "failed"
    assert "ValueError: the model is wrong" in (project.folder / "r/ranks/1.log").read_text()
    assert "rank 1 of 2 failed: ValueError" in project.directory("r").log.read_text()

    code, said = project.run("resume", "r", DO="1:9:TERM")  # which one rank alone has noticed
    stopped = project.summary()
    assert code == 143 and stopped["status"] == "stopped" and stopped["step"] >= 25 + 4
    assert f"stopped by SIGTERM at step {stopped['step']} of 2,460, saved; continue" in said
    assert len(said.splitlines()) == 1

    code, said = project.run("resume", "r", DO="1:20:KILL")
    assert code == 1 and len(said.splitlines()) == 1
    assert "rank 1 of 2 was ended by SIGKILL (out of memory?), and the others with it" in said
    assert read_run(project.folder / "r").status == "stopped"

    begun = project.summary()["step"]
    process = project.start("resume", "r", SLOW="0.02")
    project.until(lambda: project.summary()["status"] == "running")
    project.until(lambda: len(read_metrics(project.directory("r"))) > begun // 10)
    process.kill()  # the launcher: its ranks save and end
    assert project.ends(process)[0] == -signal.SIGKILL
    assert read_run(project.folder / "r").status == "stopped"

    process = project.start("resume", "r", SLOW="0.02")
    project.until(lambda: project.summary()["status"] == "running")
    process.send_signal(signal.SIGINT)
    code, said = project.ends(process)
    assert code == 130 and "stopped by SIGINT" in said and len(said.splitlines()) == 1

    code, said = project.run("resume", "r", "trainer.devices=1", "trainer.max_epochs=6")
    ended = project.summary()
    assert (code, said) == (0, "")
    assert ended["status"] == "completed" and ended["devices"] == 1 and ended["step"] == 6 * 41
    *steps, tested = [point["step"] for point in read_metrics(project.directory("r"))]
    assert (
        steps == sorted(set(steps)) and tested == steps[-1]
    )  # each once, whatever has ended it between


def test_data_that_differ_between_ranks_are_one_line_and_leave_nothing(project: Project) -> None:
    code, said = project.run("train", *WORDS, "hydra.run.dir=refused", DIFFER="data")
    assert code == 2 and len(said.splitlines()) == 1
    assert "the files of the data, by a checksum: rank 1 (" in said
    assert not (project.folder / "refused").exists()


def test_two_machines_train_one_run_by_torchrun(project: Project) -> None:
    code, _ = project.run("train", *WORDS, "trainer.max_epochs=2", "hydra.run.dir=p", "--prepare")
    assert code == 0
    command = [str(Path(sys.executable).with_name("torchrun")), "--nnodes=2", "--nproc-per-node=1",
        "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:29471", "--rdzv-id=p", "-m", "dlrun.worker", "p"]  # fmt: skip
    first, second = project.start(*command), project.start(*command)
    for machine in (first, second):
        machine.wait(SECONDS)
    assert [project.ends(machine)[0] for machine in (first, second)] == [0, 0]
    summary = project.summary("p")
    assert summary["status"] == "completed" and summary["devices"] == 2


def test_the_trials_of_a_sweep_are_trained_by_two_processes_each_which_may_die(
    project: Project,
) -> None:
    words = [word for word in WORDS if "max_epochs" not in word]
    swept = ["trainer.max_epochs=4", "optimizer.lr=0.01,1e-9"]
    code, said = project.run("train", "-m", *words, *swept, "hydra.sweep.dir=s", DO="1:100:KILL")
    assert code == 0, said
    for number in (0, 1):
        summary = project.summary(f"s/{number}")
        assert summary["status"] == "completed" and summary["devices"] == 2
        assert summary["swept"] == {"optimizer.lr": ("0.01", "1e-9")[number]}
    assert (project.folder / "s/leaderboard.csv").read_text().count("\n") == 3


def test_a_trial_whose_ranks_die_without_getting_further_fails_at_the_third_time(
    project: Project,
) -> None:
    swept = ["optimizer.lr=0.01", "hydra.sweep.dir=dies"]
    code, said = project.run("train", "-m", *WORDS, *swept, DO="1:3:KILL")
    assert code == 1, said
    log = project.directory("dies/0").log.read_text()
    assert log.count("training on cpu") == 3
    assert "rank 1 of 2 was ended by SIGKILL" in project.summary("dies/0")["error"]["message"]
