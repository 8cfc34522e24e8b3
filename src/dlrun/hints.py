"""What to type next, as the user types it; what the user should know of."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import suppress

# scripts/dlrun says how it was called: where `dlrun` is not on the PATH, a hint should work too.
PROGRAM = os.environ.get("DLRUN_PROGRAM", "dlrun")


def command(*words: object) -> str:
    """The command line for `words`, quoted for a shell."""
    return f"{PROGRAM} {shlex.join(map(str, words))}"


def new_run(reason: str) -> str:
    """`reason` for which a resume is refused, and the way out."""
    return f"{reason}; start a new run with `{command('train')}`"


def note(message: str) -> None:
    """Say in a line what the user should know of; on the error stream, so that a command's own output stays itself."""
    with suppress(OSError):  # nobody reads it
        print(f"dlrun: {message}", file=sys.stderr, flush=True)
