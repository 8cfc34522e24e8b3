"""A folder of images with a table of labels: the files that its rows name, in their parts. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dlrun.config.schema import Positive, Side, Workers
from dlrun.data.files import locate, locate_file
from dlrun.data.fingerprint import PARTS
from dlrun.data.images.find import find_images
from dlrun.data.images.folder import Files, ImageFiles, refuse_size, store_of
from dlrun.data.images.image_format import Alpha
from dlrun.data.images.labels import LabelColumns, LabelReading, Labels, read_labels, read_more
from dlrun.data.images.read import BadImage, Head
from dlrun.data.images.survey import Depth, common_format
from dlrun.data.tables.column_roles import ColumnName
from dlrun.data.tables.csv_format import CsvFormat, Header, SkipLines
from dlrun.data.tables.number_format import Decimal, Thousands
from dlrun.data.tables.target_column import Labelling, TableTask
from dlrun.errors import ConfigError, note

IMAGE_ROOT = "dataset.image_root"

_LEAVE_OUT = "dataset.drop_bad_images=true leaves such rows out"


@dataclass(frozen=True)
class ImageTable(ImageFiles):
    """Images in the rows of a table.

    Attributes:
        reading: how the table was read.
        places: where the table names each image, by its path.
        labels: as `Spec.labels`.
    """

    reading: LabelReading
    places: Mapping[str, str]
    labels: tuple[str, ...] = ()

    @property
    def traits(self) -> dict[str, tuple[Any, ...]]:
        return {
            **super().traits,
            "targets": tuple(self.reading.targets),
            "labels": self.labels,
        }

    def located(self, error: BadImage) -> ConfigError:
        place = self.places.get(error.path)
        return ConfigError(f"{place}: {error}; mend the file, or {_LEAVE_OUT}") if place else error


def image_table(
    *,
    path: str,
    test_path: str | None,
    image: ColumnName,
    target: ColumnName | list[ColumnName],
    task: TableTask,
    image_root: str | None,
    split_column: ColumnName | None,
    drop_bad_images: bool,
    merge_labels: bool,
    drop_missing_target: bool,
    header: Header,
    skip_lines: SkipLines,
    comment: str | None,
    delimiter: str,
    decimal: Decimal,
    thousands: Thousands,
    encoding: str,
    missing: list[str | int | float],
    size: Side | list[Side] | None,
    color: Literal["auto", "grey", "rgb"],
    depth: Depth,
    alpha: Literal["auto"] | Alpha,
    in_memory: Literal["auto"] | bool,
    memory_limit: Positive | None,
    workers: Workers,
) -> ImageTable:
    """The images that the column `image` of the table `path` names, with its column `target`.

    Raises:
        ConfigError: a table that cannot be read as the settings say, or an image that is missing or damaged.
    """
    settings = locals()
    refuse_size(size)
    table = locate_file("dataset.path", path)
    reading, labels, targets = read_labels(
        table,
        CsvFormat.of(settings, missing=[str(word) for word in missing]),
        LabelColumns(image, target, split_column),
        Labelling.of(settings),
        image_root,
    )
    found = {"train": files_of(labels, image_folder_of(table, reading), drop=drop_bad_images)}
    if test_path is not None:
        other = locate_file("dataset.test_path", test_path)
        more = read_more(other, reading, targets.classes, drop_missing_target=drop_missing_target)
        found["test"] = files_of(more, root_of(other, reading, more.names), drop=drop_bad_images)
    heads = {path: head for one in found.values() for path, head in one.heads.items()}
    format = common_format(
        list(heads), list(heads.values()), size=size, color=color, depth=depth, alpha=alpha
    )
    parts = _parts(found)
    return ImageTable(
        train=parts["train"],
        val=parts.get("val"),
        test=parts.get("test"),
        class_names=targets.class_names,
        format=format,
        store=store_of(in_memory, sum(map(len, parts.values())), format, memory_limit),
        workers=workers,
        reading=reading,
        labels=targets.labels,
        places={path: place for one in found.values() for path, place in one.place_of.items()},
    )


@dataclass(frozen=True)
class FoundImages:
    """The images of a table: their files, heads by path, where the table names each, and the part of each."""

    files: Files
    heads: Mapping[str, Head]
    places: Sequence[str]
    parts: np.ndarray | None

    @property
    def place_of(self) -> dict[str, str]:
        """Where the table names each file."""
        return dict(zip(self.files.paths, self.places, strict=True))


def files_of(labels: Labels, root: Path, *, drop: bool) -> FoundImages:
    """The images that a table names, below `root`.

    Args:
        drop: leave out rows whose image is missing or damaged, which a line on the screen counts. Each image is read
            to its end for that.

    Raises:
        ConfigError: a row has no image that can be read; no row has one.
    """
    paths, heads, wrong = find_images(labels.names, root, whole=drop)
    if wrong:
        row, reason = next(iter(wrong.items()))
        more = f", and {len(wrong) - 1:,} more rows likewise" if len(wrong) > 1 else ""
        said = f"{labels.place(row)}: {reason}{more}"
        if not drop or not paths:
            remedy = _LEAVE_OUT if paths else "no row has an image that can be read"
            raise ConfigError(
                f"{said}; set {IMAGE_ROOT} to the folder that the names start from, or mend the row or file; {remedy}"
            )
        note(f"{len(wrong):,} of {len(labels):,} rows are left out: {said}")
        labels = labels.take(np.array([row for row in range(len(labels)) if row not in wrong]))
    texts = [str(path) for path in paths]
    return FoundImages(
        Files(tuple(texts), labels.targets),
        dict(zip(texts, heads, strict=True)),
        [labels.place(row) for row in range(len(labels))],
        labels.parts,
    )


def image_folder_of(table: Path, reading: LabelReading) -> Path:
    """The folder that the names of the training images start from.

    Raises:
        ConfigError: the setting names none.
    """
    if reading.root is None:
        return table.parent
    root = locate(IMAGE_ROOT, reading.root)
    if not root.is_dir():
        raise ConfigError(f"{IMAGE_ROOT} is {reading.root}, a file; give the folder of the images")
    return root


def root_of(table: Path, reading: LabelReading, names: Sequence[str | None]) -> Path:
    """The folder that the names in another table start from: that of the training images, or else its own."""
    if reading.root is None:
        return table.parent
    root = Path(reading.root).expanduser()
    first = [name for name in names if name is not None][:1]
    beside = find_images(first, table.parent)[0]
    return table.parent if beside and not find_images(first, root)[0] else root


def _parts(found: Mapping[str, FoundImages]) -> dict[str, Files]:
    """The files of each part that the data have.

    Raises:
        ConfigError: a test table, and rows of the training table that are the test part; nothing to train on.
    """
    files, parts = found["train"].files, found["train"].parts
    split = {"train": files}
    if parts is not None:
        rows = {part: np.flatnonzero(parts == part) for part in PARTS}
        split = {part: files.take(some) for part, some in rows.items() if len(some)}
        if "train" not in split:
            raise ConfigError("dataset.split_column leaves no row with an image to train on")
    if "test" in found:
        if "test" in split:
            raise ConfigError(
                "dataset.test_path names a test part, and dataset.split_column has one too; set one of the two to null"
            )
        split["test"] = found["test"].files
    return split
