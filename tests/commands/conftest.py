"""Runs made up on disk, and dlrun as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.singleton import Singleton

from dlrun.storage.run_directory import RunDirectory

Dlrun = Callable[..., subprocess.CompletedProcess[str]]
MakeRun = Callable[..., Path]
MakeSweep = Callable[..., Path]


@pytest.fixture(scope="module", autouse=True)
def hydra_forgets() -> Iterator[None]:
    """What Hydra keeps of a training run in this process is not for other test modules."""
    before = Singleton.get_state()
    yield
    Singleton.set_state(before)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, its output as wide as it wants."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    return tmp_path


@pytest.fixture
def make_run(project: Path) -> MakeRun:
    """Makes a completed run in outputs/runs; keywords replace fields of its summary."""

    def make(name: str, folder: str = "outputs/runs", /, **fields: Any) -> Path:
        path = Path(folder, name)
        path.mkdir(parents=True)
        (path / "config.yaml").write_text("seed: 0\n")
        RunDirectory(path).write_summary(summary(**fields))
        return path

    return make


@pytest.fixture
def make_sweep(make_run: MakeRun) -> MakeSweep:
    """Makes a sweep in outputs/sweeps of so many trials over optimizer.lr, the last the best."""

    def make(name: str, trials: int, *, seeds: int = 1, **description: Any) -> Path:
        sweep = Path("outputs/sweeps", name)
        for number in range(trials):
            for index in range(seeds):
                place = (
                    (str(number), sweep) if seeds == 1 else (f"seed{index}", sweep / str(number))
                )
                make_run(place[0], str(place[1]), **trial_summary(number, index))
        usual = {"objective": "val/loss", "direction": "minimize", "space": {"optimizer.lr": "…"}}
        (sweep / "sweep.yaml").write_text(yaml.safe_dump(usual | description))
        return sweep

    return make


def trial_summary(number: int, seed: int) -> dict[str, Any]:
    """What is its own in the summary of a trial: 0.1, 0.05, 0.0333… as its rate and as its loss."""
    rate = 0.1 / (number + 1)
    metrics = {"val/loss": rate + seed / 1000, "val/accuracy": 1 - rate}
    return {
        "created": f"2026-01-31T12:00:{number:02}+00:00",
        "swept": {"optimizer.lr": f"{rate:.4g}"},
        "seed": seed,
        "best": {"epoch": 3, "step": 30, "metrics": metrics},
    }


def summary(**fields: Any) -> dict[str, Any]:
    """The summary of a completed run, with some fields replaced."""
    usual = {
        "name": "digits_cnn",
        "status": "completed",
        "created": "2026-01-31T12:00:00+00:00",
        "choices": {"dataset": "digits", "model": "cnn"},
        "seed": 0,
        "parameters": 12345,
        "step": 200,
        "epoch": 20,
        "max_epochs": 20,
        "monitor": "val/loss",
        "mode": "min",
        "best": {"epoch": 17, "step": 170, "metrics": {"val/loss": 0.25, "val/accuracy": 0.9}},
        "final": {"val/loss": 0.5, "val/accuracy": 0.8, "test/accuracy": 0.875},
        "seconds": 200.0,
        "device": "cpu",
        "error": None,
        "version": "0.1.0",
    }
    return usual | fields


@pytest.fixture
def dlrun(project: Path) -> Dlrun:
    """Runs dlrun in the project; variables=… sets more of the environment."""

    def run(*words: str, variables: dict[str, str] | None = None) -> Any:
        return subprocess.run(
            [sys.executable, "-m", "dlrun.cli", *words],
            capture_output=True,
            text=True,
            cwd=project,
            env={**os.environ, **(variables or {})},
            timeout=120,
            check=False,
        )

    return run
