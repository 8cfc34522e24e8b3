"""How a word of `dlrun train` can go on: Hydra's own completion of groups, options and keys."""

from __future__ import annotations

import types
from collections.abc import Iterable
from dataclasses import is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from dlrun.config import DataSettings, GradientSettings, RunConfig, WarmUp
from dlrun.search_path import packaged_configs
from dlrun.sweep.settings import SweepSettings

_MULTIRUN = ("-m", "--multirun")
_CONFIG_DIR = ("--config-dir", "-cd")
# What all options of a group share, beside their own parameters.
_SHARED = {
    "dataset": DataSettings,
    "optimizer": GradientSettings,
    "schedule": WarmUp,
    "sweep": SweepSettings,
}


def config_words(before: list[str], current: str) -> Iterable[str]:
    """The words that `current` can become, after the arguments `before`."""
    key, equals, value = current.partition("=")
    if equals and (names := _named_values(key.split("."))):
        return [f"{key}={name}" for name in names]
    earlier, _, value = value.rpartition(",")
    if not earlier or "[" in earlier:
        return _hydra_words(before, current)
    # model=cnn,m: the last of the values swept over
    found = _hydra_words(before, f"{key}={value}")
    return [f"{key}={earlier},{word.partition('=')[2]}" for word in found]


def _hydra_words(before: list[str], current: str) -> list[str]:
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.plugins.completion_plugin import DefaultCompletionPlugin

    from dlrun.composing import register_resolvers

    register_resolvers()
    with initialize_config_dir(str(packaged_configs()), version_base="1.3"):
        plugin = DefaultCompletionPlugin(GlobalHydra.instance().config_loader())
        overrides = [word for word in _overrides(before) if word not in _MULTIRUN]
        found = _query(plugin, [*_overrides(before), current]) or _query(plugin, [current])
        found = [word for word in found if not _is_noise(word, current)]
        if not any(word.endswith(".") for word in found):
            return found
        try:
            config = compose("train", overrides)
        except Exception:  # as in _query
            return found
        return [_whole_list(word, config) for word in found]


def _is_noise(word: str, current: str) -> bool:
    """Seldom looked for: Hydra's own settings, targets, and the items of a list."""
    asked_for_target = current.rpartition(".")[2].startswith("_")
    return (
        (word.startswith("hydra") and not current)
        or (word.endswith("._target_=") and not asked_for_target)
        or word.count("=") > 1
    )


def _whole_list(word: str, config: Any) -> str:
    """`model.hidden=` for `model.hidden.`, where Hydra would go on with each item's number."""
    from omegaconf import OmegaConf

    is_list = word.endswith(".") and OmegaConf.is_list(OmegaConf.select(config, word[:-1]))
    return f"{word[:-1]}=" if is_list else word


def _query(plugin: Any, words: list[str]) -> list[str]:
    try:
        return list(plugin._query("train", " ".join(words)))
    except Exception:  # a wrong word before, or a value that only a run can resolve
        return []


def _overrides(words: Iterable[str]) -> list[str]:
    """The words that Hydra's query understands: of the options, multirun and the config folder."""
    kept: list[str] = []
    remaining = iter(words)
    for word in remaining:
        name, equals, value = word.partition("=")
        if name in _CONFIG_DIR:
            folder = Path(value if equals else next(remaining, "."))
            kept.append(f"hydra.searchpath=[file://{folder.absolute()}]")
        elif word in _MULTIRUN or not word.startswith("-"):
            kept.append(word)
    return kept


def _named_values(key: list[str]) -> list[str]:
    """The words that a run-wide setting accepts, where its type names them."""
    shared = _SHARED.get(key[0])
    rule: Any = shared or RunConfig
    for name in key[1:] if shared else key:
        rule = _settings(rule)
        if rule is None:
            return []
        rule = get_type_hints(rule, include_extras=True).get(name)
    return _words(rule)


def _settings(rule: Any) -> type | None:
    """The settings dataclass in `rule`, which may be one or null."""
    parts = (rule, *get_args(rule))
    return next((part for part in parts if isinstance(part, type) and is_dataclass(part)), None)


def _words(rule: Any) -> list[str]:
    origin = get_origin(rule)
    if origin is Literal:
        return [str(option) for option in get_args(rule)]
    if origin is Annotated:
        return _words(get_args(rule)[0])
    if origin in (Union, types.UnionType):
        return [word for part in get_args(rule) for word in _words(part)]
    return ["true", "false"] if rule is bool else []
