"""The config that override words make of dlrun's configs, composed by Hydra."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import OmegaConf

from dlrun.config.option_files import check_options
from dlrun.config.overrides import readable_words, refuse_unreadable
from dlrun.config.search_path import packaged_configs


def compose(overrides: list[str], *, with_hydra: bool = False) -> Any:
    """The job config for `overrides`, as `dlrun train` would compose it, interpolations not yet resolved.

    `with_hydra` adds Hydra's own node, which the name of a run is resolved by.
    """
    import hydra

    register_resolvers()
    refuse_unreadable(overrides)
    check_options(overrides)
    with hydra.initialize_config_dir(str(packaged_configs()), version_base="1.3"):
        return hydra.compose(
            "train", overrides=readable_words(overrides), return_hydra_config=with_hydra
        )


def leaf_keys(node: Any, prefix: str = "") -> Iterator[str]:
    """Every dotted key of a config, inner ones included."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield f"{prefix}{name}"
            yield from leaf_keys(value, f"{prefix}{name}.")


def register_resolvers() -> None:
    """What dlrun's configs use beside Hydra's own resolvers.

    `${short_id:}` is six hex digits, the same throughout one composition, so that no two runs share
    a directory; `${choice:model}` is the option chosen for a group, or for the first of several
    that has one; `${once:…}` keeps what it was for the first job of a multirun, since its directory
    must not change with the jobs.
    """
    OmegaConf.register_new_resolver(
        "short_id", lambda: secrets.token_hex(3), use_cache=True, replace=True
    )
    OmegaConf.register_new_resolver("choice", _choice, replace=True)
    OmegaConf.register_new_resolver("once", lambda value: value, use_cache=True, replace=True)


def _choice(*groups: str, _root_: Any) -> str:
    """The option chosen for the first of the `groups` that has one.

    `${hydra:…}` alone is not there yet when a multirun is set up.
    """
    from hydra.core.hydra_config import HydraConfig

    hydra_config = _root_.get("hydra") or HydraConfig.get()
    choices = hydra_config.runtime.choices
    return next(str(choices[group]) for group in groups if choices.get(group) is not None)
