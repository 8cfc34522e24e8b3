"""The errors of Hydra and OmegaConf, each as the one line that a user needs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from dlrun.config.compose import compose, leaf_keys
from dlrun.config.option_files import not_utf8
from dlrun.config.overrides import as_text
from dlrun.config.search_path import COMPONENTS, GROUPS, config_folders, options
from dlrun.config.settings import OF_PATTERNS
from dlrun.config.unknown_key import refused_by_hydra, unknown_key
from dlrun.errors import ConfigError, RunFailed, command, did_you_mean, first_line

_UNKNOWN_FUNCTION = re.compile(r"Unknown function '(.*)'")
_RANGE = re.compile(r"^Sweep parameters '(.*)' requires --multirun$", re.MULTILINE)
_LAUNCHERS = {
    "joblib": "joblib",
    "submitit_local": "slurm",
    "submitit_slurm": "slurm",
}
_WITHIN = re.compile(r"Error merging override (\S+)[\s\S]*type annotation: Set\[str\]")
_CHOICE_OF_NULL = re.compile(r"[^=]+=\s*choice\((.*\bnull\b.*)\)\s*")
_PLACES = ("hydra.run.dir", "hydra.sweep.dir")
_MISSING_KEY = re.compile(r"Interpolation key '(.*)' not found")
_RAISED = re.compile(r"\w+ raised while resolving interpolation: (.*)")
_AMBIGUOUS = re.compile(r"^Ambiguous value for argument '(.*)'$", re.MULTILINE)


def explain(error: Exception, overrides: list[str]) -> Exception:
    """`error` as the one line that a user needs, where it is Hydra's or OmegaConf's; else itself."""
    if isinstance(error, ConfigError | RunFailed):
        return error
    if isinstance(error, RecursionError):
        chosen = [word for word in overrides if word.lstrip("+").partition("=")[0] in GROUPS]
        return ConfigError(
            f"{' '.join(chosen) or 'a config'}: it includes itself, by its defaults or those of what they name, or is "
            "nested too deep: take that out"
        )
    if isinstance(error, MissingConfigException):
        return ConfigError(_missing_option(error, overrides))
    if isinstance(error, UnicodeDecodeError):
        return not_utf8(error) or error
    if isinstance(error, yaml.YAMLError):
        return ConfigError(f"a config is not valid YAML: {' '.join(str(error).split())}")
    if isinstance(error, OverrideParseException):
        return ConfigError(_no_override(error.override, error.__cause__))
    if (found := _AMBIGUOUS.search(str(error))) is not None:
        word = found[1]
        key, _, values = word.partition("=")
        return ConfigError(
            f"{word}: several values make a sweep: add -m to train each; for one list, write '{key}=[{values}]', "
            f"for one text {as_text(word)}"
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
    if (message := _another_mapping(error, overrides)) is not None:
        return ConfigError(message)
    if isinstance(error, InterpolationResolutionError):
        return ConfigError(_broken_interpolation(error, overrides))
    if isinstance(error, HydraException | OmegaConfBaseException):
        return ConfigError(refused_by_hydra(error, overrides) or _one_line(error))
    return error


def _another_mapping(error: Exception, overrides: list[str]) -> str | None:
    """Patterns in the place of others that an option has, to which Hydra would add them, and may not."""
    told = f"{error} {getattr(error.__cause__, 'full_key', '')}"
    for word in overrides:
        key, _, value = word.lstrip("+").partition("=")
        if key in OF_PATTERNS and value[:1] in ("{", "[") and key in told:
            return f"{word}: a config has other patterns there; take them away first, as in {key}=null '{word}'"
    return None


def _left_out(overrides: list[str]) -> str | None:
    """A group that the overrides take away, for which Hydra has no good words."""
    for word in overrides:
        group, _, option = word.lstrip("~").partition("=")
        if group in COMPONENTS and (word.startswith("~") or option in ("null", "")):
            return group
    return None


def _missing_option(error: MissingConfigException, overrides: list[str]) -> str:
    missing = str(error.missing_cfg_file)
    group, _, option = missing.rpartition("/")
    known = error.options or []
    typed = (word.lstrip("+").partition("=")[0] for word in overrides)
    asked = next((key for key in typed if key in GROUPS and missing.startswith(f"{key}/")), group)
    if asked != group:  # the option has a slash, the group as typed has none
        group, option = asked, missing.removeprefix(f"{asked}/")
        known = options(asked, config_folders())
    if not group:
        return _one_line(error)
    if group == "hydra/launcher" and (extra := _LAUNCHERS.get(option)):
        return f"{group}={option}: that launcher is not installed: pip install 'dlrun[{extra}]'"
    return f"{group}={option}: the group {group} has no such option{did_you_mean(option, known)}"


def _no_override(word: str, cause: BaseException | None) -> str:
    if cause is None:
        text = as_text(word)
        key, equals, _ = word.partition("=")
        if text is None and equals and all(part.isidentifier() for part in key.split(".")):
            return unknown_key("", key)
        if text is None:
            return f"{word}: not an override; write key=value, and quote lists and spaces for the shell"
        return f"{word}: not an override; write key=value with brackets and quotes closed, or for that very text {text}"
    if found := _UNKNOWN_FUNCTION.match(str(cause)):
        from hydra.core.override_parser.overrides_parser import create_functions

        known = did_you_mean(found[1], create_functions().functions)
        return f"{word}: there is no function {found[1]}{known}; for that very text write {as_text(word)}"
    key = word.partition("=")[0]
    if null := _CHOICE_OF_NULL.fullmatch(word):
        return f"{word}: choice() takes no null; list the values without it, as {key}={null[1]}"
    reason = first_line(cause) if str(cause) else "a function cannot take its values"
    examples = f"{key}=choice(a,b), {key}=range(1,5) or {key}=interval(0,1)"
    return f"{word}: {reason}; write it as in {examples}"


def _broken_interpolation(error: InterpolationResolutionError, overrides: list[str]) -> str:
    """The key and the value that an interpolation stands in, and what is wrong with it."""
    reason, stands, known = first_line(error), str(error.full_key or ""), []
    try:
        config = compose([word for word in overrides if _is_plain(word)], with_hydra=True)
        plain = OmegaConf.to_container(config, resolve=False)
        known = list(leaf_keys(plain))
        stands = " is ".join(_failing(config, dict(_texts("", plain))))
    except Exception:  # other words are at fault as well: then the error alone has to do
        pass
    if missing := _MISSING_KEY.search(reason):
        near = did_you_mean(missing[1], known)
        reason = f"there is no key {missing[1]}{near if near.endswith('?') else ''}"
    if raised := _RAISED.match(reason):
        reason = raised[1].strip('"')
    return f"{stands}: {reason}" if stands else reason


def _is_plain(word: str) -> bool:
    """Whether a word of a command line gives one value."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    if word.startswith("-"):
        return False
    return not OverridesParser.create().parse_override(word).is_sweep_override()


def _failing(config: Any, texts: Mapping[str, str]) -> tuple[str, str]:
    """The key and the text that cannot be resolved by itself, and not for another that it refers to."""
    # Of Hydra's own texts those that name places: the others repeat the overrides.
    asked = {k: v for k, v in texts.items() if k in _PLACES or not k.startswith("hydra.")}
    failing = {key: text for key, text in asked.items() if not _resolves(config, key)}
    for key, text in failing.items():
        if not any(f"${{{other}}}" in text for other in failing if other != key):
            return key, text
    return next(iter(failing.items()))


def _resolves(config: Any, key: str) -> bool:
    try:
        OmegaConf.select(config, key)
    except OmegaConfBaseException:
        return False
    return True


def _texts(key: str, node: Any) -> Iterator[tuple[str, str]]:
    """Every text with an interpolation, by its dotted key."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from _texts(f"{key}.{name}" if key else str(name), value)
    elif isinstance(node, str) and "${" in node:
        yield key, node


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    cause = error.__cause__
    if cause is not None and str(cause):
        lines.append(str(cause).splitlines()[0])
    return "; ".join(line for line in lines if "hydra.cc" not in line)
