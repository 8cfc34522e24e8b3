"""One training run on MNIST in dlrun, in a bare loop and in dlrun's peers, each a process of its own.

All train the same architecture on 54,000 images in batches of 128 with Adam at 0.001, in single
precision unless the name says otherwise, and validate on the other 6,000 once an epoch; the 10,000 test
images are for afterwards. The programs, in `peer_programs`:

    dlrun      the command line with its defaults: metrics, TensorBoard, checkpoints, progress lines
    bare       tensors in memory, a loop by hand, fused Adam, nothing else: the limit
    tutorial   the loop of PyTorch's tutorials, with DataLoaders over torchvision's data set
    lightning  Lightning with its TensorBoard logger, checkpoints and progress bar, same DataLoaders
    keras      Keras 3 on torch, `model.fit` on NumPy arrays
    dlrun+...  dlrun with bf16, channels_last or both (both by default, and for the CNN alone)

Training is timed from the first step to the end of the last validation; imports, loading and building
come before. What is as slow as the DataLoaders takes part in the first turns only (--slow-repeat): every
program trains all epochs, so that seconds and accuracies stay comparable, and of a program that takes
ten times as long a few turns say enough. Programs take turns, in changing order, and a ratio is one of
two times of the same turn: the median of all turns, and their range. Peak memory is that of the whole
process. The start is timed from the process's beginning to the end of its first step.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import _accelerator
from peer_programs.launch import Result, Running, mnist_folder, unpack

CASES = ("logistic", "mlp", "cnn", "lstm")
REDUCED = "dlrun+bf16+channels_last"
# Name: the module in peer_programs, and more overrides for dlrun.
PROGRAMS: dict[str, tuple[str, list[str]]] = {
    "dlrun": ("dlrun", []),
    "bare": ("bare", []),
    REDUCED: ("dlrun", ["trainer.precision=bf16", "trainer.channels_last=true"]),
    "dlrun+bf16": ("dlrun", ["trainer.precision=bf16"]),
    "dlrun+channels_last": ("dlrun", ["trainer.channels_last=true"]),
    "keras": ("keras", []),
    "tutorial": ("tutorial", []),
    "lightning": ("lightning", []),
}
DEFAULT = ["dlrun", "bare", "keras", "tutorial", "lightning"]
SLOW = ("keras", "tutorial", "lightning")
TOLERANCE = 0.5  # points of test accuracy, between the means of a program and of the bare loop

Turns = dict[str, list[Result]]  # of each program; the slow ones have fewer


def main() -> int:
    """Run the cases named on the command line, or all."""
    arguments = parse(sys.argv[1:])
    try:
        source = mnist_folder(os.environ.get("DLRUN_DATA"))
    except FileNotFoundError as error:
        print(f"scripts/bench peers: {error}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        unpack(source, Path(folder))
        running = Running(Path(folder), arguments.epochs, arguments.accelerator)
        print(machine(arguments.accelerator), flush=True)
        compare_starts(running, arguments)
        compare_training(running, arguments)
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        "scripts/bench peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)} (default all)")
    add("--epochs", type=int, default=5, help="default 5")
    add("--repeat", type=int, default=5, help="turns (default 5)")
    add("--slow-repeat", type=int, default=2, help=f"turns of {', '.join(SLOW)} (default 2)")
    add(
        "--peers",
        type=lambda words: words.split(","),
        metavar="NAME,...",
        help=f"of {', '.join(PROGRAMS)} (default {','.join(DEFAULT)}; for cnn {REDUCED} as well)",
    )
    _accelerator.add_option(parser)
    arguments = parser.parse_args(argv)
    check_names(parser, "case", arguments.cases, CASES)
    check_names(parser, "program", arguments.peers or [], PROGRAMS)
    arguments.cases = arguments.cases or list(CASES)
    return arguments


def check_names(
    parser: argparse.ArgumentParser, kind: str, names: list[str], known: Iterable[str]
) -> None:
    """End with exit code 2 at a name that is not known."""
    if wrong := [name for name in names if name not in known]:
        parser.error(f"there is no {kind} {wrong[0]}; choose from: {', '.join(known)}")


def machine(accelerator: str) -> str:
    """The device and the versions, in a line."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("lightning", "keras"))
    return f"{_accelerator.described(accelerator)}, Python {platform.python_version()}, {packages}"


