"""The words of `dlrun train`: whether they ask for a sweep, what is refused before Hydra sees them, their config.

Commands that build what `dlrun train` would, and do not train it, take the config from here.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from dlrun.config.search_path import config_folders, option_file
from dlrun.errors import ConfigError, command, did_you_mean
from dlrun.storage.sweep_directory import config_words

_GROUP = "sweep"
NO_DRIVER = "--no-driver"
_MODES = ("run", "multirun", "cfg", "info")
_INSTEAD = {
    "shell_completion": "dlrun has its own: `{completion}`",
    "experimental_rerun": "`{resume}` continues a run, with changed values",
    "config_path": "dlrun's configs come with it; yours are found in ./configs and in --config-dir=DIR",
}


def is_multirun(argv: list[str]) -> bool:
    """Whether Hydra is asked for more than one job."""
    return bool({"-m", "--multirun"} & set(argv))


def as_multirun(argv: list[str]) -> list[str]:
    """The arguments with `-m` where an option of the group sweep asks for one, and no --dry-run."""
    chosen = any(word.startswith("sweep=") for word in argv)
    sweeps = is_multirun(argv) or chosen or _is_study(argv)
    if "--dry-run" in argv:
        if not sweeps:
            raise ConfigError("--dry-run shows the trials of a sweep: add sweep=random, say, or -m")
        argv = [*(word for word in argv if word != "--dry-run"), "sweep.dry_run=true"]
    if NO_DRIVER in argv:
        argv = _prepared(argv, sweeps=sweeps)
    # In front: among the overrides, Hydra would not know the words after it.
    rest = [word for word in argv if word not in ("-m", "--multirun")]
    return ["--multirun", *rest] if sweeps else argv


def _prepared(argv: list[str], *, sweeps: bool) -> list[str]:
    """The arguments without --no-driver.

    Raises:
        ConfigError: there is nothing that it could prepare.
    """
    if not sweeps:
        raise ConfigError(
            f"{NO_DRIVER} prepares a sweep: add sweep=random, say, or -m; a single run is prepared by --prepare"
        )
    if "sweep.dry_run=true" in argv:
        raise ConfigError(f"--dry-run and {NO_DRIVER} exclude each other: leave one out")
    return [word for word in argv if word != NO_DRIVER]


def without_prepare(argv: list[str]) -> list[str]:
    """The arguments, `--prepare` left out, which dlrun has and Hydra has not.

    Raises:
        ConfigError: they ask for a sweep.
    """
    if "--prepare" in argv and is_multirun(argv):
        raise ConfigError(
            f"--prepare makes the directory of one run, but this is a sweep, which {NO_DRIVER} prepares"
        )
    return [word for word in argv if word != "--prepare"]


def with_initial_runs(argv: list[str]) -> list[str]:
    """The words with the directories of the runs that init_from names: later a name may mean another, as `last` does.

    Of a sweep that is read back they are directories already, which need not be there any more.

    Raises:
        ConfigError: a name means no run.
    """
    from dlrun.config.trust import is_reading_back

    names = [word for word in argv if word.lstrip("+").startswith("init_from=")]
    if not names or is_reading_back():
        return argv
    return [_with_initial_runs(word) if word in names else word for word in argv]


def _with_initial_runs(word: str) -> str:
    from hydra.core.override_parser.types import ChoiceSweep

    from dlrun.storage.stored_run import initial_run
    from dlrun.sweep.space.grammar import parse_word, text_of

    def directory(name: Any) -> str:
        text = getattr(name, "text", name)  # of a text in quotes
        return text_of(str(initial_run(text).path.absolute()) if isinstance(text, str) else text)

    key, value = word.partition("=")[0], parse_word(word).value()
    if not isinstance(value, ChoiceSweep):
        return f"{key}={directory(value)}"
    directories = [directory(one) for one in value.list]
    one = len(directories) == 1  # choice() itself takes no null
    return f"{key}=choice({directories[0]})" if one else f"{key}={','.join(directories)}"


def check_place(argv: list[str]) -> None:
    """Refuse the key for one run's directory in a multirun, and what is for a sweep in a single run.

    Neither would do anything there.
    """
    many = is_multirun(argv) or "hydra.mode=MULTIRUN" in argv
    wrong = "hydra.run.dir=" if many else "hydra.sweep.dir="
    given = next((word for word in argv if word.startswith(wrong)), None)
    if given and many:
        raise ConfigError(f"{given} names one directory for many runs; use hydra.sweep.dir=DIR")
    if given:
        raise ConfigError(f"{given} is for a sweep; a single run takes hydra.run.dir=DIR")
    setting = next((word for word in argv if word.lstrip("+").startswith(f"{_GROUP}.")), None)
    if setting and not many:
        raise ConfigError(
            f"{setting} is for a sweep, not for a single run: add sweep=random, say, or -m"
        )


def check_hydra_options(argv: list[str]) -> None:
    """Refuse a command line that Hydra would not take, or would take for something that dlrun does not do.

    Raises:
        ConfigError: naming the option or the word.
    """
    from dlrun.config.hydra_internals import command_line_parser

    parser = command_line_parser()
    parser.allow_abbrev = True  # as Hydra reads it

    def refuse(message: str) -> NoReturn:
        raise ConfigError(_reason(message, parser))

    parser.error = refuse  # type: ignore[method-assign]
    if {"-h", "--help", "--hydra-help", "--version"} & set(argv):
        return
    given = parser.parse_args(argv)
    for name, words in _INSTEAD.items():
        if getattr(given, name):
            instead = words.format(completion=command("completion"), resume=command("resume"))
            raise ConfigError(f"--{name.replace('_', '-')} is Hydra's and not used here: {instead}")
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


def composed_run(words: Sequence[str]) -> dict[str, Any]:
    """What `dlrun train` would make of the same words, as plain values, checked; without the group sweep.

    Raises:
        ConfigError: no such option or key, a value that the run would refuse, or a word that is about a sweep.
    """
    from dlrun.config.compose import compose
    from dlrun.config.hydra_errors import explain
    from dlrun.config.overrides import note_repeated
    from dlrun.config.settings import parse

    note_repeated(words)
    if swept := next(
        (word for word in words if word.startswith(("sweep=", "sweep.", "hydra."))), None
    ):
        raise ConfigError(
            f"{swept}: it changes nothing here, where one model is built; leave it out"
        )
    try:
        composed = compose(list(words), with_hydra=True)
        plain: dict[str, Any] = {
            str(key): _plain(composed[key]) for key in composed if key not in ("hydra", "sweep")
        }
    except Exception as error:
        raise explain(error, list(words)) from error
    parse(plain)
    return plain


def _is_study(argv: Sequence[str]) -> bool:
    """Whether an experiment named there has an option of the group sweep among its defaults.

    What cannot be read is none: Hydra will say what is wrong with it.
    """
    return any(_chooses_sweep(file) for file in _experiments(argv))


def _experiments(argv: Sequence[str]) -> Iterator[Path]:
    folders = [Path(word.partition("=")[2]) for word in config_words(argv)]
    for word in argv:
        key, _, name = word.partition("=")
        if key == "experiment":
            file = option_file("experiment", name, config_folders(folders[-1] if folders else None))
            yield from [file] if file else []


def _chooses_sweep(file: Path) -> bool:
    import yaml

    from dlrun.config import plain_yaml

    try:
        content = plain_yaml.load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False
    defaults = content.get("defaults") if isinstance(content, dict) else None
    entries = [entry for entry in defaults or () if isinstance(entry, dict)]
    return any(str(key).split()[-1].lstrip("/") == _GROUP for entry in entries for key in entry)


def _reason(message: str, parser: argparse.ArgumentParser) -> str:
    before, unknown, words = message.partition("unrecognized arguments: ")
    first = words.split(" ")[0]
    if unknown and not before and not first.startswith("-"):
        return f"{first} comes after an option that stands among the overrides: put options first"
    near = did_you_mean(first.partition("=")[0], parser._option_string_actions) if unknown else ""
    hint = near if near.endswith("?") else f"; see `{command('train', '--help')}`"
    return f"{message.removeprefix('argument ')}{hint}"


def _plain(node: Any) -> Any:
    from omegaconf import OmegaConf

    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
