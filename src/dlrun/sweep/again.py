"""A sweep's own command, to go on with it."""

from __future__ import annotations

from collections.abc import Sequence

from dlrun.errors import ConfigError
from dlrun.sweep.directory import SweepDirectory
from dlrun.sweep.question import CHANGEABLE

_CHANGEABLE = tuple(f"sweep.{name}=" for name in CHANGEABLE)
_LAUNCHER = ("hydra/launcher=", "hydra.launcher.")


def command_words(sweep: SweepDirectory, words: Sequence[str]) -> list[str]:
    """What `dlrun train` is to be called with: as at first, as far as it has come to be, and `words`.

    Raises:
        ConfigError: a word would change what the sweep asks.
    """
    for word in words:
        if not word.lstrip("+").startswith((*_CHANGEABLE, *_LAUNCHER)):
            changeable = ", ".join(f"sweep.{name}" for name in CHANGEABLE)
            raise ConfigError(
                f"{word}: a sweep goes on with what it asked, so that its trials compare; what may change is "
                f"{changeable} and the launcher"
            )
    description = sweep.read()
    settings = description["settings"]
    # As they were worked out at first: a larger sweep.trials must not change what a round is.
    kept = [
        f"sweep.{key}={settings[key]}" for key in ("trials", "trials_per_round") if key in settings
    ]
    typed = [word for word in description["command"] if not word.startswith("hydra.sweep.dir=")]
    return [*typed, *kept, *words]
