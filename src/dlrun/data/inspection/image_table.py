"""A table that names image files: which column does, and from which folder. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dlrun.data.files import part_named
from dlrun.data.images.archive import names_in
from dlrun.data.images.find import Finder
from dlrun.data.images.read import SUFFIXES, is_hidden
from dlrun.data.inspection.images import ImagesReport, Labelled, inspect_images
from dlrun.data.tables.cells import Cells
from dlrun.data.tables.column import Decimals
from dlrun.errors import ConfigError

_LOOKED_AT = 200  # cells
_MOST_FOLDERS = 50  # in which the images may be
_FOUND = 0.5  # of the cells, or none of them names an image


@dataclass(frozen=True)
class ImageColumn:
    """The column that names images, the folder that the names start from, and the column of parts, if there is one.

    Attributes:
        root: None where it is the folder of the table.
    """

    name: str
    folder: Path
    root: str | None
    parts: str | None

    @property
    def settings(self) -> dict[str, Any]:
        """Those of the dataset, where they are not its defaults."""
        found = {"image_root": self.root, "split_column": self.parts}
        return {key: value for key, value in found.items() if value is not None}


def image_column(cells: Cells, settings: Mapping[str, Any]) -> ImageColumn | None:
    """The column of `cells` that names image files, by its cells and by what is there; None where none does."""
    given, root = settings.get("image"), settings.get("image_root")
    table = cells.path if cells.path.is_dir() else cells.path.parent
    folders = [table, *_folders_in(table)] if root is None else [Path(root).expanduser()]
    with_images = [one for one in folders if any(map(_is_named_image, names_in(one)))]
    found = []
    for at in (
        range(len(cells.names)) if given is None else [cells.position("dataset.image", given)]
    ):
        names = _some(cells, at)
        by_name = sum(map(_is_named_image, names)) / max(len(names), 1)
        places = folders if by_name >= _FOUND or given is not None else with_images
        shares = [(_share(names, folder), -place) for place, folder in enumerate(places)]
        share, place = max(shares, default=(0.0, 0))
        if given is not None or max(share, by_name) >= _FOUND:
            found.append((share, -at, at, places[-place]))
    if not found:
        return None
    _, _, at, folder = max(found, key=lambda one: one[:2])
    root = None if folder == table else str(folder)
    return ImageColumn(cells.names[at], folder, root, _parts(cells, at))


def _is_named_image(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES


def _some(cells: Cells, at: int) -> list[str]:
    """Cells of a column, evenly from all, if they may be names of files: different words."""
    column = cells.columns[at]
    known = np.flatnonzero(column.known)
    if isinstance(column, Decimals) or not len(known):
        return []
    rows = known[np.linspace(0, len(known) - 1, min(len(known), _LOOKED_AT)).astype(int)]
    names = [str(column[row]) for row in rows.tolist()]
    return names if 2 * len({*names}) > len(names) else []


def _folders_in(folder: Path) -> list[Path]:
    """The folders in which images may lie: those in it, and those in them."""
    try:
        inside = [one for one in sorted(folder.iterdir()) if one.is_dir() and not is_hidden(one)]
    except OSError:
        return []
    return inside[:_MOST_FOLDERS]


def _share(names: Sequence[str], folder: Path) -> float:
    """How many of the names are files in or below a folder."""
    finder = Finder(folder)
    return sum(len(finder.candidates(name)) == 1 for name in names) / max(len(names), 1)


def _parts(cells: Cells, image: int) -> str | None:
    """The column that says train, val or test of each row."""
    for at, column in enumerate(cells.columns):
        words = (
            column.distinct
            if at != image and column.known.all() and len(column.distinct) <= 3
            else []
        )
        if len(words) > 1 and all(part_named(word) for word in words):
            return cells.names[at]
    return None


def inspect_named_images(cells: Cells, column: ImageColumn, targets: Sequence[str]) -> ImagesReport:
    """What is in the images that a column of `cells` names, labelled by a column of `targets`, if that has classes."""
    finder = Finder(column.folder)
    labels = cells.columns[cells.names.index(targets[0])]
    few = len(targets) == 1 and len(labels.counts) <= max(20, len(cells) // 5)
    parts = cells.columns[cells.names.index(column.parts)] if column.parts else None
    images, missing = [], {}
    for row, name in enumerate(cells.columns[cells.names.index(column.name)].as_list):
        try:
            if name is None:
                raise ConfigError("no image is named")
            file = finder.find(name)
        except ConfigError as error:
            place = cells.place(row, column.name).removeprefix(f"{cells.path}, ")
            missing[place] = str(error)
            continue
        part = part_named(str(parts[row])) if parts else None
        images.append(Labelled(part or "train", str(labels[row] or "") if few else "", file))
    return inspect_images(images, missing)
