"""A sweep's own command, to go on with it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from dlrun.errors import ConfigError
from dlrun.sweep.directory import SweepDirectory
from dlrun.sweep.question import CHANGEABLE

_CHANGEABLE = tuple(f"sweep.{name}=" for name in CHANGEABLE)
_LAUNCHER = ("hydra/launcher=", "hydra.launcher.")
_CONFIG_FOLDER = re.compile(r"(--config-dir|-cd)=(.+)")
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
                f"{word}: a sweep goes on with what it asked, so that its trials compare; what may change is "
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
    for word in typed:
        _refuse_foreign(word, sweep, allowed)
    another = any(word.startswith("hydra/launcher=") for word in words)
    if another:  # whose settings are not those of the one before
        typed = [word for word in typed if not word.lstrip("+").startswith(_LAUNCHER)]
    return [*typed, *kept, *words]


def config_folders(allowed: Sequence[str]) -> list[Path]:
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
    bare = word.lstrip("+~")
    if word == "--multirun" or not (bare.startswith(("hydra.", "hydra/")) or word.startswith("-")):
        return
    trusted = {*allowed, *(str(Path(name).absolute()) for name in allowed)}
    if _HARMLESS.fullmatch(word) or {word, folder[2] if folder else word} & trusted:
        return
    raise ConfigError(
        f"{sweep.path} was begun with {word}, which may call code of its author's: if you trust this sweep, "
        f"add --allow {folder[2] if folder else word}"
    )
