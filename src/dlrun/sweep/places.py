"""What a trial may use of a machine that several trials share: a GPU, or its part of the cores."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout

# Launchers that run trials side by side on this machine; on a cluster each job has resources of its own.
_LOCAL = ("joblib", "LocalLauncher", "RayLauncher")
_POLL_SECONDS = 0.1


def is_local(launcher: Mapping[str, Any]) -> bool:
    """Whether the trials of this launcher share this machine."""
    return any(name in str(launcher.get("_target_")) for name in _LOCAL)


def in_this_process(launcher: Mapping[str, Any]) -> bool:
    """Whether no launcher was chosen: trials run one after the other, here."""
    return str(launcher.get("_target_")).endswith("BasicLauncher")


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count_places(launcher: Mapping[str, Any], *, gpus: int, trials_per_gpu: int) -> int:
    """Trials at a time: `n_jobs` of the launcher where it says, else by the GPUs or cores there are."""
    asked = launcher.get("n_jobs")
    if isinstance(asked, int) and asked > 0:
        return asked
    return gpus * trials_per_gpu or cores()


@cache  # a process keeps its place to its end: CUDA cannot change the GPU it has begun to use
def take_place(folder: Path, count: int) -> int:
    """The number of the first free place of `count`; waits for one. The operating system frees it."""
    import time

    folder.mkdir(exist_ok=True)
    while True:
        for number in range(count):
            lock = FileLock(folder / str(number))
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
            _HELD.append(lock)
            return number
        time.sleep(_POLL_SECONDS)


_HELD: list[BaseFileLock] = []


def use_gpu(place: int, gpus: int) -> None:
    """Let this process see one GPU of those visible, by turns; before its first use of CUDA."""
    if not gpus or "DLRUN_GPU" in os.environ:
        return
    listed = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    visible = listed.split(",") if listed else [str(index) for index in range(gpus)]
    os.environ["DLRUN_GPU"] = os.environ["CUDA_VISIBLE_DEVICES"] = visible[place % len(visible)]


def thread_words(plain: Mapping[str, Any], count: int) -> list[str]:
    """The override that gives a trial its share of the cores, unless the config says how many threads."""
    if plain["trainer"].get("num_threads") is not None:
        return []
    return [f"trainer.num_threads={max(1, cores() // count)}"]
