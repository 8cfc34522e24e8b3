"""The sweep directory: the names of its files, its description and its lock. No Optuna here."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from dlrun.errors import ConfigError
from dlrun.storage.run_directory import CLAIMS, SWEEP, write_whole

_KINDS: dict[str, type] = {
    "command": list, "overrides": list, "space": dict, "settings": dict, "config": dict, "objective": str,
}  # fmt: skip
_LONGEST = 200  # characters of an objective: pictures cannot hold longer ones
_SPACE = re.compile(r"^space:.*\n(?:[ \t].*\n|\n)*", re.MULTILINE)
_PLAIN_ENTRY = re.compile(r"  ([\w.+/@]+): (.+)")  # of the space: a key and its values on one line


@dataclass(frozen=True)
class SweepDirectory:
    """Where the files of one sweep are; each trial has a folder named by its number."""

    path: Path

    @property
    def sweep_file(self) -> Path:
        """The sweep's spec: fixed overrides, space, strategy, objective, base config."""
        return self.path / SWEEP

    @property
    def journal(self) -> Path:
        """Optuna's study, a log that any number of processes append to."""
        return self.path / "study.journal"

    @property
    def claims(self) -> Path:
        """Which trials a process is at work on, by their numbers."""
        return self.path / CLAIMS

    @property
    def leaderboard_file(self) -> Path:
        """Every trial, best first."""
        return self.path / "leaderboard.csv"

    @property
    def best_file(self) -> Path:
        """The best setting as an option of the group experiment."""
        return self.path / "best.yaml"

    @property
    def report_file(self) -> Path:
        """The report, one page that needs no network."""
        return self.path / "report.html"

    @property
    def report_folder(self) -> Path:
        """The report's pictures as PNG."""
        return self.path / "report"

    @property
    def end_file(self) -> Path:
        """How the sweep ended, written with the leaderboard: trials that are over, trials in all, and what ended it."""
        return self.path / ".end.json"

    def read_end(self) -> dict[str, Any]:
        """What `end_file` says; empty where the sweep has not ended since it was begun or resumed."""
        try:
            end = json.loads(self.end_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(end, dict) or end.get("ended_by") not in (None, "budget", "patience"):
            return {}
        return end if all(type(end.get(name)) is int for name in ("ended", "total")) else {}

    def trial(self, number: int) -> Path:
        """The folder of a trial: the run's directory, or with several seeds the folder of its runs."""
        return self.path / str(number)

    def write(self, description: Mapping[str, Any]) -> None:
        """Replace sweep.yaml."""
        import yaml

        self.path.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(dict(description), sort_keys=False, allow_unicode=True)
        write_whole(self.sweep_file, text)

    def read(self) -> dict[str, Any]:
        """The contents of sweep.yaml, of an older version as they are written today.

        Raises:
            ConfigError: it is missing or damaged.
        """
        import yaml

        from dlrun.config import migrate, plain_yaml

        try:
            description = plain_yaml.load(self.sweep_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"{self.path} is not a sweep: it has no {SWEEP}") from None
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"{self.sweep_file} is not valid YAML: {reason}") from error
        if not isinstance(description, dict):
            raise ConfigError(f"{self.sweep_file} does not describe a sweep: it holds no mapping")
        for name, kind in _KINDS.items():
            value: Any = description.get(name, kind())
            is_long = kind is str and len(str(value)) > _LONGEST
            if not isinstance(value, kind) or is_long:
                raise ConfigError(
                    f"{self.sweep_file} has a {name} that no sweep writes: mend it, or begin a new sweep"
                )
        return migrate.sweep_description(description)


def read_space(sweep: Path) -> Mapping[str, Any]:
    """What the sweep varies, as its sweep.yaml has it; empty where that cannot be read.

    Without the rest of the file: all of it as YAML takes a tenth of a second, and there may be hundreds.
    """
    try:
        found = _SPACE.search((sweep / SWEEP).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return {}
    lines = found[0].splitlines()[1:] if found else []
    plain = [_PLAIN_ENTRY.fullmatch(line) for line in lines]
    if all(plain):  # as nearly always: YAML is not even loaded
        return {entry[1]: entry[2] for entry in plain if entry}
    import yaml

    from dlrun.config import plain_yaml

    try:
        space = plain_yaml.load(found[0])["space"] if found else None
    except yaml.YAMLError:
        return {}
    return space if isinstance(space, Mapping) else {}


def early_end(reason: str, ended: int, total: int) -> str:
    """How a sweep ended early: `ended by its budget: 12 of 30 trials`."""
    return f"ended by its {reason}: {ended:,} of {total:,} trials"


def config_words(command: Sequence[str]) -> list[str]:
    """The `--config-dir` of a command line as one word with a path that holds anywhere; empty without one."""
    found = []
    for word, following in zip_longest(command, command[1:], fillvalue=""):
        name, equals, folder = word.partition("=")
        if name in ("--config-dir", "-cd"):
            found.append(f"--config-dir={Path(folder if equals else following).absolute()}")
    return found


def is_sweep(path: Path) -> bool:
    """Whether `path` is a sweep's directory; not one that may not be looked into."""
    return os.path.isfile(path / SWEEP)  # where Path.is_file may raise
