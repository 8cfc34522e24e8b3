"""Figures that a part of a check found: told as they come, so that one that is stopped has told what it had."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

_FILE = "DLRUN_FIGURES"  # the variable that names the file


@dataclass(frozen=True)
class Figure:
    """A figure: the median of some values, the least and the largest.

    Attributes:
        unit: none where it is a ratio.
    """

    value: float
    low: float
    high: float
    unit: str = ""

    def __str__(self) -> str:
        digits = 0 if abs(self.value) >= 100 else 2 if abs(self.value) < 10 else 1
        text = f"{self.value:,.{digits}f}"
        if self.low != self.high:
            text += f" ({self.low:,.{digits}f}–{self.high:,.{digits}f})"
        return f"{text} {self.unit}".rstrip()


def tell(name: str, values: Sequence[float] | float, unit: str = "") -> None:
    """Print a figure, and add it to those of this part."""
    values = [values] if isinstance(values, int | float) else list(values)
    figure = Figure(median(values), min(values), max(values), unit)
    note(f"figure {name}: {figure}")
    if file := os.environ.get(_FILE):
        with Path(file).open("a") as stream:
            stream.write(json.dumps({"name": name, **asdict(figure)}) + "\n")


def note(line: str) -> None:
    """Print a line; LOOK or FAILED in it puts it into the report."""
    print(line, flush=True)


def told(file: Path) -> dict[str, Figure]:
    """What was told into `file`, by name."""
    lines = file.read_text().splitlines() if file.exists() else []
    found = [json.loads(line) for line in lines]
    return {one.pop("name"): Figure(**one) for one in found}


def variables(file: Path) -> dict[str, str]:
    """Of the environment of a part that is to tell into `file`."""
    return {_FILE: str(file)}
