"""A config said in few words: the options chosen, and the values that differ from theirs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from hydra.core.override_parser.types import Quote, QuotedString

from dlrun.search_path import COMPONENTS
from dlrun.sweep.composer import Composer, TrialConfig
from dlrun.sweep.grammar import text_of

_CHOSEN = (*COMPONENTS, "trainer")


def recipe_words(config: TrialConfig) -> list[str]:
    """`config` (its interpolations as written) as overrides for a command line."""
    usual = Composer([]).unresolved().choices
    words = [
        f"{group}={config.choices[group]}"
        for group in _CHOSEN
        if config.choices[group] != usual[group]
    ]
    return words + [f"{key}={_text(value)}" for key, value in _leaves(_difference(config))]


def recipe_file(config: TrialConfig, head: list[str]) -> str:
    """`config` as an option of the group experiment; `head` are the comment lines that it opens with."""
    defaults = [{f"override /{group}": config.choices[group]} for group in _CHOSEN]
    content = {"defaults": defaults, **_difference(config)}
    comment = "\n".join(["# @package _global_", *(f"# {line}" for line in head)])
    return f"{comment}\n{yaml.safe_dump(content, sort_keys=False, allow_unicode=True)}"


def _difference(config: TrialConfig) -> dict[str, Any]:
    """What is not as the options chosen alone would have it."""
    plain = Composer([f"{group}={config.choices[group]}" for group in _CHOSEN]).unresolved().plain
    return _changed(plain, config.plain)


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    for key, value in after.items():
        old = before.get(key, _MISSING)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            if inner := _changed(old, value):
                changed[key] = inner
        elif value != old or type(value) is not type(old):
            changed[key] = value
    return changed


_MISSING = object()


def _leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _text(value: Any) -> str:
    """`value` as Hydra's grammar has it after the equals sign."""
    if isinstance(value, str) and "${" in value:
        return QuotedString(value, Quote.single).with_quotes()
    return text_of(value)
