"""An option of a config group as its YAML file tells it: description, parameters, defaults."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dlrun.config.moved import current
from dlrun.config.option_files import fault_of
from dlrun.config.search_path import option_file, packaged_configs

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


def _option(name: str, file: Path, lines: list[str], root: yaml.Node | None) -> Option:
    entries = _entries(root)
    target = entries.pop("_target_", None)
    defaults = entries.pop("defaults", None)
    chosen = _plain(defaults[1]) if defaults else []
    comments = list(_head(lines, file))
    told = (text.strip() for text in comments if not text.startswith("  "))
    return Option(
        name,
        file,
        tuple(text.strip() for text in comments),
        next((text for text in told if not _HOW.match(text)), ""),
        target=current(str(target[1].value)) if target else "",
        builds_on=tuple(_bases(chosen)),
        choices=tuple(_choices(chosen)),
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


def _choices(defaults: Any) -> Iterator[str]:
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
    return str(yaml.safe_dump(_plain(node), default_flow_style=True, width=10_000)).strip()


def _comment(key: yaml.Node, value: yaml.Node, lines: list[str]) -> str:
    line = key.start_mark.line
    end = value.end_mark if value.end_mark.line == line else key.end_mark
    _, mark, comment = lines[line][end.column :].partition("#")
    return comment.strip() if mark else ""


def _plain(node: yaml.Node) -> Any:
    return yaml.safe_load(yaml.serialize(node))


def _problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f", line {mark.line + 1}" if mark else ""
    return f"{getattr(error, 'problem', None) or error}{where}"
