"""How cost grows: with the number of trials, the batch, the model, the options and the runs there are.

All is trained on the CPU. Each table is named on the command line, or all are printed. What a sweep adds to
a trial, up to 5,000 of them, is a benchmark of its own: `scripts/bench sweep`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import cycle, islice, pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn

import _accelerator
import start
from dlrun import cli
from dlrun.config import settings
from dlrun.config.search_path import RUN_GROUPS, packaged_configs
from dlrun.training.build import assemble
from peer_programs import by_hand
from peer_programs.by_hand import mlp
from stacked import Case, elsewhere, plain_config, spread, sweep

_DLRUN = str(Path(sys.executable).with_name("dlrun"))
_STEPS = 40  # timed of a batch size or width, in a turn
_SMALLEST, _INPUTS, _CLASSES = 1000, 2, 3  # points, and what they are of, in dataset=blobs


def main() -> None:
    """Print the tables asked for."""
    parser = argparse.ArgumentParser("scripts/bench growth", description=__doc__)
    add = parser.add_argument
    add("tables", nargs="*", metavar="TABLE", help=f"of {', '.join(TABLES)}")
    add("--most", type=int, help="leave out what has more trials, samples, units, files or runs")
    add("--repeat", type=int, default=5, help="turns (default 5; of trials 1)")
    add("--threads", type=int, help="of torch (default: its own choice)")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.tables if name not in TABLES]:
        parser.error(f"there is no table {unknown[0]}; choose from: {', '.join(TABLES)}")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(_accelerator.described("cpu"))
    for name in arguments.tables or TABLES:
        table, sizes = TABLES[name]
        print()
        table([n for n in sizes if n <= (arguments.most or n)], arguments.repeat)


def trials(counts: Sequence[int], _: int) -> None:
    """Trials a minute against the number of trials, stacked and in turn, whole sweeps."""
    case = Case("dataset=digits model=mlp model.hidden=[64]", epochs=5).on("cpu")
    print(f"digits, MLP 64-64-10, {case.epochs} epochs, whole sweeps: trials a minute")
    print(f"{'trials':>8}  {'stack=auto':>10}  {'stack=off':>10}  auto chose")
    sweep("on", case, 2)
    for count in counts:
        together, alone = sweep("auto", case, count), sweep("off", case, count)
        print(
            f"{count:>8}  {60 * count / together.seconds:>10.0f}"
            f"  {60 * count / alone.seconds:>10.0f}"
            f"  {'as one' if together.as_one else 'in turn'}",
            flush=True,
        )


def batch(sizes: Sequence[int], repeat: int) -> None:
    """A step's time against the batch size."""
    _steps("batch", [(size, size, [64]) for size in sizes], repeat)


def width(sizes: Sequence[int], repeat: int) -> None:
    """A step's time against the width of the model."""
    _steps("width", [(size, 32, [size, size]) for size in sizes], repeat)


def _steps(title: str, rows: Sequence[tuple[int, int, list[int]]], repeat: int) -> None:
    """Rows are of a size to print, a batch size, and the widths of the hidden layers."""
    print(f"points, MLP, one training step against {title}")
    print(f"{title:>8}  {'dlrun ms':>9}  {'bare ms':>9}  dlrun / bare")
    for size, batch_size, hidden in rows:
        pairs = _step_pairs(batch_size, hidden, repeat)
        ours, bare = (1000 * statistics.median(column) for column in zip(*pairs, strict=True))
        print(
            f"{size:>8}  {ours:>9.3f}  {bare:>9.3f}  {spread([a / b for a, b in pairs])}",
            flush=True,
        )


def _step_pairs(batch_size: int, hidden: list[int], repeat: int) -> list[tuple[float, float]]:
    """(seconds of dlrun's step, of the bare loop's), medians of steps that take turns."""
    size = max(_SMALLEST, int(batch_size * _STEPS / 0.6))
    words = f"dataset=blobs dataset.size={size} model=mlp model.hidden={hidden}".replace(" [", "[")
    words = words.replace(", ", ",") + f" trainer.batch_size={batch_size}"
    plain = plain_config(Case(words).on("cpu"))
    pairs = []
    for turn in range(repeat + 1):
        seconds = {}
        for name in ("ours", "bare") if turn % 2 == 0 else ("bare", "ours"):
            stamps = _our_steps(plain) if name == "ours" else _bare_steps(plain, hidden)
            seconds[name] = statistics.median(b - a for a, b in pairwise(stamps))
        pairs.append((seconds["ours"], seconds["bare"]))
    return pairs[1:]  # the first turn warms up


def _our_steps(plain: Any) -> list[float]:
    """When each step ended."""
    engine = assemble(settings.parse(plain)).engine
    engine.model.train()
    stamps = []
    for inputs, targets in islice(engine.batches.epoch(0), _STEPS):
        engine.train_step(inputs, targets)
        stamps.append(time.perf_counter())
    return stamps


def _bare_steps(plain: Any, hidden: Sequence[int]) -> list[float]:
    """When each step ended of the loop that one would write by hand, on the same data."""
    data = assemble(settings.parse(plain)).data.train
    batch_size = plain["trainer"]["batch_size"]
    some = data.first(_STEPS * batch_size)
    model: nn.Module = mlp(_INPUTS, *hidden, _CLASSES)
    optimizer = torch.optim.Adam(model.parameters(), lr=plain["optimizer"]["lr"], fused=True)
    stamps: list[float] = []
    by_hand.train(
        model,
        optimizer,
        (some.inputs, some.targets),
        (some.inputs[:1], some.targets[:1]),
        epochs=1,
        batch_size=batch_size,
        stepped=lambda: stamps.append(time.perf_counter()),
    )
    return stamps


