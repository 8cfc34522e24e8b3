"""What every program is told, and what it reports of itself.

A program is a module here with a `main()`; `python -m peer_programs.bare mlp --report FILE`, with the
parent folder in PYTHONPATH and DLRUN_DATA set to MNIST's unpacked files, runs one in the current
folder. Nothing is imported but the standard library: what a program costs shall be its own.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

BATCH_SIZE = 128
LEARNING_RATE = 1e-3
VALIDATION = 6_000  # of MNIST's 60,000 training images: a tenth, as dlrun has it
EVALUATION_BATCH_SIZE = 1024
MEAN, STD = 0.1307, 0.3081  # of MNIST's pixels, from 0 to 1


@dataclass(frozen=True)
class Job:
    """What to train, and for how long."""

    case: str
    epochs: int
    seed: int
    words: list[str]  # more overrides for dlrun
    accelerator: str  # cuda, mps or cpu
    data: Path  # in torchvision's layout, unpacked


class Watch:
    """Notes when training began, ended, and had done its first step, on the system's clock and as a GPU has done it.

    Args:
        report: the file that takes the notes.
        only_start: end the process after the first step.
    """

    def __init__(self, report: Path, *, only_start: bool) -> None:
        self._report, self._only_start = report, only_start
        self._notes: dict[str, float] = {}

    def begin(self) -> None:
        """Everything is loaded and built; training begins."""
        self._notes["began"] = _now()

    def stepped(self) -> None:
        """A step is done; only the first one counts."""
        if "stepped" not in self._notes:
            self._notes["stepped"] = _now()
            if self._only_start:
                self._write()
                os._exit(0)

    def end(self) -> None:
        """Training is over, the last validation included."""
        self._notes["ended"] = _now()

    def report(self, test_accuracy: float) -> None:
        """Write the notes down."""
        self._notes["accuracy"] = test_accuracy
        self._write()

    def _write(self) -> None:
        self._report.write_text(json.dumps(self._notes))


def _now() -> float:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.monotonic()


def read() -> tuple[Job, Watch]:
    """The job on the command line, and the watch to take along."""
    parser = argparse.ArgumentParser()
    parser.add_argument("case", choices=("logistic", "mlp", "cnn", "lstm"))
    parser.add_argument("words", nargs="*")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--accelerator", default="cpu")
    parser.add_argument("--only-start", action="store_true")
    parser.add_argument("--report", type=Path, required=True)
    given = parser.parse_args()
    data = Path(os.environ["DLRUN_DATA"])
    job = Job(given.case, given.epochs, given.seed, given.words, given.accelerator, data)
    return job, Watch(given.report, only_start=given.only_start)
