"""Image files by what a table calls them: with or without a suffix, below one folder. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

from dlrun.data.images.archive import names_in
from dlrun.data.images.read import SUFFIXES, Head, read_head_of_whole
from dlrun.errors import ConfigError, did_you_mean


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
        path = self.root / name.replace("\\", "/")
        names = self._names_in(path.parent)
        if path.name in names:
            return path
        with_suffix = [
            f"{path.name}{suffix}"
            for lower in SUFFIXES
            for suffix in (lower, lower.upper())
            if f"{path.name}{suffix}" in names
        ]
        if len(with_suffix) == 1:
            return path.with_name(with_suffix[0])
        if with_suffix:
            raise NotFound(
                f"{name} may be {' or '.join(with_suffix)} in {path.parent}; write its suffix"
            )
        raise NotFound(self._absent(name, path, names))

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
    names: Sequence[str | None], root: Path
) -> tuple[list[Path], list[Head], dict[int, str]]:
    """The files of all names that can be read as images, their heads, and by row what is wrong with the others."""
    finder = Finder(root)
    paths: list[Path] = []
    heads: list[Head] = []
    wrong: dict[int, str] = {}
    for row, name in enumerate(names):
        if name is None:
            wrong[row] = "no image is named"
            continue
        try:
            path = finder.find(name)
            head = read_head_of_whole(path)
        except ConfigError as error:
            wrong[row] = str(error)
            continue
        paths.append(path)
        heads.append(head)
    return paths, heads, wrong
