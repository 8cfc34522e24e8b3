"""The device of a benchmark: the option that chooses it, its name, and a clock that waits for it."""

from __future__ import annotations

import argparse
import os
import platform
import time
from pathlib import Path

import torch

from dlrun.errors import ConfigError
from dlrun.training.device import kind_of


def add_option(parser: argparse.ArgumentParser, default: str = "auto") -> None:
    """Add `--accelerator`: in the parsed arguments it is `cuda`, `mps` or `cpu`, for `trainer.accelerator`."""
    parser.add_argument(
        "--accelerator",
        type=_known,
        default=default,
        metavar="KIND",
        help=f"auto, cuda, mps or cpu (default {default})",
    )


def now(kind: str) -> float:
    """Seconds on the clock, when the device has done all that it was given."""
    if kind != "cpu":
        getattr(torch, kind).synchronize()
    return time.perf_counter()


def described(kind: str) -> str:
    """What the figures were measured on, in a line."""
    words = [processor()]
    if kind == "cuda":
        words += [torch.cuda.get_device_name(), f"CUDA {torch.version.cuda}"]
    threads = torch.get_num_threads()
    return ", ".join([*words, f"{threads} threads", f"torch {torch.__version__}"])


def processor() -> str:
    """The processor and how many cores it has."""
    name = platform.processor() or platform.machine()
    if (facts := Path("/proc/cpuinfo")).is_file():
        models = [line for line in facts.read_text().splitlines() if line.startswith("model name")]
        name = models[0].split(":")[1].strip() if models else name
    return f"{name}, {os.cpu_count()} cores"


def _known(name: str) -> str:
    if name not in ("auto", "cuda", "mps", "cpu"):
        raise argparse.ArgumentTypeError(f"{name} is none of auto, cuda, mps, cpu")
    try:
        return kind_of(name)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
