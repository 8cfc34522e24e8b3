"""`experiment=cifar10_fast` as its user runs it: seconds of training, and test accuracy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from gpu_parts.figures import note, tell
from gpu_parts.runs import command, test_accuracy

_ORIGINAL = ("cifar-10-batches-py", "cifar-10-python.tar.gz")
_COPY = Path("CIFAR10", "cifar10-jpeg.tar.gz")  # the same images as JPEG files, in train/ and test/
# For a rehearsal, of some images.
_SMALL = "model.widths=[8,8,8] trainer.batch_size=100 trainer.max_epochs=1 trainer.precision=fp32"
_EVERY = 200


def measure(kind: str) -> None:
    """Three seeds, each a process; on a copy of the data where that alone is there, which is said."""
    root = Path(os.environ.get("DLRUN_DATA", "~/.cache/dlrun")).expanduser()
    is_copy = not any((root / part).exists() for part in _ORIGINAL) and (root / _COPY).exists()
    words = ["train", "experiment=cifar10_fast", f"trainer.accelerator={kind}"]
    words += [] if kind == "cuda" else _SMALL.split()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        if is_copy:
            note("the original is not there: trained on a copy of it with lossy compression")
            words += ["dataset=image_folder", f"dataset.path={_unpacked(root, folder, kind)}"]
            words += ["dataset.color=rgb"]
        for seed in range(3 if kind == "cuda" else 1):
            run = Path(folder, f"run{seed}")
            command([*words, f"seed={seed}", f"hydra.run.dir={run}"])
            seconds = json.loads((run / "summary.json").read_text())["seconds"]
            found.append((_by_views(run), test_accuracy(run), seconds))
            note(
                "seed {}: {:.2f} % by views, {:.2f} % without, in {:.2f} s".format(seed, *found[-1])
            )
    name = "cifar10_fast on a JPEG copy," if is_copy else "cifar10_fast"
    names = {"accuracy": "%", "accuracy without views": "%", "seconds": "s"}
    for (what, unit), values in zip(names.items(), zip(*found, strict=True), strict=True):
        tell(f"{name} {what}", values, unit)


def _unpacked(root: Path, folder: str, kind: str) -> Path:
    """The folder of the copy, of a part of it for a rehearsal."""
    with tarfile.open(root / _COPY) as archive:
        members = archive.getmembers()
        some = members if kind == "cuda" else [m for m in members if m.isfile()][::_EVERY]
        archive.extractall(folder, some, filter="data")
        return Path(folder, Path(members[0].name).parts[0])


def _by_views(run: Path) -> float:
    """Test accuracy in percent, each image also flipped and shifted: as the published figures are."""
    words = [sys.executable, "-m", "dlrun", "eval", str(run), "--tta", "6", "--json"]
    answer = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
    return 100 * json.loads(answer.splitlines()[-1])["metrics"]["test/accuracy"]