def options(counts: Sequence[int], repeat: int) -> None:
    """Start-up against the number of options in a user's configs, whole processes."""
    print(
        "files in ./configs, seconds of a process (of train: from `import torch` to the first step)"
    )
    print(f"{'files':>8}  {'dlrun --help':>12}  {'dlrun list':>10}  {'dlrun train':>11}")
    with contextlib.ExitStack() as folders:
        places = {count: folders.enter_context(_project(count)) for count in counts}
        taken: dict[int, list[tuple[float, float, float]]] = {count: [] for count in counts}
        for _ in range(repeat + 1):
            for count, place in places.items():
                os.chdir(place)
                helped, listed = (start.wall([_DLRUN, word]) for word in ("--help", "list"))
                taken[count].append(
                    (helped, listed, start.first_step("model=cnn", "trainer.accelerator=cpu")[1])
                )
    for count, rows in taken.items():
        helped, listed, trained = map(statistics.median, zip(*rows[1:], strict=True))
        print(f"{count:>8}  {helped:>12.3f}  {listed:>10.3f}  {trained:>11.3f}")


@contextlib.contextmanager
def _project(files: int) -> Iterator[Path]:
    """A folder whose configs/ has copies of dlrun's own options under other names."""
    own = [file for group in RUN_GROUPS for file in sorted((packaged_configs() / group).iterdir())]
    with elsewhere("project.log") as folder:
        for number, file in enumerate(islice(cycle(own), files)):
            copy = folder / "configs" / file.parent.name / f"my_{file.stem}_{number}.yaml"
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(file.read_text())
        yield folder


def runs(counts: Sequence[int], repeat: int) -> None:
    """`dlrun runs` against the number of runs, whole processes without the start."""
    print("dlrun runs: seconds beyond those without any run")
    heads = ("lone runs", "a sweep's, folded", "runs SWEEP")
    print(f"{'runs':>8}  {'  '.join(f'{head:>17}' for head in heads)}")
    for count in counts:
        with elsewhere("runs.log") as folder:
            lone, sweeps = _made_up(folder, count)
            commands = {
                "lone": (lone, []),
                "folded": (sweeps, []),
                "sweep": (sweeps, ["outputs/sweeps/many"]),
            }
            medians = [_beyond_empty(*command, repeat) for command in commands.values()]
        print(f"{count:>8}  {'  '.join(f'{seconds:>17.3f}' for seconds in medians)}", flush=True)


def _beyond_empty(place: Path, words: list[str], repeat: int) -> float:
    """Median of the seconds that `dlrun runs` takes in `place` beyond those in an empty folder."""
    empty = place.parent / "empty"
    empty.mkdir(exist_ok=True)
    differences = []
    for _ in range(repeat + 1):
        os.chdir(place)
        full = start.wall([_DLRUN, "runs", *words])
        os.chdir(empty)
        differences.append(full - start.wall([_DLRUN, "runs"]))
    return statistics.median(differences[1:])


def _made_up(folder: Path, count: int) -> tuple[Path, Path]:
    """Folders with so many lone runs, and with so many trials of one sweep, made of a real trial."""
    words = ["dataset=iris", "model=logistic", "trainer.max_epochs=1", "optimizer.lr=0.1,0.2"]
    assert cli.main(["train", *words, "sweep=grid", "hydra.sweep.dir=real"]) == 0
    real = folder / "real"
    lone, sweeps = folder / "lone", folder / "sweeps"
    begun = datetime.fromisoformat(json.loads((real / "0/summary.json").read_text())["created"])
    for number in range(count):
        created = begun + timedelta(seconds=number)
        name = f"{created:%Y-%m-%d_%H-%M-%S}_iris_logistic"
        _copy(real / "0", lone / "outputs" / name, created, number)
        _copy(real / "0", sweeps / "outputs" / "sweeps" / "many" / str(number), created, number)
    for file in real.iterdir():
        if file.is_file():
            (sweeps / "outputs" / "sweeps" / "many" / file.name).write_bytes(file.read_bytes())
    return lone, sweeps


def _copy(run: Path, place: Path, created: datetime, number: int) -> None:
    """The run's config, and its summary with another time, learning rate and result."""
    place.mkdir(parents=True)
    os.link(run / "config.yaml", place / "config.yaml")  # it is not read, only seen
    summary = json.loads((run / "summary.json").read_text())
    summary["created"] = created.isoformat()
    summary["swept"] = {"optimizer.lr": str(0.1 + number / 1e5)}
    summary["best"]["metrics"]["val/loss"] += number / 1e5
    (place / "summary.json").write_text(json.dumps(summary))


TABLES: dict[str, tuple[Callable[[Sequence[int], int], None], Sequence[int]]] = {
    "trials": (trials, (1, 4, 16, 64, 256, 512)),
    "batch": (batch, (1, 4, 16, 64, 256, 1024, 4096)),
    "width": (width, (16, 64, 256, 1024, 2048)),
    "options": (options, (0, 10, 100, 1000)),
    "runs": (runs, (10, 100, 1000, 10_000)),
}


if __name__ == "__main__":
    main()
