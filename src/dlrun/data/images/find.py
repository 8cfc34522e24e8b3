"""Image files by what a table calls them: with or without a suffix, below one folder. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path, PureWindowsPath

from dlrun.data.images.archive import names_in
from dlrun.data.images.read import SUFFIXES, Head, read_head_of_whole, refuse_damaged
from dlrun.errors import ConfigError, did_you_mean
from dlrun.system.hardware import usable_cores


class NotFound(ConfigError):
    """An image that is not there, in words that follow the place of its name."""


class Finder:
    """Finds image files below the folder `root`; each folder is listed once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._names: dict[Path, set[str]] = {}

    def find(self, name: str) -> Path:
        """The file that is called `name`: a path with slashes or backslashes, its suffix written or not.

        Raises:
            NotFound: there is none, or there are several.
        """
        found = self.candidates(name)
        if len(found) == 1:
            return found[0]
        path = self._path(name)
        if found:
            names = " or ".join(one.name for one in found)
            raise NotFound(f"{name} may be {names} in {path.parent}; write its suffix")
        raise NotFound(self._absent(name, path, self._names_in(path.parent)))

    def candidates(self, name: str) -> list[Path]:
        """The files that may be called `name`: that with its suffix, or those that differ from it by one."""
        path = self._path(name)
        names = self._names_in(path.parent)
        if path.name in names:
            return [path]
        suffixes = (suffix for lower in SUFFIXES for suffix in (lower, lower.upper()))
        found = (f"{path.name}{suffix}" for suffix in suffixes)
        return [path.with_name(one) for one in found if one in names]

    def _path(self, name: str) -> Path:
        return self.root / name.replace("\\", "/")

    def _names_in(self, folder: Path) -> set[str]:
        if folder not in self._names:
            self._names[folder] = names_in(folder)
        return self._names[folder]

    def _absent(self, name: str, path: Path, names: set[str]) -> str:
        """What to say of a file that is not there, with what may be meant."""
        if not names:
            what = "has no files" if path.parent.is_dir() else "does not exist"
            below = self._names_in(self.root)
            there = PureWindowsPath(name).name in below and path.parent != self.root
            hint = f"; {self.root} has it without the folder" if there else ""
            return f"{name} is not there, as {path.parent} {what}{hint}"
        near = did_you_mean(path.name, names)
        return f"{name} is not in {path.parent}{near if near.endswith('?') else ''}"


def find_images(
    names: Sequence[str | None], root: Path, *, whole: bool = False
) -> tuple[list[Path], list[Head], dict[int, str]]:
    """The files of all names that can be read as images, their heads, and by row what is wrong with the others.

    Args:
        whole: read each image to its end, which finds pixels that are damaged in its middle as well.
    """
    finder = Finder(root)
    found: dict[int, Path] = {}
    wrong: dict[int, str] = {}
    for row, name in enumerate(names):
        try:
            if name is None:
                raise NotFound("no image is named")
            found[row] = finder.find(name)
        except NotFound as error:
            wrong[row] = str(error)
    with ThreadPoolExecutor(max(1, round(usable_cores()))) as pool:
        heads = list(pool.map(partial(_head_or_error, whole=whole), found.values()))
    wrong |= {row: one for row, one in zip(found, heads, strict=True) if isinstance(one, str)}
    good = [
        (path, head)
        for path, head in zip(found.values(), heads, strict=True)
        if isinstance(head, Head)
    ]
    return [path for path, _ in good], [head for _, head in good], dict(sorted(wrong.items()))


def _head_or_error(path: Path, *, whole: bool) -> Head | str:
    try:
        head = read_head_of_whole(path)
        if whole:
            refuse_damaged(path)
    except ConfigError as error:
        return str(error)
    return head
