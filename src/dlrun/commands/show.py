"""`dlrun show`: the config that a command would use, a run in full, or a sweep in short.

One word may mean several things; the first that fits is taken: `last` or the directory of a run or sweep, an
experiment, GROUP/OPTION, part of the name of a run or sweep. Several words, or a word with `=`, mean a config.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dlrun.commands._arguments import CommandParser, filled
from dlrun.config.search_path import GROUPS, config_folders, option_file, options
from dlrun.errors import ConfigError, command, did_you_mean, listed, note
from dlrun.storage.index import LAST, find_run_or_sweep, fits, names
from dlrun.storage.run_directory import RunDirectory, is_run
from dlrun.storage.sweep_directory import SweepDirectory, is_sweep

_EPILOG = """\
One word may mean several things; the first that fits is taken:
  1. `last`, or the directory of a run or a sweep
  2. an experiment
  3. GROUP/OPTION
  4. part of the name of a run or a sweep
Several words, or one with `=`, mean a config: the one that `dlrun train` would use.

examples
  dlrun show                                      what `dlrun train` alone would do
  dlrun show mnist_cnn trainer.max_epochs=5       an experiment, changed
  dlrun show model=cnn dataset=mnist              any choices together
  dlrun show sweep/random                         the settings of a sweep as well
  dlrun show last                                 the newest run or sweep
  dlrun show SWEEP                                a sweep: what it searched and what it found
  dlrun show SWEEP/12                             one of its trials
"""


def main(argv: list[str]) -> int:
    """Print a run's summary or a composed config."""
    arguments = _parser().parse_args(argv)
    words = arguments.words
    folders = config_folders()
    place = _place(words[0], folders) if len(words) == 1 else None
    if place is None:
        print(_config_yaml([_override(word, folders) for word in words]))
    elif isinstance(place, SweepDirectory):
        from dlrun.commands._sweep_page import sweep_page

        print(sweep_page(place))
    else:
        from dlrun.commands._run_page import run_page

        print(run_page(place.path))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        "show",
        "The config that `dlrun train` would use, as YAML; or a run in full; or a sweep.",
        _EPILOG,
    )
    help_words = (
        "an experiment, GROUP/OPTION, KEY=VALUE; or a run or sweep: its directory, part of its name"
    )
    parser.add_argument("words", metavar="NAME", nargs="*", type=filled, help=help_words)
    return parser


def _place(word: str, folders: list[Path]) -> RunDirectory | SweepDirectory | None:
    """The run or sweep that the only word means, None where it means a config.

    Raises:
        ConfigError: it is part of several names.
    """
    if word.partition("/")[0] == LAST or is_run(Path(word)) or is_sweep(Path(word)):
        return find_run_or_sweep(word)
    if "=" in word or word[:1] in "+~":
        return None
    fitting = [name for name in names() if fits(word, name)]
    if (option := known_option(word, folders)) is None:
        return find_run_or_sweep(word) if fitting else None
    if fitting:
        note(f"{word} is shown as {option}; for {listed(fitting, most=1)} give more of the name")
    return None


def known_option(word: str, folders: list[Path]) -> str | None:
    """`experiment=NAME` or `GROUP=OPTION` for a bare name, None where there is no such option."""
    group, _, option = word.rpartition("/")
    group = group or "experiment"
    return f"{group}={option}" if option and option_file(group, option, folders) else None


def _override(word: str, folders: list[Path]) -> str:
    if "=" in word or word.startswith(("+", "~")):
        return word
    if (choice := known_option(word, folders)) is not None:
        return choice
    if Path(word).is_dir():
        raise ConfigError(
            f"{word} is a directory, but not a run or a sweep: it has no config.yaml and no sweep.yaml; "
            f"`{command('runs', word)}` lists the runs in it"
        )
    if any(fits(word, name) for name in names()):
        raise ConfigError(
            f"{word} is part of the name of a run or sweep, which is shown alone: leave the other words out"
        )
    experiments = options("experiment", folders)
    choices = [f"{group}/{option}" for group in GROUPS for option in options(group, folders)]
    owners = [choice for choice in choices if choice.endswith(f"/{word}")]
    hint = f"; did you mean {owners[0]}?" if owners else _nearest(word, [*experiments, *choices])
    raise ConfigError(
        f"{word} is no experiment, no GROUP/OPTION and no part of the name of a run or sweep{hint}"
    )


def _nearest(word: str, options: list[str]) -> str:
    hint = did_you_mean(word, [*options, *names()])
    return hint if hint.endswith("?") else "; `dlrun list` and `dlrun runs` say what there is"


def _config_yaml(overrides: list[str]) -> str:
    from dlrun.config.hydra_errors import explain
    from dlrun.config.overrides import note_repeated
    from dlrun.config.settings import parse

    note_repeated(overrides)
    try:
        plain = _composed(overrides)
        text = _yaml(plain)
        if "${" not in text and "???" not in text:  # which only a run resolves, and then checks
            parse({key: plain[key] for key in plain if key != "sweep"})
    except Exception as error:
        raise explain(error, overrides) from error
    return text


def _composed(overrides: list[str]) -> dict[str, Any]:
    """The job config as plain values; what only a run could resolve stays as it is written."""
    from dlrun.config.compose import compose

    config = compose(overrides, with_hydra=True)
    hidden = ("hydra",) if _is_about_sweep(config, overrides) else ("hydra", "sweep")
    return {str(key): _plain(config, key) for key in config if key not in hidden}


def _is_about_sweep(config: Any, overrides: list[str]) -> bool:
    """Whether the words ask for a sweep, or name an experiment that describes one."""
    asked = any(word.lstrip("+~").startswith(("sweep=", "sweep.")) for word in overrides)
    option = config.hydra.runtime.choices.get("sweep")
    return asked or option != "grid" or bool(config.sweep.get("space"))


def _plain(node: Any, key: Any) -> Any:
    from omegaconf import DictConfig, ListConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if OmegaConf.is_missing(node, key):
        return "???"
    try:
        value = node[key]
    except OmegaConfBaseException:
        return OmegaConf.to_container(node, resolve=False)[key]  # type: ignore[index]
    if isinstance(value, DictConfig):
        return {str(name): _plain(value, name) for name in value}
    if isinstance(value, ListConfig):
        return [_plain(value, index) for index in range(len(value))]
    return value


def _yaml(plain: dict[str, Any]) -> str:
    import yaml

    class Dumper(yaml.SafeDumper):
        """Lists on one line, as they are typed."""

    def represent_list(dumper: yaml.SafeDumper, values: list[Any]) -> yaml.Node:
        return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=True)

    Dumper.add_representer(list, represent_list)
    text = yaml.dump(plain, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=10_000)
    return str(text).rstrip()
