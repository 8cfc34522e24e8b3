"""The steps of composing and reading configs, much of the time of a test that trains, kept for the next one.

What depends on the values of words, on the environment or on the working directory is worked out each
time; so is every error. Programs that tests start compose as everywhere else.
"""

from __future__ import annotations

import copy
import functools
import os
import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import omegaconf._utils
import omegaconf.base
import pytest
from hydra._internal import config_loader_impl, defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository
from hydra._internal.defaults_list import Overrides
from hydra.core.default_element import ResultDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from omegaconf.grammar_parser import parse

from dlrun.config import plain_yaml
from dlrun.config.search_path import packaged_configs
from dlrun.sweep import compose

_BEGUN = "what is merged already"
_FEW = 300  # files and folders of a user's configs that are read to know whether they have changed


def keep_steps(patch: pytest.MonkeyPatch) -> None:
    """Patch Hydra, and what reads and composes configs without it, until `patch` is undone."""
    patch.setattr(ConfigRepository, "load_config", _loading())
    patch.setattr(config_loader_impl, "create_defaults_list", _choosing())
    patch.setattr(defaults_list, "_create_interpolation_map", _where_needed())
    patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", _merging())
    patch.setattr(ConfigLoaderImpl, "_load_single_config", _going_on())
    patch.setattr(OverridesParser, "parse_rule", _reading())
    patch.setattr(CachingConfigRepository, "__init__", _share_sources)
    parse_once = functools.lru_cache(maxsize=None)(parse)
    for module in (omegaconf.base, omegaconf._utils):
        patch.setattr(module, "parse", parse_once)
    patch.setattr(plain_yaml, "load", _reading_yaml())
    patch.setattr(compose, "_compose", _composing())


def _loading() -> Callable[..., Any]:
    """A file counts as the same while its time, its size and its place on disk are."""
    load, kept = ConfigRepository.load_config, dict[Any, bytes]()

    def load_config(self: Any, config_path: str) -> Any:
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if source is None or source.scheme() not in ("file", "pkg"):
            return load(self, config_path)
        key = (source.path, source.provider, config_path, _stamp(source, config_path))
        if key not in kept:
            kept[key] = pickle.dumps(load(self, config_path))
        return pickle.loads(kept[key])

    return load_config


def _choosing() -> Callable[..., Any]:
    """Which files make a config: decided by what the folders offer and the words that choose among it."""
    choose, kept = config_loader_impl.create_defaults_list, dict[Any, Any]()

    def create_defaults_list(*, repo: Any, overrides_list: list[Any], **more: Any) -> Any:
        contents = _contents(repo)
        if contents is None:
            return choose(repo=repo, overrides_list=overrides_list, **more)
        settings = Overrides(repo=repo, overrides_list=overrides_list).config_overrides
        words = tuple(
            word.input_line
            for word in overrides_list
            if not word.is_sweep_override() and not any(word is setting for setting in settings)
        )
        key = (words, contents, *more.items())
        if key not in kept:
            kept[key] = choose(repo=repo, overrides_list=overrides_list, **more)
        return replace(kept[key], config_overrides=settings)

    return create_defaults_list


def _where_needed() -> Callable[..., Any]:
    """What has been chosen so far: Hydra makes it for each file, and looks at it where one refers to it."""
    make = defaults_list._create_interpolation_map

    def chosen(overrides: Any, defaults: list[Any], self_added: bool) -> Any:
        refers = any(default.is_interpolation() for default in defaults)
        return make(overrides, defaults, self_added) if refers else None

    return chosen


def _merging() -> Callable[..., Any]:
    """The files merged, before the values of words are put in; Hydra's own, the first half, once for all."""
    merge, kept = ConfigLoaderImpl._compose_config_from_defaults_list, dict[Any, bytes]()

    def merged(self: Any, defaults: list[Any], repo: Any) -> Any:
        contents = _contents(repo)
        if contents is None:
            return merge(self, defaults, repo)
        key = (tuple(map(repr, defaults)), contents)
        if key not in kept:
            others = (at for at, one in enumerate(defaults) if not _of_hydra(one))
            first = next(others, 0)
            if 0 < first < len(defaults):
                begun = ResultDefault(config_path=_BEGUN)
                begun.config = merged(self, defaults[:first], repo)
                defaults = [begun, *defaults[first:]]
            config = merge(self, defaults, repo)
            OmegaConf.clear_cache(config)  # the time, which merging has asked for
            kept[key] = pickle.dumps(config)
        return pickle.loads(kept[key])

    return merged


def _of_hydra(default: Any) -> bool:
    return str(default.config_path).startswith("hydra/")


def _going_on() -> Callable[..., Any]:
    load = ConfigLoaderImpl._load_single_config

    def load_single(self: Any, default: Any, repo: Any) -> Any:
        if default.config_path == _BEGUN:
            return SimpleNamespace(config=default.config)
        return load(self, default, repo)

    return load_single


def _reading() -> Callable[..., Any]:
    """A plain word parsed: functions and what they are applied to are read each time."""
    read, kept = OverridesParser.parse_rule, dict[Any, Any]()

    def parse_rule(self: Any, text: str, rule: str) -> Any:
        if not re.fullmatch(r"[^(){}\[\],]*", text):
            return read(self, text, rule)
        if (text, rule) not in kept:
            kept[text, rule] = read(self, text, rule)
        return copy.copy(kept[text, rule])

    return parse_rule


def _reading_yaml() -> Callable[[str], Any]:
    read, kept = plain_yaml.load, dict[str, bytes]()

    def load(text: str) -> Any:
        if text not in kept:
            kept[text] = pickle.dumps(read(text))
        return pickle.loads(kept[text])

    return load


def _composing() -> Callable[..., Any]:
    """What the trials of a sweep begin from: its values are those of files and words, not yet resolved."""
    make, kept = compose._compose.__wrapped__, dict[Any, bytes]()

    def composed(words: tuple[str, ...], loader: Any) -> Any:
        contents = _contents(loader.repository)
        key = (words, contents)
        if contents is None or any("${" in word or "hydra." in word for word in words):
            return make(words, loader)
        if key not in kept:
            kept[key] = pickle.dumps(make(words, loader))
        return pickle.loads(kept[key])

    return composed


def _share_sources(self: Any, delegate: Any) -> None:
    """Hydra copies with the sources every schema that it knows, and changes none of them."""
    self.delegate, self.cache = copy.copy(delegate), {}


def _contents(repo: Any) -> tuple[Any, ...] | None:
    """What the search path holds, None where it is more than a look: dlrun's own configs do not change."""
    found: list[Any] = []
    for source in repo.get_sources():
        if source.scheme() != "file" or Path(source.path) == packaged_configs():
            found.append((source.scheme(), source.path))
            continue
        for folder, folders, files in os.walk(source.path, followlinks=True):
            place = os.path.relpath(folder, source.path)
            texts = [
                (name, Path(folder, name).read_bytes())
                for name in sorted(files)
                if name.endswith((".yaml", ".yml"))
            ]
            found.append((place, *sorted(folders), *texts))
            if len(found) > _FEW:
                return None
    return tuple(found)


def _stamp(source: Any, config_path: str) -> object:
    if source.scheme() == "pkg":  # a package does not change
        return None
    found = os.stat(os.path.join(source.path, source._normalize_file_name(config_path)))
    return found.st_mtime_ns, found.st_size, found.st_ino
