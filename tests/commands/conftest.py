"""Runs made up on disk, and dlrun as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlrun.run_directory import RunDirectory

Dlrun = Callable[..., subprocess.CompletedProcess[str]]
MakeRun = Callable[..., Path]


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