def compare_starts(running: Running, arguments: argparse.Namespace) -> None:
    """Print how long each program takes to the end of its first step."""
    case = arguments.cases[0]
    names = arguments.peers or DEFAULT
    for name in names:  # the first start reads everything from the disk
        running.start(*PROGRAMS[name], case)
    turns: Turns = {name: [] for name in names}
    for number in range(arguments.repeat):
        for name in in_turn(names, number):
            turns[name].append(running.start(*PROGRAMS[name], case))
    print(f"\nfrom a process's beginning to the end of its first step, {case}")
    print(f"{'program':<24} {'seconds':>8}   {'/ bare':<20} {'/ dlrun':<20}")
    for name in names:
        seconds = statistics.median(result.start for result in turns[name])
        ratios = [f"{ratio(turns, name, other, 'start'):<20}" for other in ("bare", "dlrun")]
        print(f"{name:<24} {seconds:>8.2f}   {' '.join(ratios)}".rstrip(), flush=True)


def compare_training(running: Running, arguments: argparse.Namespace) -> None:
    """Print a table of time, memory and accuracy, and who falls out of line in accuracy."""
    print(f"\ntraining, {arguments.epochs} epochs")
    print(
        f"{'case':<9} {'program':<24} {'s / epoch':>9}   {'time / bare':<20} {'time / dlrun':<20}"
        f" {'peak MB':>7}   {'peak / bare':<20} test accuracy"
    )
    outside = []
    for case in arguments.cases:
        names = arguments.peers or names_of(case)
        turns = train(running, case, names, arguments)
        for name in names:
            print(row(case, turns, name, arguments.epochs), flush=True)
        outside += [f"{case} {name}" for name in out_of_line(turns)]
    verdict = ", ".join(outside) or "none"
    print(f"\ntest accuracy more than {TOLERANCE} points from the bare loop's: {verdict}")


def names_of(case: str) -> list[str]:
    """The programs of a case where none were asked for."""
    return [*DEFAULT[:2], *([REDUCED] if case == "cnn" else []), *DEFAULT[2:]]


def train(running: Running, case: str, names: list[str], arguments: argparse.Namespace) -> Turns:
    """The results of all turns."""
    turns: Turns = {name: [] for name in names}
    for number in range(arguments.repeat):
        for name in in_turn(names, number):
            if name not in SLOW or number < arguments.slow_repeat:
                turns[name].append(running.train(*PROGRAMS[name], case, seed=number))
    return turns


def in_turn(names: list[str], number: int) -> list[str]:
    """Whoever goes second finds the processor in another state: they take turns at that too."""
    return names if number % 2 == 0 else names[::-1]


def row(case: str, turns: Turns, name: str, epochs: int) -> str:
    """A line of the table."""
    results = turns[name]
    seconds = statistics.median(result.training for result in results) / epochs
    peak = statistics.median(result.peak for result in results) / 1e6
    against_bare, against_dlrun = (
        ratio(turns, name, other, "training") for other in ("bare", "dlrun")
    )
    accuracies = [result.accuracy for result in results]
    return (
        f"{case:<9} {name:<24} {seconds:>9.3f}   {against_bare:<20} {against_dlrun:<20}"
        f" {peak:>7.0f}   {ratio(turns, name, 'bare', 'peak'):<20}"
        f" {statistics.mean(accuracies):.2f} ({min(accuracies):.2f}–{max(accuracies):.2f})"
    )


def ratio(turns: Turns, name: str, other: str, what: str) -> str:
    """`name`'s figure over `other`'s in the same turn: the median and the range of all turns."""
    if other not in turns or other == name:
        return "–"
    pairs = zip(turns[name], turns[other], strict=False)  # the slow ones stop first
    ratios = [getattr(mine, what) / getattr(its, what) for mine, its in pairs]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


def out_of_line(turns: Turns) -> list[str]:
    """Whose mean accuracy is further from the bare loop's, or else the first program's, than TOLERANCE."""
    means = {
        name: statistics.mean(result.accuracy for result in results)
        for name, results in turns.items()
    }
    reference = means.get("bare", next(iter(means.values())))
    return [name for name, mean in means.items() if abs(mean - reference) > TOLERANCE]


if __name__ == "__main__":
    sys.exit(main())
