"""What passes from a process's beginning to its first training step on data of some size, and its peak memory.

The data are generated from a seed. Each figure is a median over whole processes that take turns:

    dlrun      the command line with its defaults, ended after its first step
    polars     `import torch` and `polars.read_csv`, or `polars.read_parquet`, and nothing else: the limit
    sklearn    pandas, scikit-learn's ColumnTransformer and a DataLoader, up to the first step; of CSV alone
    ludwig     the preprocessing of Ludwig alone; where `--ludwig` names a Python that has it

The case larger, which is run where it is named, has the figures of a table larger than memory (_larger.py).

Each program has a row of one table, with what dlrun is to reach. Seconds are those on the clock; "processor"
is the time of all threads of the process, which other processes on the machine change less.
dlrun and its peers split, fit and encode all three parts of a table.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl

import _larger
from peer_programs.launch import python_path
from peers import check_names

ROWS, FEW_ROWS, TEXTS, CHARACTERS = 1_000_000, 50_000, 500_000, 111_000_000
LARGER = "larger"
_PIECE = 2**20  # characters that are made at a time
LIMIT = "import sys, torch, polars; getattr(polars, sys.argv[1])(sys.argv[2])"


@dataclass(frozen=True)
class Taken:
    """What a process took: seconds on the clock, of the processor, and bytes of memory at most; `read` of its files."""

    wall: float
    processor: float
    peak: float
    read: float = 0.0


@dataclass(frozen=True)
class Case:
    """A file and what reads it.

    Attributes:
        write: makes the file.
        words: what is given to `dlrun train`, with {file} for the file.
        reader: of polars, where it is a table.
        seconds: that dlrun is to take at most; beyond those of polars where that takes part.
        peak: bytes of memory, likewise.
    """

    name: str
    file: str
    write: Callable[[Path], None]
    words: str
    reader: str | None = None
    seconds: float | None = None
    peak: float | None = None

    @property
    def goal(self) -> str:
        """What dlrun is to reach, in words."""
        parts = []
        if self.seconds is not None:
            parts.append(f"{'polars + ' if self.reader else ''}{self.seconds:g} s")
        if self.peak is not None:
            parts.append(f"{self.peak / 1e6:.0f} MB")
        return ", ".join(parts)


def table(rows: int, seed: int = 0) -> pl.DataFrame:
    """Of `rows` x 22: 14 columns of decimals, 3 of whole numbers, 4 of categories, a label."""
    rng = np.random.default_rng(seed)
    columns = {f"x{at}": np.round(rng.normal(size=rows), 4) for at in range(14)}
    columns |= {f"n{at}": rng.integers(0, 1000, rows) for at in range(3)}
    for name, levels in (("color", 5), ("state", 50), ("flag", 2), ("city", 300)):
        kinds = np.array([f"{name}_{level}" for level in range(levels)])
        columns[name] = kinds[rng.integers(0, levels, rows)]
    score = columns["x0"] + columns["x1"] * columns["x2"] + rng.normal(size=rows) * 0.5
    return pl.DataFrame(columns | {"label": (score > 0).astype(int)})


def write_table(rows: int) -> Callable[[Path], None]:
    """What writes the table."""

    def write(path: Path) -> None:
        frame = table(rows)
        frame.write_parquet(path) if path.suffix == ".parquet" else frame.write_csv(path)

    return write


def write_texts(path: Path) -> None:
    """Labelled texts of 5 to 15 words of some thousands."""
    rng = np.random.default_rng(0)
    words = np.array([f"word{at}" for at in range(5000)])
    lengths = rng.integers(5, 16, TEXTS)
    drawn = iter(np.split(words[rng.zipf(1.3, lengths.sum()) % len(words)], lengths.cumsum()[:-1]))
    labels = rng.integers(0, 4, TEXTS)
    with path.open("w") as file:
        file.write("label,text\n")
        file.writelines(
            f"class{label},{' '.join(text)}\n" for label, text in zip(labels, drawn, strict=True)
        )


def write_characters(path: Path) -> None:
    """A text of small letters and blanks, a few of them as often as in English.

    It is written in pieces: the peak memory that this process had would be counted as that of those that it starts.
    """
    rng = np.random.default_rng(0)
    signs = np.frombuffer(b"  eeettaaooinnshrdlucmfwypvbgk\n", np.uint8)
    with path.open("wb") as file:
        for start in range(0, CHARACTERS, _PIECE):
            count = min(_PIECE, CHARACTERS - start)
            file.write(signs[rng.integers(0, len(signs), count)].tobytes())


CSV = "dataset=csv dataset.path={file} dataset.target=label"
CASES = [
    Case("csv", "table.csv", write_table(ROWS), CSV, "read_csv", seconds=1.5, peak=0.9e9),
    Case(
        "parquet", "table.parquet", write_table(ROWS), CSV.replace("=csv", "=table"), "read_parquet",
        seconds=1.5,
    ),
    Case("small", "small.csv", write_table(FEW_ROWS), CSV, "read_csv"),
    Case(
        "texts", "texts.csv", write_texts,
        "dataset=text_csv dataset.path={file} dataset.text=text dataset.label=label model=bag_of_words",
        seconds=8, peak=0.8e9,
    ),
    Case(
        "characters", "text.txt", write_characters,
        "dataset=char_lm dataset.path={file} model=char_gru", peak=0.9e9,
    ),
]  # fmt: skip


def main() -> None:
    """Print a row for each program of each case asked for."""
    arguments = parse(sys.argv[1:])
    print(
        f"{'data':<11} {'program':<8} {'seconds':>8} {'processor':>10} {'peak MB':>8}  dlrun is to reach"
    )
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            if case.name in (arguments.cases or [case.name for case in CASES]):
                compare(case, Path(folder), arguments)
        if LARGER in arguments.cases:  # it takes gigabytes of the disk and minutes
            _larger.compare(Path(folder), arguments.repeat, table, take)
    if not arguments.ludwig:
        print("ludwig is left out: --ludwig PYTHON names an interpreter that has it")


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        "scripts/bench data",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [*(case.name for case in CASES), LARGER]
    add = parser.add_argument
    add(
        "cases", nargs="*", metavar="CASE", help=f"of {', '.join(names)} (default all but {LARGER})"
    )
    add("--repeat", type=int, default=3, help="turns (default 3)")
    add("--ludwig", metavar="PYTHON", help="an interpreter in whose environment Ludwig is")
    arguments = parser.parse_args(argv)
    check_names(parser, "case", arguments.cases, names)
    return arguments


def compare(case: Case, folder: Path, arguments: argparse.Namespace) -> None:
    """Print the figures of each program, and what dlrun takes beyond polars."""
    file = folder / case.file
    case.write(file)
    programs = commands(case, file, arguments.ludwig)
    turns: dict[str, list[Taken]] = {name: [] for name in programs}
    for _ in range(arguments.repeat):
        for name, command in programs.items():
            turns[name].append(take(command, folder))
    file.unlink()
    for name, taken in turns.items():
        print_row(case.name, name, taken, case.goal if name == "dlrun" else "")
    if "polars" in turns:
        pairs = zip(turns["dlrun"], turns["polars"], strict=True)
        more = [
            Taken(one.wall - other.wall, one.processor - other.processor, one.peak - other.peak)
            for one, other in pairs
        ]
        print_row(case.name, "- polars", more, "")


def print_row(case: str, name: str, taken: list[Taken], goal: str) -> None:
    """Print the medians."""
    wall, processor, peak = (
        median(getattr(one, figure) for one in taken) for figure in ("wall", "processor", "peak")
    )
    print(
        f"{case:<11} {name:<8} {wall:>8.2f} {processor:>10.2f} {peak / 1e6:>8.0f}  {goal}".rstrip(),
        flush=True,
    )


def commands(case: Case, file: Path, ludwig: str | None) -> dict[str, list[str]]:
    """The program of each name that takes part."""
    words = [*case.words.format(file=file).split(), "trainer.accelerator=cpu"]
    found = {"dlrun": [sys.executable, *program("first_step"), "train", *words]}
    if case.reader is None:
        return found
    found["polars"] = [sys.executable, "-c", LIMIT, case.reader, str(file)]
    given = [str(file), "label"]
    if case.reader == "read_csv":  # pandas reads parquet by another library
        found["sklearn"] = [sys.executable, *program("table_sklearn"), *given]
    if ludwig:
        found["ludwig"] = [ludwig, *program("table_ludwig"), *given]
    return found


def program(name: str) -> list[str]:
    """What starts one of `peer_programs`, after the interpreter."""
    return ["-m", f"peer_programs.{name}"]


def take(
    command: list[str],
    folder: Path,
    *,
    more: Mapping[str, str] | None = None,
    read: Callable[[Path], float] | None = None,
) -> Taken:
    """Run a process in a folder of its own; its failure ends the benchmark.

    Args:
        more: of its environment.
        read: a figure from what it wrote into that folder.
    """
    with tempfile.TemporaryDirectory(dir=folder) as own:
        output = Path(own) / "output"
        with output.open("w") as stream:
            began = time.perf_counter()
            process = subprocess.Popen(
                command,
                cwd=own,
                env=os.environ | {"PYTHONPATH": python_path(), **(more or {})},
                stdout=stream,
                stderr=stream,
            )
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{output.read_text()}{' '.join(command)} failed")
        found = read(Path(own)) if read else 0.0
    unit = 1 if sys.platform == "darwin" else 1024
    return Taken(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit, found)


if __name__ == "__main__":
    main()
