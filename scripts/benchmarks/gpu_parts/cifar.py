"""`experiment=cifar10_fast` as its user runs it: seconds of training, and test accuracy."""

from __future__ import annotations

import json
import os
import tarfile
import tempfile
from pathlib import Path

from gpu_parts.figures import note, tell
from gpu_parts.runs import accuracy_of_views, command, test_accuracy

_COPY = Path("CIFAR10", "cifar10-jpeg.tar.gz")  # the same images as JPEG files, in train/ and test/
_VIEWS = 6
_SMALL = "model.widths=[8,8,8] trainer.max_steps=1 trainer.overfit_batches=1 trainer.precision=fp32"


def measure(kind: str) -> None:
    """Three seeds, each a process; without the original data on a copy of it, which is said."""
    root = Path(os.environ.get("DLRUN_DATA", "~/.cache/dlrun")).expanduser()
    with tempfile.TemporaryDirectory() as folder:
        name, words = "cifar10_fast", ["experiment=cifar10_fast"]
        if not any(
            (root / part).exists() for part in ("cifar-10-batches-py", "cifar-10-python.tar.gz")
        ):
            if not (root / _COPY).exists():
                note(f"LOOK: left out, CIFAR-10 is not in {root}")
                return
            name = "cifar10_fast on a JPEG copy,"
            note(
                f"the original CIFAR-10 is not in {root}: a copy with lossy compression is trained on"
            )
            with tarfile.open(root / _COPY) as archive:
                archive.extractall(folder, filter="data")
            words += [
                "dataset=image_folder",
                f"dataset.path={folder}/cifar10-jpeg",
                "dataset.color=rgb",
            ]
        words += [f"trainer.accelerator={kind}", *(_SMALL.split() if kind != "cuda" else [])]
        found = []
        for seed in range(3 if kind == "cuda" else 1):
            run = Path(folder, f"run{seed}")
            command(["train", *words, f"seed={seed}", f"hydra.run.dir={run}"])
            seconds = json.loads((run / "summary.json").read_text())["seconds"]
            found.append((accuracy_of_views(run, _VIEWS), test_accuracy(run), seconds))
            of_views, plain, _ = found[-1]
            note(
                f"seed {seed}: {of_views:.2f} %, of plain images {plain:.2f} %, in {seconds:.2f} s"
            )
    of_views, accuracies, seconds = zip(*found, strict=True)
    tell(f"{name} six views", of_views, "%")
    tell(f"{name} accuracy", accuracies, "%")
    tell(f"{name} seconds", seconds, "s")
