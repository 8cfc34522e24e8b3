"""What the end-to-end tests of sweeps share: a scratch project, and ways to run dlrun in it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from scratch import QUICK, Look, Result, be_dlrun, die_before_write, ended, kill_group, make_project

from dlrun.cli import main


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a model of the user's own."""
    make_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])  # dlrun adds to it, once a command
    for module in ("faulty", "own"):  # of another test's project
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    return tmp_path


@pytest.fixture
def dlrun(project: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Runs a command in this process."""

    def run(*words: str) -> Result:
        capsys.readouterr()
        code = main(list(words))
        said = capsys.readouterr()
        return Result(code, said.out, said.err)

    return run


@pytest.fixture
def sweep(dlrun: Callable[..., Result]) -> Callable[..., Result]:
    """Runs a sweep of quick trials in this process, in the directory `sweep`."""
    return lambda *words: dlrun("train", "-m", *QUICK, "hydra.sweep.dir=sweep", *words)


@pytest.fixture
def look(project: Path) -> Callable[..., Look]:
    """A new look at a sweep."""
    return lambda name="sweep": Look(project / name)


@pytest.fixture
def start(processes: Any, project: Path) -> Iterator[Callable[..., BaseProcess]]:
    """Starts a command in a process of its own, with more variables in its environment."""
    started: list[BaseProcess] = []

    def begin(*words: str, **variables: str) -> BaseProcess:
        write = int(variables.get("KILL_AT", 0))
        sabotage = partial(die_before_write, write) if write else None
        process: BaseProcess = processes.Process(
            target=be_dlrun, args=(list(words), str(project), variables, sabotage)
        )
        process.start()
        started.append(process)
        return process

    yield begin
    for process in started:
        kill_group(process)


@pytest.fixture
def away(start: Callable[..., BaseProcess], project: Path) -> Callable[..., Result]:
    """Runs a command in a process of its own, to its end."""
    return lambda *words, **variables: ended(start(*words, **variables), project)
