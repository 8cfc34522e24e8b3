"""train.log: the messages and warnings of one run, with time and level."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from typing import Any

from dlrun.errors import noted
from dlrun.storage.append_file import Appender
from dlrun.storage.run_directory import RunDirectory

_LOGGER = logging.getLogger("dlrun")


class RunLog:
    """Where dlrun's log and all warnings go while it is entered: to the train.log of one run alone.

    It may be entered many times, also inside another's; that costs microseconds, and the log entered last gets
    the lines. `close` it at the end. What was noted for the user before, or meanwhile, is in it too.

    Args:
        quiet: warnings are not shown on the screen as well.
        flush_seconds, keep_open: as of an `Appender`.
    """

    def __init__(
        self,
        run: RunDirectory,
        *,
        quiet: bool = False,
        flush_seconds: float = 0.0,
        keep_open: bool = True,
    ) -> None:
        self._quiet = quiet
        self._handler = _Lines(
            Appender(run.log, flush_seconds=flush_seconds, keep_open=keep_open, needed=False)
        )
        self.takes_notes = True
        self._noted = 0
        self._before: list[tuple[list[logging.Handler], int, bool, Callable[..., Any]]] = []

    def __enter__(self) -> None:
        logger, show = _LOGGER, warnings.showwarning
        self._before.append((logger.handlers, logger.level, logger.propagate, show))
        logger.handlers, logger.propagate = [self._handler], False
        _set_level(logging.INFO)
        warnings.showwarning = self._show_warning
        self._copy_notes()

    def __exit__(self, *_: object) -> None:
        self._copy_notes()
        handlers, level, propagate, show = self._before.pop()
        _LOGGER.handlers, _LOGGER.propagate = handlers, propagate
        _set_level(level)
        warnings.showwarning = show

    def close(self) -> None:
        """Write out what is left."""
        self._handler.close()

    def _copy_notes(self) -> None:
        if not self.takes_notes:
            return
        for message in noted()[self._noted :]:
            _LOGGER.info("%s", message)
        self._noted = len(noted())

    def _show_warning(self, message: Warning | str, *where: Any, **more: Any) -> None:
        _LOGGER.warning("%s", message)
        if not self._quiet:
            print(f"dlrun: warning: {message}", file=sys.stderr)


class _Lines(logging.Handler):
    """A line with time and level for each record."""

    def __init__(self, file: Appender) -> None:
        super().__init__()
        self._file = file
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._file.write(f"{self.format(record)}\n".encode(errors="backslashreplace"))
        except Exception:  # as every handler: a full disk is no reason to end a run here
            self.handleError(record)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()
        super().close()


def _set_level(level: int) -> None:
    if _LOGGER.level != level:  # each change makes every logger forget what it worked out
        _LOGGER.setLevel(level)
