"""Every check of dlrun's CUDA paths and every figure of a GPU, by one command and into one report to send.

Each part is a process with a limit of time; they go in the order of their importance, and what is found is written
down as it comes, into report.md and report.json. A call that comes after one whose time was up goes on with the parts
that are left, if the report of that one is in the folder --output. On the CPU all is done small: a rehearsal.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import gpu
from gpu_parts.parts import Part
from peer_programs.launch import python_path

KIT = Path(__file__).resolve().parent
TESTS = KIT.parents[1] / "tests"
# The figures that come before everything that is no test of the GPU.
_FIRST = ("mlp", "cnn", "lstm", "stacks", "resume", "start", "accuracy")
_ENVIRONMENT = """
import os, subprocess, sys, torch
from dlrun import cli
print(torch.__config__.show())
print(f"{os.cpu_count()} cores")
if torch.cuda.is_available():
    subprocess.run(["nvidia-smi"])
    print("tf32: matmul", torch.backends.cuda.matmul.allow_tf32, "cudnn", torch.backends.cudnn.allow_tf32)
sys.exit(cli.main(["doctor"]))
"""
# Plug-ins that are there by chance must not turn warnings into errors.
_PLUGINS = ("cacheprovider", "benchmark", "cov", "timeout", "jaxtyping", "anyio")


def parts(accelerator: str) -> dict[str, Part]:
    """All parts, the most important ones first."""
    environment = {"PYTHONPATH": python_path()}
    on_card, cores = accelerator == "cuda", os.cpu_count() or 1
    device = ["--device", accelerator]
    quiet = [word for plugin in _PLUGINS for word in ("-p", f"no:{plugin}")]
    tests = [sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=short", *quiet]
    tests.append("--continue-on-collection-errors")  # of what is not installed there
    marked = [
        str(f) for f in sorted(TESTS.rglob("test_*.py")) if "mark.gpu" in f.read_text("utf-8")
    ]
    one_thread = {**environment, "OMP_NUM_THREADS": "1"}

    def program(name: str, seconds: float, file: str) -> Part:
        return Part(name, seconds, [sys.executable, str(KIT / file), *device], one_thread)

    figures = gpu.figures(accelerator)
    found = [
        Part("environment", 40, [sys.executable, "-c", _ENVIRONMENT], environment),
        Part(
            "tests", 90, [*tests, *marked, "-m", "gpu", "-n", "4" if on_card else "0"], one_thread
        ),
        program("probe", 150, "probe.py"),
        *(figures.pop(name) for name in _FIRST),
        *figures.values(),
        program("smoke", 90, "smoke.py"),
    ]
    if on_card:  # every test on CUDA wherever accelerator=auto finds it: what holds on the CPU alone shows here
        command = [
            *tests,
            "-m",
            "not slow and not cluster and not gpu",
            "-n",
            str(max(1, cores - 2)),
        ]
        found.append(Part("suite", 300, command, one_thread))
    return {part.name: part for part in found}


if __name__ == "__main__":
    sys.exit(gpu.main("scripts/check_gpu/check.sh", __doc__, parts))
