"""Output to a terminal: control characters in texts of files and folders are written out, those of dlrun work.

No imports here that take time: every command begins with it.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as type checkers know it, without the import
if TYPE_CHECKING:
    from typing import Any

    from rich.console import Console

# Controls of ASCII and of Latin-1, and the marks that turn the direction of what follows.
_CONTROLS = (*range(0x20), *range(0x7F, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A))
_WRITTEN = {code: repr(chr(code))[1:-1] for code in _CONTROLS if chr(code) not in "\n\t"}


def shown(text: str) -> str:
    """The text with control characters written out, as in `\\x1b`; line ends and tabs stay."""
    return text if text.isprintable() else text.translate(_WRITTEN)


class ShownStream:
    """A stream of text that writes control characters out; all else is as of the stream `itself`."""

    def __init__(self, itself: Any) -> None:
        self.itself = itself

    def write(self, text: str) -> int:
        """As the stream does."""
        try:
            self.itself.write(shown(text))
        except OSError as error:
            raise self._named(error) from None
        return len(text)

    def flush(self) -> None:
        """As the stream does."""
        try:
            self.itself.flush()
        except OSError as error:
            raise self._named(error) from None

    def writelines(self, lines: Any) -> None:
        """As the stream does."""
        for line in lines:
            self.write(line)

    def _named(self, error: OSError) -> OSError:
        """The error with the name of the stream, as it would name a file."""
        name = str(getattr(self.itself, "name", "<stdout>"))  # as Python names its streams
        error.filename = error.filename or name.replace("<", "/dev/").removesuffix(">")
        return error

    def __getattr__(self, name: str) -> Any:
        return getattr(self.itself, name)


class ControlCharactersShown:
    """While this is entered, nothing that is printed steers the terminal, on either stream.

    A class, since contextlib takes a quarter of the time in which help appears.
    """

    def __enter__(self) -> None:
        self._before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = (stream and ShownStream(stream) for stream in self._before)

    def __exit__(self, *_: object) -> None:
        sys.stdout, sys.stderr = self._before


def itself(stream: Any) -> Any:
    """The stream below a `ShownStream`, for what moves the cursor."""
    return getattr(stream, "itself", stream)


def make_console(stream: Any = None, **settings: Any) -> Console:
    """Rich's console on a stream, the standard output if none: its own colours and movements, but none of a text's."""
    from rich.console import Console
    from rich.segment import Segment

    class Shown(Console):
        def render(self, *arguments: Any, **named: Any) -> Any:
            for text, style, control in super().render(*arguments, **named):
                yield Segment(text if control else shown(text), style, control)

    return Shown(file=itself(stream or sys.stdout), highlight=False, **settings)
