"""`dlrun _complete`: how the last word of a command line can go on, for the shells' completion.

The arguments are the words after `dlrun`, up to the cursor. Each line printed is the whole of a
possible last word, with a tab and a description where that helps.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout, suppress
from importlib import import_module
from io import StringIO
from pathlib import Path

from dlrun.cli import COMMANDS, HELP
from dlrun.runs import LAST, OUTPUTS, full_name, run_paths, scan, short_name
from dlrun.search_path import config_folders, options
from dlrun.sweep.finding import sweep_paths

_COMMAND_LINE = re.compile(r"^  ([\w-]+) {2,}(\S.*)$", re.MULTILINE)
_LONG_OPTION = re.compile(r"^  (?:-\w, )?(--[a-z][\w-]*)", re.MULTILINE)
_GLOBAL_OPTIONS = ("--help", "--version", "--debug")
_TRAIN_OPTIONS = (
    *("--multirun", "--dry-run", "--config-dir", "--cfg", "--resolve", "--package", "--help"),
)
_EVAL_WORDS = (
    *("split=test", "split=val", "split=train"),
    *("checkpoint=best", "checkpoint=last"),
)


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


def _train(before: list[str], current: str) -> Iterable[str]:
    from dlrun.commands._complete_config import config_words

    return config_words(before, current)


def _show(before: list[str], current: str) -> Iterator[str]:
    from dlrun.commands.show import known_option

    folders = config_folders()
    yield from options("experiment", folders)
    if "/" in current:
        group = current.partition("/")[0]
        yield from (f"{group}/{option}" for option in options(group, folders))
    if not before:
        yield from _places(before, current)
    yield from _train([known_option(word, folders) or word for word in before], current)


def _list(before: list[str], current: str) -> Iterator[str]:
    from dlrun.commands.list import all_groups, visible_options

    folders = config_folders()
    if not before or before[-1] == "--config-dir":
        group, slash, _ = current.rpartition("/")
        names = visible_options(group, folders) if slash else []
        yield from (f"{group}/{name}" for name in names) if slash else all_groups(folders)


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


def _name(path: Path, current: str) -> str:
    return full_name(path) if current[:1].isdigit() else short_name(path)


def _resume(before: list[str], current: str) -> Iterable[str]:
    return _train(before[1:], current) if before else _places(before, current)


def _summary(before: list[str], current: str) -> Iterator[str]:
    if not before:
        yield from _run_names(before, current)
    yield from _train(before, current)


def _eval(before: list[str], current: str) -> Iterable[str]:
    return _EVAL_WORDS if before else _run_names(before, current)


def _runs(before: list[str], current: str) -> Iterable[str]:
    if before and before[-1] == "--sort":
        return (name for run in scan(OUTPUTS) for name in run.metrics)
    return _sweep_names(before, current)


def _shells(before: list[str], current: str) -> Iterable[str]:
    from dlrun.commands.completion import SCRIPTS

    return () if before else SCRIPTS


def _command_names(before: list[str], current: str) -> Iterable[str]:
    return () if before else COMMANDS


_BY_COMMAND: dict[str, Callable[[list[str], str], Iterable[str]]] = {
    "train": _train,
    "show": _show,
    "list": _list,
    "resume": _resume,
    "eval": _eval,
    "predict": _run_names,
    "generate": _run_names,
    "export": _run_names,
    "summary": _summary,
    "lr-find": _train,
    "runs": _runs,
    "report": _sweep_names,
    "tensorboard": _places,
    "completion": _shells,
    "help": _command_names,
}
