"""Parameters of a model chosen by patterns of their names, as model.freeze and optimizer.lr_multipliers do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import accumulate

from dlrun.errors import ConfigError, listed

_SHOWN = 6  # names in a message


def chosen(key: str, patterns: Iterable[str], names: Sequence[str]) -> dict[str, str]:
    """Of each name that a pattern fits, the first that does; `*` is any characters, `?` any one, `[ab]` one of them.

    Raises:
        ConfigError: a pattern chooses nothing, since it fits no name, or only those that an earlier one has chosen.
    """
    found: dict[str, str] = {}
    for pattern in patterns:
        fitting = [name for name in names if fnmatchcase(name, str(pattern))]
        if not fitting:
            raise ConfigError(
                f"{key} has {pattern}, which fits no parameter that is trained{_near(str(pattern), names)}"
            )
        new = [name for name in fitting if name not in found]
        if not new:
            raise ConfigError(
                f"{key} has {pattern}, which changes nothing: all that it fits is chosen by {found[fitting[0]]} "
                "before it; put the narrower pattern first"
            )
        found |= dict.fromkeys(new, pattern)
    return found


def _near(pattern: str, names: Sequence[str]) -> str:
    """What may have been meant: a layer whose name is the pattern, the nearest name of a layer or parameter, or all."""
    layers = {f"{path}.*" for name in names for path in accumulate(name.split(".")[:-1], _dotted)}
    close = get_close_matches(pattern, [*sorted(layers), *names], n=1, cutoff=0.7)
    meant = [f"{pattern}.*"] if f"{pattern}.*" in layers else close
    return f"; did you mean {meant[0]}?" if meant else f"; there are {listed(names, most=_SHOWN)}"


def _dotted(path: str, name: str) -> str:
    return f"{path}.{name}"
