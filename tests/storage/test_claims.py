"""The locks of a sweep's trials: one holder for each, as many as are asked for, with one open file."""

import multiprocessing
import os
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from dlrun.errors import ConfigError
from dlrun.storage.claims import claim, is_claimed
from dlrun.storage.run_directory import RunDirectory, is_locked, lock


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlrun.storage.claims._SECONDS", 0.05)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / ".claims"


def hold(file: Path, number: int, told: multiprocessing.SimpleQueue) -> None:
    with claim(file, number) as mine:
        told.put(mine)
        signal.pause()


def test_a_process_holds_hundreds_with_one_descriptor(file: Path) -> None:
    before = len(os.listdir("/dev/fd"))
    with ExitStack() as claims:
        assert all(claims.enter_context(claim(file, number)) for number in range(1000))
        assert len(os.listdir("/dev/fd")) == before + 1
        assert is_claimed(file, 999)
        assert not is_claimed(file, 1000)
    assert len(os.listdir("/dev/fd")) == before
    assert not is_claimed(file, 999)


def test_what_one_process_holds_no_other_gets_before_it_is_killed(file: Path) -> None:
    context = multiprocessing.get_context("fork")
    told = context.SimpleQueue()
    with claim(file, 3) as mine:
        assert mine
        holder = context.Process(target=hold, args=(file, 7, told))
        rival = context.Process(target=hold, args=(file, 3, told))
        holder.start()
        assert told.get() is True
        rival.start()
        assert told.get() is False
        for number in (3, 7):
            assert is_claimed(file, number)  # looking takes nothing away
        with claim(file, 7) as taken:
            assert not taken
        for process in (holder, rival):
            process.kill()
            process.join()
        assert not is_claimed(file, 7)
        assert is_claimed(file, 3)
        with claim(file, 7) as taken:
            assert taken


def test_only_a_run_of_the_trial_may_be_held_along_with_it(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").touch()
    trial, seed = tmp_path / "5", tmp_path / "5" / "seed1"
    seed.mkdir(parents=True)
    (tmp_path / "link").symlink_to(trial)
    context = multiprocessing.get_context("fork")
    told = context.SimpleQueue()
    with claim(tmp_path / ".claims", 5):
        with claim(tmp_path / ".claims", 5) as twice:
            assert not twice
        before = len(os.listdir("/dev/fd"))
        with lock(RunDirectory(seed)):
            assert len(os.listdir("/dev/fd")) == before
        for path in (trial, seed, tmp_path / "link"):
            assert is_locked(path)
            other = context.Process(target=resume, args=(path, told))
            other.start()
            assert "is being trained by another process" in told.get()
            other.join()
    assert not is_locked(trial)


def resume(path: Path, told: multiprocessing.SimpleQueue) -> None:
    try:
        with lock(RunDirectory(path)):
            told.put("it is mine")
    except ConfigError as error:
        told.put(str(error))


def test_a_link_or_a_pipe_in_the_place_of_the_file_is_no_claim(file: Path) -> None:
    file.symlink_to(file.with_name("elsewhere"))
    assert not is_claimed(file, 1)
    with pytest.raises(ConfigError, match="symbolic link"), claim(file, 1):
        pass
    file.unlink()
    os.mkfifo(file)
    assert not is_claimed(file, 1)
