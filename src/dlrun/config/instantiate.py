"""From a config node with a `_target_` to a call: the target's own signature is the schema."""

from __future__ import annotations

import inspect
import os
import pkgutil
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any, get_type_hints

from dlrun.config.moved import current
from dlrun.config.schema import check, check_names, check_settings
from dlrun.errors import ConfigError, command, first_line


@dataclass(frozen=True)
class Component:
    """A choice whose names and values are checked, waiting for what only the run can give it."""

    key: str
    target: Callable[..., Any]
    arguments: dict[str, Any]

    def __call__(self, *given: Any, **more: Any) -> Any:
        """Call the target with `given` first and the configured values by name.

        Raises:
            ConfigError: the target refused its values (any ValueError it raises).
        """
        try:
            return self.target(*given, **self.arguments, **more)
        except ConfigError:
            raise
        except ValueError as error:
            raise ConfigError(f"{self.key}: {error}") from error

    def wants(self, name: str) -> bool:
        """Whether the target asks for what the run may give it by this name."""
        return name in inspect.signature(self.target).parameters


def split_component(
    key: str,
    node: Any,
    settings: Any,
    *,
    given: tuple[str, ...] = (),
    on_demand: tuple[str, ...] = (),
) -> tuple[Component, Any]:
    """The component in `node`, and the `settings` dataclass that every option of its group shares.

    What the shared settings do not name belongs to the target.
    """
    shared_names = [field.name for field in fields(settings)]
    shared = {name: value for name, value in node.items() if name in shared_names}
    own = {name: value for name, value in node.items() if name not in shared_names}
    extra_names = tuple(shared_names)
    built = component(key, own, given=given, on_demand=on_demand, also_allowed=extra_names)
    return built, check_settings(key, shared, settings)


def component(
    key: str,
    node: Any,
    *,
    given: tuple[str, ...] = (),
    on_demand: tuple[str, ...] = (),
    also_allowed: tuple[str, ...] = (),
) -> Component:
    """The component in `node`, its arguments checked against the signature of its `_target_`.

    `given` names what the run will hand over itself: by position first, or by keyword where the
    signature has that name. What is `on_demand` it hands over by keyword, to those that ask for
    it. `also_allowed` only widens the choice of names shown in an error.

    Raises:
        ConfigError: no or an unknown target, an unknown, missing or ill-typed argument.
    """
    target = located(key, node)
    arguments = {name: value for name, value in node.items() if name != "_target_"}
    try:
        parameters, accepts_any = _configurable(target, given, on_demand)
    except ValueError:  # some functions written in C have no signature
        raise ConfigError(
            f"{key}._target_ is {node['_target_']}, whose arguments cannot be known: write a function around it"
        ) from None
    required = [name for name, p in parameters.items() if p.default is inspect.Parameter.empty]
    any_names = [n for n in arguments if n not in (*given, *on_demand)] if accepts_any else []
    allowed = [*parameters, *also_allowed, *any_names]
    check_names(key, arguments, required=required, allowed=allowed)
    rules = _type_hints(target)
    checked = {
        name: check(f"{key}.{name}", value, rules[name]) if name in rules else value
        for name, value in arguments.items()
    }
    return Component(key, target, checked)


def located(key: str, node: Any) -> Callable[..., Any]:
    """The class or function that the component in `node` names.

    Raises:
        ConfigError: no or an unknown target.
    """
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise ConfigError(
            f"{key} has no _target_: choose an option of the group {key}, see `{command('list', key)}`"
        )
    return _locate(key, node["_target_"])


class WorkingFolder(MetaPathFinder):
    """Finds the user's own modules in the working folder, where nothing else has a module of that name.

    It is asked last, so that no file that lies there by chance, or by intent, stands in for a library;
    Hydra's plugins are not looked for there at all.
    """

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """The module `name` of the working folder; modules inside packages are found by their package."""
        if path is not None or name == "hydra_plugins":
            return None
        return PathFinder.find_spec(name, [os.getcwd()])


_WORKING_FOLDER = WorkingFolder()


def _locate(key: str, path: Any) -> Callable[..., Any]:
    if _WORKING_FOLDER not in sys.meta_path and not _is_installed(str(path)):
        sys.meta_path.append(_WORKING_FOLDER)
    try:
        target = pkgutil.resolve_name(current(str(path)))
    except Exception as error:  # whatever the user's own module raises as it is imported
        reason = first_line(error)
        raise ConfigError(
            f"{key}._target_ is {path}, which cannot be imported: {reason}"
        ) from error
    if not callable(target):
        raise ConfigError(f"{key}._target_ is {path}, which is not a class or function")
    return target


def _is_installed(path: str) -> bool:
    with suppress(ValueError, ImportError):  # no name of a module: refused soon, with a reason
        return find_spec(path.partition(".")[0]) is not None
    return True


@cache  # the trials of a sweep ask for the same
def _configurable(
    target: Callable[..., Any], given: tuple[str, ...], on_demand: tuple[str, ...]
) -> tuple[dict[str, inspect.Parameter], bool]:
    """The parameters that YAML may set, and whether the target takes any name at all."""
    parameters = inspect.signature(target).parameters.values()
    accepts_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)
    named = [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    positional = [p for p in named if p.kind is not p.KEYWORD_ONLY][: len(given)]
    others = (*given, *on_demand)
    return {p.name: p for p in named if p not in positional and p.name not in others}, accepts_any


@cache
def _type_hints(target: Callable[..., Any]) -> dict[str, Any]:
    function = inspect.unwrap(target.__init__ if inspect.isclass(target) else target)
    names = getattr(function, "__globals__", {})
    hints: dict[str, Any] = {}
    for name, annotation in getattr(function, "__annotations__", {}).items():
        one = SimpleNamespace(__annotations__={name: annotation})
        # Annotations that cannot be evaluated are the author's business, not ours.
        with suppress(Exception):
            hints |= get_type_hints(one, names, include_extras=True)
    return hints
