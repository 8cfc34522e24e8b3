"""A sweep's own command, to go on with it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dlrun.config.search_path import config_folders
from dlrun.errors import ConfigError
from dlrun.storage.sweep_directory import SweepDirectory
from dlrun.sweep.spec import CHANGEABLE

_CHANGEABLE = tuple(f"sweep.{name}=" for name in CHANGEABLE)
_LAUNCHER = ("hydra/launcher=", "hydra.launcher.")
_CONFIG_FOLDER = re.compile(r"(--config-dir|-cd)=(.+)")
_WORD = re.compile(r"(\+\+?|~)?(?P<key>\w[\w.-]*(/\w[\w.-]*)*)(=(?P<value>.*))?", re.DOTALL)
_NAMES = re.compile(
    r"[\w\s.,()\[\]{}:/'\"=+*-]*"
)  # no backslash and no $, which may become anything
_NAME = re.compile(r"[\w./-]+")
# What becomes an interpolation other than one of a setting, as ${oc.env:HOME}; Hydra takes backslashes away.
_CALL = re.compile(r"\$\\*\{(?![\w.\[\]]+\})")
# Of Hydra's own settings some call code, as hydra.callbacks and launcher.setup do; plain values do not.
_HARMLESS = re.compile(r"hydra/launcher=\w+|hydra\.launcher\.(?!_target_)\w+=[\w.:-]*")


def command_words(
    sweep: SweepDirectory, words: Sequence[str], *, allowed: Sequence[str] = ()
) -> list[str]:
    """What `dlrun train` is to be called with: as at first, as far as it has come to be, and `words`.

    Raises:
        ConfigError: a word would change what the sweep asks, or the sweep's own might call code that is
            not `allowed`.
    """
    for word in words:
        if not word.lstrip("+").startswith((*_CHANGEABLE, *_LAUNCHER)):
            changeable = ", ".join(f"sweep.{name}" for name in CHANGEABLE)
            raise ConfigError(
                f"{word}: a resumed sweep keeps its search, so that its trials can be compared; what may change is "
                f"{changeable} and the launcher"
            )
    description = sweep.read()
    command, settings = description.get("command"), description.get("settings")
    if not isinstance(command, list) or not isinstance(settings, dict):
        raise ConfigError(f"{sweep.sweep_file} lacks the command or the settings of its sweep")
    # As they were worked out at first: a larger sweep.trials must not change what a round is.
    kept = [
        f"sweep.{key}={settings[key]}" for key in ("trials", "trials_per_round") if key in settings
    ]
    typed = list(joined([str(word) for word in command]))
    for word in [*typed, *_composed_of(description)]:
        _refuse_foreign(word, sweep, allowed)
    another = any(word.startswith("hydra/launcher=") for word in words)
    if another:  # whose settings are not those of the one before
        typed = [word for word in typed if not word.lstrip("+").startswith(_LAUNCHER)]
    return [*typed, *kept, *words]


def _composed_of(description: Mapping[str, Any]) -> Iterator[str]:
    """The words that the trials of a sweep are composed of, as its description has them."""
    overrides, space = description.get("overrides"), description.get("space")
    if isinstance(overrides, list):
        yield from map(str, overrides)
    if isinstance(space, dict):
        yield from (f"{key}={values}" for key, values in space.items())


def allowed_folders(allowed: Sequence[str]) -> list[Path]:
    """The folders among what is `allowed`, whose options are to be trusted as well."""
    return [Path(word) for word in allowed if Path(word).is_dir()]


def joined(typed: Sequence[str]) -> Iterator[str]:
    """The words of a command line, with `--config-dir DIR` as one."""
    words = iter(typed)
    for word in words:
        yield f"{word}={next(words, '')}" if word in ("--config-dir", "-cd") else word


def _refuse_foreign(word: str, sweep: SweepDirectory, allowed: Sequence[str]) -> None:
    """Refuse a word of a sweep that may come from somebody else, where it could call their code."""
    folder = _CONFIG_FOLDER.fullmatch(word)
    trusted = {*allowed, *(str(Path(name).absolute()) for name in allowed)}
    if (
        word == "--multirun"
        or _is_harmless(word)
        or {word, folder[2] if folder else word} & trusted
    ):
        return
    raise ConfigError(
        f"{sweep.path} was begun with {word}, which may {_harm(word)}: if you trust this sweep, "
        f"add --allow {folder[2] if folder else word}"
    )


def _harm(word: str) -> str:
    return "read your environment" if _CALL.search(word) else "call code of its author's"


def _is_harmless(word: str) -> bool:
    """Whether a word gives values, or chooses options by name; a path in place of a name would be a file of anybody's.

    Such a file may set all that Hydra has, before dlrun sees it. A value may refer to settings and to nothing else.
    """
    if _CALL.search(word):
        return False
    if word.partition("=")[0].lstrip("+~").partition(".")[0].partition("/")[0] == "hydra":
        return _HARMLESS.fullmatch(word) is not None
    if (found := _WORD.fullmatch(word)) is None:
        return False
    key, value = found["key"].removeprefix("sweep.space."), found["value"] or ""
    chooses = key == "sweep.space" or any((home / key).is_dir() for home in config_folders())
    return not chooses or _names_only(value)


def _names_only(value: str) -> bool:
    names = _NAME.findall(value.replace('"', "").replace("'", ""))
    return _NAMES.fullmatch(value) is not None and not any(
        name.startswith("/") or ".." in name.split("/") for name in names
    )
