"""The config of one run from override words, for commands that build what `dlrun train` would and do not train it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def composed_run(words: Sequence[str]) -> dict[str, Any]:
    """What `dlrun train` would make of the same words, as plain values, checked; without the group sweep.

    Raises:
        ConfigError: no such option or key, or a value that the run would refuse.
    """
    from dlrun import config
    from dlrun.composing import compose, explain

    try:
        composed = compose(list(words), with_hydra=True)
        plain: dict[str, Any] = {
            str(key): _plain(composed[key]) for key in composed if key not in ("hydra", "sweep")
        }
    except Exception as error:
        raise explain(error, list(words)) from error
    config.parse(plain)
    return plain


def _plain(node: Any) -> Any:
    from omegaconf import OmegaConf

    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
