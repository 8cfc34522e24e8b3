"""An option of a config group as its YAML file has it: what it says, and what keeps it from being used.

Hydra does not say what is wrong with a file that it reads otherwise than it is meant. No torch, no hydra here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dlrun.config import plain_yaml
from dlrun.config.moved import current
from dlrun.config.search_path import (
    COMPONENTS,
    GROUPS,
    config_folders,
    option_file,
    packaged_configs,
)
from dlrun.errors import ConfigError, command

_BOM = b"\xef\xbb\xbf"
_HEAD = 512  # characters in which Hydra looks for the line
_PACKAGE = re.compile(r"^#\s*@package\s+(\S+)\s*$", re.MULTILINE)
_GLOBAL = "# @package _global_"
_SPACE = "sweep.space."
_WORD = re.compile(r"\w")  # a line of dashes is no comment
# For Hydra, editors and tools, and not for people who choose.
_LEFTOVER = re.compile(
    r"@package\b|yaml-language-server\b|yamllint\b|prettier-ignore|vim?:|-\*-|SPDX-|copyright\b|fmt:|noqa|type:",
    re.IGNORECASE,
)
# How to run it, or what came out.
_HOW = re.compile(
    r"(command|result|usage|example)s?:|to (run|execute|train|use)\b|(python3?|dlrun|scripts/dlrun|\$) ",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Parameter:
    """One value that can be set, dotted where it is nested, with what the YAML says beside it."""

    name: str
    value: str
    comment: str


@dataclass(frozen=True)
class Option:
    """One YAML file of a group.

    Attributes:
        head: the comment lines that it opens with.
        description: the first of them that says what it is, rather than how to run it.
        builds_on: the options of the same group that it starts from.
        choices: what it chooses in other groups, as `group=option`.
    """

    name: str
    file: Path
    head: tuple[str, ...]
    description: str = ""
    target: str = ""
    builds_on: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()

    @property
    def is_packaged(self) -> bool:
        """Whether it came with dlrun."""
        return self.file.is_relative_to(packaged_configs())


def read_option(group: str, name: str, folders: list[Path]) -> Option | None:
    """The option `group=name`, None where no folder has it; a broken file's head says so."""
    file = option_file(group, name, folders)
    if file is None:
        return None
    if reason := fault_of(group, file):
        problem = f"cannot be used: it {reason}"
        return Option(name, file, (problem,), problem)
    return read_yaml(name, file)


def read_yaml(name: str, file: Path) -> Option:
    """What the YAML file says as an option of that name."""
    text = file.read_text(encoding="utf-8-sig", errors="replace")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        return _option(name, file, text.splitlines(), root)
    except yaml.YAMLError as error:
        problem = f"not valid YAML: {_problem(error)}"
        return Option(name, file, (problem,), problem)


def check_options(words: Sequence[str], extra: Iterable[Path] = ()) -> None:
    """Check the files of the options that `words` choose; `extra` are the folders of --config-dir.

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


def _option(name: str, file: Path, lines: list[str], root: yaml.Node | None) -> Option:
    entries = _entries(root)
    target = entries.pop("_target_", None)
    defaults = entries.pop("defaults", None)
    chosen = _plain_value(defaults[1]) if defaults else []
    comments = list(_head(lines, file))
    prose = (text.strip() for text in comments if not text.startswith("  "))
    return Option(
        name,
        file,
        tuple(text.strip() for text in comments),
        next((text for text in prose if not _HOW.match(text)), ""),
        target=current(str(target[1].value)) if target else "",
        builds_on=tuple(_bases(chosen)),
        choices=tuple(_chosen_options(chosen)),
        parameters=tuple(_parameters("", entries, lines)),
    )


def _head(lines: list[str], file: Path) -> Iterator[str]:
    """The comments before the first setting that are for people, with what sets a continued line in."""
    for line in lines:
        if line.strip() and not line.startswith(("#", "---", "%")):
            return
        comment = line.lstrip("#").removeprefix(" ").rstrip() if line.startswith("#") else ""
        names_itself = comment.replace("\\", "/").strip().split("/")[-1] == file.name
        if not names_itself and _WORD.search(comment) and not _LEFTOVER.match(comment.strip()):
            yield comment


def _entries(node: yaml.Node | None) -> dict[str, tuple[yaml.Node, yaml.Node]]:
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {str(key.value): (key, value) for key, value in node.value}


def _bases(defaults: Any) -> Iterator[str]:
    for entry in defaults if isinstance(defaults, list) else ():
        if isinstance(entry, str) and entry != "_self_":
            yield entry.split("@")[0]


def _chosen_options(defaults: Any) -> Iterator[str]:
    for entry in defaults if isinstance(defaults, list) else ():
        if isinstance(entry, dict):
            for group, option in entry.items():
                yield f"{str(group).removeprefix('override ').split('@')[0].strip(' /')}={option}"


def _parameters(
    prefix: str, entries: dict[str, tuple[yaml.Node, yaml.Node]], lines: list[str]
) -> Iterator[Parameter]:
    for name, (key, value) in entries.items():
        # A named case of a sweep is one value: the settings in it go together.
        nested = {} if prefix.startswith(_SPACE) and prefix != _SPACE else _entries(value)
        shown = "" if nested else _value(value, lines)
        if shown or not nested or _comment(key, value, lines):
            yield Parameter(prefix + name, shown, _comment(key, value, lines))
        yield from _parameters(f"{prefix}{name}.", nested, lines)


def _value(node: yaml.Node, lines: list[str]) -> str:
    """As it was written, since that is how it is typed; a block on one line."""
    start, end = node.start_mark, node.end_mark
    if start.line == end.line:
        return lines[start.line][start.column : end.column] if start.line < len(lines) else ""
    return str(yaml.safe_dump(_plain_value(node), default_flow_style=True, width=10_000)).strip()


def _comment(key: yaml.Node, value: yaml.Node, lines: list[str]) -> str:
    line = key.start_mark.line
    end = value.end_mark if value.end_mark.line == line else key.end_mark
    _, mark, comment = lines[line][end.column :].partition("#")
    return comment.strip() if mark else ""


def _plain_value(node: yaml.Node) -> Any:
    return yaml.safe_load(yaml.serialize(node))


def _problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f", line {mark.line + 1}" if mark else ""
    return f"{getattr(error, 'problem', None) or error}{where}"
