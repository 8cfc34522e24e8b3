"""How a sweep is resumed: with the command that began it, and only with the spec that it began with."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dlrun.config.migrate import completed_sweep
from dlrun.config.schema import Count, check
from dlrun.config.search_path import config_folders
from dlrun.config.trust import is_reading_back
from dlrun.errors import ConfigError
from dlrun.storage.sweep_directory import SweepDirectory, config_words
from dlrun.sweep.settings import Time, Trials
from dlrun.sweep.space.grammar import text_of
from dlrun.sweep.spec import SweepSpec

# What a resume may change: how far and how, not what is asked.
CHANGEABLE = (
    "trials", "fail_fast", "budget", "patience", "trials_per_gpu", "stack", "max_stack", "dry_run", "columns",
    "ranking", "report", "raw_cells",
)  # fmt: skip
# What is kept as it has come to be: a larger sweep.trials must not change what a round is, and one resume must not
# take back what another has changed. An option of somebody's own may lack the later ones.
_KEPT = {
    "sweep.trials": Trials | None, "sweep.trials_per_round": Count | None, "++sweep.budget": Time | None,
    "++sweep.patience": Trials | None,
}  # fmt: skip
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
# Of Hydra's own settings some call code, as hydra.callbacks and launcher.setup do; plain values do not. What comes from
# a cluster of Ray's may be code.
_HARMLESS = re.compile(
    r"hydra/launcher=\w+|hydra\.launcher\.((?!_target_)\w+=[\w.:-]*|init\.(num_[cg]pus=[\w.]*|address=(auto|null)))"
)


def command_words(
    sweep: SweepDirectory,
    words: Sequence[str],
    *,
    allowed: Sequence[str] = (),
    launching: bool = True,
) -> list[str]:
    """What `dlrun train` is to be called with: as at first, as far as it has come to be, and `words`.

    Args:
        launching: with its launcher; without it, only whether trials are stacked stays.

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
    kept = [
        f"{key}={text_of(check(key, settings[name], rule))}"
        for key, rule in _KEPT.items()
        if (name := key.partition(".")[2]) in settings
    ]
    typed = list(joined([str(word) for word in command]))
    for word in [*typed, *_composed_of(description)]:
        _refuse_foreign(word, sweep, allowed)
    another = any(word.startswith("hydra/launcher=") for word in words)
    dropped = not launching and "hydra/launcher=stacked" not in typed
    if another or dropped:  # the settings of one are not those of another
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


def typed_command() -> list[str]:
    """The arguments of this command, with which the sweep is resumed, from whatever folder."""
    typed = [word for word in joined(sys.argv[1:]) if not word.startswith("hydra.sweep.dir=")]
    return [(config_words([word]) or [word])[0] for word in typed]


def allow_words(sweep: SweepDirectory) -> list[str]:
    """What a resume must be told to trust: folders of configs, and words that could call code."""
    description = sweep.read()
    words = [*joined(description["command"]), *_composed_of(description)]
    foreign = dict.fromkeys(_trusted_as(word) for word in words if not _is_harmless(word))
    return [f"--allow={word}" for word in foreign]


def with_stored_objective(spec: SweepSpec, stored: Mapping[str, Any]) -> SweepSpec:
    """The spec with the objective that was chosen when the sweep was begun, unless one is asked for."""
    before = stored.get("settings")
    asked = [spec.strategy.node.get("objective")]
    asked += [before.get("objective")] if isinstance(before, Mapping) else []
    if any(asked) or stored.get("direction") not in ("minimize", "maximize"):
        return spec
    return replace(
        spec,
        objective=str(stored.get("objective")),
        direction=stored["direction"],
        comparable=stored.get("comparable", True) is not False,
    )


def refuse_another(spec: SweepSpec, stored: Mapping[str, Any], place: object) -> None:
    """Refuse to resume a sweep with another search.

    Raises:
        ConfigError: naming the first key that differs, with both values.
    """
    now = spec.description()
    remedy = "choose another place, as in hydra.sweep.dir=DIR"
    if is_reading_back():  # the configs have changed: nothing else can, on the way to here
        remedy = "restore the config, or start a new sweep"
    whole: Mapping[str, Any] = {}
    for part in ("space", "overrides", "objective", "direction", "settings", "config"):
        before, after = _comparable(part, stored.get(part)), _comparable(part, now[part])
        if before != after:  # it may lack what came with a later version; to look takes a while
            whole = whole or completed_sweep(stored)
            before = _comparable(part, whole.get(part))
        if before != after:
            difference = _first_difference(part, before, after)
            raise ConfigError(f"{place} holds a sweep with another search: {difference}; {remedy}")


def refuse_fewer(total: int, sweep: SweepDirectory) -> None:
    """A sweep can grow; trials that were begun cannot be taken back."""
    begun = 1 + max((int(f.name) for f in sweep.path.iterdir() if f.name.isdigit()), default=-1)
    if total < begun:
        raise ConfigError(
            f"sweep.trials is {total}, but {begun} trials of {sweep.path} were begun: give at least {begun}"
        )


def _refuse_foreign(word: str, sweep: SweepDirectory, allowed: Sequence[str]) -> None:
    """Refuse a word of a sweep that may come from somebody else, where it could call their code."""
    trusted = {*allowed, *(str(Path(name).absolute()) for name in allowed)}
    if _is_harmless(word) or {word, _trusted_as(word)} & trusted:
        return
    raise ConfigError(
        f"{sweep.path} was begun with {word}, which may {_harm(word)}: if you trust this sweep, "
        f"add --allow {_trusted_as(word)}"
    )


def _trusted_as(word: str) -> str:
    """What --allow is to name: the folder alone of one that is given for configs."""
    folder = _CONFIG_FOLDER.fullmatch(word)
    return folder[2] if folder else word


def _harm(word: str) -> str:
    return "read your environment" if _CALL.search(word) else "call code of its author's"


def _is_harmless(word: str) -> bool:
    """Whether a word gives values, or chooses options by name; a path in place of a name would be a file of anybody's.

    Such a file may set all that Hydra has, before dlrun sees it. A value may refer to settings and to nothing else.
    """
    if word == "--multirun":
        return True
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


def _comparable(part: str, value: Any) -> Any:
    if part == "settings" and isinstance(value, Mapping):
        return {key: item for key, item in value.items() if key not in (*CHANGEABLE, "space")}
    return value


def _first_difference(key: str, before: Any, after: Any) -> str:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        name = next(name for name in {**before, **after} if before.get(name) != after.get(name))
        return _first_difference(f"{key} {name}", before.get(name), after.get(name))
    if isinstance(before, list) and isinstance(after, list):
        # Of two lists of words, those that are in one of them alone.
        before, after = _without(before, after), _without(after, before)
    return f"{key} {_told(before)} there, {_told(after)} here"


def _without(words: list[Any], others: list[Any]) -> list[Any]:
    return [word for word in words if word not in others] or words


def _told(value: Any) -> str:
    return (
        "nothing"
        if value is None
        else " ".join(map(str, value))
        if isinstance(value, list)
        else str(value)
    )
