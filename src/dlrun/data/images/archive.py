"""The sample digits that ship with dlrun: class folders of images in one zip archive, read in place. No torch here."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path
from typing import cast

from dlrun.data.files import SAMPLES, locate
from dlrun.errors import ConfigError, did_you_mean

_ARCHIVE = SAMPLES / "digits.zip"
_NAME = "packaged:digits"


def locate_images(key: str, path: str) -> Path:
    """The folder that the setting `key` names, as `dlrun.data.files.locate`; `packaged:digits` is in the archive.

    Raises:
        ConfigError: there is none, or the archive is damaged.
    """
    name, *names = path.rstrip("/").split("/")
    if name.removesuffix(".zip") != _NAME:
        return locate(key, path)
    _members()
    # It has all that is asked of a folder of images.
    top = cast(Path, zipfile.Path(_ARCHIVE))
    found = top.joinpath(*names)
    if names and not found.exists():
        hint = did_you_mean(names[0], [one.name for one in top.iterdir()])
        raise ConfigError(f"{key} is {path}, which is not in {_ARCHIVE.name}{hint}")
    return found


def file_or_bytes(path: Path) -> Path | io.BytesIO:
    """What to open for an image: its file, or its content where it is in the archive.

    Raises:
        FileNotFoundError: the archive has no such file.
    """
    name = os.fspath(path)
    inside = name.removeprefix(f"{_ARCHIVE}{os.sep}")
    if inside == name:
        return path
    content = _members().get(inside.replace(os.sep, "/"))
    if content is None:
        raise FileNotFoundError(f"{_ARCHIVE.name} has no {inside}")
    return io.BytesIO(content)


def file_of(path: Path) -> Path:
    """The file that has an image in it: its own, or the archive."""
    inside = os.fspath(path).startswith(f"{_ARCHIVE}{os.sep}")
    return _ARCHIVE if inside else path


def names_in(folder: Path) -> set[str]:
    """The names of all files in a folder, which may be in the archive; of none where there is no such folder."""
    inside = os.fspath(folder).removeprefix(f"{_ARCHIVE}{os.sep}")
    if inside != os.fspath(folder):
        prefix = f"{inside.replace(os.sep, '/')}/"
        below = (name.removeprefix(prefix) for name in _members() if name.startswith(prefix))
        return {name for name in below if name and "/" not in name}
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if not entry.is_dir()}
    except OSError:
        return set()


@lru_cache(maxsize=1)
def _members() -> dict[str, bytes]:
    """The content of each file in the archive, so that no process shares an open file with another."""
    try:
        with zipfile.ZipFile(_ARCHIVE) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigError(
            f"{_ARCHIVE}, which ships with dlrun, is damaged ({error}): install dlrun again, or give a folder of your "
            "own images"
        ) from error
