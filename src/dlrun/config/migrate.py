"""A stored config, completed: what its version had not yet is as the configs say today. No torch here.

What each version needs stands in one place, so that a later version adds to it:

- A target that moved: its module in the table of `moved`.
- A setting that a run, or one strategy of a sweep, has gained: nothing, `completed` and `completed_sweep` take it
  from today's option.
- A setting that all sweeps have gained: its default in `_SWEEP_SETTINGS`.
- A setting of a table whose option does not do today what it did: its value then, in `_TABLE_SETTINGS`.
"""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from dlrun.config.moved import current, with_current_targets
from dlrun.config.search_path import COMPONENTS, config_folders

_SETTINGS = {"trainer": "default"}  # groups of settings, with their usual options
_USUAL = {"loss": {"_target_": "dlrun.training.losses.choice.Auto"}}  # components that came later
_PRIMARY, _SECTIONS = "train", ("checkpoint", "tracking")
_PLAIN = ("init_from", "metrics")  # settings that stand by themselves
_OF_ALL_OPTIONS = "_shared"
_SWEEP_SETTINGS = {  # of the group sweep: what came after the version, as it was before
    "0.1": {"raw_cells": False, "budget": None, "patience": None},
}
_TABLE_SETTINGS: dict[str, dict[str, Any]] = {  # of tables in files: the same
    "dlrun.data.tables.sources.csv": {
        "dates": None,
        "infer": [],
        "drop_missing_target": True,
        "rare_below": 0,
    },
    "dlrun.data.images.table.image_table": {"drop_missing_target": True},
    "dlrun.data.text.files.text_csv": {"drop_missing_target": True},
}
_CHOICE_OF_A_LOSS = re.compile("^loss[.]name=")
_FASTEST = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the first is not everywhere
_INTERPOLATION = re.compile(r"(\\*)\$\{")


