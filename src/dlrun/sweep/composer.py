"""The config of each trial, by patching one composed config: composing anew takes 20 times as long."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any

from hydra import compose
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlrun.composing import explain, leaf_keys
from dlrun.errors import ConfigError, did_you_mean, first_line
from dlrun.search_path import RUN_GROUPS

_CHOICE = re.compile(r"\$\{choice:(\w+)\}")


@dataclass(frozen=True)
class TrialConfig:
    """The config of one run of a sweep, complete, and the options it was composed from."""

    plain: dict[str, Any]
    choices: dict[str, str]


@dataclass(frozen=True)
class _Base:
    """One combination of group options, composed; its interpolations are not resolved yet."""

    config: DictConfig
    choices: dict[str, str]


class Composer:
    """Composes the trials of one sweep within a running Hydra application.

    Args:
        fixed: the overrides that all trials share, as typed.
    """

    def __init__(self, fixed: Sequence[str]) -> None:
        self.fixed = list(fixed)
        self._bases: dict[tuple[str, ...], _Base] = {}

    def trial(self, words: Sequence[str]) -> TrialConfig:
        """The config with `words` (`key=value`, each for an option or a value) on top of the fixed overrides.

        Raises:
            ConfigError: there is no such option or key, or a value cannot be put there.
        """
        base, config = self._patched(words)
        try:
            plain: Any = OmegaConf.to_container(config, resolve=True)
        except OmegaConfBaseException as error:
            raise explain(error, [*self.fixed, *words]) from error
        return TrialConfig(plain, base.choices)

    def unresolved(self, words: Sequence[str] = ()) -> TrialConfig:
        """Likewise, with interpolations as they are written."""
        base, config = self._patched(words)
        plain: Any = OmegaConf.to_container(config, resolve=False)
        return TrialConfig(plain, base.choices)

    @staticmethod
    @cache
    def is_group(key: str) -> bool:
        """Whether `key` chooses an option and not a value."""
        name = key.lstrip("+").partition("@")[0]
        loader = GlobalHydra.instance().config_loader()
        return "/" in name or bool(loader.get_group_options(name, ObjectType.CONFIG))

    @cached_property
    def _parser(self) -> OverridesParser:
        return OverridesParser.create()

    def _patched(self, words: Sequence[str]) -> tuple[_Base, DictConfig]:
        groups = tuple(word for word in words if self.is_group(_key(word)))
        base = self._base(groups)
        config = copy.deepcopy(base.config)
        for word in words:
            if word not in groups:
                self._set(config, word, base)
        return base, config

    def _base(self, groups: tuple[str, ...]) -> _Base:
        if groups not in self._bases:
            overrides = (*self.fixed, *groups)
            self._bases[groups] = _compose(overrides, GlobalHydra.instance().config_loader())
        return self._bases[groups]

    def _set(self, config: DictConfig, word: str, base: _Base) -> None:
        override = self._parser.parse_override(word)
        key = override.key_or_group
        added = override.is_add() or override.is_force_add()
        if not added and OmegaConf.select(config, key, default=_MISSING) is _MISSING:
            known = list(leaf_keys(OmegaConf.to_container(config, resolve=False)))
            where = f" of model={base.choices['model']}" if key.startswith("model.") else ""
            raise ConfigError(f"{key} is swept, but is no setting{where}{did_you_mean(key, known)}")
        try:
            OmegaConf.update(config, key, override.value(), force_add=added)
        except OmegaConfBaseException as error:
            raise ConfigError(f"{word}: {first_line(error)}") from error


_MISSING = object()


@lru_cache(maxsize=16)  # more than one part of a sweep asks for the same
def _compose(overrides: tuple[str, ...], loader: ConfigLoader) -> _Base:
    try:
        whole = compose("train", overrides=list(overrides), return_hydra_config=True)
    except Exception as error:
        raise explain(error, list(overrides)) from error
    chosen = whole.hydra.runtime.choices
    plain: Any = OmegaConf.to_container(whole, resolve=False)
    del plain["hydra"], plain["sweep"]
    # The resolver of ${choice:…} would look into the config of the whole sweep.
    plain = _substitute(plain, {str(group): str(option) for group, option in chosen.items()})
    choices = {name: str(chosen[name]) for name in RUN_GROUPS if chosen.get(name) is not None}
    return _Base(OmegaConf.create(plain), choices)


def _key(word: str) -> str:
    return word.partition("=")[0]


def _substitute(node: Any, chosen: dict[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _substitute(value, chosen) for key, value in node.items()}
    if isinstance(node, list):
        return [_substitute(value, chosen) for value in node]
    if isinstance(node, str):
        return _CHOICE.sub(lambda found: chosen[found[1]], node)
    return node
