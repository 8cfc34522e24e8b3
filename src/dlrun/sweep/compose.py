"""The config of each trial, by patching one composed config: composing anew takes 20 times as long."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any

import yaml
from hydra import compose
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlrun.config.compose import leaf_keys
from dlrun.config.hydra_errors import explain
from dlrun.config.search_path import COMPONENTS, RUN_GROUPS
from dlrun.config.settings import OF_PATTERNS
from dlrun.config.unknown_key import gone_key
from dlrun.errors import ConfigError, did_you_mean, first_line
from dlrun.sweep.space.grammar import text_of

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

    @cached_property
    def numbers(self) -> set[str]:
        """The keys whose value is a number."""
        leaves = _leaves("", OmegaConf.to_container(self.config, resolve=False))
        return {key for key, value in leaves if type(value) in (int, float)}

    @cached_property
    def referred(self) -> set[str]:
        """Every word in an interpolation: parts of keys, and more."""
        leaves = _leaves("", OmegaConf.to_container(self.config, resolve=False))
        written = [value for _, value in leaves if isinstance(value, str) and "${" in value]
        return set(re.findall(r"\w+", " ".join(written)))


class Composer:
    """Composes the trials of one sweep within a running Hydra application.

    Args:
        fixed: the overrides that all trials share, as typed.
    """

    def __init__(self, fixed: Sequence[str]) -> None:
        self.fixed = list(fixed)
        self._bases: dict[tuple[str, ...], _Base] = {}
        self._containers: dict[tuple[str, ...], tuple[_Base, dict[str, Any]]] = {}

    def trial(self, words: Sequence[str]) -> TrialConfig:
        """The config with `words` (`key=value`, each for an option or a value) on top of the fixed overrides.

        Raises:
            ConfigError: there is no such option or key, or a value cannot be put there.
        """
        numbers = self._numbers(words)
        base, plain = self._resolved(tuple(word for word in words if _key(word) not in numbers))
        plain = copy_plain(plain)
        for key, number in numbers.items():
            path, _, last = key.rpartition(".")
            node_at(plain, path)[last] = number
        return TrialConfig(plain, base.choices)

    def unresolved(self, words: Sequence[str] = ()) -> TrialConfig:
        """Likewise, with interpolations as they are written."""
        base, config = self._patched(words)
        plain: Any = OmegaConf.to_container(config, resolve=False)
        return TrialConfig(plain, base.choices)

    def _numbers(self, words: Sequence[str]) -> dict[str, float]:
        """The words that put a number in a number's place, to which nothing else in the config refers.

        They are most of what a sweep varies, and are put into a copy of the resolved config, which takes
        a hundredth of the time.
        """
        groups = tuple(word for word in words if self.is_group(_key(word)))
        base = self._base(groups)
        pairs = [(_key(word), number_in(word)) for word in words if word not in groups]
        return {
            key: number
            for key, number in pairs
            if number is not None
            and key in base.numbers
            and not base.referred.intersection(key.split("."))
        }

    def _resolved(self, words: tuple[str, ...]) -> tuple[_Base, dict[str, Any]]:
        """The resolved config with these words; not to be changed."""
        if words not in self._containers:
            base, config = self._patched(words)
            try:
                plain: Any = OmegaConf.to_container(config, resolve=True)
            except OmegaConfBaseException as error:
                raise explain(error, [*self.fixed, *words]) from error
            if len(self._containers) >= _REMEMBERED:
                self._containers.clear()
            self._containers[words] = base, plain
        return self._containers[words]

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
        """The composed config with these words; not to be changed."""
        values = [word for word in words if not self.is_group(_key(word))]
        base = self._base(tuple(word for word in words if word not in values))
        config = copy.deepcopy(base.config) if values else base.config
        for word in values:
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
            if gone := gone_key(key):
                raise ConfigError(gone)
            known = list(leaf_keys(OmegaConf.to_container(config, resolve=False)))
            where = f" of model={base.choices['model']}" if key.startswith("model.") else ""
            raise ConfigError(f"{key} is swept, but is no setting{where}{did_you_mean(key, known)}")
        try:
            merge = key not in OF_PATTERNS
            OmegaConf.update(config, key, override.value(), merge=merge, force_add=added)
        except OmegaConfBaseException as error:
            raise ConfigError(f"{word}: {first_line(error)}") from error


_MISSING = object()
_REMEMBERED = 64  # resolved configs


@lru_cache(maxsize=16)  # more than one part of a sweep asks for the same
def _compose(overrides: tuple[str, ...], loader: ConfigLoader) -> _Base:
    try:
        whole = compose("train", overrides=list(overrides), return_hydra_config=True)
    except Exception as error:
        raise explain(error, list(overrides)) from error
    return _without_sweep(whole)


def _without_sweep(whole: DictConfig) -> _Base:
    """The part of a config composed by Hydra that describes a run."""
    chosen = whole.hydra.runtime.choices
    plain: Any = OmegaConf.to_container(whole, resolve=False)
    del plain["hydra"], plain["sweep"]
    # The resolver of ${choice:…} would look into the config of the whole sweep.
    plain = _substitute(plain, {str(group): str(option) for group, option in chosen.items()})
    choices = {name: str(chosen[name]) for name in RUN_GROUPS if chosen.get(name) is not None}
    return _Base(OmegaConf.create(plain), choices)


def as_composed(whole: DictConfig) -> TrialConfig:
    """What Hydra has composed for a sweep as a whole, with interpolations as they are written."""
    base = _without_sweep(whole)
    plain: Any = OmegaConf.to_container(base.config, resolve=False)
    return TrialConfig(plain, base.choices)


def number_in(word: str) -> float | None:
    """The number after the `=`, as Hydra's grammar would read it; None for anything less plain."""
    text = word.partition("=")[2]
    if re.fullmatch(r"-?(0|[1-9][0-9]*)", text):
        return int(text)
    return (
        float(text) if re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]*)?(e[+-]?[0-9]+)?", text) else None
    )


