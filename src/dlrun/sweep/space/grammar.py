"""Hydra's override grammar: a word read by Hydra's own parser, and plain values as one would type them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser, create_functions
from hydra.core.override_parser.types import Override, Quote, QuotedString, Sweep, Transformer
from hydra.errors import HydraException, OverrideParseException
from hydra.grammar.gen.OverrideLexer import (  # type: ignore[attr-defined]
    InputStream,
    OverrideLexer,
)

from dlrun.config.hydra_errors import explain
from dlrun.config.overrides import readable
from dlrun.errors import ConfigError

TypedNumbers = Mapping[tuple[type, float], str]


def parse_word(word: str) -> Override:
    """`word` as Hydra reads it; casts keep tags and shuffling, which Hydra's own lose.

    Raises:
        ConfigError: it is no override, or a function in it refuses its arguments.
    """
    try:
        return _parser().parse_overrides([readable(word)])[0]
    except OverrideParseException as error:
        raise _explained(error) from error


def typed_numbers(value: str) -> TypedNumbers:
    """How each number in `value` is typed: parsing makes 0.001 of 1e-3."""
    lexer = OverrideLexer(InputStream(value))
    lexer.mode(OverrideLexer.VALUE_MODE)
    kinds = {OverrideLexer.INT: int, OverrideLexer.FLOAT: float}
    tokens = [(kinds.get(token.type), token.text) for token in lexer.getAllTokens()]
    return {(kind, kind(text)): text for kind, text in tokens if kind is not None}


def text_of(value: Any, typed: TypedNumbers | None = None) -> str:
    """`value` as one would type it; numbers as in `typed` where they stand there.

    Raises:
        TypeError: it is not plain, such as a sweep within a list.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return (typed or {}).get((type(value), value), repr(value))
    if isinstance(value, QuotedString):
        return text_of(value.text)
    if isinstance(value, str):
        return value if _stays_itself(value) else QuotedString(value, Quote.single).with_quotes()
    if isinstance(value, list):
        return f"[{','.join(text_of(item, typed) for item in value)}]"
    if isinstance(value, dict):
        pairs = [f"{_name_text(name, typed)}:{text_of(v, typed)}" for name, v in value.items()]
        return f"{{{','.join(pairs)}}}"
    raise TypeError(f"{type(value).__name__} is no plain value")


@lru_cache(maxsize=4096)
def value_of(text: str) -> Any:
    """The plain value that `text` stands for after `key=`; do not change it, it is kept.

    Raises:
        HydraException: it is no value, or a sweep.
    """
    override = _parser().parse_override(f"key={text}")
    if override.is_sweep_override():
        raise HydraException(f"{text} is a sweep")
    return override.value()


def number_of(text: str) -> int | float | None:
    """The number that `text` stands for; None where it is text, a list, infinite, …"""
    value = value_of(text)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) else None


@cache
def _parser() -> OverridesParser:
    functions = create_functions()
    functions.functions["shuffle"] = _shuffle_several(functions.functions["shuffle"])
    functions.functions = {name: _keeping(f) for name, f in functions.functions.items()}
    return OverridesParser(functions)


def _keeping(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` with a result that has the tags and the shuffling of the sweeps it was given."""

    def keeping(*args: Any, **named: Any) -> Any:
        sweeps = [given for given in (*args, *named.values()) if isinstance(given, Sweep)]
        tags = {tag for sweep in sweeps for tag in sweep.tags}
        shuffled = any(getattr(sweep, "shuffle", False) for sweep in sweeps)
        result = function(*args, **named)
        if isinstance(result, Sweep):
            result.tags = result.tags | tags
            if shuffled:
                result.shuffle = True  # type: ignore[attr-defined]
        return result

    return keeping


def _shuffle_several(shuffle: Callable[..., Any]) -> Callable[..., Any]:
    """Hydra's shuffle() without its shuffling of lists, which nobody could repeat."""

    def shuffle_several(*args: Any, **named: Any) -> Any:
        if "list" in named or (len(args) == 1 and not isinstance(args[0], Sweep)):
            raise ConfigError(
                "shuffle() orders the values of a sweep; write a list in the order it is to have"
            )
        return shuffle(*args, **named)

    return shuffle_several


def _explained(error: OverrideParseException) -> Exception:
    if isinstance(error.__cause__, ConfigError):
        return ConfigError(f"{error.override}: {error.__cause__}")
    return explain(error, [error.override])


def _stays_itself(text: str) -> bool:
    """Whether `text`, typed without quotes, is read as that very text."""
    try:
        # With a neighbour, since a backslash at its end would take the comma in.
        return bool(text) and value_of(f"[{text},0]") == [text, 0]
    except HydraException:
        return False


def _name_text(name: Any, typed: TypedNumbers | None) -> str:
    """A name in a dict, which the grammar does not let us quote."""
    return Transformer.str(name) if isinstance(name, str) else text_of(name, typed)
