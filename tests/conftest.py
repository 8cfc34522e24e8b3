"""What every test module shares."""

import copy
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import omegaconf._utils
import omegaconf.base
import pytest
import torch
from hydra._internal.config_repository import ConfigRepository
from hydra.core.object_type import ObjectType
from omegaconf.grammar_parser import parse

from dlrun.errors import forget_notes
from dlrun.storage.sweep_directory import SweepDirectory


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tests run side by side: more threads than cores would make each wait for the others."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def nothing_noted() -> None:
    """What is said once a command is said in each test."""
    forget_notes()


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
def read_once() -> Iterator[None]:
    """Hydra's reading of the same files is much of the time of a test: here it reads each once.

    A file counts as the same while its time, its size and its place on disk are. Processes that
    tests start read as everywhere else.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigRepository, "load_config", _loading_once())
        parse_once = functools.lru_cache(maxsize=None)(parse)
        for module in (omegaconf.base, omegaconf._utils):
            patch.setattr(module, "parse", parse_once)
        yield


@pytest.fixture(scope="session", autouse=True)
def not_for_power_cuts() -> Iterator[None]:
    """The disk may write when it likes: no test here pulls the plug."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


def _loading_once() -> Any:
    load, loaded = ConfigRepository.load_config, {}

    def load_config(self: Any, config_path: str) -> Any:
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if source is None or source.scheme() not in ("file", "pkg"):
            return load(self, config_path)
        key = (source.path, source.provider, config_path, _stamp(source, config_path))
        if key not in loaded:
            loaded[key] = load(self, config_path)
        return copy.deepcopy(loaded[key])

    return load_config


def _stamp(source: Any, config_path: str) -> object:
    if source.scheme() == "pkg":  # a package does not change
        return None
    found = os.stat(os.path.join(source.path, source._normalize_file_name(config_path)))
    return found.st_mtime_ns, found.st_size, found.st_ino
