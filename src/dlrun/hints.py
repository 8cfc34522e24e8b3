"""What to type next, as the user types it; what the user should know of."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress

# scripts/dlrun says how it was called: where `dlrun` is not on the PATH, a hint should work too.
PROGRAM = os.environ.get("DLRUN_PROGRAM", "dlrun")

_noted: list[str] = []
_keys: set[str] = set()


def command(*words: object) -> str:
    """The command line for `words`, quoted for a shell."""
    return f"{PROGRAM} {shlex.join(map(str, words))}"


def new_run(reason: str) -> str:
    """`reason` for which a resume is refused, and the way out."""
    return f"{reason}; start a new run with `{command('train')}`"


def listed(names: Iterable[object], *, most: int = 3) -> str:
    """The first of the names, `most` of them, and how many more there are."""
    texts = [str(name) for name in names]
    left = len(texts) - most
    return ", ".join(texts[:most]) + (f" and {left:,} more" if left > 0 else "")


def note(message: str) -> None:
    """Say in a line what the user should know of; on the error stream, so that a command's own output stays itself.

    Once a process, however often it comes up: data are read again for each trial of a sweep.
    """
    key = message.replace(f"{os.getcwd()}{os.sep}", "")  # a path may be absolute the second time
    if key not in _keys:
        _keys.add(key)
        _noted.append(message)
        with suppress(OSError):  # nobody reads it
            print(f"dlrun: {message}", file=sys.stderr, flush=True)


def noted() -> Sequence[str]:
    """What `note` has said, in order; a run's log has it too."""
    return _noted


def forget_notes() -> None:
    """Begin anew: what comes up now is said."""
    _noted.clear()
    _keys.clear()
