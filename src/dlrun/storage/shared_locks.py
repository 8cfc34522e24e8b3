"""Locks that all hosts must see: whether they hold in a folder, and whether all that is at work there sees them.

What a sweep relies on is that no two processes hold one byte of its file of claims. Some file systems keep locks to
the host that takes them, or take them and let anybody have them as well. Standard library only.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dlrun.errors import ConfigError
from dlrun.storage import claims
from dlrun.storage.links import refuse_links
from dlrun.storage.sweep_directory import SweepDirectory

NEEDED = (
    "a sweep needs a file system with POSIX locks that all its hosts see (NFSv4, NFSv3 with lockd, Lustre mounted "
    "with flock)"
)
ELSEWHERE = "choose another folder, as in hydra.sweep.dir=DIR"

_MOUNTS = Path("/proc/self/mounts")
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_KEPT_HERE = {
    "nfs": ("nolock", "local_lock=all", "local_lock=posix"),
    "lustre": ("localflock", "noflock"),
    "cifs": ("nobrl",),
}  # options of a mount, by the kind of the file system
_ALWAYS_KEPT_HERE = ("fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.gcsfuse")

_BEAT_SECONDS = 1.0
_BEATS = 4  # in which a process that lives is seen to
_WORKERS, _BEAT = ".workers", re.compile(r".+\.\d{1,10}\.\d{10}")  # host, process and byte
_FIRST = 10**9  # above the numbers of all trials
_TAKEN = 9
_TAKE = f"""
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, int(sys.argv[2]))
    except OSError:
        sys.exit(0)
sys.exit({_TAKEN})
"""


@contextmanager
def at_work(
    sweep: SweepDirectory, *, others: bool = True, elsewhere: bool = False
) -> Iterator[None]:
    """Be one of the processes at work on the sweep, as long as this is entered; each sees the others.

    Args:
        others: there may be others: see first that locks hold at all, which takes a process of its own.
        elsewhere: and on other hosts.

    Raises:
        ConfigError: locks do not hold in the sweep's folder, or not between this process and another there.
    """
    if elsewhere and (reason := kept_here(sweep.path)):
        raise ConfigError(
            f"{sweep.path} is on {reason}, whose locks no other host sees: {NEEDED}; {ELSEWHERE}"
        )
    number = _FIRST + secrets.randbelow(_FIRST)
    workers = sweep.path / _WORKERS
    workers.mkdir(exist_ok=True)
    refuse_links(workers, itself=True)
    beat = workers / f"{_host()}.{os.getpid()}.{number}"
    with claims.claim(sweep.claims, number):
        if others and _is_free_to_another(sweep.claims, number):
            raise ConfigError(
                f"{sweep.claims} can be locked by two processes at once, so its file system has no locks: {NEEDED}; "
                f"{ELSEWHERE}"
            )
        with _beating(beat):
            _refuse_unseen(sweep, [file for file in _beats(sweep) if file != beat])
            yield


def count_at_work(sweep: SweepDirectory) -> int:
    """How many processes are at work on the sweep, as far as their locks are seen."""
    numbers = [_parts(file)[2] for file in _beats(sweep)]
    return sum(claims.is_claimed(sweep.claims, number) for number in numbers)


def kept_here(folder: Path, mounts: Path = _MOUNTS) -> str | None:
    """The file system of the folder, in words, where its mount says that locks are those of this host alone."""
    try:
        lines = mounts.read_bytes().splitlines()
    except OSError:  # not Linux
        return None
    path, kind, options = folder.resolve(), "", ""
    place = Path()
    for line in lines:
        _, where, its_kind, its_options, *_ = map(os.fsdecode, line.split(b" "))
        mounted = Path(
            re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), where)
        )  # a space is \040
        if path.is_relative_to(mounted) and len(mounted.parts) >= len(place.parts):
            place, kind, options = mounted, its_kind, its_options  # the last hides those before
    if kind in _ALWAYS_KEPT_HERE:
        return kind.removeprefix("fuse.")
    bad = _KEPT_HERE.get("nfs" if kind.startswith("nfs") else kind, ())
    found = [option for option in options.split(",") if option in bad]
    return f"{kind} mounted with {found[0]}" if found else None


def _is_free_to_another(file: Path, number: int) -> bool:
    """Whether another process gets a byte that this one holds."""
    if sys.platform == "win32":
        return False
    asked = [sys.executable, "-I", "-S", "-c", _TAKE, str(file), str(number)]
    return subprocess.run(asked, stdin=subprocess.DEVNULL, check=False).returncode == _TAKEN


@contextmanager
def _beating(file: Path) -> Iterator[None]:
    """Show in the file, by a number that grows, that this process lives."""
    done = threading.Event()

    def beat() -> None:
        count = 0
        while not done.wait(_BEAT_SECONDS):
            count += 1
            _write(file, count)

    _write(file, 0)
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        with suppress(OSError):
            file.unlink()


def _refuse_unseen(sweep: SweepDirectory, beats: list[Path]) -> None:
    """Refuse to work beside a process whose lock is not seen here though it lives.

    That is one whose number grows twice while its byte is free: it gives up its lock last of all. Clocks are not
    compared, those of two hosts differ.
    """
    free = {file: (_read(file), 0) for file in beats if not _is_gone(sweep, file)}
    until = time.monotonic() + _BEATS * _BEAT_SECONDS
    while free and time.monotonic() < until:
        time.sleep(_BEAT_SECONDS / 4)
        for file, (count, grown) in [*free.items()]:
            if _is_gone(sweep, file):
                del free[file]
            elif (now := _read(file)) > count:
                if grown:
                    raise ConfigError(_unseen(sweep, file))
                free[file] = now, 1
                until = time.monotonic() + _BEATS * _BEAT_SECONDS
    for file in free:  # of processes that were killed
        with suppress(OSError):
            file.unlink()


def _is_gone(sweep: SweepDirectory, file: Path) -> bool:
    """Whether the process of the file is seen to hold its lock, or to have ended."""
    host, process, number = _parts(file)
    if not file.exists() or claims.is_claimed(sweep.claims, number):
        return True
    if host != _host() or Path("/proc", process).exists() or not Path("/proc/self").exists():
        return False
    with suppress(OSError):
        file.unlink()
    return True


def _unseen(sweep: SweepDirectory, file: Path) -> str:
    host, process, _ = _parts(file)
    reason = f" (it is {found})" if (found := kept_here(sweep.path)) else ""
    return (
        f"process {process} of {host.rpartition('-')[0]} is at work in {sweep.path}, and its lock is not seen by this "
        f"one{reason}: {NEEDED}; mount it so on all of them, or run all processes on one host"
    )


def _beats(sweep: SweepDirectory) -> list[Path]:
    """The files of all that are at work, and of those that were killed."""
    return [file for file in (sweep.path / _WORKERS).glob("*") if _BEAT.fullmatch(file.name)]


def _parts(file: Path) -> tuple[str, str, int]:
    """Host, process and byte, of which the name of its file is made."""
    host, process, number = file.name.rsplit(".", 2)
    return host, process, int(number)


def _host() -> str:
    """This host as no other is called, not even one of the same name."""
    boot = _BOOT.read_text()[:8] if _BOOT.exists() else ""
    return f"{socket.gethostname()}-{boot}"


def _write(file: Path, count: int) -> None:
    """In place, so that a reader finds a number always."""
    with suppress(OSError):
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            os.write(descriptor, f"{count:012}".encode())
        finally:
            os.close(descriptor)


def _read(file: Path) -> int:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return -1
