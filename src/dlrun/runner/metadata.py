"""What a run writes about itself at its start: config.yaml, overrides.yaml and environment.json."""

from __future__ import annotations

import functools
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import yaml

from dlrun import __version__
from dlrun.errors import ConfigError, command
from dlrun.storage.run_directory import RunDirectory, write_whole

_PACKAGES = (
    "torch",
    "torchvision",
    "hydra-core",
    "omegaconf",
    "tensorboard",
    "scikit-learn",
    "numpy",
)
# The one in C, where PyYAML has it, writes the same several times as fast.
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_YAML_PARTS: dict[str, str] = {}
_PARTS_KEPT = 1000


def now() -> str:
    """The time, ISO 8601 with its zone; to the millisecond, since `last` is the newest of several a second."""
    return datetime.now(UTC).astimezone().isoformat(timespec="milliseconds")


def write_start(
    run: RunDirectory, config: Mapping[str, Any], overrides: list[str], about: Mapping[str, Any]
) -> None:
    """Config, overrides and environment of a new run, with what else is to be known `about` it there.

    Raises:
        ConfigError: the directory already holds a run.
    """
    if run.config_file.exists():
        raise ConfigError(
            f"hydra.run.dir is {run.path}, which already holds a run: continue it with "
            f"`{command('resume', run.path)}`, or name another directory"
        )
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    # First, since the config is what makes it a run, which is resumed with what this says.
    write_whole(run.environment_file, json.dumps(environment() | dict(about), indent=2) + "\n")
    write_config(run, config, overrides)


def add_to_environment(run: RunDirectory, about: Mapping[str, Any]) -> None:
    """What is known of a run's environment only once it begins."""
    written = (run.read_environment() or {}) | dict(about)
    write_whole(run.environment_file, json.dumps(written, indent=2) + "\n")


def write_config(run: RunDirectory, config: Mapping[str, Any], overrides: list[str]) -> None:
    """The composed config and what the command line changed, as YAML."""
    write_whole(run.config_file, "".join(_yaml_part(key, value) for key, value in config.items()))
    write_whole(run.overrides_file, _yaml(overrides))


def environment() -> dict[str, Any]:
    """Versions, machine, git commit and command line."""
    words = [*sys.argv[0].rsplit("/", 1)[-1].split(), *sys.argv[1:]]
    return {**_installed(), "command": shlex.join(words), **_git()}


@functools.cache
def _installed() -> dict[str, Any]:
    return {
        "dlrun": __version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
        "platform": platform.platform(),
    }


def _yaml_part(key: str, value: Any) -> str:
    """One key of a config, kept: the trials of a sweep differ in a few."""
    known = repr((key, value))  # tells 1 from 1.0 and from True, as a comparison would not
    if known not in _YAML_PARTS:
        if len(_YAML_PARTS) > _PARTS_KEPT:
            _YAML_PARTS.clear()
        _YAML_PARTS[known] = _yaml({key: value})
    return _YAML_PARTS[known]


def _yaml(value: Any) -> str:
    text: str = yaml.dump(value, Dumper=_DUMPER, sort_keys=False, allow_unicode=True)
    if "\\U" not in text:
        return text
    # The dumper in C escapes what Unicode has beyond 16 bits, as emoji; the other writes it as it is.
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@functools.cache  # processes of their own, which a sweep would start for each trial
def _git() -> dict[str, Any]:
    """The working directory's commit, and whether files differ from it; nothing outside a repository.

    As it was when this process first asked: the code that it has loaded.
    """
    commit = _answer("describe", "--always", "--abbrev=40", "--exclude=*")
    if commit is None or commit.returncode:
        return {"git_commit": None, "git_dirty": None}
    alone = ("--no-ext-diff", "--no-textconv", "--ignore-submodules=all")
    found = _answer("diff", "--quiet", *alone, "HEAD", without=_own_filters())
    is_dirty = None if found is None or found.returncode not in (0, 1) else bool(found.returncode)
    return {"git_commit": commit.stdout.strip(), "git_dirty": is_dirty}


def _own_filters() -> list[str]:
    """The settings of the repository itself by which git would call a program for each file."""
    found = _answer("config", "--show-scope", "--name-only", "--get-regexp", r"^filter\.")
    lines = [] if found is None else found.stdout.splitlines()
    pairs = [line.split("\t", 1) for line in lines if "\t" in line]
    return [name for scope, name in pairs if scope in ("local", "worktree")]


def _answer(*words: str, without: Sequence[str] = ()) -> subprocess.CompletedProcess[str] | None:
    """What git says; None where it cannot be asked.

    The folder may come from somebody else, and settings of a repository name programs: for changed files,
    hooks, filters and transports. None of these is called, nor those of the settings `without`.
    """
    off = {"core.fsmonitor": "false", "core.hooksPath": os.devnull} | dict.fromkeys(without, "")
    try:
        given = int(
            os.environ.get("GIT_CONFIG_COUNT") or 0
        )  # of the user's own, in the environment
        settings = {"GIT_CONFIG_COUNT": str(given + len(off)), "GIT_ALLOW_PROTOCOL": ""}
        for number, (name, value) in enumerate(off.items(), given):
            settings |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
        return subprocess.run(
            ["git", *words], capture_output=True, text=True, timeout=10, env=os.environ | settings
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