def completed(plain: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """`plain` with the keys that it lacks, and what was added, by dotted key.

    A component takes those of the option with its `_target_`, of several the one that has most values in common with
    it. Values that are there stay as they are, null as well.
    """
    whole, added = _completed_as_written(plain)
    whole = _resolved(whole, added)
    return whole, {key: _at(whole, key) for key in added}


def _completed_as_written(plain: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same, with interpolations as the options have them."""
    whole = dict(plain)
    added: dict[str, Any] = {}
    of_all = _option("", _OF_ALL_OPTIONS)
    for key in COMPONENTS:
        if isinstance(node := plain.get(key, _USUAL.get(key)), Mapping):
            then = _TABLE_SETTINGS.get(current(str(node.get("_target_"))), {})
            shared = {**of_all.get(key, {}), **_nearest(key, node), **then}
            whole[key] = _filled(node, shared, f"{key}.", added)
    sections = {**_option("", _PRIMARY), **{k: _option(k, name) for k, name in _SETTINGS.items()}}
    for key in (*_SETTINGS, *_SECTIONS):
        node, defaults = plain.get(key, {}), sections.get(key)
        if isinstance(node, Mapping) and isinstance(defaults, Mapping):
            whole[key] = _filled(node, defaults, f"{key}.", added)
    for key in _PLAIN:
        if key not in plain:
            whole[key] = added[key] = sections[key]
    return whole, added


def sweep_settings(node: Mapping[str, Any]) -> dict[str, Any]:
    """The node `sweep` as it is written today, of a stored sweep or of a user's own option."""
    whole = {**node}
    for later in _SWEEP_SETTINGS.values():
        whole = {**later, **whole}
    return with_current_targets({"sweep": whole})["sweep"]


def sweep_description(description: Mapping[str, Any]) -> dict[str, Any]:
    """What sweep.yaml says, as it is written today."""
    whole = dict(description)
    for part in ("command", "overrides"):
        if isinstance(words := whole.get(part), list):
            whole[part] = [_CHOICE_OF_A_LOSS.sub("loss=", str(word)) for word in words]
    if isinstance(space := whole.get("space"), Mapping):
        whole["space"] = {"loss" if k == "loss.name" else k: v for k, v in space.items()}
    if isinstance(settings := whole.get("settings"), Mapping):
        whole["settings"] = sweep_settings(settings)
    if isinstance(config := whole.get("config"), Mapping):
        whole["config"] = with_current_targets(config)
    return whole


def completed_sweep(description: Mapping[str, Any]) -> dict[str, Any]:
    """What sweep.yaml says, with the settings that its config and its strategy lack as today's options have them.

    Interpolations stay as they are written, those that are added as well: so the config of a sweep is stored.
    """
    whole = dict(description)
    if isinstance(settings := whole.get("settings"), Mapping):
        whole["settings"] = _filled(settings, _nearest("sweep", settings), "", {})
    if isinstance(config := whole.get("config"), Mapping):
        whole["config"], _ = _completed_as_written(config)
    return whole


def as_texts(value: Any) -> Any:
    """The stored value for OmegaConf, in which `${…}` is the text that it is: it was resolved before it was stored.

    What is resolved here could put the environment of whoever reads it into files and messages.
    """
    if isinstance(value, Mapping):
        return {key: as_texts(one) for key, one in value.items()}
    if isinstance(value, list):
        return [as_texts(one) for one in value]
    return _INTERPOLATION.sub(r"\1\1\\${", value) if isinstance(value, str) else value


def _filled(
    node: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str, added: dict[str, Any]
) -> dict[str, Any]:
    filled = dict(node)
    for name, value in defaults.items():
        if name not in node:
            filled[name] = added[prefix + name] = value
        elif isinstance(value, Mapping) and isinstance(node[name], Mapping):
            filled[name] = _filled(node[name], value, f"{prefix}{name}.", added)
    return filled


def _nearest(group: str, node: Mapping[str, Any]) -> Mapping[str, Any]:
    """The option of `group` with the target of `node` and most of its values."""
    target = current(str(node.get("_target_")))
    alike = [one for one in _options(group) if current(str(one.get("_target_"))) == target]
    best = max(alike, key=lambda one: sum(node.get(name) == one[name] for name in one), default={})
    return copy.deepcopy(best)


def _options(group: str) -> Iterator[Mapping[str, Any]]:
    names = {file.stem for folder in config_folders() for file in (folder / group).glob("*.yaml")}
    return (_read(group, name) for name in sorted(names))


def _option(group: str, name: str) -> Mapping[str, Any]:
    """The content of an option's file without its defaults; empty where it is no YAML."""
    return copy.deepcopy(_read(group, name))


def _read(group: str, name: str) -> Mapping[str, Any]:
    """The same, to be read only: others get the same object."""
    files = (folder / group / f"{name}.yaml" for folder in config_folders())
    file = next((file for file in files if file.is_file()), None)
    return {} if file is None else _parsed(file.read_bytes())


@functools.cache
def _parsed(text: bytes) -> Mapping[str, Any]:
    """An ensemble reads a config for each member, and each reads about a hundred options."""
    try:
        content = yaml.load(text, _FASTEST)
    except (yaml.YAMLError, UnicodeDecodeError):
        return {}
    if not isinstance(content, Mapping):
        return {}
    return {key: content[key] for key in content if key != "defaults"}


def _resolved(plain: dict[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    """The same with the interpolations that were added, such as ${seed}, resolved."""
    if not any("${" in str(value) for value in added.values()):
        return plain
    from omegaconf import OmegaConf

    config = OmegaConf.create(as_texts(plain))
    for key, value in added.items():
        OmegaConf.update(config, key, value)
    resolved = OmegaConf.to_container(config, resolve=True)
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def _at(plain: Mapping[str, Any], key: str) -> Any:
    value: Any = plain
    for name in key.split("."):
        value = value[name]
    return value
