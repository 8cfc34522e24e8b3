"""Hydra's own options on the command line of `dlrun train`: what they cannot do is refused before Hydra sees them."""

from __future__ import annotations

import argparse
from typing import NoReturn

from dlrun.errors import ConfigError, command, did_you_mean

_MODES = ("run", "multirun", "cfg", "info")
_INSTEAD = {
    "shell_completion": "dlrun has its own: `{completion}`",
    "experimental_rerun": "`{resume}` continues a run, with changed values",
    "config_path": "dlrun's configs come with it; yours are found in ./configs and in --config-dir=DIR",
}


def check_line(argv: list[str]) -> None:
    """Refuse a command line that Hydra would not take, or would take for something that dlrun does not do.

    Raises:
        ConfigError: naming the option or the word.
    """
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()
    parser.allow_abbrev = True  # as Hydra reads it

    def refuse(message: str) -> NoReturn:
        raise ConfigError(_reason(message, parser))

    parser.error = refuse  # type: ignore[method-assign]
    if {"-h", "--help", "--hydra-help", "--version"} & set(argv):
        return
    given = parser.parse_args(argv)
    for name, words in _INSTEAD.items():
        if getattr(given, name):
            told = words.format(completion=command("completion"), resume=command("resume"))
            raise ConfigError(f"--{name.replace('_', '-')} is Hydra's and not used here: {told}")
    modes = [f"--{name}" for name in _MODES if getattr(given, name)]
    if len(modes) > 1:
        raise ConfigError(f"{' and '.join(modes)} exclude each other: leave all but one out")
    if given.package == "":
        raise ConfigError("--package is empty, but must name a key of the config, as in model")
    for name in ("resolve", "package"):
        if getattr(given, name) and not given.cfg:
            raise ConfigError(f"--{name} says how --cfg shows a config: add --cfg job")
    if given.config_name not in (None, "train", "train.yaml"):
        raise ConfigError(
            f"--config-name is {given.config_name}, but a run is always made from the config train; choose its parts, "
            "as in experiment=NAME"
        )
    if sweeper := next(
        (word for word in given.overrides if word.startswith("hydra/sweeper=")), None
    ):
        raise ConfigError(
            f"{sweeper}: dlrun has its own sweeper; choose how to search by sweep=NAME"
        )
    if given.config_dir == "":
        raise ConfigError("--config-dir is empty, which is not a directory")
    if "" in given.overrides:
        raise ConfigError("an empty word: not an override; write key=value")


def _reason(message: str, parser: argparse.ArgumentParser) -> str:
    before, unknown, words = message.partition("unrecognized arguments: ")
    first = words.split(" ")[0]
    if unknown and not before and not first.startswith("-"):
        return f"{first} comes after an option that stands among the overrides: put options first"
    near = did_you_mean(first.partition("=")[0], parser._option_string_actions) if unknown else ""
    hint = near if near.endswith("?") else f"; see `{command('train', '--help')}`"
    return f"{message.removeprefix('argument ')}{hint}"
