"""A full disk: distinguished from other errors, reported on one line, and freed of files that are half written.

Standard library only.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dlrun.errors import RunFailed

# No space, no quota left, and a file above the limit of its process (ulimit -f) or file system.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class DiskFull(RunFailed):
    """The disk is full. What was saved before is whole: with room, the run can be resumed."""


def disk_full(error: BaseException, path: Path | None = None) -> DiskFull | None:
    """`error` in words where it says that the disk, on which `path` was to be written, is full; else None."""
    if isinstance(error, DiskFull):
        return error
    if not isinstance(error, OSError) or error.errno not in _FULL:
        return None
    name = path or error.filename
    place = Path(name) if name else Path()
    remedy = "raise the limit on the size of files (ulimit -f)"
    if error.errno != errno.EFBIG:
        remedy = f"{_free(place)}delete what is no longer needed there, such as old runs"
    reason = error.strerror or str(error)
    return DiskFull(f"{name or 'a file'} could not be written ({reason}): {remedy}")


@contextmanager
def writing(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """While `path` is written, by way of `temporary` if given, which is removed if that fails.

    Raises:
        DiskFull: there is no room for it; any other error as it is.
    """
    try:
        yield
    except BaseException as error:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        if (full := disk_full(error, path)) is not None:
            raise full from error
        raise


def _free(path: Path) -> str:
    for folder in (path, *path.absolute().parents):
        with suppress(OSError):
            return f"{shutil.disk_usage(folder).free / 2**20:.1f} MB are free; "
    return ""
