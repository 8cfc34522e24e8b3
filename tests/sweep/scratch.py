"""A scratch project for the tests of sweeps: a model that misbehaves on request, and how a sweep is looked at."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
import yaml

from apart import Result as Result
from apart import be_dlrun as be_dlrun
from apart import ended as ended
from apart import kill_group as kill_group
from apart import wait_for as wait_for
from dlrun.storage.run_directory import RunDirectory, read_metrics
from dlrun.storage.sweep_directory import SweepDirectory
from dlrun.sweep.study import open_study

# Its training step AT_STEP goes wrong for the widths that a variable of the environment names, as in
# RAISE=13,21 (or RAISE=all); PAUSE seconds are added to each step until there is a file `hurry`.
MODEL = """
import os, pathlib, signal, time
import torch
from torch import nn

def meant(name, width):
    widths = os.environ.get(name, "")
    return widths == "all" or str(width) in widths.split(",")

class Net(nn.Module):
    def __init__(self, spec, *, width: int, bias: bool):
        super().__init__()
        if meant("RAISE_AT_BIRTH", width):
            raise RuntimeError(f"no weights of width {width} today")
        if meant("NEEDS_BIAS", width) and not bias:
            raise ValueError(f"a width of {width} needs a bias")
        self.width, self.steps = width, 0
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(spec.num_features, width, bias=bias), nn.Tanh(),
            nn.Dropout(0.1), nn.Linear(width, spec.num_outputs),
        )

    def forward(self, x):
        if self.training and torch.is_grad_enabled():
            self.steps += 1
            if self.steps == int(os.environ.get("AT_STEP", 1)):
                self.misbehave()
            if "PAUSE" in os.environ and not pathlib.Path("hurry").exists():
                time.sleep(float(os.environ["PAUSE"]))
        return self.layers(x)

    def misbehave(self):
        if meant("RAISE", self.width):
            raise IndexError(f"width {self.width} has a bug")
        for name in ("SIGKILL", "SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2"):
            if meant(name, self.width):
                os.kill(os.getpid(), signal.Signals[name])
        if meant("SIGKILL_ONCE", self.width) and not pathlib.Path(f"died{self.width}").exists():
            pathlib.Path(f"died{self.width}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
"""
# 3 steps an epoch, some 20 ms a trial.
QUICK = (
    "dataset=iris", "model=net", "optimizer=sgd", "trainer.max_epochs=2", "trainer.accelerator=cpu",
    "tracking.tensorboard=false",
)  # fmt: skip
JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
_OF_THE_CLOCK = ("samples_per_second",)


def make_project(folder: Path) -> None:
    """The model's module and its option."""
    (folder / "faulty.py").write_text(MODEL)
    option = folder / "configs" / "model" / "net.yaml"
    option.parent.mkdir(parents=True)
    option.write_text("# misbehaves on request\n_target_: faulty.Net\nwidth: 8\nbias: true\n")


@dataclass(frozen=True)
class Look:
    """What is in a sweep directory."""

    path: Path

    @cached_property
    def trials(self) -> list[optuna.trial.FrozenTrial]:
        return open_study(SweepDirectory(self.path)).get_trials(deepcopy=False)

    @property
    def states(self) -> list[str]:
        return [trial.state.name.lower() for trial in self.trials]

    @property
    def values(self) -> list[float | None]:
        return [trial.value for trial in self.trials]

    @cached_property
    def rows(self) -> list[dict[str, str]]:
        """leaderboard.csv."""
        with (self.path / "leaderboard.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    @property
    def description(self) -> dict[str, Any]:
        return dict(yaml.safe_load((self.path / "sweep.yaml").read_text()))

    @property
    def runs(self) -> list[str]:
        """The run directories: `12`, or `12/seed0` where there are several seeds."""
        found = [file.parent.relative_to(self.path) for file in self.path.glob("*/**/config.yaml")]
        return sorted(map(str, found), key=lambda name: int(name.split("/")[0]))

    @property
    def swept(self) -> list[dict[str, str]]:
        """What each trial set, as its summary says."""
        return [self.summary(number)["swept"] for number in self.runs]

    def run(self, name: object) -> RunDirectory:
        return RunDirectory(self.path / str(name))

    def summary(self, name: object) -> dict[str, Any]:
        summary = self.run(name).read_summary()
        assert summary is not None, f"{name} has no summary"
        return summary

    def config(self, name: object) -> dict[str, Any]:
        return dict(yaml.safe_load(self.run(name).config_file.read_text()))

    def log(self, name: object) -> str:
        return self.run(name).log.read_text()

    def environment(self, name: object) -> dict[str, Any]:
        return dict(json.loads(self.run(name).environment_file.read_text()))

    def starts(self, name: object) -> list[int]:
        """The step that each go at a trial began at."""
        starts, resumed = [], None
        for line in self.log(name).splitlines():
            if found := re.search(r" resuming .* at step ([\d,]+) of", line):
                resumed = int(found[1].replace(",", ""))
            elif " training on " in line:
                starts.append(resumed or 0)
                resumed = None
        return starts

    def points(self, name: object) -> list[dict[str, Any]]:
        """metrics.jsonl without what depends on the clock."""
        return [
            {key: value for key, value in point.items() if key not in _OF_THE_CLOCK}
            for point in read_metrics(self.run(name))
        ]


def die_before_write(number: int) -> None:
    """kill -9 in place of the write of that number, of those that are to last: renamed or synced files."""
    count = [0]

    def counted(write: Callable[..., Any]) -> Callable[..., Any]:
        def write_or_die(*given: Any) -> Any:
            count[0] += 1
            if count[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return write(*given)

        return write_or_die

    os.replace, os.fsync = counted(os.replace), counted(os.fsync)  # type: ignore[assignment]
