"""What the config of a run or sweep may name that comes from somebody else: code that is offered here, or allowed.

Offered is every `_target_` in a YAML file of the search path; the user may allow more. No torch here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from dlrun.config.chosen_metrics import own_metrics
from dlrun.config.moved import current
from dlrun.config.search_path import COMPONENTS, config_folders
from dlrun.errors import ConfigError

_TARGET = re.compile(r"(?:^|[\s{,\[])_target_:\s*['\"]?([\w.]+)", re.MULTILINE)
_COMMENT = re.compile(r"(?:^|\s)#.*", re.MULTILINE)
_TRUSTED: ContextVar[set[str] | None] = ContextVar("trusted", default=None)


def refuse_foreign(
    plain: Mapping[str, Any], trusted: set[str], groups: Sequence[str] = COMPONENTS
) -> None:
    """Refuse a config in which a component of `groups`, or a metric, has a target that is not `trusted`.

    Raises:
        ConfigError: naming the target.
    """
    named = [(group, plain.get(group)) for group in groups]
    for key, node in [*named, *own_metrics(plain.get("metrics"))]:
        target = node.get("_target_") if isinstance(node, Mapping) else None
        if not isinstance(target, str) or current(target) not in trusted:
            raise ConfigError(
                f"{key}._target_ is {target}, which no config on the search path offers: if you trust this run, "
                f"call it from the folder whose configs/ has it, or add --allow {target}"
            )


def trusted_targets(allowed: Sequence[str], *, folders: Sequence[Path] = ()) -> set[str]:
    """Those in the YAML files of the search path and of `folders`, and those `allowed`."""
    files = (file for folder in (*config_folders(), *folders) for file in folder.rglob("*.yaml"))
    texts = (file.read_text(encoding="utf-8", errors="replace") for file in files)
    offered = (target for text in texts for target in _TARGET.findall(_COMMENT.sub("", text)))
    return {current(target) for target in (*offered, *allowed)}


@contextmanager
def trusting_only(allowed: Sequence[str], *, folders: Sequence[Path] = ()) -> Iterator[None]:
    """Within this, a sweep that is read back may use only targets of the search path, `folders` and `allowed`."""
    before = _TRUSTED.set(trusted_targets(allowed, folders=folders))
    try:
        yield
    finally:
        _TRUSTED.reset(before)


def is_reading_back() -> bool:
    """Whether a sweep is read back, rather than begun by a command of the user's own."""
    return _TRUSTED.get() is not None


def refuse_untrusted(plain: Mapping[str, Any], groups: Sequence[str] = COMPONENTS) -> None:
    """As `refuse_foreign`, within `trusting_only`; elsewhere nothing is refused."""
    if (trusted := _TRUSTED.get()) is not None:
        refuse_foreign(plain, trusted, groups)
