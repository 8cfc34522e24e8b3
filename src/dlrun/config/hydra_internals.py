"""What dlrun uses of Hydra that Hydra does not document: nothing else here names a private part of it.

Where a new version of Hydra moves or drops one of them, tests/system/test_library_internals.py says which.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from hydra.plugins.completion_plugin import CompletionPlugin


def command_line_parser() -> argparse.ArgumentParser:
    """A parser of Hydra's own command line, which a caller may change."""
    from hydra._internal.utils import get_args_parser

    return get_args_parser()


def completions(plugin: CompletionPlugin, words: list[str]) -> list[str]:
    """What the last of `words` of `dlrun train` can become."""
    return list(plugin._query("train", " ".join(words)))
