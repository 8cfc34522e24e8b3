"""Writing files in directories that are not trusted: never through a symbolic link in them."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

from dlrun.errors import ConfigError

_NOT_THROUGH = getattr(
    os, "O_NOFOLLOW", 0
)  # not on Windows, where making links needs a right of its own


def open_here(path: Path, mode: str, *, opening: Any = open, **how: Any) -> Any:
    """As `open`, or what else opens files, of a file that is at `path` itself.

    Raises:
        ConfigError: a symbolic link is.
    """
    try:
        return opening(path, mode, opener=_open, **how)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _refused(path) from error
        raise


def refuse_links(folder: Path, *, itself: bool = False) -> None:
    """Refuse a directory to be written in that has a link of either kind, a pipe or a device anywhere in it.

    Args:
        itself: and one that is reached through a link.

    Raises:
        ConfigError: naming the first.
    """
    if itself and folder.is_symlink():
        raise _refused(folder)
    for above, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(above, name)
            try:
                found = path.lstat()
            except FileNotFoundError:  # of somebody who is at work there
                continue
            mode = found.st_mode
            if stat.S_ISLNK(mode):
                raise _refused(path)
            if stat.S_ISREG(mode) and found.st_nlink > 1:
                raise ConfigError(
                    f"{path} has another name elsewhere (a hard link), under which it would change as well: copy "
                    "the directory with `cp -r`, and use the copy"
                )
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise ConfigError(
                    f"{path} is neither a file nor a folder, as those of runs are: remove it"
                )


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | _NOT_THROUGH, 0o666)


def _refused(path: Path) -> ConfigError:
    return ConfigError(
        f"{path} is a symbolic link, and a run's files are not written through one: remove it, or put what it "
        "leads to in its place"
    )
