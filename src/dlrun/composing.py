"""Hydra's composition around dlrun's configs: its resolvers, and its errors in one line each."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlrun.errors import ConfigError, RunFailed, did_you_mean, first_line
from dlrun.hints import command
from dlrun.search_path import COMPONENTS, GROUPS, packaged_configs

_UNKNOWN_FUNCTION = re.compile(r"Unknown function '(.*)'")
_RANGE = re.compile(r"^Sweep parameters '(.*)' requires --multirun$", re.MULTILINE)
_LAUNCHERS = {
    "joblib": "joblib",
    "submitit_local": "slurm",
    "submitit_slurm": "slurm",
    "ray": "ray",
}
_WITHIN = re.compile(r"Error merging override (\S+)[\s\S]*type annotation: Set\[str\]")
_AMBIGUOUS = re.compile(r"^Ambiguous value for argument '(.*)'$", re.MULTILINE)


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


def explain(error: Exception, overrides: list[str]) -> Exception:
    """`error` as the one line that a user needs, where it is Hydra's or OmegaConf's; else itself."""
    if isinstance(error, ConfigError | RunFailed):
        return error
    if isinstance(error, MissingConfigException):
        return ConfigError(_missing_option(error))
    if isinstance(error, yaml.YAMLError):
        return ConfigError(f"a config is not valid YAML: {' '.join(str(error).split())}")
    if isinstance(error, OverrideParseException):
        return ConfigError(_no_override(error.override, error.__cause__))
    if (found := _AMBIGUOUS.search(str(error))) is not None:
        word = found[1]
        key, _, values = word.partition("=")
        return ConfigError(
            f"{word}: several values make a sweep: add -m to train each; for one list, write '{key}=[{values}]'"
        )
    if (found := _RANGE.search(str(error))) is not None:
        return ConfigError(f"{found[1]}: several values make a sweep: add -m, or sweep=random")
    if (group := _left_out(overrides)) is not None:
        return ConfigError(
            f"{group}: a run needs one; choose an option, see `{command('list', group)}`"
        )
    if (found := _WITHIN.search(f"{error} {error.__cause__}")) is not None:
        key = found[1].partition("=")[0]
        return ConfigError(
            f"{found[1]}: a sweep stands within a value; list whole values, as {key}=choice([1,2],[1,3])"
        )
    if isinstance(error, HydraException | OmegaConfBaseException):
        return ConfigError(_refused_key(error, overrides) or _one_line(error))
    return error


def compose(overrides: list[str], *, with_hydra: bool = False) -> Any:
    """The job config for `overrides`, as `dlrun train` would compose it, interpolations not yet resolved.

    `with_hydra` adds Hydra's own node, which the name of a run is resolved by.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    register_resolvers()
    with initialize_config_dir(str(packaged_configs()), version_base="1.3"):
        return hydra_compose("train", overrides=overrides, return_hydra_config=with_hydra)


def leaf_keys(node: Any, prefix: str = "") -> Iterator[str]:
    """Every dotted key of a config, inner ones included."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield f"{prefix}{name}"
            yield from leaf_keys(value, f"{prefix}{name}.")


def _left_out(overrides: list[str]) -> str | None:
    """A group that the overrides take away, for which Hydra has no good words."""
    for word in overrides:
        group, _, option = word.lstrip("~").partition("=")
        if group in COMPONENTS and (word.startswith("~") or option in ("null", "")):
            return group
    return None


def _missing_option(error: MissingConfigException) -> str:
    group, _, option = str(error.missing_cfg_file).rpartition("/")
    options = error.options or []
    if not group:
        return _one_line(error)
    if group == "hydra/launcher" and (extra := _LAUNCHERS.get(option)):
        return f"{group}={option}: that launcher is not installed: pip install 'dlrun[{extra}]'"
    return f"{group}={option}: the group {group} has no such option{did_you_mean(option, options)}"


def _no_override(word: str, cause: BaseException | None) -> str:
    if cause is None:
        return f"{word}: not an override; write key=value, and quote lists and spaces for the shell"
    if found := _UNKNOWN_FUNCTION.match(str(cause)):
        from hydra.core.override_parser.overrides_parser import create_functions

        known = did_you_mean(found[1], create_functions().functions)
        return f"{word}: there is no function {found[1]}{known}"
    key = word.partition("=")[0]
    reason = first_line(cause) if str(cause) else "a function cannot take its values"
    examples = f"{key}=choice(a,b), {key}=range(1,5) or {key}=interval(0,1)"
    return f"{word}: {reason}; write it as in {examples}"


def _refused_key(error: Exception, overrides: list[str]) -> str | None:
    """For an override of a key that does not exist: the nearest of its neighbours that do."""
    cause = error.__cause__
    key = str(getattr(cause, "full_key", "") or "")
    if not key or "not in struct" not in str(cause):
        return None
    parent, _, name = key.rpartition(".")
    refusal = f"{key} is not a setting of {parent or 'a run'}"
    known = list(leaf_keys(_composed(overrides)))
    below = [found for found in known if found.endswith(f".{name}")]
    if not parent and below:
        return f"{refusal}; did you mean {' or '.join(below)}?"
    siblings = [found for found in known if found.rpartition(".")[0] == parent]
    return f"{refusal}{did_you_mean(name, [found.rpartition('.')[2] for found in siblings])}"


def _composed(overrides: list[str]) -> Any:
    """The config that the group choices among `overrides` make."""
    choices = [word for word in overrides if word.partition("=")[0] in GROUPS]
    try:
        return OmegaConf.to_container(compose(choices), resolve=False)
    except Exception:  # the choices are at fault as well: the refusal stands without a suggestion
        return {}


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    cause = error.__cause__
    if cause is not None and str(cause):
        lines.append(str(cause).splitlines()[0])
    return "; ".join(line for line in lines if "hydra.cc" not in line)
