"""Words that stand for a value that is not there, in capitals or not. No torch here."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

_OTHER = {"null", "true", "false", "nan", "inf"}  # what Hydra takes for no words


def missing_among(cells: Iterable[str], words: Iterable[object]) -> set[str]:
    """Those of `cells` that are one of the `words` of `dataset.missing`: NA, na and Na are the same of them."""
    known = {str(word).casefold() for word in words}
    longest = max(map(len, known), default=0)
    return {cell for cell in {*cells} if len(cell) <= longest and cell.casefold() in known}


def missing_setting(
    words: Iterable[object], *, more: Iterable[str] = (), less: Iterable[str] = ()
) -> str:
    """`dataset.missing=[…]` as it can be typed into a shell: `words` with some `more`, or without some."""
    without = {word.casefold() for word in less}
    kept = [word for word in map(str, words) if word.casefold() not in without]
    return shlex.quote(f"dataset.missing=[{','.join(map(quoted, [*kept, *more]))}]")


def quoted(word: str) -> str:
    """A word as Hydra reads it in a list, as that word."""
    if re.fullmatch(r"\d+|[^\W\d][\w.-]*", word) and word.lower() not in _OTHER:
        return word
    return '"{}"'.format(word.replace('"', '\\"'))
