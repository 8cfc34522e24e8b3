"""The errors and notes that dlrun shows to its user as one line, and what they offer to type next."""

from __future__ import annotations

import difflib
import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

# scripts/dlrun says how it was called: where `dlrun` is not on the PATH, a hint should work too.
PROGRAM = os.environ.get("DLRUN_PROGRAM", "dlrun")

_LONGEST = 4000  # characters of a message
_LONGEST_NUMBER, _LONGEST_WORD = 40, 400  # that a message writes out
_EXCESSIVE = re.compile(rf"\d{{{_LONGEST_NUMBER + 1},}}|[^\s,]{{{_LONGEST_WORD},}}[^\s,;:]")
_KEPT = 20  # characters of the beginning of a number or word that is cut, half as many of its end

_notes: list[str] = []
_note_keys: set[str] = set()
_collectors: list[list[str]] = []  # where notes go instead of the screen, the innermost last


class ConfigError(ValueError):
    """The user's mistake, found before any work was done: shown as one line, exit code 2."""


class BadFile(ConfigError):
    """A file that cannot be read as it is.

    Attributes:
        what: is wrong with it, and where.
        remedy: what can be set so that it is read, in words.
        mend: what can be done to the file itself: all that is left where nothing can be set any more.
    """

    def __init__(self, what: str, remedy: str, mend: str = "mend the file") -> None:
        super().__init__(what, remedy, mend)
        self.what, self.remedy, self.mend = what, remedy, mend

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}"


class RunFailed(RuntimeError):
    """A run that began and could not go on: shown as one line, recorded as failed, exit code 1."""


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


def did_you_mean(name: str, options: Iterable[str], *, beside: Sequence[str] = ()) -> str:
    """`; did you mean X?` for the closest of `options` and of those `beside`, or all `options` where none is close.

    Of close ones, one that begins with `name` comes first.
    """
    names = sorted(str(option) for option in options)
    close = difflib.get_close_matches(str(name), [*names, *beside], n=5, cutoff=0.6)
    if close:
        return f"; did you mean {max(close, key=lambda one: one.startswith(name))}?"
    return f"; choose from: {', '.join(names)}" if names else ""


def note(message: str) -> None:
    """Say in a line what the user should know of; on the error stream, so that a command's own output stays itself.

    Once a process, however often it comes up: data are read again for each trial of a sweep.
    """
    if _collectors:
        _collectors[-1].append(message)
        return
    key = message.replace(f"{os.getcwd()}{os.sep}", "")  # a path may be absolute the second time
    if key not in _note_keys:
        _note_keys.add(key)
        _notes.append(message)
        with suppress(OSError):  # nobody reads it
            print(f"dlrun: {message}", file=sys.stderr, flush=True)


@contextmanager
def collected_notes() -> Iterator[list[str]]:
    """Within this, notes are put into the list and not shown."""
    collected: list[str] = []
    _collectors.append(collected)
    try:
        yield collected
    finally:
        _collectors.pop()


def noted() -> Sequence[str]:
    """What `note` has said, in order; a run's log has it too."""
    return _notes


def forget_notes() -> None:
    """Begin anew: what comes up now is said."""
    _notes.clear()
    _note_keys.clear()


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its kind where it says nothing."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def without_frames(error: Exception) -> Exception:
    """The same error without the frames that it went through, whose variables would live for as long as it does.

    Those of a step that failed hold a model and all that it has computed.
    """
    for one in causes(error):
        one.__traceback__ = None
    return error


def causes(error: BaseException) -> list[BaseException]:
    """The error, and all behind it: what it was raised from, or while that was dealt with."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and all(one is not other for other in found):
            found.append(one)
            waiting += (one.__context__, one.__cause__)
    return found


def shortened(message: str) -> str:
    """The message with numbers and words of thousands of characters cut to their beginning and end.

    Of one that quotes a whole file, as a cell may hold it, the middle is left out: the remedy is at the end.
    """
    message = _EXCESSIVE.sub(_cut, message)
    if len(message) <= _LONGEST:
        return message
    return f"{message[: _LONGEST // 2]} … {message[-_LONGEST // 2 :]}"


def visible(message: str) -> str:
    """The message with what no terminal shows, such as NUL bytes of a file, written out as in `\\x00`."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in message)


def _cut(found: re.Match[str]) -> str:
    text = found[0]
    unit = "digits" if text.isdecimal() else "characters"
    return f"{text[:_KEPT]}…{text[-_KEPT // 2 :]} ({len(text):,} {unit})"
