"""The figures that dlrun is to reach on a GPU, as ratios in one run, with a report to send.

Each part is a process with a limit of time; they go in the order of their importance, and what is found is written
down as it comes, into report.md and report.json. A report of the same code on the same device that is there already
is added to: without names, those parts are run that it has not yet. On the CPU everything is done small, which
shows that it runs, and no figure.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import _accelerator
from gpu_parts.parts import Part, run_all
from gpu_parts.report import Report
from peer_programs.launch import python_path

# Function in gpu_parts, what it is given, and the seconds that it takes at most on a card.
FIGURES: dict[str, tuple[str, list[str], float]] = {
    "mlp": ("steps.measure", ["mlp"], 40),
    "cnn": ("steps.measure", ["cnn"], 40),
    "lstm": ("steps.measure", ["lstm"], 40),
    "stacks": ("stacks.measure", [], 90),
    "resume": ("runs.resume", [], 60),
    "start": ("runs.first_step", [], 80),
    "accuracy": ("runs.accuracy", [], 80),
    "cifar": ("cifar.measure", [], 300),
    "variants": ("variants.measure", [], 90),
    "lightning": ("runs.lightning", [], 90),
    "compiled": ("variants.compiled", [], 200),
    "prices": ("prices.measure", [], 240),
    "beside": ("beside.measure", [], 300),
}

Offered = Callable[[str], Mapping[str, Part]]  # parts by name, for cuda or for cpu


def main(name: str, description: str | None, offered: Offered) -> int:
    """Run the parts named on the command line of the program `name`, or all that its report has not yet."""
    arguments = parse(name, description, offered)
    folder = arguments.output.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    command = " ".join([name, *sys.argv[1:]])
    report = Report(folder, arguments.accelerator, command)
    parts = offered(arguments.accelerator)
    names = arguments.parts or [name for name in parts if name not in report.done]
    good = run_all(
        [parts[name] for name in names], report, limit=arguments.limit, scale=arguments.scale
    )
    print(f"\n{report.text()}\nthe report to send: {report.file.with_suffix('.md')}")
    return 0 if good else 1


def parse(name: str, description: str | None, offered: Offered) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        name, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = offered("cpu")
    add = parser.add_argument
    add("parts", nargs="*", metavar="PART", help=f"of {', '.join(known)} (default all)")
    add("--limit", type=float, default=3600, help="seconds for all parts (default 3600)")
    add("--scale", type=float, default=1, help="of the seconds for each part (default 1)")
    add("--output", type=Path, default=Path("outputs/gpu"), help="folder (default outputs/gpu)")
    _accelerator.add_option(parser)
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.parts if name not in known]:
        parser.error(f"there is no part {unknown[0]}; choose from: {', '.join(known)}")
    return arguments


def figures(accelerator: str) -> dict[str, Part]:
    """The parts that measure, each a process."""
    environment = {"PYTHONPATH": python_path()}
    command = [sys.executable, __file__, "--inside", accelerator]
    return {
        name: Part(name, seconds, [*command, place, *words], environment)
        for name, (place, words, seconds) in FIGURES.items()
    }


def inside(accelerator: str, place: str, *words: str) -> None:
    """Measure one part in this process."""
    module, function = place.split(".")
    getattr(importlib.import_module(f"gpu_parts.{module}"), function)(accelerator, *words)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        inside(*sys.argv[2:])
    else:
        sys.exit(main("scripts/bench gpu", __doc__, figures))
