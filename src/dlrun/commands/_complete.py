"""`dlrun _complete`: how the last word of a command line can go on, for the shells' completion.

The arguments are the words after `dlrun`, up to the cursor. Each line printed is the whole of a
possible last word, with a tab and a description where that helps. Hydra's own completion gives the words of a config;
what it lacks, the values that a setting's type names, is read from the types in dlrun.config.settings.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import is_dataclass
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from dlrun.commands._names import COMMANDS, HELP
from dlrun.config.chosen_metrics import KEY as METRICS
from dlrun.config.hydra_internals import completions
from dlrun.config.metrics import known_names
from dlrun.config.search_path import config_folders, options, packaged_configs
from dlrun.config.settings import DataSettings, GradientSettings, ModelSettings, RunConfig, WarmUp
from dlrun.errors import ConfigError
from dlrun.storage.index import LAST, OUTPUTS, run_paths, scan, sweep_paths
from dlrun.storage.run_summary import full_name, short_name
from dlrun.sweep.settings import SweepSettings

_COMMAND_LINE = re.compile(r"^  ([\w-]+) {2,}(\S.*)$", re.MULTILINE)
_LONG_OPTION = re.compile(r"^  (?:-\w, )?(--[a-z][\w-]*)", re.MULTILINE)
_GLOBAL_OPTIONS = ("--help", "--version", "--debug")
_TRAIN_OPTIONS = (
    *(
        "--multirun",
        "--dry-run",
        "--no-driver",
        "--prepare",
        "--config-dir",
        "--cfg",
        "--resolve",
        "--package",
        "--help",
    ),
)
_EVAL_WORDS = (
    *("split=test", "split=val", "split=train"),
    *("checkpoint=best", "checkpoint=last"),
)
_TAKE_A_VALUE = ("--target", "--time", "--test", "--as", "--write")  # options of inspect
_MULTIRUN = ("-m", "--multirun")
_CONFIG_DIR = ("--config-dir", "-cd")
# What all options of a group share, beside their own parameters.
_SHARED = {
    "dataset": DataSettings,
    "model": ModelSettings,
    "optimizer": GradientSettings,
    "schedule": WarmUp,
    "sweep": SweepSettings,
}


def main(argv: list[str]) -> int:
    """Print the candidates for the last of `argv`."""
    words = argv or [""]
    for candidate in sorted(set(candidates(words[:-1], words[-1]))):
        print(candidate)
    return 0


def candidates(before: list[str], current: str) -> Iterator[str]:
    """What `current` can become after the words `before`."""
    found = _arguments(before[0], before[1:], current) if before else _commands(current)
    return (text for text in found if text.startswith(current))


def _commands(current: str) -> Iterable[str]:
    if current.startswith("-"):
        return _GLOBAL_OPTIONS
    described = dict(_COMMAND_LINE.findall(HELP))
    return [f"{name}\t{described[name]}" for name in COMMANDS]


def _arguments(command: str, before: list[str], current: str) -> Iterable[str]:
    if current.startswith("-"):
        return _options(command)
    complete = _BY_COMMAND.get(command)
    return complete(before, current) if complete else ()


def _options(command: str) -> Iterable[str]:
    if command == "train":
        return _TRAIN_OPTIONS  # Hydra's, which has many more
    if command not in COMMANDS:
        return ()
    module = import_module(f"dlrun.commands.{COMMANDS[command]}")
    with redirect_stdout(StringIO()) as text, suppress(SystemExit):
        module.main(["--help"])
    return _LONG_OPTION.findall(text.getvalue())


def _show(before: list[str], current: str) -> Iterator[str]:
    from dlrun.commands.show import known_option

    folders = config_folders()
    yield from options("experiment", folders)
    if "/" in current:
        group = current.partition("/")[0]
        yield from (f"{group}/{option}" for option in options(group, folders))
    if not before:
        yield from _places(before, current)
    yield from _config_words([known_option(word, folders) or word for word in before], current)


def _list(before: list[str], current: str) -> Iterator[str]:
    from dlrun.commands.list import all_groups, settings_of_every_run, visible_options

    folders = config_folders()
    if not before or before[-1] == "--config-dir":
        group, slash, _ = current.rpartition("/")
        names = visible_options(group, folders) if slash else []
        words = [*all_groups(folders), *settings_of_every_run(folders)]
        yield from (f"{group}/{name}" for name in names) if slash else words


def _run_names(before: list[str], current: str) -> Iterator[str]:
    """`last`, and the runs without their date and time; with it once a date is begun.

    The trials of a sweep show up behind its name and a slash: there may be many. So do a trial's seeds.
    """
    if before:
        return
    yield LAST
    depth = current.count("/") + 1
    for path in run_paths(OUTPUTS):
        parts = _name(path, current).split("/")
        yield "/".join(parts[:depth]) + ("/" if len(parts) > depth else "")


def _sweep_names(before: list[str], current: str) -> Iterator[str]:
    """`last`, and the sweeps likewise."""
    if not before:
        yield LAST
        yield from (_name(path, current) for path in sweep_paths())


def _places(before: list[str], current: str) -> Iterator[str]:
    """Where a run will do as well as a sweep."""
    yield from _run_names(before, current)
    yield from _sweep_names(before, current)


def _members(before: list[str], current: str) -> Iterator[str]:
    """Any number of runs and sweeps."""
    yield from _places([], current)


def _name(path: Path, current: str) -> str:
    return full_name(path) if current[:1].isdigit() else short_name(path)


def _resume(before: list[str], current: str) -> Iterable[str]:
    return _config_words(before[1:], current) if before else _places(before, current)


def _summary(before: list[str], current: str) -> Iterator[str]:
    if not before:
        yield from _run_names(before, current)
    yield from _config_words(before, current)


def _eval(before: list[str], current: str) -> Iterable[str]:
    return _EVAL_WORDS if before else _run_names(before, current)


def _runs(before: list[str], current: str) -> Iterable[str]:
    if before and before[-1] == "--sort":
        return (name for run in scan(OUTPUTS) for name in run.metrics)
    return _sweep_names(before, current)


def _inspect(before: list[str], current: str) -> Iterable[str]:
    """Columns after --target and --time, kinds after --as, and behind FILE the settings of datasets that read files."""
    from dlrun.commands.inspect import KINDS, TAKEN
    from dlrun.data.inspection.plan import OPTIONS, option_settings
    from dlrun.data.inspection.rows import column_names

    last = before[-1] if before else ""
    if last == "--as":
        return KINDS
    values = [
        word for word, option in zip(before, ["", *before], strict=False) if option in _TAKE_A_VALUE
    ]
    files = [
        word
        for word in before
        if not word.startswith("-") and word not in values and "=" not in word
    ]
    if last in ("--target", "--time"):
        with suppress(ConfigError, OSError):
            return column_names(files[0]) if files else ()
        return ()
    if not files or last in _TAKE_A_VALUE:
        return ()  # files, which shells complete by themselves
    keys = {key for option in OPTIONS for key in option_settings(option)} - {"_target_", *TAKEN}
    return [f"dataset.{key}=" for key in keys]


def _shells(before: list[str], current: str) -> Iterable[str]:
    from dlrun.commands.completion import SCRIPTS

    return () if before else SCRIPTS


def _command_names(before: list[str], current: str) -> Iterable[str]:
    return () if before else COMMANDS


def _config_words(before: list[str], current: str) -> Iterable[str]:
    """The words that `current` can become, after the arguments `before`."""
    key, equals, value = current.partition("=")
    if equals and key == METRICS:
        listed = value[: max(value.rfind(","), value.rfind("[")) + 1] or "["
        return [f"{key}={listed}{name}" for name in known_names()]
    if equals and (names := _named_values(key.split("."))):
        return [f"{key}={name}" for name in names]
    earlier, _, value = value.rpartition(",")
    if not earlier or "[" in earlier:
        return _hydra_words(before, current)
    # model=cnn,m: the last of the values swept over
    found = _hydra_words(before, f"{key}={value}")
    return [f"{key}={earlier},{word.partition('=')[2]}" for word in found]


def _hydra_words(before: list[str], current: str) -> list[str]:
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.plugins.completion_plugin import DefaultCompletionPlugin

    from dlrun.config.compose import register_resolvers

    register_resolvers()
    with initialize_config_dir(str(packaged_configs()), version_base="1.3"):
        plugin = DefaultCompletionPlugin(GlobalHydra.instance().config_loader())
        overrides = [word for word in _overrides(before) if word not in _MULTIRUN]
        found = _query(plugin, [*_overrides(before), current]) or _query(plugin, [current])
        found = [word for word in found if not _is_noise(word, current)]
        if not any(word.endswith(".") for word in found):
            return found
        try:
            config = compose("train", overrides)
        except Exception:  # as in _query
            return found
        return [_whole_list(word, config) for word in found]


def _is_noise(word: str, current: str) -> bool:
    """Seldom looked for: Hydra's own settings, targets, and the items of a list."""
    asked_for_target = current.rpartition(".")[2].startswith("_")
    return (
        (word.startswith("hydra") and not current)
        or (word.endswith("._target_=") and not asked_for_target)
        or word.count("=") > 1
    )