def node_at(plain: dict[str, Any], path: str) -> Any:
    """The mapping under the keys of `path`, joined by dots."""
    node: Any = plain
    for name in path.split(".") if path else ():
        node = node[name]
    return node


def copy_plain(item: Any) -> Any:
    """A copy of plain values; copy.deepcopy, which is made for any, takes five times as long."""
    if isinstance(item, dict):
        return {key: copy_plain(value) for key, value in item.items()}
    return [copy_plain(value) for value in item] if isinstance(item, list) else item


def _leaves(key: str, node: Any) -> Iterator[tuple[str, Any]]:
    """Every value with its key, but for those in lists, which are one value."""
    if not isinstance(node, dict):
        yield key, node
        return
    for name, value in node.items():
        yield from _leaves(f"{key}.{name}" if key else str(name), value)


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


_CHOSEN = (*COMPONENTS, "trainer")


def recipe_words(config: TrialConfig) -> list[str]:
    """`config` (its interpolations as written) as overrides for a command line."""
    usual = Composer([]).unresolved().choices
    words = [
        f"{group}={config.choices[group]}"
        for group in _CHOSEN
        if config.choices[group] != usual[group]
    ]
    chosen = _as_chosen(config)
    changed = _changed(chosen, config.plain)
    return words + [f"{key}={_text(value)}" for key, value in _settings(changed, chosen)]


def recipe_file(config: TrialConfig, head: list[str]) -> str:
    """`config` as an option of the group experiment; `head` are the comment lines that it opens with."""
    defaults = [{f"override /{group}": config.choices[group]} for group in _CHOSEN]
    content = {"defaults": defaults, **_changed(_as_chosen(config), config.plain)}
    comment = "\n".join(["# @package _global_", *(f"# {line}" for line in head)])
    return f"{comment}\n{yaml.safe_dump(content, sort_keys=False, allow_unicode=True)}"


def _as_chosen(config: TrialConfig) -> dict[str, Any]:
    """The config as the options chosen alone would have it."""
    return Composer([f"{group}={config.choices[group]}" for group in _CHOSEN]).unresolved().plain


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What is not in `after` as it is in `before`."""
    changed: dict[str, Any] = {}
    for key, value in after.items():
        old = before.get(key, _MISSING)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            if inner := _changed(old, value):
                changed[key] = inner
        elif value != old or type(value) is not type(old):
            changed[key] = value
    return changed


def _settings(
    node: Mapping[str, Any], known: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Each setting with its dotted key; a mapping where `known` has none is one value, as {features.*: 0.1}."""
    for key, value in node.items():
        inner = known.get(key)
        if isinstance(value, Mapping) and value and isinstance(inner, Mapping):
            yield from _settings(value, inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _text(value: Any) -> str:
    """`value` as Hydra's grammar has it after the equals sign."""
    if isinstance(value, str) and "${" in value:
        return QuotedString(value, Quote.single).with_quotes()
    return text_of(value)
