"""The private parts of Hydra that dlrun uses; pyproject.toml bounds its versions to those that have them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

# In a config: what may set hydra.mode, other than trainer.mode does, or name further folders of configs.
_MODE = re.compile(rb"\bmode['\"]?\s*:(?!\s*(auto|min|max)\b)|\bsearchpath\b")


def arguments_parser() -> argparse.ArgumentParser:
    """The parser of the options that Hydra takes."""
    from hydra._internal.utils import get_args_parser

    return get_args_parser()


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
