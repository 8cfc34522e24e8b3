"""The one file to send: on what machine, what was reached, which lines ask for a look, how each part ended."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gpu_parts.figures import Figure
from gpu_parts.goals import NOT_MEASURED, ROWS, table

_SUSPICIOUS = ("FAILED", "LOOK", "WAITS", "NOT stack", "NO GRAPH", "ERROR ")
_PACKAGES = ("torch", "torchvision", "numpy", "triton", "lightning", "optuna", "polars")
_SAME = (
    "accelerator",
    "card",
    "torch",
    "commit",
)  # facts without which figures do not belong together
_UNKNOWN = "not known"
_MOST = 80  # lines of a part
_WIDTH = 300  # of a line from a log


@dataclass
class Outcome:
    """How a part ended.

    Attributes:
        code: its exit code; `time was up`, or `left out` where it was not begun.
        lines: of its log, those that ask for a look.
        end: the last lines of its log.
    """

    code: str
    seconds: float = 0.0
    figures: dict[str, Figure] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    end: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether it came to its end."""
        return self.code == "0"


class Report:
    """report.json and report.md in a folder; both are written anew after each part.

    One of the same code on the same device that is there already is added to: parts that are run again take the
    place of what they were. Any other gets the name `before`.
    """

    def __init__(self, folder: Path, accelerator: str, command: str) -> None:
        self.file = folder / "report.json"
        self.outcomes: dict[str, Outcome] = {}
        self.facts = machine(accelerator) | {"command": command}
        if self.file.exists():
            stored = json.loads(self.file.read_text())
            if all(stored.get(fact) == self.facts.get(fact) for fact in _SAME):
                self.outcomes = {name: _outcome(one) for name, one in stored["parts"].items()}
            else:
                for file in folder.glob("report.*"):
                    file.replace(folder / f"before{file.suffix}")

    def add(self, name: str, outcome: Outcome) -> None:
        """Take a part in, and write all."""
        before = self.outcomes.get(name)
        if outcome.code == "left out" and before is not None and before.code != "left out":
            return
        self.outcomes[name] = outcome
        parts = {name: asdict(one) for name, one in self.outcomes.items()}
        _replace(self.file, json.dumps(self.facts | {"parts": parts}, indent=1))
        _replace(self.file.with_suffix(".md"), self.text())

    @property
    def done(self) -> set[str]:
        """The parts that came to an end, good or bad."""
        unfinished = ("left out", "time was up")
        return {name for name, one in self.outcomes.items() if one.code not in unfinished}

    @property
    def figures(self) -> dict[str, Figure]:
        """Those of all parts."""
        return {name: f for one in self.outcomes.values() for name, f in one.figures.items()}

    def text(self) -> str:
        """The report to read."""
        facts = "\n".join(f"- {name}: {value}" for name, value in self.facts.items())
        # What a rehearsal on the CPU found is no figure of a GPU.
        known = {row.name for row in ROWS} if self.facts["accelerator"] == "cuda" else set()
        found = {name: f for name, f in self.figures.items() if name in known}
        others = {name: f for name, f in self.figures.items() if name not in known}
        parts = [
            f"| {name} | {one.code} | {one.seconds:.0f} |" for name, one in self.outcomes.items()
        ]
        return "\n\n".join(
            [
                "# dlrun on a GPU",
                facts,
                "## Figures",
                table(found),
                "Ratios are medians of turns, with their range in brackets.",
                "## More figures",
                _table("figure", "measured", others) if others else f"{NOT_MEASURED}.",
                "## Lines to look at",
                _lines({name: one.lines for name, one in self.outcomes.items()}),
                "## Parts",
                "\n".join(["| part | exit code | seconds |", "|---|---|---|", *parts]),
                "## The last lines of parts that did not end well",
                _lines({name: one.end for name, one in self.outcomes.items() if not one.good}),
                "",
            ]
        )


def machine(accelerator: str) -> dict[str, Any]:
    """On what, with what and when."""
    facts: dict[str, Any] = {"accelerator": accelerator}
    if accelerator == "cuda":
        import torch

        major, minor = torch.cuda.get_device_capability()
        facts["card"] = f"{torch.cuda.get_device_name()}, compute capability {major}.{minor}"
        facts["memory"] = f"{torch.cuda.mem_get_info()[1] / 2**30:.0f} GiB"
        facts["driver"] = _output(
            "nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"
        )
        facts["CUDA"] = f"{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    else:
        facts["note"] = "a rehearsal on the CPU: no figure here says anything of a GPU"
    facts |= {name: _version(name) for name in _PACKAGES}
    facts |= {"Python": platform.python_version(), "system": platform.platform()}
    facts["commit"] = _output("git", "describe", "--always", "--dirty", "--abbrev=12")
    kept = Path(".gpudata/commit")  # a bare machine has no git
    if kept.exists() and facts["commit"].startswith(_UNKNOWN):
        facts["commit"] = kept.read_text().strip()
    facts["date"] = datetime.now().astimezone().isoformat(timespec="seconds")
    return facts


def suspicious(log: str) -> list[str]:
    """The lines of a log that ask for a look, the first of them where there are very many."""
    found = [line for line in log.splitlines() if any(word in line for word in _SUSPICIOUS)]
    more = [f"and {len(found) - _MOST} lines more"] if len(found) > _MOST else []
    return [line.strip()[:_WIDTH] for line in found[:_MOST]] + more


def _outcome(stored: Mapping[str, Any]) -> Outcome:
    figures = {name: Figure(**figure) for name, figure in stored["figures"].items()}
    return Outcome(**{**stored, "figures": figures})


def _replace(file: Path, text: str) -> None:
    """Written whole or not at all: the time may be up at any moment."""
    new = file.with_name(f"{file.name}.new")
    new.write_text(text)
    new.replace(file)


def _table(left: str, right: str, rows: Mapping[str, object]) -> str:
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return "\n".join([f"| {left} | {right} |", "|---|---|", *lines])


def _lines(of_parts: Mapping[str, list[str]]) -> str:
    shown = [f"{name}: {line}" for name, lines in of_parts.items() for line in lines]
    return "\n".join(["```", *shown, "```"]) if shown else "None."


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"{_UNKNOWN} ({type(error).__name__})"
