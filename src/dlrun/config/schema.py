"""Check a plain value from YAML against a Python type annotation.

The annotations are the schema: `int`, `float`, `bool`, `str`, `None`, `Literal`, unions, `list[T]`,
`dict[str, T]`, settings dataclasses, and `Annotated[T, Gt(0)]` with the bounds of annotated_types.
Imports nothing heavy: bad input must be refused before torch is loaded.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt

from dlrun.config.unknown_key import unknown_key
from dlrun.errors import ConfigError, did_you_mean


class Most(Le):
    """An upper bound beyond which a value is a slip: a message names it only where it was passed."""


Count = Annotated[int, Ge(1), Most(10**9)]
NonNegativeInt = Annotated[int, Ge(0), Most(10**9)]
Width = Annotated[int, Ge(1), Most(10**6)]  # of a layer
Depth = Annotated[int, Ge(1), Most(1000)]  # layers
Buckets = Annotated[int, Ge(1), Most(10**8)]  # that pairs of values are hashed into
Side = Annotated[int, Ge(1), Most(10_000)]  # of an image, pixels
Workers = Annotated[int, Ge(0), Most(256)]  # processes
Positive = Annotated[float, Gt(0), Most(1e38)]
NonNegative = Annotated[float, Ge(0), Most(1e38)]
Probability = Annotated[float, Ge(0), Lt(1)]
Share = Annotated[float, Ge(0), Le(1)]
Fraction = Annotated[float, Gt(0), Le(1)]


@dataclasses.dataclass(frozen=True)
class Form:
    """How a text must be written: as the pattern says, which `words` explain."""

    pattern: str
    words: str


_SHOWN = 4  # settings of a group that a message shows as a whole, at most
_PLAIN_NAMES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    type(None): "null",
}
_BOUND_NAMES = {
    Gt: "above {0.gt}",
    Ge: "of at least {0.ge}",
    Lt: "below {0.lt}",
    Le: "of at most {0.le}",
}


class _Mismatch(Exception):
    """The value does not fit the rule; the caller knows the key and says so."""


def check(key: str, value: Any, rule: Any) -> Any:
    """`value` as `rule` wants it: ints become floats and mappings dataclasses where those are asked for.

    Raises:
        ConfigError: naming `key`, the value and the rule.
    """
    try:
        return _convert(key, value, rule)
    except _Mismatch:
        if (most := _passed(value, rule)) is not None:
            raise ConfigError(
                f"{key} is {_shown(value)}, but must be at most {most:,}"
                if isinstance(most, int)
                else f"{key} is {_shown(value)}, but must be at most {most:g}"
            ) from None
        hint = ""
        if isinstance(value, str) and (options := _literals(rule)):
            hint = did_you_mean(value, options) if value not in options else ""
            hint = hint if hint.startswith("; did") else ""
        elif not isinstance(value, list | Mapping | None) and _fits(key, [value], rule):
            hint = f", as in {key}=[{_shown(value)}]"
        raise ConfigError(f"{key} is {_shown(value)}, but must be {describe(rule)}{hint}") from None


def check_settings(key: str, values: Any, settings: type) -> Any:
    """An instance of the dataclass `settings` from the mapping `values`, every key checked."""
    if not isinstance(values, Mapping):
        raise ConfigError(
            f"{key} is {_shown(values)}, but must be a group of settings, not one value"
        )
    rules = _rules(settings)
    check_names(key, values, required=rules, allowed=rules)
    return settings(**{name: check(f"{key}.{name}", values[name], rules[name]) for name in rules})


@cache
def _rules(settings: type) -> dict[str, Any]:
    """The annotation of each field of a dataclass."""
    return get_type_hints(settings, include_extras=True)


def check_names(key: str, given: Any, *, required: Any, allowed: Any) -> None:
    """Refuse names in `given` that are not `allowed`, and missing ones that are `required`."""
    prefix = f"{key}." if key else ""
    for name in given:
        if name not in allowed:
            raise ConfigError(unknown_key(key, name, allowed))
    for name in required:
        if name not in given and "." in key and len(required) <= _SHOWN:
            # Where a group of settings is null unless it is set, one of them cannot be given alone.
            values = {one: given.get(one, "…") for one in required}
            whole = ", ".join(f"{n}: {'null' if v is None else v}" for n, v in values.items())
            raise ConfigError(
                f"{prefix}{name} is missing: set all of it, as in '{key}={{{whole}}}'"
            )
        if name not in given:
            raise ConfigError(f"{prefix}{name} is missing: give it a value, as in {prefix}{name}=…")


def describe(rule: Any) -> str:
    """The rule in words, such as `a whole number of at least 1 or null`."""
    origin = get_origin(rule)
    if origin is Annotated:
        base, *bounds = get_args(rule)
        if isinstance(bounds[0], Form):
            return bounds[0].words
        words = [_BOUND_NAMES[type(b)].format(b) for b in bounds if type(b) in _BOUND_NAMES]
        return f"{describe(base)} {' and '.join(words)}".strip()
    if origin is Literal:
        options = ", ".join(map(str, get_args(rule)))
        return f"one of {options}" if "," in options else options
    if origin in (Union, types.UnionType):
        return " or ".join(describe(option) for option in get_args(rule))
    if origin is list:
        return f"a list ({describe(get_args(rule)[0])} each)"
    if dataclasses.is_dataclass(rule):
        return "a group of settings"
    return _PLAIN_NAMES.get(rule, "a mapping" if origin is dict else str(rule))


def _convert(key: str, value: Any, rule: Any) -> Any:
    origin = get_origin(rule)
    if origin is Annotated:
        base, *bounds = get_args(rule)
        converted = _convert(key, value, base)
        if not all(_within(converted, bound) for bound in bounds):
            raise _Mismatch
        return converted
    if origin is Literal:
        return _require(value, any(value == o and type(value) is type(o) for o in get_args(rule)))
    if origin in (Union, types.UnionType):
        return _convert_union(key, value, get_args(rule))
    if origin is list:
        _require(value, isinstance(value, list))
        return [check(f"{key}[{i}]", item, get_args(rule)[0]) for i, item in enumerate(value)]
    if origin is dict:
        _require(value, isinstance(value, Mapping))
        return {k: check(f"{key}.{k}", v, get_args(rule)[1]) for k, v in value.items()}
    if dataclasses.is_dataclass(rule) and isinstance(rule, type):
        _require(value, isinstance(value, Mapping))
        return check_settings(key, value, rule)
    return _convert_plain(value, rule)


def _convert_union(key: str, value: Any, options: tuple[Any, ...]) -> Any:
    for option in options:
        try:
            # A list or a mapping refuses a bad member itself, which says more than the whole union would.
            return _convert(key, value, option)
        except _Mismatch:
            continue
    raise _Mismatch


def _convert_plain(value: Any, rule: Any) -> Any:
    if rule is float:
        _require(value, isinstance(value, (int, float)) and not isinstance(value, bool))
        try:
            number = float(value)
        except OverflowError:  # a whole number too large for any float
            raise _Mismatch from None
        return _require(number, math.isfinite(number))
    if rule is int:
        return _require(value, isinstance(value, int) and not isinstance(value, bool))
    if rule in _PLAIN_NAMES:
        return _require(value, isinstance(value, rule))
    return value  # an annotation beyond plain data: the target itself must judge


def _require(value: Any, condition: bool) -> Any:
    if not condition:
        raise _Mismatch
    return value


def _within(value: Any, bound: Any) -> bool:
    match bound:
        case Gt(gt=limit):
            return bool(value > limit)
        case Ge(ge=limit):
            return bool(value >= limit)
        case Lt(lt=limit):
            return bool(value < limit)
        case Le(le=limit):
            return bool(value <= limit)
        case Form(pattern=pattern):
            return re.fullmatch(pattern, value) is not None
    return True


def _passed(value: Any, rule: Any) -> Any:
    """The `Most` that a value of the right kind is beyond, None where something else is wrong."""
    if get_origin(rule) in (Union, types.UnionType):
        found = (_passed(value, option) for option in get_args(rule))
        return next((most for most in found if most is not None), None)
    if get_origin(rule) is not Annotated or isinstance(value, bool):
        return None
    base, *bounds = get_args(rule)
    kind = int if base is int else (int, float)
    most: Any = next((bound.le for bound in bounds if isinstance(bound, Most)), None)
    return most if most is not None and isinstance(value, kind) and value > most else None


def _fits(key: str, value: Any, rule: Any) -> bool:
    try:
        _convert(key, value, rule)
    except (_Mismatch, ConfigError):
        return False
    return True


def _literals(rule: Any) -> list[str]:
    if get_origin(rule) is Literal:
        return [str(option) for option in get_args(rule)]
    return [name for part in get_args(rule) for name in _literals(part)]


def _shown(value: Any) -> str:
    if value is None or value == "":
        return "empty" if value == "" else "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
