"""Override words that Hydra's grammar refuses, put in quotes where their value is plainly a text. No torch here.

The rule: a word that Hydra reads stays as it is, so that none changes its meaning. Of any other, the value is
cut at the commas outside of brackets, lists and the arguments of Hydra's functions are gone into, and each
piece that Hydra does not read alone is put in quotes: größe, ~/x.csv, preis €, my data (1).csv, a lone comma.

What may be meant otherwise stays refused: brackets or quotes that are not closed, mappings, functions that
do not exist, empty pieces between commas, and a second `key=` after a space.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

from dlrun.errors import ConfigError, did_you_mean, note

_MOST_DIGITS = 300
_ENDLESS = re.compile(rf"\d{{{_MOST_DIGITS + 1},}}")
_KEY = re.compile(r"(\+\+|\+)?[\w./@:-]+", re.ASCII)
_CALL = re.compile(r"(\w+)(\s*)\((.*)\)", re.ASCII | re.DOTALL)
_NAMED = re.compile(r"(\w+\s*=)(.*)", re.ASCII | re.DOTALL)
_SECOND_KEY = re.compile(r"\s[\w+~][\w.+/@]*=", re.ASCII)
_ESCAPED = re.compile(r"\\([\\()\[\]{}:=, \t])")  # what Hydra takes a backslash away from
_CLOSING = {"(": ")", "[": "]", "{": "}"}


def readable_words(words: Iterable[str]) -> list[str]:
    """The words of a command line with those among them in quotes that Hydra could not read else."""
    return [readable(word) for word in words]


def refuse_unreadable(words: Iterable[str]) -> None:
    """Refuse a value without a key, bytes that are no text, and numbers of thousands of digits.

    Raises:
        ConfigError: naming the word.
    """
    for word in words:
        if not word.strip("+~ ") or word.lstrip("+~ ").startswith("="):
            raise ConfigError(f"{word or 'an empty word'}: not an override; write key=value")
        if any("\ud800" <= sign <= "\udfff" for sign in word):
            shown = word.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            raise ConfigError(
                f"{shown}: it is not UTF-8, and a config holds nothing else: rename what it names"
            )
        if _ENDLESS.search(word):
            raise ConfigError(f"{word[:40]}…: a number may have {_MOST_DIGITS} digits at most")


def note_repeated(words: Iterable[str]) -> None:
    """Say of a key that is given twice that the last word for it holds, as Hydra has it."""
    values: dict[str, str] = {}
    for word in words:
        key, equals, value = word.lstrip("+").partition("=")
        if not equals or word.startswith("-"):
            continue
        if key in values and values[key] != value:
            note(f"{key} is given twice, as {values[key]} and as {value}: the last one holds")
        values[key] = value


def readable(word: str) -> str:
    """`word` as it is where Hydra reads it, or where nothing else is plainly meant; else with quotes."""
    key, equals, value = word.partition("=")
    if not equals or not _KEY.fullmatch(key) or is_read(word):
        return word
    quoted = _quote(value) if value.strip() == "," else _pieces(value)
    changed = f"{key}={quoted}"
    return changed if quoted is not None and is_read(changed) else word


def as_text(word: str) -> str | None:
    """`key=value` as a shell takes it for that very text; None where it is no `key=value`."""
    from hydra.core.override_parser.types import Quote, QuotedString

    key, equals, value = word.partition("=")
    if not equals or not _KEY.fullmatch(key):
        return None
    return shlex.quote(f"{key}={QuotedString(value, Quote.double).with_quotes()}")


def is_read(word: str) -> bool:
    """Whether Hydra's grammar has the word."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        OverridesParser.create().parse_override(word)
    except HydraException:
        return False
    return True


def _pieces(text: str) -> str | None:
    """What stands between commas, each piece readable; None where that cannot be."""
    parts = _cut(text)
    quoted = [_piece(part.strip()) for part in parts or [""]]
    return None if None in quoted else ",".join(map(str, quoted))


def _piece(text: str) -> str | None:
    if text and is_read(f"key={text}"):
        return text
    if not text or text[0] in "\"'{" or _SECOND_KEY.search(text) or _cut(text) is None:
        return None
    if text[0] == "[" and text[-1] == "]" and _cut(text[1:-1]) is not None:
        inner = _pieces(text[1:-1])
        return None if inner is None else f"[{inner}]"
    if (call := _CALL.fullmatch(text)) and _cut(call[3]) is not None:
        return _called(text, *call.groups())
    return _quote(text)


def _called(text: str, name: str, space: str, arguments: str) -> str | None:
    """A function with its arguments; a word before brackets, as in price (USD), where it is none."""
    from hydra.core.override_parser.overrides_parser import create_functions

    known = create_functions().functions
    if name in known:
        parts = [_NAMED.fullmatch(part.strip()) or part.strip() for part in _cut(arguments) or []]
        quoted = [
            _piece(part) if isinstance(part, str) else part[1] + (_piece(part[2].strip()) or "(")
            for part in parts
        ]
        return None if None in quoted else f"{name}({','.join(map(str, quoted))})"
    is_slip = did_you_mean(name, known).endswith("?")
    return _quote(text) if space and not is_slip and "," not in arguments else None


def _quote(text: str) -> str:
    """As Hydra's grammar has a text in quotes, the backslashes gone that it would take away itself."""
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(_ESCAPED.sub(r"\1", text.strip()), Quote.single).with_quotes()


def _cut(text: str) -> list[str] | None:
    """The parts between the commas outside of brackets and quotes; None where one is not closed."""
    parts, open_brackets, place = [""], [], 0
    begins = True  # a value, which a quote may open
    while place < len(text):
        sign, size = text[place], 1
        if sign == "\\" and _ESCAPED.match(text, place):
            size = 2
        elif sign in "\"'" and begins:
            if (end := _closing_quote(text, place)) is None:
                return None
            size = end + 1 - place
        elif sign in _CLOSING:
            open_brackets.append(_CLOSING[sign])
        elif sign in ")]}" and (not open_brackets or open_brackets.pop() != sign):
            return None
        if sign == "," and not open_brackets:
            parts.append("")
        else:
            parts[-1] += text[place : place + size]
        begins = sign in ",([{:" or (begins and sign.isspace())
        place += size
    return None if open_brackets else parts


def _closing_quote(text: str, start: int) -> int | None:
    place = start + 1
    while place < len(text):
        if text[place] == "\\":
            place += 1
        elif text[place] == text[start]:
            return place
        place += 1
    return None
