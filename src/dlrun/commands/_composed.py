"""The config of one run from override words, for commands that build what `dlrun train` would and do not train it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlrun.errors import ConfigError


def composed_run(words: Sequence[str]) -> dict[str, Any]:
    """What `dlrun train` would make of the same words, as plain values, checked; without the group sweep.

    Raises:
        ConfigError: no such option or key, a value that the run would refuse, or a word that is about a sweep.
    """
    from dlrun.config import settings
    from dlrun.config.compose import compose, explain

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
    settings.parse(plain)
    return plain


def _plain(node: Any) -> Any:
    from omegaconf import OmegaConf

    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
