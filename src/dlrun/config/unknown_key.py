"""A key that does not exist, as one that is misspelt: the words of its error, and the nearest key that does exist.

A key of a config file or of a run is refused by `config.schema`, one of the command line by Hydra: the words are these
for both. No torch here, and no hydra before it has refused a key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from dlrun.config.search_path import COMPONENTS, GROUPS, config_folders, option_file, options
from dlrun.errors import did_you_mean

_NOT_THERE = re.compile(r"Could not delete from config\. '(.*)' does not exist")


def unknown_key(parent: str, name: str, known: Iterable[str] = ()) -> str:
    """That `name` is no setting of `parent`, of a run where that is empty, and the nearest of the `known` ones."""
    key = f"{parent}.{name}" if parent else name
    if gone := gone_key(key):
        return gone
    return f"{key} is not a setting of {parent or 'a run'}{did_you_mean(name, known)}"


def gone_key(key: str) -> str | None:
    """What is written today in place of a key of version 0.1, in words; None where it is none."""
    if key == "loss.name":
        return f"{key} is not a setting of loss: choose the option itself, as in loss=huber"
    return None


def refused_by_hydra(error: Exception, overrides: list[str]) -> str | None:
    """The words for the key of an override that Hydra refused; None where it refused something else."""
    from dlrun.config.compose import leaf_keys

    cause = error.__cause__
    key = str(getattr(cause, "full_key", "") or "")
    if found := _NOT_THERE.search(str(error)):
        key = found[1]
    elif not key or " not in " not in str(cause):
        return None
    parent, _, name = key.rpartition(".")
    config, is_hydra = _composed(overrides), key.partition(".")[0] == "hydra"
    if config and parent == "hydra.launcher":
        launcher = config["hydra"]["runtime"]["choices"]["hydra/launcher"]
        settings = [key for key in config["hydra"]["launcher"] if not key.startswith("_")]
        # Hydra's own and the one that stacks have none: the word is for another.
        hint = did_you_mean(name, settings) or "; choose another, as in hydra/launcher=joblib"
        return f"{key} is not a setting of hydra/launcher={launcher}{hint}"
    known = [found for found in leaf_keys(config) if is_hydra == found.startswith("hydra.")]
    if parent in known and not any(found.startswith(f"{parent}.") for found in known):
        return f"{key} is not a setting as chosen here, where {parent} is null"
    below = [found for found in known if found.endswith(f".{name}")]
    if not parent and below:
        return f"{unknown_key(parent, name)}; did you mean {' or '.join(below)}?"
    if owners := _options_with(parent, name):
        return f"{unknown_key(parent, name)} as chosen here; it is one of {parent}={' or '.join(owners)}"
    siblings = [found for found in known if found.rpartition(".")[0] == parent]
    return unknown_key(parent, name, [found.rpartition(".")[2] for found in siblings])


def _options_with(group: str, name: str) -> list[str]:
    """The options of a group whose own file has the setting `name`."""
    if group not in COMPONENTS and group != "sweep":
        return []
    line, folders = re.compile(rf"^{re.escape(name)}:", re.MULTILINE), config_folders()
    files = {option: option_file(group, option, folders) for option in options(group, folders)}
    return [
        option
        for option, file in files.items()
        if file and not option.startswith("_") and line.search(file.read_text("utf-8", "replace"))
    ]


def _composed(overrides: list[str]) -> Any:
    """The config that the group choices among `overrides` make."""
    from omegaconf import OmegaConf

    from dlrun.config.compose import compose

    choices = [word for word in overrides if word.partition("=")[0] in (*GROUPS, "hydra/launcher")]
    try:
        return OmegaConf.to_container(compose(choices, with_hydra=True), resolve=False)
    except Exception:  # the choices are at fault as well: the refusal stands without a suggestion
        return {}
