"""Whole runs by the command line: the start, test accuracies, a kill -9 with a resume, and Lightning beside them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import mean
from typing import Any

from gpu_parts.figures import note, tell
from gpu_parts.steps import MNIST
from peer_programs.dlrun import MODELS
from peer_programs.launch import Running, mnist_folder, unpack
from start import FIRST_STEP, wall

_CONTEXT = "import torch; torch.zeros(1, device='{}').sum().item()"
_MARGIN_STEPS = 30  # after which a run is killed
_VARIES = "samples_per_second"


def first_step(kind: str) -> None:
    """Seconds of a process up to its first step, beyond those of one that makes CUDA's context alone."""
    turns = 5 if kind == "cuda" else 1
    words = ["train", MNIST.split()[0], *MODELS["mlp"], f"trainer.accelerator={kind}"]
    alone = [sys.executable, "-c", _CONTEXT.format(kind)]
    more, contexts = [], []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(turns + 1):
            ours = [*FIRST_STEP, *words, f"hydra.run.dir={folder}/{turn}"]
            pair = wall(ours), wall(alone)
            if turn:  # the first one reads everything from the disk
                more.append(pair[0] - pair[1])
                contexts.append(pair[1])
    tell("first step", more, "s")
    tell("import torch and CUDA's context", contexts, "s")


def accuracy(kind: str) -> None:
    """Test accuracies of three seeds on the GPU and on the CPU, all of which train side by side."""
    cases, seeds = ({"mlp": 4, "cnn": 2}, range(3)) if kind == "cuda" else ({"mlp": 1}, range(1))
    more = [f"trainer.num_threads={max(1, (os.cpu_count() or 1) // (2 * len(cases) * len(seeds)))}"]
    more += [] if kind == "cuda" else ["trainer.max_steps=20"]
    with tempfile.TemporaryDirectory() as folder:
        begun = {}
        for case, epochs in cases.items():
            for seed in seeds:
                for name, place in {"GPU": kind, "CPU": "cpu"}.items():
                    run = Path(folder, f"{case}-{seed}-{name}")
                    words = [*_words(case, epochs, seed, place, run), *more]
                    begun[case, seed, name] = run, _begun(words)
        if failed := [key for key, (_, process) in begun.items() if process.wait()]:
            raise SystemExit(f"FAILED: {failed}")
        reached = {key: test_accuracy(run) for key, (run, _) in begun.items()}
    for case in cases:
        found = {name: [reached[case, seed, name] for seed in seeds] for name in ("GPU", "CPU")}
        for name, values in found.items():
            tell(f"{case} test accuracy on the {name}", values, "%")
        tell(f"{case} accuracy", abs(mean(found["GPU"]) - mean(found["CPU"])), "points")


def resume(kind: str) -> None:
    """The CNN with dropout as a whole, and killed with no warning and resumed: how many values differ."""
    epochs = 12 if kind == "cuda" else 1
    steps = ["checkpoint.every_steps=20", "trainer.deterministic=true", "model.dense_dropout=0.3"]
    if kind != "cuda":
        steps += ["trainer.max_steps=60", "trainer.log_every_steps=10"]
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = (Path(folder, name) for name in ("whole", "killed"))
        command([*_words("cnn", epochs, 0, kind, whole), *steps])
        step = _killed_on_the_way([*_words("cnn", epochs, 0, kind, killed), *steps], killed)
        command(["resume", str(killed)])
        end = json.loads((whole / "summary.json").read_text())["step"]
        if not 0 < step < end:
            raise SystemExit(
                f"FAILED: the run was to be killed on its way, not at step {step} of {end}"
            )
        differing = _differing(whole, killed)
        note(f"killed at step {step} of {end}")
        tell("resume", differing, "")


def lightning(kind: str) -> None:
    """An epoch of the CNN by Lightning as its user gets it, and by the command line of dlrun."""
    if find_spec("lightning") is None:
        note("left out: Lightning is not installed (scripts/bench peers installs it)")
        return
    epochs = 2 if kind == "cuda" else 1
    root = os.environ.get("DLRUN_DATA") or str(Path("~/.cache/dlrun").expanduser())
    case = "cnn" if kind == "cuda" else "logistic"
    with tempfile.TemporaryDirectory() as folder:
        unpack(mnist_folder(root), Path(folder))
        running = Running(Path(folder), epochs, kind)
        ours, theirs = (running.train(name, [], case, seed=0) for name in ("dlrun", "lightning"))
    note(f"accuracy: dlrun {ours.accuracy:.2f} %, Lightning {theirs.accuracy:.2f} %")
    tell(f"{case} epoch", ours.training / epochs, "s")
    tell(f"{case} epoch of Lightning", theirs.training / epochs, "s")
    tell(f"{case} / lightning", theirs.training / ours.training)


def _words(case: str, epochs: int, seed: int, kind: str, run: Path) -> list[str]:
    length = [f"trainer.max_epochs={epochs}", f"seed={seed}", f"trainer.accelerator={kind}"]
    return ["train", *MNIST.split(), *MODELS[case], *length, f"hydra.run.dir={run}"]


def _begun(words: Sequence[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "dlrun", *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def command(words: Sequence[str]) -> None:
    if code := _begun(words).wait():  # it has said why
        raise SystemExit(f"FAILED ({code}): dlrun {' '.join(words)}")


def test_accuracy(run: Path) -> float:
    """In percent, on the test part."""
    summary: Any = json.loads((run / "summary.json").read_text())
    metrics = summary["best"]["metrics"] if summary["tested"] == "best" else summary["final"]
    return 100 * metrics["test/accuracy"]


def _killed_on_the_way(words: Sequence[str], run: Path) -> int:
    """Start a run, and kill it when it has a checkpoint and has come some way; at which step it was, or 0."""
    process, step = _begun(words), 0
    while process.poll() is None and step < _MARGIN_STEPS:
        if (run / "checkpoints" / "last.pt").exists():
            step = _points(run)[-1]["step"] if _points(run) else 0
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    return step if process.wait() == -signal.SIGKILL else 0


def _points(run: Path) -> list[dict[str, Any]]:
    """What metrics.jsonl has; the last line may be cut off."""
    file, points = run / "metrics.jsonl", []
    with contextlib.suppress(ValueError):
        for line in file.read_text().splitlines() if file.exists() else []:
            points.append(json.loads(line))
    return points


def _differing(one: Path, other: Path) -> int:
    """How many weights and logged values are not the same, bit for bit."""
    import torch

    first, second = (
        torch.load(run / "checkpoints" / "last.pt", map_location="cpu", weights_only=True)["model"]
        for run in (one, other)
    )
    weights = sum(int((first[name] != second[name]).sum()) for name in first)
    kept = [
        [{k: v for k, v in p.items() if k != _VARIES} for p in _points(run)] for run in (one, other)
    ]
    points = sum(a != b for a, b in zip(*kept, strict=False)) + abs(len(kept[0]) - len(kept[1]))
    note(f"weights that differ: {weights}, logged points that differ: {points}")
    return weights + points
