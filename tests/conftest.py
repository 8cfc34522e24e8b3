"""What every test module shares."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.hydra_config import HydraConfig

from dlrun.errors import forget_notes
from dlrun.storage.sweep_directory import SweepDirectory
from emulated_graphs import Emulation, emulate
from hydra_once import keep_steps

# Modules with a test of many seconds, which no worker shall begin when the others have nothing left.
LONG = ("test_readme.py", "test_kill_and_resume.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests first."""
    items.sort(key=lambda item: item.path.name not in LONG)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tests run side by side: more threads than cores would make each wait for the others."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def emulated_graphs(monkeypatch: pytest.MonkeyPatch) -> Emulation:
    """CUDA graphs of what is computed on the CPU."""
    return emulate(monkeypatch)


@pytest.fixture(autouse=True)
def as_in_a_new_process() -> None:
    """What is said once a command is said in each test, and no test sees the run of the one before."""
    forget_notes()
    HydraConfig.instance().cfg = None


@pytest.fixture
def describe_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., SweepDirectory]:
    """(name, created) -> a sweep in outputs/sweeps of an empty working directory that has its description alone."""
    monkeypatch.chdir(tmp_path)

    def make(name: str, created: str = "2026-01-31T12:00:00+00:00") -> SweepDirectory:
        sweep = SweepDirectory(Path("outputs/sweeps", name))
        space = {"optimizer.lr": "interval(0.0,1.0)"}
        sweep.write({"name": name, "created": created, "space": space, "objective": "val/loss"})
        return sweep

    return make


@pytest.fixture(scope="session", autouse=True)
def composed_once() -> Iterator[None]:
    """Hydra composes the same config from the same files once for all tests of this process."""
    with pytest.MonkeyPatch.context() as patch:
        keep_steps(patch)
        yield


@pytest.fixture(scope="session")
def processes() -> Any:
    """Starts processes that have torch already: each is a fork of one that only imported and composed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["warm"])
    with pytest.MonkeyPatch.context() as patch:  # the server knows nothing of sys.path
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        forkserver.ensure_running()
    return context


@pytest.fixture(scope="session", autouse=True)
def not_for_power_cuts() -> Iterator[None]:
    """The disk may write when it likes: no test here pulls the plug."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield
