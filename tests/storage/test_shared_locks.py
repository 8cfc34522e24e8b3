"""File systems without locks, or with locks of one host alone, and what is refused there.

Hosts are simulated at the level of `fcntl`: what one holds another sees only where their file system shares locks.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dlrun.cli import main
from dlrun.errors import ConfigError
from dlrun.storage import claims, shared_locks
from dlrun.storage.claims import claim, is_claimed
from dlrun.storage.run_directory import RunDirectory, lock
from dlrun.storage.shared_locks import at_work, count_at_work, kept_here
from dlrun.storage.sweep_directory import SweepDirectory

QUICK = (
    "dataset=iris", "model=logistic", "optimizer=sgd", "trainer.max_epochs=1",
    "trainer.accelerator=cpu", "trainer.num_threads=1", "tracking.tensorboard=false",
)  # fmt: skip
MOUNTS = """\
/dev/vda / ext4 rw,relatime 0 0
server:/a /nfs nfs4 rw,vers=4.2,local_lock=none,addr=10.0.0.1 0 0
server:/b /nolock nfs rw,vers=3,nolock,local_lock=all 0 0
server:/c /posix nfs rw,vers=3,local_lock=posix 0 0
server:/d /flock nfs rw,vers=3,local_lock=flock 0 0
user@host: /home/me/fär\\040away fuse.sshfs rw,user_id=1000 0 0
10.0.0.2@tcp:/scratch /lustre lustre rw,flock,lazystatfs 0 0
10.0.0.2@tcp:/scratch /lustre/local lustre rw,localflock,lazystatfs 0 0
//server/share /cifs cifs rw,nobrl 0 0
//server/share /cifs2 cifs rw 0 0
server:/e /hidden nfs rw,nolock 0 0
/dev/vdb /hidden ext4 rw 0 0
"""


class Hosts:
    """Which of them calls, and what each holds of a file, in place of `fcntl.lockf`."""

    def __init__(self, *, shared: bool) -> None:
        self.shared, self.name = shared, "a"
        self.held: dict[tuple[int, str], str] = {}
        self.opened: dict[str, dict[Any, Any]] = {}

    def lockf(self, file: Any, kind: int, length: int, start: int) -> None:
        key = (start, "" if self.shared else self.name)
        if self.held.get(key, self.name) != self.name:
            raise BlockingIOError(errno.EAGAIN, "held")
        if kind & fcntl.LOCK_UN:
            self.held.pop(key, None)
        else:
            self.held[key] = self.name

    @contextmanager
    def on(self, name: str, patch: pytest.MonkeyPatch) -> Iterator[None]:
        """What runs within this is a process of that host."""
        before, self.name = self.name, name
        with patch.context() as inner:
            inner.setattr(claims, "_OPEN", self.opened.setdefault(name, {}))
            yield
        self.name = before


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Hosts]:
    """Simulates hosts that share the locks of their file system, or do not."""

    def simulate(*, shared: bool) -> Hosts:
        made = Hosts(shared=shared)
        monkeypatch.setattr(fcntl, "lockf", made.lockf)
        monkeypatch.setattr(shared_locks, "_host", lambda: f"host_{made.name}-")
        monkeypatch.setattr(shared_locks, "_BEAT_SECONDS", 0.02)
        monkeypatch.setattr(claims, "_SECONDS", 0.05)
        return made

    return simulate


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepDirectory:
    monkeypatch.chdir(tmp_path)
    Path("sweep").mkdir()
    return SweepDirectory(Path("sweep"))


def beats(sweep: SweepDirectory) -> list[Path]:
    return sorted((sweep.path / ".workers").iterdir())


@pytest.mark.parametrize(
    ("folder", "found"),
    [
        ("/home/me", None),
        ("/nfs/sweep", None),
        ("/nolock/sweep", "nfs mounted with nolock"),
        ("/posix/sweep", "nfs mounted with local_lock=posix"),
        ("/flock/sweep", None),  # of the other kind of locks, which a sweep does not use
        ("/home/me/fär away/sweep", "sshfs"),
        ("/lustre/sweep", None),
        ("/lustre/local/sweep", "lustre mounted with localflock"),
        ("/cifs/sweep", "cifs mounted with nobrl"),
        ("/cifs2/sweep", None),
        ("/hidden/sweep", None),
    ],
)
def test_mounts_say_which_locks_stay_on_their_host(
    folder: str, found: str | None, tmp_path: Path
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS, encoding="utf-8")
    assert kept_here(Path(folder), mounts) == found
    assert kept_here(Path(folder), tmp_path / "no_such_file") is None


def test_a_launcher_of_jobs_on_other_hosts_is_refused_where_locks_stay_on_theirs(
    sweep: SweepDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_locks, "kept_here", lambda folder: "sshfs")
    with (
        pytest.raises(ConfigError, match="sweep is on sshfs, whose locks no other host sees: "),
        at_work(sweep, elsewhere=True),
    ):
        pass
    with at_work(sweep, others=False):  # here they are seen
        pass


def test_processes_of_hosts_that_share_locks_work_side_by_side(
    sweep: SweepDirectory, hosts: Callable[..., Hosts], monkeypatch: pytest.MonkeyPatch
) -> None:
    simulated = hosts(shared=True)
    with at_work(sweep, others=False):
        started = time.monotonic()
        with simulated.on("b", monkeypatch), at_work(sweep, others=False):
            assert len(beats(sweep)) == 2
        assert time.monotonic() - started < 0.5  # nobody is waited for
        assert len(beats(sweep)) == 1
    assert beats(sweep) == []


def test_a_process_whose_lock_another_host_does_not_see_is_refused_there(
    sweep: SweepDirectory, hosts: Callable[..., Hosts], monkeypatch: pytest.MonkeyPatch
) -> None:
    simulated = hosts(shared=False)
    with at_work(sweep, others=False):
        with (
            simulated.on("b", monkeypatch),
            pytest.raises(ConfigError) as refused,
            at_work(sweep, others=False),
        ):
            pass
        assert len(beats(sweep)) == 1
    message = str(refused.value)
    assert message.startswith(f"process {os.getpid()} of host_a is at work in sweep, and its lock")
    assert "NFSv4" in message and "\n" not in message


def test_the_driver_of_a_sweep_is_refused_as_well(
    sweep: SweepDirectory,
    hosts: Callable[..., Hosts],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    simulated = hosts(shared=False)
    train = ["train", "-m", *QUICK, "optimizer.lr=0.1", "hydra.sweep.dir=sweep"]
    assert main(train) == 0
    with at_work(sweep, others=False), simulated.on("b", monkeypatch):
        capsys.readouterr()
        assert main(["resume", "sweep", "sweep.fail_fast=true"]) == 2
    assert "its lock is not seen by this one" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["host_a-", "host_b-"])
def test_what_a_killed_process_left_is_removed(
    host: str, sweep: SweepDirectory, hosts: Callable[..., Hosts]
) -> None:
    hosts(shared=True)
    with at_work(sweep, others=False):
        left = sweep.path / ".workers" / f"{host}.999999999.1000000007"
        left.write_text("000000000004")
        with at_work(sweep, others=False):
            assert left not in beats(sweep)


def test_no_number_is_written_through_a_link_and_no_other_file_is_taken_for_one(
    sweep: SweepDirectory, tmp_path: Path
) -> None:
    (sweep.path / ".workers").mkdir()
    (sweep.path / ".workers" / "a.b.c").touch()
    with at_work(sweep, others=False):
        assert count_at_work(sweep) == 1
    os.rename(sweep.path / ".workers", tmp_path / "elsewhere")
    (sweep.path / ".workers").symlink_to(tmp_path / "elsewhere")
    with (
        pytest.raises(ConfigError, match="workers is a symbolic link"),
        at_work(sweep, others=False),
    ):
        pass


@pytest.mark.parametrize(
    "number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTSUP]
)
def test_without_locks_nothing_is_claimed(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lockf(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "lockf", lockf)
    file = tmp_path / ".claims"
    with pytest.raises(ConfigError, match=r"\.claims cannot be locked \(.*\): .*"), claim(file, 1):
        pass
    assert is_claimed(file, 1)  # by whom cannot be found out


@pytest.mark.parametrize(
    "words", [("hydra.run.dir=run",), ("-m", "optimizer.lr=0.1,0.2", "hydra.sweep.dir=run")]
)
def test_without_locks_neither_a_run_nor_a_sweep_is_begun(
    words: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def lockf(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fcntl, "lockf", lockf)
    assert main(["train", *QUICK, *words]) == 2
    assert capsys.readouterr().err == (
        "dlrun: error: run/.lock cannot be locked (No locks available): runs and sweeps need a file system with "
        "POSIX locks; choose another folder, as in hydra.run.dir=DIR or hydra.sweep.dir=DIR\n"
    )
    assert os.listdir("run") == [".lock"]


def test_who_takes_a_run_asks_the_server_what_is_in_its_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDirectory(tmp_path / "run")
    run.checkpoints.mkdir(parents=True)
    run.path.chmod(0o750)
    asked: list[Path] = []
    chmod = os.chmod
    with monkeypatch.context() as patch:
        patch.setattr(os, "chmod", lambda path, mode: (asked.append(path), chmod(path, mode)))
        with lock(run):
            assert asked == [tmp_path, run.path, run.checkpoints]
    assert run.path.stat().st_mode & 0o777 == 0o750


@pytest.mark.cluster
@pytest.mark.parametrize("real", [True, False])
def test_locks_are_tried_by_another_process(
    real: bool, sweep: SweepDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    if real:
        with at_work(sweep):
            pass
        return
    monkeypatch.setattr(fcntl, "lockf", lambda *_: None)  # taken by anybody who asks
    with pytest.raises(ConfigError, match="can be locked by two processes at once"), at_work(sweep):
        pass