def _whole_list(word: str, config: Any) -> str:
    """`model.hidden=` for `model.hidden.`, where Hydra would go on with each item's number."""
    from omegaconf import OmegaConf

    is_list = word.endswith(".") and OmegaConf.is_list(OmegaConf.select(config, word[:-1]))
    return f"{word[:-1]}=" if is_list else word


def _query(plugin: Any, words: list[str]) -> list[str]:
    try:
        return completions(plugin, words)
    except Exception:  # a wrong word before, or a value that only a run can resolve
        return []


def _overrides(words: Iterable[str]) -> list[str]:
    """The words that Hydra's query understands: of the options, multirun and the config folder."""
    kept: list[str] = []
    remaining = iter(words)
    for word in remaining:
        name, equals, value = word.partition("=")
        if name in _CONFIG_DIR:
            folder = Path(value if equals else next(remaining, "."))
            kept.append(f"hydra.searchpath=[file://{folder.absolute()}]")
        elif word in _MULTIRUN or not word.startswith("-"):
            kept.append(word)
    return kept


def _named_values(key: list[str]) -> list[str]:
    """The words that a run-wide setting accepts, where its type names them."""
    shared = _SHARED.get(key[0])
    rule: Any = shared or RunConfig
    for name in key[1:] if shared else key:
        rule = _settings(rule)
        if rule is None:
            return []
        rule = get_type_hints(rule, include_extras=True).get(name)
    return _words(rule)


def _settings(rule: Any) -> type | None:
    """The settings dataclass in `rule`, which may be one or null."""
    parts = (rule, *get_args(rule))
    return next((part for part in parts if isinstance(part, type) and is_dataclass(part)), None)


def _words(rule: Any) -> list[str]:
    origin = get_origin(rule)
    if origin is Literal:
        return [str(option) for option in get_args(rule)]
    if origin is Annotated:
        return _words(get_args(rule)[0])
    if origin in (Union, types.UnionType):
        return [word for part in get_args(rule) for word in _words(part)]
    return ["true", "false"] if rule is bool else []


_BY_COMMAND: dict[str, Callable[[list[str], str], Iterable[str]]] = {
    "train": _config_words,
    "show": _show,
    "list": _list,
    "inspect": _inspect,
    "resume": _resume,
    "eval": _eval,
    "predict": _run_names,
    "generate": _run_names,
    "export": _run_names,
    "ensemble": _members,
    "summary": _summary,
    "lr-find": _config_words,
    "runs": _runs,
    "report": _sweep_names,
    "work": _sweep_names,
    "tensorboard": _places,
    "completion": _shells,
    "help": _command_names,
}
