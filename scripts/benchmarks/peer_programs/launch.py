"""A program's process: what it is given, what it took and what it reached."""

from __future__ import annotations

import gzip
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

FILES = [
    f"{part}-{content}"
    for part in ("train", "t10k")
    for content in ("images-idx3-ubyte", "labels-idx1-ubyte")
]


@dataclass(frozen=True)
class Result:
    """What a process took and reached.

    Attributes:
        start: seconds from its beginning to the end of the first step.
        training: seconds, validations included.
        accuracy: on the test part, in percent.
        peak: bytes of memory, of the whole process.
    """

    start: float
    training: float
    accuracy: float
    peak: float


class Running:
    """Runs programs on the MNIST in `data`, each in a process and a folder of its own.

    Args:
        accelerator: what they compute on, `cuda`, `mps` or `cpu`.
    """

    def __init__(self, data: Path, epochs: int, accelerator: str) -> None:
        self.data, self.epochs, self.accelerator = data, epochs, accelerator

    def start(self, module: str, words: list[str], case: str) -> Result:
        """Only up to the end of the first step."""
        return self._run(module, [case, *words, "--only-start", *self._length(0)])

    def train(self, module: str, words: list[str], case: str, *, seed: int) -> Result:
        """A whole training run, tested afterwards."""
        return self._run(module, [case, *words, *self._length(seed)])

    def _length(self, seed: int) -> list[str]:
        length = ["--epochs", str(self.epochs), "--seed", str(seed)]
        return [*length, "--accelerator", self.accelerator]

    def _run(self, module: str, words: list[str]) -> Result:
        with tempfile.TemporaryDirectory() as folder:
            report, output = Path(folder) / "report.json", Path(folder) / "output"
            command = [sys.executable, "-m", f"peer_programs.{module}", *words]
            with output.open("w") as stream:
                began = time.monotonic()
                process = subprocess.Popen(
                    [*command, "--report", str(report)],
                    cwd=folder,
                    env=self._environment(),
                    stdout=stream,
                    stderr=stream,
                )
                try:
                    _, status, usage = os.wait4(process.pid, 0)
                except BaseException:
                    process.kill()
                    raise
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                sys.exit(f"{output.read_text()}{' '.join(command)} failed")
            return _result(json.loads(report.read_text()), began, usage)

    def _environment(self) -> dict[str, str]:
        environment = os.environ | {
            "DLRUN_DATA": str(self.data),
            "PYTHONPATH": python_path(),
        }
        if self.accelerator == "cpu":
            environment["CUDA_VISIBLE_DEVICES"] = ""  # Keras takes a GPU wherever it sees one
        # The set-up has seen to dlrun's; a peer's first process writes that of its own packages.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        return environment


def python_path() -> str:
    """PYTHONPATH by which a process finds the programs here, and what the caller's names."""
    given = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(Path(__file__).parents[1]), *([given] if given else [])])


def _result(notes: dict[str, float], began: float, usage: resource.struct_rusage) -> Result:
    return Result(
        start=notes["stepped"] - began,
        training=notes.get("ended", notes["stepped"]) - notes["began"],
        accuracy=100 * notes.get("accuracy", 0.0),
        peak=usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    )


def mnist_folder(root: str | None) -> Path:
    """Where `root` has MNIST's files.

    Raises:
        FileNotFoundError: saying what is missing, and what to do.
    """
    if not root:
        raise FileNotFoundError(
            "DLRUN_DATA is not set: set it to the folder that holds MNIST/raw, as torchvision lays it out"
        )
    folder = Path(root).expanduser() / "MNIST" / "raw"
    for name in FILES:
        if not any((folder / file).is_file() for file in (name, f"{name}.gz")):
            raise FileNotFoundError(
                f"DLRUN_DATA is {root}, which lacks MNIST/raw/{name}.gz; "
                "`scripts/dlrun train dataset=mnist` downloads what is missing"
            )
    return folder


def unpack(source: Path, root: Path) -> None:
    """Put MNIST's files under `root` without compression, the only form that torchvision reads."""
    target = root / "MNIST" / "raw"
    target.mkdir(parents=True)
    for name in FILES:
        if (source / name).is_file():
            (target / name).symlink_to((source / name).resolve())
        else:
            with gzip.open(source / f"{name}.gz") as packed, (target / name).open("wb") as file:
                shutil.copyfileobj(packed, file)
