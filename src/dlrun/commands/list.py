"""`dlrun list`: what there is to choose from, and what can be set."""

from __future__ import annotations

import argparse
import os
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from dlrun.commands import _text
from dlrun.commands._arguments import CommandParser, filled
from dlrun.config.metrics import known_names
from dlrun.config.option_files import Option, Parameter, read_option, read_yaml
from dlrun.config.search_path import GROUPS, config_folders, option_file, options, packaged_configs
from dlrun.errors import ConfigError, did_you_mean

_PURPOSES = {
    "dataset": "the data to train on",
    "model": "the model to train",
    "optimizer": "how the gradient changes the weights",
    "schedule": "how the learning rate changes over the run",
    "loss": "what training minimizes",
    "trainer": "how long, in what batches, on which device",
    "sweep": "many runs: which settings to train",
    "experiment": "recipes: all of these choices in one file",
}
_HIDDEN = ("hydra",)  # Hydra's own settings are no choice of an experiment
_PLAIN = re.compile(r"[\w.+-]+")  # needs no quotes in a shell
_EPILOG = """\
Options come from ./configs as well: an option of your own is one YAML file there, such as
configs/model/mine.yaml. Such options are marked.

examples
  dlrun list                what there is
  dlrun list model          every model with its parameters and their defaults
  dlrun list model/cnn      one of them
  dlrun list metrics        the metrics that a run can be measured by
"""


def main(argv: list[str]) -> int:
    """Print the groups, the options of a group, or one option."""
    arguments = _parser().parse_args(argv)
    folders = config_folders(_extra_folder(arguments.config_dir))
    word = (arguments.group or "").replace("=", "/").strip("/")
    group, _, option = word.rpartition("/")
    settings = _settings(folders)
    if not word:
        print(_overview(folders, settings))
    elif word in _of_every_run(settings):
        print(_settings_page(word, settings))
    elif not group or word in all_groups(folders):
        print(_group_page(_checked_group(word, folders), folders))
    else:
        print(_option_page(_checked_group(group, folders), option, folders))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        "list", "The options to choose from, with their parameters and defaults.", _EPILOG
    )
    parser.add_argument(
        "group",
        metavar="GROUP",
        nargs="?",
        type=filled,
        help="a group, or one option as GROUP/OPTION",
    )
    parser.add_argument("--config-dir", metavar="DIR", help="look for options in DIR, too")
    return parser


def _extra_folder(text: str | None) -> Path | None:
    if text is not None and (not text or not Path(text).is_dir()):
        raise ConfigError(f"--config-dir is {text or 'empty'}, which is not a directory")
    return Path(text).absolute() if text else None


def all_groups(folders: list[Path]) -> list[str]:
    """dlrun's groups in the order of a run, then the user's own; a group within another as `model/blocks`."""
    files = (file.relative_to(folder) for folder in folders for file in folder.rglob("*/*.yaml"))
    found = {
        file.parent.as_posix()
        for file in files
        if file.parts[0] not in _HIDDEN and not any(part.startswith(".") for part in file.parts)
    }
    return [*(name for name in _PURPOSES if name in found), *sorted(found - set(_PURPOSES))]


def visible_options(group: str, folders: list[Path]) -> list[str]:
    """The options of a group, without those that others only build on."""
    return [name for name in options(group, folders) if not name.startswith("_")]


def _checked_group(group: str, folders: list[Path]) -> str:
    groups = all_groups(folders)
    if group in groups or group in GROUPS:
        return group
    owners = [owner for owner in groups if group in options(owner, folders)]
    if group.split("/")[0] in _HIDDEN:
        raise ConfigError(
            f"{group} is Hydra's own and not listed here; `dlrun train --hydra-help` shows its groups"
        )
    hint = f"; did you mean {owners[0]}/{group}?" if owners else did_you_mean(group, groups)
    raise ConfigError(f"there is no group {group}{hint}")


def _settings(folders: list[Path], name: str = "train") -> list[Parameter]:
    """What every run has beside its groups: the settings of train.yaml itself, or of another such file."""
    files = (folder / f"{name}.yaml" for folder in folders)
    file = next((file for file in files if file.is_file()), None)
    return list(read_yaml(name, file).parameters) if file else []


def settings_of_every_run(folders: list[Path]) -> list[str]:
    """What is listed beside the groups: the settings of train.yaml that are in no group."""
    return _of_every_run(_settings(folders))


def _of_every_run(settings: list[Parameter]) -> list[str]:
    return list(dict.fromkeys(parameter.name.partition(".")[0] for parameter in settings))


def _of_all(group: str, folders: list[Path]) -> list[Parameter]:
    """What all options of a group have, under the names that they have in it."""
    inside = [p for p in _settings(folders, "_shared") if p.name.startswith(f"{group}.")]
    return [replace(p, name=p.name.removeprefix(f"{group}.")) for p in inside]


def _settings_page(name: str, settings: list[Parameter]) -> str:
    shown = [p for p in settings if p.name.partition(".")[0] == name]
    example = next((p for p in shown if _PLAIN.fullmatch(p.value) and p.value != "null"), None)
    usage = f"\n\ndlrun train {example.name}={example.value}" if example else ""
    return f"{name}: of every run\n{_parameter_lines(shown)}{_values(name)}{usage}"


