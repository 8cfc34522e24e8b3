"""Processes side by side on one card, which train a sweep together: 1, 2 and 4 of them, with and without NVIDIA's MPS.

Measured is the time in which any of them is at work on a trial, as the sweep itself counts it: what a process takes to
start is left out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dlrun.storage.sweep_directory import SweepDirectory
from dlrun.sweep.ending import seconds_worked
from dlrun.sweep.study import open_study
from gpu_parts.figures import note, tell
from gpu_parts.steps import MNIST
from peer_programs.dlrun import MODELS

_SPACE = "optimizer.lr=tag(log,interval(1e-4,1e-1))"
_CONTROL = "nvidia-cuda-mps-control"
# Words of a sweep: trials in turn, stacks that fill little of a card, and ones of a larger model.
_WAYS = {
    "in turn": ["mlp", "sweep.stack=off", "sweep.trials=32"],
    "stacks": ["mlp", "sweep.stack=on", "sweep.trials=128", "sweep.max_stack=16"],
    "cnn in turn": ["cnn", "sweep.stack=off", "sweep.trials=8"],
}


def measure(kind: str) -> None:
    """Tell how many times as fast several processes train a sweep as one of them."""
    if kind != "cuda":
        _compare({"in turn": ["sweep.stack=off", "sweep.trials=4"]}, (1, 2), kind, {}, "")
        return
    ways = {name: [*MODELS[case], *words] for name, (case, *words) in _WAYS.items()}
    _compare(ways, (1, 2, 4), kind, {}, "")
    with _shared_context() as environment:
        if environment is None:
            note(f"LOOK: there is no {_CONTROL} here, or it does not start: MPS was not measured")
        else:
            _compare(ways, (1, 2, 4), kind, environment, ", MPS")


def _compare(
    ways: Mapping[str, list[str]],
    counts: tuple[int, ...],
    kind: str,
    environment: Mapping[str, str],
    how: str,
) -> None:
    data = MNIST.split() if kind == "cuda" else ["dataset=iris", "model=logistic"]
    length = ["trainer.max_epochs=3"]
    for name, words in ways.items():
        seconds: dict[int, float] = {}
        for count in counts:
            given = [*data, *length, *words, f"trainer.accelerator={kind}"]
            seconds[count] = _seconds(given, count, environment)
            note(f"{name}{how}, {count} processes: {seconds[count]:.2f} s")
        for count in counts[1:]:
            tell(f"{name}, {count} beside{how}", seconds[1] / seconds[count])


def _seconds(words: list[str], processes: int, environment: Mapping[str, str]) -> float:
    """For which any of so many processes is at work on the sweep that `words` describe."""
    dlrun = [sys.executable, "-m", "dlrun"]
    variables = {**os.environ, **environment}
    with tempfile.TemporaryDirectory() as folder:
        sweep = Path(folder, "sweep")
        search = ["sweep=random", _SPACE, f"hydra.sweep.dir={sweep}", "tracking.tensorboard=false"]
        prepared = [*dlrun, "train", *words, *search, "--no-driver"]
        subprocess.run(prepared, check=True, stdout=subprocess.DEVNULL, env=variables)
        begun = [
            subprocess.Popen([*dlrun, "work", str(sweep)], stdout=subprocess.DEVNULL, env=variables)
            for _ in range(processes)
        ]
        codes = [process.wait() for process in begun]
        if any(codes):
            raise SystemExit(f"FAILED: of {processes} processes at work on a sweep some failed")
        return seconds_worked(open_study(SweepDirectory(sweep)).trials)


@contextmanager
def _shared_context() -> Iterator[Mapping[str, str] | None]:
    """A server of MPS of our own, by which kernels of several processes run at a time: the variables of its clients."""
    with tempfile.TemporaryDirectory() as folder:
        names = ("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY")
        own = {name: folder for name in names}
        variables = {**os.environ, **own}
        started = shutil.which(_CONTROL) is not None and (
            subprocess.run([_CONTROL, "-d"], env=variables, check=False).returncode == 0
        )
        try:
            yield own if started else None
        finally:
            if started:
                subprocess.run([_CONTROL], input=b"quit\n", env=variables, check=False)
