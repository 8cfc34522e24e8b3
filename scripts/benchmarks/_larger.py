"""A table larger than memory: its peak memory, and its rate against the same rows in memory.

    build      ROWS rows of 22 columns as CSV with dataset.memory_limit=1, read into the cache and trained for an epoch
    again      the same, from the cache
    memory     SOME of the rows, which fit into memory: samples a second in the first epoch
    cache      the same rows from the cache, in turns with these

The peak is that of the process, files that it has mapped included.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

ROWS, SOME = 20_000_000, 2_000_000
SIZES = (256, 4096)
BATCH = 4096  # of all rows
_AT_ONCE = 1_000_000  # rows that are generated at a time


def write_rows(path: Path, rows: int, table: Callable[[int, int], Any]) -> None:
    """A CSV file of so many rows; `table` gives some of them from a seed."""
    with path.open("wb") as file:
        for seed, start in enumerate(range(0, rows, _AT_ONCE)):
            frame = table(min(_AT_ONCE, rows - start), seed)
            frame.write_csv(file, include_header=start == 0)


def compare(
    folder: Path,
    repeat: int,
    table: Callable[[int, int], Any],
    take: Callable[..., Any],
    *,
    rows: int = ROWS,
    some: int = SOME,
) -> None:
    """Print the figures; `take` runs a process and measures it."""
    cache = {"DLRUN_CACHE": str(folder / "cache")}
    file = folder / "larger.csv"
    write_rows(file, rows, table)
    print(f"{rows:,} rows, {file.stat().st_size / 1e9:.2f} GB, memory limit 1 GiB")
    print(f"{'':<10} {'seconds':>8} {'processor':>10} {'peak MB':>8} {'samples/s':>10}")
    for name in ("build", "again"):
        _print(name, [take(command(file, 1, BATCH), folder, more=cache, read=rate)])
    write_rows(file, some, table)
    for size in SIZES:
        print(f"{some:,} rows, batches of {size}")
        turns: dict[str, list[Any]] = {"memory": [], "cache": []}
        for _ in range(repeat):
            for name, limit in (("memory", 1000), ("cache", 0.1)):
                words = command(file, limit, size)
                turns[name].append(take(words, folder, more=cache, read=rate))
        for name, taken in turns.items():
            _print(name, taken)
        pairs = zip(turns["cache"], turns["memory"], strict=True)
        share = median(mine.read / its.read for mine, its in pairs)
        print(f"from the cache at {share:.0%} of the rate in memory", flush=True)
    file.unlink()


def command(file: Path, limit: float, size: int) -> list[str]:
    """An epoch of `dlrun train`."""
    words = f"dataset=table dataset.path={file} dataset.target=label dataset.memory_limit={limit}"
    settings = (
        f"trainer.batch_size={size} trainer.max_epochs=1 trainer.accelerator=cpu hydra.run.dir=run"
    )
    return [sys.executable, "-m", "dlrun", "train", *words.split(), *settings.split()]


def rate(folder: Path) -> float:
    """Samples a second in the first epoch of the run in `folder`/run."""
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    points = [json.loads(line) for line in lines]
    found = [point["samples_per_second"] for point in points if "samples_per_second" in point]
    return len(found) / sum(1 / one for one in found)


def _print(name: str, taken: list[Any]) -> None:
    wall, processor = (median(getattr(t, key) for t in taken) for key in ("wall", "processor"))
    peak, samples = median(t.peak for t in taken) / 1e6, median(t.read for t in taken)
    print(f"{name:<10} {wall:>8.2f} {processor:>10.2f} {peak:>8.0f} {samples:>10,.0f}", flush=True)
