"""What dlrun uses of Hydra that Hydra does not document: nothing else here names a private part of it.

Where a new version of Hydra moves or drops one of them, tests/system/test_library_internals.py says which.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from hydra.plugins.completion_plugin import CompletionPlugin

# In a config: what may set hydra.mode, other than trainer.mode does, or name further folders of configs.
_MODE = re.compile(rb"\bmode['\"]?\s*:(?!\s*(auto|min|max)\b)|\bsearchpath\b")


def command_line_parser() -> argparse.ArgumentParser:
    """A parser of Hydra's own command line, which a caller may change."""
    from hydra._internal.utils import get_args_parser

    return get_args_parser()


def completions(plugin: CompletionPlugin, words: list[str]) -> list[str]:
    """What the last of `words` of `dlrun train` can become."""
    return list(plugin._query("train", " ".join(words)))


def begin_to_compose(configs: Path, folders: Iterable[Path]) -> None:
    """From now on Hydra composes in this process, from `configs` and each --config-dir in `folders`."""
    from hydra import version
    from hydra._internal.hydra import Hydra
    from hydra._internal.utils import create_config_search_path
    from hydra.core.config_search_path import SearchPathQuery
    from hydra.core.global_hydra import GlobalHydra

    path = create_config_search_path(str(configs))
    for folder in folders:
        last = SearchPathQuery(provider="schema", path=None)
        path.prepend("command-line", f"file://{folder}", anchor=last)
    version.setbase("1.3")
    GlobalHydra.instance().clear()
    Hydra.create_main_hydra2("train", path)


@contextmanager
def composing_once(words: Iterable[str], folders: Iterable[Path]) -> Iterator[None]:
    """Within this, Hydra composes the config of a command line once, and not before to see whether it sets hydra.mode.

    Where one of the `words` or of the configs in `folders`, the user's own, may set it, all is as Hydra has it.
    """
    from hydra._internal.hydra import Hydra

    if any("hydra.mode" in word or "searchpath" in word for word in words) or any(
        _MODE.search(file.read_bytes()) for folder in folders for file in folder.rglob("*.yaml")
    ):
        yield
        return
    before = Hydra.get_mode
    Hydra.get_mode = lambda *_, **__: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        Hydra.get_mode = before  # type: ignore[method-assign]
