"""What passes before the first step: `dlrun --help`, and the time from `import torch` to a step.

Each figure is a median over fresh processes that take turns; what counts are the ratios.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from peer_programs.launch import python_path

REPEAT = 9
_DLRUN = str(Path(sys.executable).with_name("dlrun"))
_SCRIPT = str(Path(__file__).parents[1] / "dlrun")

FIRST_STEP = [sys.executable, "-m", "peer_programs.first_step"]


def main() -> None:
    """Print the three figures."""
    parser = argparse.ArgumentParser("scripts/bench start", description=__doc__)
    parser.add_argument("--accelerator", default="cpu", help="of the first step (default cpu)")
    words = ["model=cnn", f"trainer.accelerator={parser.parse_args().accelerator}"]
    ratio = paired([_DLRUN, "--help"], [sys.executable, "-c", "import argparse"])
    print(f"dlrun --help / python -c 'import argparse'      {ratio:.2f}")
    seconds = paired([_SCRIPT, "--help"], [_DLRUN, "--help"], difference=True)
    print(f"scripts/dlrun --help minus dlrun --help         {1000 * seconds:.1f} ms")
    pairs = [first_step(*words) for _ in range(REPEAT)]
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


def first_step(*words: str) -> tuple[float, float]:
    """(seconds of `import torch`, seconds from its end to the end of the first step) of `dlrun train` with `words`."""
    with tempfile.TemporaryDirectory() as folder:
        answer = subprocess.run(
            [*FIRST_STEP, "train", *words, f"hydra.run.dir={folder}/run"],
            check=True, capture_output=True, text=True,
            env=os.environ | {"HYDRA_FULL_ERROR": "", "PYTHONPATH": python_path()},
        )  # fmt: skip
    imported, step = answer.stdout.split()[-2:]
    return float(imported), float(step)


if __name__ == "__main__":
    main()
