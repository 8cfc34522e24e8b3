"""What a run directory holds for whoever goes on from it: its config and its weights. No torch at first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from dlrun.config import plain_yaml
from dlrun.errors import ConfigError, command
from dlrun.storage.index import find_run
from dlrun.storage.run_directory import RunDirectory, is_ensemble


def initial_run(name: str) -> RunDirectory:
    """The run that the setting init_from names, as every command names runs.

    Raises:
        ConfigError: there is none, there are several, or it is an ensemble.
    """
    try:
        run = find_run(name)
    except ConfigError as error:
        raise ConfigError(f"init_from: {error}") from error
    if is_ensemble(run.path):
        raise ConfigError(
            f"init_from is {run.path}, an ensemble, which has the weights of several models: name one of the runs in it"
        )
    return run


def read_plain(run: RunDirectory) -> dict[str, Any]:
    """The config of a run as it was written.

    Raises:
        ConfigError: there is none that can be read.
    """
    if not run.config_file.is_file():  # nor a pipe, which would be waited for
        raise ConfigError(f"{run.path} is not a run: it has no {run.config_file.name}")
    try:
        plain = plain_yaml.load(run.config_file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ConfigError(
            f"{run.config_file} is not valid YAML: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(plain, dict):
        raise ConfigError(f"{run.config_file} is not the config of a run: it holds no mapping")
    return plain


def reported_weights(run: RunDirectory, plain: Mapping[str, Any]) -> str:
    """`best` or `last`: the weights that the run measured its test part with, or would at its end.

    Of a run that has no best weights yet, since it was ended before its first evaluation, the last ones.
    """
    summary = run.read_summary() or {}
    tested = summary.get("tested") if summary.get("status") == "completed" else None
    if tested not in ("best", "last"):
        stopping = plain.get("trainer", {}).get("early_stopping", {})
        tested = "best" if stopping.get("restore_best", True) else "last"
    best, last = (run.checkpoints / f"{name}.pt" for name in ("best", "last"))
    return "last" if tested == "best" and last.exists() and not best.exists() else str(tested)


def read_state(run: RunDirectory, which: str) -> dict[str, Any]:
    """The contents of the run's checkpoint `which`, best or last.

    Raises:
        ConfigError: there is none, or it is damaged.
    """
    from dlrun.storage import checkpoint

    path = run.checkpoints / f"{which}.pt"
    if not path.exists():
        raise ConfigError(
            f"{run.path} has no {which} checkpoint yet: train it first with `{command('resume', run.path)}`"
        )
    try:
        return checkpoint.load(path)
    except ConfigError as error:
        other = "last" if which == "best" else "best"
        raise ConfigError(f"{error}; use the {other} checkpoint instead") from error


def weights_of(state: Mapping[str, Any]) -> dict[str, Any]:
    """The weights that a run is judged by: their running average, out of torch's AveragedModel, or the model's own.

    Raises:
        KeyError, AttributeError: it has none.
    """
    if not state.get("averaged"):
        return dict(state["model"])
    return {
        name.removeprefix("module."): value
        for name, value in state["averaged"].items()
        if name != "n_averaged"
    }
