"""What passes before the first step: `dlrun --help`, and the time from `import torch` to a step.

Each figure is a median over fresh processes that take turns; what counts are the ratios.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPEAT = 9
_DLRUN = str(Path(sys.executable).with_name("dlrun"))
_SCRIPT = str(Path(__file__).parents[1] / "dlrun")

# Runs the normal command line, and tells when `import torch` had ended and the first step was done.
_FIRST_STEP = """
import sys, time
from dlrun import cli
stamps = {}
class Done(BaseException): pass
def patch():
    from dlrun.training.loop import Engine
    step = Engine.train_step
    def first(self, *a):
        step(self, *a)
        raise Done
    Engine.train_step = first
import dlrun.commands.train as train
job = train._job
def patched(cfg):
    started = time.perf_counter()
    import torch
    stamps["imported"] = time.perf_counter()
    stamps["import"] = stamps["imported"] - started
    patch()
    job(cfg)
train._job = patched
try:
    cli.main(sys.argv[1:])
except Done:
    print(stamps["import"], time.perf_counter() - stamps["imported"])
"""


def main() -> None:
    """Print the three figures."""
    argparse = [sys.executable, "-c", "import argparse"]
    ratio = paired([_DLRUN, "--help"], argparse)
    print(f"dlrun --help / python -c 'import argparse'      {ratio:.2f}")
    seconds = paired([_SCRIPT, "--help"], [_DLRUN, "--help"], difference=True)
    print(f"scripts/dlrun --help minus dlrun --help         {1000 * seconds:.1f} ms")
    pairs = [first_step() for _ in range(REPEAT)]
    imports, steps = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"import torch                                    {imports:.2f} s")
    print(f"from there to the end of the first step, digits {steps:.2f} s")


def paired(a: list[str], b: list[str], *, difference: bool = False) -> float:
    """Median of a/b, or of a-b, over processes that take turns."""
    wall(a), wall(b)
    pairs = [(wall(a), wall(b)) for _ in range(3 * REPEAT)]
    return statistics.median(x - y if difference else x / y for x, y in pairs)


def wall(command: list[str]) -> float:
    """Seconds that a process takes."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def first_step() -> tuple[float, float]:
    """(seconds of `import torch`, seconds from its end to the end of the first step)."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["train", "model=cnn", f"hydra.run.dir={folder}/run"]
        answer = subprocess.run(
            [sys.executable, "-c", _FIRST_STEP, *words],
            check=True, capture_output=True, text=True, env=os.environ | {"HYDRA_FULL_ERROR": ""},
        )  # fmt: skip
    imported, step = answer.stdout.split()[-2:]
    return float(imported), float(step)


if __name__ == "__main__":
    main()
