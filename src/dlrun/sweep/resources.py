"""What a trial may use of a machine that several trials share: a slot on a GPU, or its part of the cores."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout

from dlrun.system.hardware import cores_each

# Launchers that run trials side by side on this machine; on a cluster each job has resources of its own.
_LOCAL = ("joblib", "LocalLauncher")
_POLL_SECONDS = 0.1
# Of a card's memory, where several processes share it. The rest is for the context of each: assumed, not measured.
_TENSORS = 0.9
_GPU = "DLRUN_GPU"  # variable of the environment: the GPU that this process has been given


def is_local(launcher: Mapping[str, Any]) -> bool:
    """Whether the trials of this launcher share this machine."""
    return any(name in str(launcher.get("_target_")) for name in _LOCAL)


def is_joblib(launcher: Mapping[str, Any]) -> bool:
    """Whether the launcher is joblib's, whose processes wait for trials."""
    return "joblib" in str(launcher.get("_target_"))


def is_ray(launcher: Mapping[str, Any]) -> bool:
    """Whether trials are tasks of Ray's, which gives each its cores and GPUs."""
    return str(launcher.get("_target_")) == "hydra_plugins.dlrun_plugins.launcher.RayLauncher"


def on_this_machine(launcher: Mapping[str, Any]) -> bool:
    """Whether what this machine lacks, as a GPU, no trial has."""
    if is_ray(launcher):
        return launcher["init"].get("address") is None
    return in_this_process(launcher) or is_local(launcher)


def in_this_process(launcher: Mapping[str, Any]) -> bool:
    """Whether the trials run here: no launcher was chosen, or the one that stacks them."""
    return str(launcher.get("_target_")).endswith("BasicLauncher") or is_stacked(launcher)


def is_stacked(launcher: Mapping[str, Any]) -> bool:
    """Whether trials are to be trained as one wherever that is possible."""
    return str(launcher.get("_target_")).endswith("StackedLauncher")


def count_slots(launcher: Mapping[str, Any], *, gpus: int, trials_per_gpu: int) -> int:
    """Trials at a time: `n_jobs` of the launcher where it says, else by the GPUs or cores there are."""
    asked = launcher.get("n_jobs")
    if isinstance(asked, int) and asked > 0:
        return asked
    return gpus * trials_per_gpu or cores_each()


@contextmanager
def slot_among(folder: Path, count: int) -> Iterator[int]:
    """The number of a free slot of `count`, held within this; waits for one. A killed process releases it."""
    folder.mkdir(exist_ok=True)
    # CUDA cannot change the GPU that it has begun to use: a process that has one keeps its slot.
    wanted = [_OWN[folder]] if folder in _OWN and _GPU in os.environ else range(count)
    number, lock = _first_free(folder, wanted)
    _OWN[folder] = number
    try:
        yield number
    finally:
        lock.release()


_OWN: dict[Path, int] = {}  # this process's last slot


def _first_free(folder: Path, wanted: Sequence[int]) -> tuple[int, BaseFileLock]:
    while True:
        for number in wanted:
            lock = FileLock(folder / str(number))
            with suppress(Timeout):
                lock.acquire(blocking=False)
                return number, lock
        time.sleep(_POLL_SECONDS)


def gpus_seen() -> list[str]:
    """The GPUs that this process sees, by the names that CUDA_VISIBLE_DEVICES gives them."""
    import torch

    listed = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [name.strip() for name in listed.split(",")] if listed else []
    if names and all(name.startswith("MIG-") for name in names):
        return (
            names  # of the parts of a card a process is shown one, which says nothing of the others
        )
    there = torch.cuda.device_count()
    return names[:there] or [str(index) for index in range(there)]


def use_gpu(slot: int, gpus: Sequence[str], slots: int) -> None:
    """Let this process see one of the `gpus`, by turns, and where several slots share it take its part of the memory.

    Before its first use of CUDA: even to count GPUs may be one.
    """
    if not gpus or _GPU in os.environ:
        return
    os.environ[_GPU] = os.environ["CUDA_VISIBLE_DEVICES"] = gpus[slot % len(gpus)]
    sharing = -(-slots // len(gpus))
    if sharing > 1:
        import torch

        # Else one trial could leave nothing to its neighbours, and which of them fails would be chance.
        torch.cuda.set_per_process_memory_fraction(_TENSORS / sharing)


def thread_words(plain: Mapping[str, Any], count: int) -> list[str]:
    """The override that gives a trial its share of the cores, unless the config says how many threads."""
    if plain["trainer"].get("num_threads") is not None:
        return []
    return [f"trainer.num_threads={cores_each(count)}"]
