"""Commands of dlrun in this process, and what they leave: all that the checks know of dlrun is its command line."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dlrun import cli

_PLAIN = "tracking.tensorboard=false tracking.images=false tracking.graph=false tracking.histograms=false"
_VARIES = ("samples_per_second", "seconds")  # values of a point that no two runs share


class Failed(Exception):
    """A command that did not end well: its exit code and the end of what it said."""


@dataclass(frozen=True)
class Run:
    """A run directory."""

    path: Path

    @property
    def summary(self) -> dict[str, Any]:
        """summary.json."""
        return json.loads((self.path / "summary.json").read_text())

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        """Those of the last checkpoint, on the CPU."""
        file = self.path / "checkpoints" / "last.pt"
        return torch.load(file, map_location="cpu", weights_only=True)["model"]

    @property
    def log(self) -> str:
        """train.log."""
        return (self.path / "train.log").read_text()

    @property
    def points(self) -> list[dict[str, float]]:
        """What was logged, without what no two runs share."""
        lines = (self.path / "metrics.jsonl").read_text().splitlines()
        return [{k: v for k, v in json.loads(line).items() if k not in _VARIES} for line in lines]


def dlrun(*words: str) -> str:
    """What the command printed.

    Raises:
        Failed: its exit code is not 0.
    """
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            code = cli.main(list(words))
        except Exception as error:
            raise Failed(f"{type(error).__name__}: {first_line(error)}") from error
    if code:
        end = " | ".join(printed.getvalue().strip().splitlines()[-3:])
        raise Failed(f"({code}) dlrun {words[0]}: {end[:400]}")
    return printed.getvalue()


def trained(words: str, folder: Path, *more: str) -> Run:
    """A new run in `folder`; what stands after a | in `words` is one word."""
    first, *quoted = words.split("|")
    given = [*_PLAIN.split(), *first.split(), *quoted, *more]
    dlrun("train", *given, f"hydra.run.dir={folder}")
    return Run(folder)


def apart(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> float:
    """The largest difference between two models, each tensor's by its largest weight."""
    found = [
        float((a.double() - other[name].double()).abs().max() / a.abs().max().clamp(min=1e-3))
        for name, a in one.items()
        if a.is_floating_point() and a.numel()
    ]
    return max(found)


def say(part: str, label: str, verdict: str, text: str) -> None:
    """A line of the log; FAILED, LOOK and WAITS are verdicts that come into the report."""
    print(f"{part}: {label:<34} {verdict:<6} {text}", flush=True)


@contextlib.contextmanager
def told(part: str, label: str) -> Iterator[None]:
    """Whatever goes wrong inside is a line with FAILED."""
    try:
        yield
    except Failed as error:
        say(part, label, "FAILED", str(error))
    except Exception as error:
        say(part, label, "FAILED", f"{type(error).__name__}: {first_line(error)}")


def first_line(error: BaseException) -> str:
    """Of what it says."""
    return (str(error).splitlines() or [""])[0][:200]
