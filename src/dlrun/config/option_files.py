"""What keeps the file of an option from being read as it is meant, and Hydra does not say. No torch, no hydra here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dlrun.config.search_path import COMPONENTS, GROUPS, config_folders, option_file
from dlrun.errors import ConfigError, command

_BOM = b"\xef\xbb\xbf"
_HEAD = 512  # characters in which Hydra looks for the line
_PACKAGE = re.compile(r"^#\s*@package\s+(\S+)\s*$", re.MULTILINE)
_GLOBAL = "# @package _global_"


def check_options(words: Sequence[str], extra: Iterable[Path] = ()) -> None:
    """Look through the files of the options that `words` choose; `extra` are the folders of --config-dir.

    Raises:
        ConfigError: one cannot be read as it is meant, naming it, and what to do.
    """
    for group, file in _chosen(words, [*config_folders(), *extra]):
        if reason := fault_of(group, file):
            raise ConfigError(f"{_shown(file)} {reason}")


def not_utf8(error: UnicodeDecodeError, extra: Iterable[Path] = ()) -> ConfigError | None:
    """Which file of the folders of configs Hydra could not decode, and where; None where it is none of them."""
    for folder in [*config_folders(), *extra]:
        for file in sorted(filter(Path.is_file, folder.rglob("*.yaml"))):
            content = file.read_bytes()
            if error.object in content and (reason := _wrong_byte(content)):
                return ConfigError(f"{_shown(file)} {reason}")
    return None


def fault_of(group: str, file: Path) -> str | None:
    """What is wrong with the file of an option of `group`, as the rest of a sentence about it; None for nothing."""
    content = file.read_bytes()
    if reason := _wrong_byte(content):
        return reason
    text = content.decode("utf-8-sig")
    if reason := _excessive(text):
        return reason
    package = _PACKAGE.search(text[:_HEAD])
    if content.startswith(_BOM) and package:
        return f"begins with a byte order mark, which hides its line {package[0].strip()}: save it as UTF-8 without one"
    if group != "experiment" or (package and package[1] == "_global_"):
        return None
    return f"lacks the line {_GLOBAL}, by which an experiment sets what a run has: add it as the first line"


def _excessive(text: str) -> str | None:
    import yaml

    from dlrun.config import plain_yaml

    try:
        plain_yaml.load(text)
    except plain_yaml.Excessive as error:
        return f"holds too much: {error}"
    except yaml.YAMLError:  # which Hydra says
        pass
    return None


def _wrong_byte(content: bytes) -> str | None:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return f"is not UTF-8 (byte 0x{content[error.start]:02x} in line {line}): save it as UTF-8"
    return None


def _chosen(words: Sequence[str], folders: list[Path]) -> Iterator[tuple[str, Path]]:
    for word in words:
        group, equals, names = word.lstrip("+").partition("=")
        if equals and group in GROUPS:
            for name in names.split(","):
                _refuse_no_name(word, group, name.strip())
                if (file := option_file(group, name.strip(), folders)) is not None:
                    yield group, file


def _refuse_no_name(word: str, group: str, name: str) -> None:
    """Refuse what is no name of an option: nothing, or a path, which Hydra would look for beside its own configs."""
    if name in ("", "null") and group not in COMPONENTS and "," not in word:
        raise ConfigError(
            f"{word}: it names no option; leave the word out, or choose one, see `{command('list', group)}`"
        )
    if name.startswith("/") or ".." in name.split("/"):
        raise ConfigError(
            f"{word}: an option is a name, not a path; `{command('list', group)}` has the names, and those of your own "
            f"are the files configs/{group}/NAME.yaml"
        )


def _shown(file: Path) -> Path:
    here = Path.cwd()
    return file.relative_to(here) if file.is_relative_to(here) else file