def _values(name: str) -> str:
    """What a setting may name, of one whose values are too many for its comment."""
    if name != "metrics":
        return ""
    names = ", ".join(sorted({*known_names(), "coverage_80", "width_80"}))
    rule = "a metric that does not fit the data is refused before the training"
    return f"\n\n{_text.wrapped(names, _text.GAP)}\n\n{rule}"


def _overview(folders: list[Path], settings: list[Parameter]) -> str:
    groups = all_groups(folders)
    width = max(map(len, groups), default=0) + len(_text.GAP)
    lines, any_own = [], False
    for group in groups:
        lines.append(f"{group:<{width}}{_PURPOSES.get(group, 'a group of your own')}")
        names = [_marked(group, name, folders) for name in visible_options(group, folders)]
        any_own |= any(name.endswith("*") for name in names)
        lines += [_text.wrapped(_text.GAP.join(names), " " * width), ""]
    if settings:
        lines.append(f"settings of every run: {_text.GAP.join(_of_every_run(settings))}")
        lines.append("")
    if any_own:
        lines += ["* your own", ""]
    return "\n".join(
        [
            *lines,
            "dlrun list GROUP          each option with its parameters and their defaults",
            "dlrun show                the whole config of a run",
            "dlrun train GROUP=OPTION  train with it",
        ]
    )


def _marked(group: str, name: str, folders: list[Path]) -> str:
    file = option_file(group, name, folders)
    return name if file is None or file.is_relative_to(packaged_configs()) else f"{name}*"


def _group_page(group: str, folders: list[Path]) -> str:
    found = [read_option(group, name, folders) for name in visible_options(group, folders)]
    shown = [option for option in found if option is not None]
    if not shown:
        return f"{group} has no options yet: a file configs/{group}/NAME.yaml makes {group}=NAME"
    common = [*_shared_parameters(shown), *_of_all(group, folders)]
    pages = [
        _describe(
            group,
            option,
            [option.description] if option.description else [],
            [p for p in option.parameters if p not in common],
        )
        for option in shown
    ]
    if common:
        pages.append(f"every {group} also has\n{_parameter_lines(common)}")
    return "\n\n".join([*pages, _usage(group, shown)])


def _option_page(group: str, name: str, folders: list[Path]) -> str:
    option = read_option(group, name, folders)
    if option is None:
        hint = did_you_mean(name, visible_options(group, folders))
        raise ConfigError(f"{group} has no option {name}{hint}")
    page = _describe(group, option, option.head, [*option.parameters, *_of_all(group, folders)])
    return f"{page}\n\n{_usage(group, [option])}"


def _shared_parameters(shown: list[Option]) -> list[Parameter]:
    """Those that are alike in every option: said once they leave more room for what differs."""
    if len(shown) < 2:
        return []
    first, *others = shown
    return [p for p in first.parameters if all(p in other.parameters for other in others)]


def _describe(
    group: str, option: Option, head: Sequence[str], parameters: Sequence[Parameter]
) -> str:
    mark = "" if option.is_packaged else f"  (your own: {os.path.relpath(option.file)})"
    lines = [f"{group}={option.name}{mark}"]
    lines += [_text.wrapped(line, "  ") for line in head]
    if option.builds_on:
        lines.append(f"  builds on {', '.join(option.builds_on)}")
    if option.choices:
        lines.append(_text.wrapped(f"chooses {' '.join(option.choices)}", "  "))
    if option.target:
        lines.append(f"  {option.target}")
    return "\n".join([*lines, *([_parameter_lines(parameters)] if parameters else [])])


def _parameter_lines(parameters: Iterable[Parameter]) -> str:
    rows = list(parameters)
    indent = "    "
    names = max(len(row.name) for row in rows)
    values = min(max(len(row.value) for row in rows), 24)
    hanging = " " * (len(indent) + names + values + 2 * len(_text.GAP))
    lines = []
    for row in rows:
        start = f"{indent}{row.name:<{names}}{_text.GAP}{row.value:<{values}}{_text.GAP}"
        lines.append(_text.wrapped(row.comment, hanging, start) or start.rstrip())
    return "\n".join(lines)


def _usage(group: str, shown: list[Option]) -> str:
    example = max(shown, key=lambda option: len(option.parameters))
    if group == "sweep":
        return f"dlrun train sweep={shown[-1].name} {_swept(shown[-1])}"
    words = [f"{group}={example.name}"]
    if example.target or group in (
        "loss",
        "trainer",
    ):  # an experiment's parameters lie in other groups
        plain = [p for p in example.parameters if _PLAIN.fullmatch(p.value) and p.value != "null"]
        words += [f"{group}.{p.name}={p.value}" for p in plain[:1]]
    return f"dlrun train {' '.join(words)}"


def _swept(option: Option) -> str:
    """What a sweep needs beside its option; a grid needs values, or a number of points as well."""
    is_grid = any(parameter.name == "points" for parameter in option.parameters)
    rates = "0.01,0.001" if is_grid else "tag(log,interval(1e-4,1e-1))"
    return f"model=mlp,cnn {shlex.quote(f'optimizer.lr={rates}')}"
