"""What is in many image files: sizes, colours, files that do not open, copies. No torch here."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dlrun.data.images.archive import file_or_bytes, locate_images
from dlrun.data.images.duplicates import shared
from dlrun.data.images.folder import images_by_class, labelled_images
from dlrun.data.images.read import BadImage, is_image, opened, read_head, refuse_damaged
from dlrun.errors import ConfigError
from dlrun.system.hardware import usable_cores

_DECODED = 5000  # images, up to which all of them are read to their end, and as many of more


class Labelled(NamedTuple):
    """An image file, the part that it is in, and its class, empty where it has none."""

    part: str
    label: str
    file: Path


@dataclass(frozen=True)
class ImagesReport:
    """Image files.

    Attributes:
        count: all of them.
        classes: how many images each has, by part.
        sizes: how many images have so many pixels, height and width, the commonest first.
        modes: how many images have these colours, by Pillow's names.
        decoded: how many were read to their end, evenly from all; of the others only the head.
        broken: files that do not open, and why.
        copies: groups of files with the same bytes.
        copies_in_parts, copies_in_classes: how many of the groups are in several of them.
    """

    count: int
    classes: dict[str, dict[str, int]]
    sizes: dict[str, int]
    modes: dict[str, int]
    decoded: int
    broken: dict[str, str]
    copies: list[list[str]]
    copies_in_parts: int
    copies_in_classes: int


def inspect_folder(path: str) -> ImagesReport:
    """What is in the folder `path`, one folder a class.

    Raises:
        ConfigError: no such folder, or one of another form.
    """
    parts = images_by_class(path)
    images = [
        Labelled(part, name, Path(str(file)))
        for part, classes in parts.items()
        for name, inside in classes.items()
        for file in inside
    ]
    if not images:  # of no classes
        inside = sorted(Path(str(file)) for file in locate_images("FILE", path).iterdir())
        images = [Labelled("train", "", file) for file in inside if is_image(file)]
    return inspect_images(images)


def inspect_images(
    images: Iterable[Labelled], missing: Mapping[str, str] | None = None
) -> ImagesReport:
    """What is in image files; `missing` are those that are not there, and why."""
    images = list(images)
    whole = {*np.linspace(0, len(images) - 1, min(len(images), _DECODED)).astype(int).tolist()}
    with ThreadPoolExecutor(max(1, round(usable_cores()))) as pool:
        found = list(
            pool.map(
                _look_at, (one.file for one in images), (at in whole for at in range(len(images)))
            )
        )
    good = [
        (image, one) for image, one in zip(images, found, strict=True) if not isinstance(one, str)
    ]
    broken = {
        str(image.file): one
        for image, one in zip(images, found, strict=True)
        if isinstance(one, str)
    }
    groups = _copies([image for image, _ in good])
    classes: dict[str, Counter[str]] = defaultdict(Counter)
    for image in images:
        if image.label:
            classes[image.part][image.label] += 1
    return ImagesReport(
        count=len(images),
        classes={part: dict(classes[part]) for part in ("train", "val", "test") if part in classes},
        sizes=dict(Counter(one.size for _, one in good).most_common()),
        modes=dict(Counter(one.mode for _, one in good).most_common()),
        decoded=len(whole),
        broken={**(missing or {}), **broken},
        copies=[[str(image.file) for image in group] for group in groups],
        copies_in_parts=sum(len({image.part for image in group}) > 1 for group in groups),
        copies_in_classes=sum(len({image.label for image in group}) > 1 for group in groups),
    )


def count_in_training(path: str, test: Path) -> int:
    """How many images of the folder `test` stand in that of the training images, byte for byte.

    Raises:
        ConfigError: a folder of another form, or with other classes.
    """
    classes = images_by_class(path)["train"]
    files = labelled_images("--test", test, tuple(classes)).paths
    return len(list(shared([str(file) for inside in classes.values() for file in inside], files)))


def common_side(report: ImagesReport, most: int = 128) -> int | None:
    """A side to resize to, where sizes differ: the middle of the shorter sides, `most` pixels at most."""
    if len(report.sizes) < 2:
        return None
    sides = sorted(
        min(map(int, size.split("x"))) for size, count in report.sizes.items() for _ in range(count)
    )
    return min(most, sides[len(sides) // 2])


class _Look(NamedTuple):
    size: str
    mode: str


def _look_at(file: Path, whole: bool) -> _Look | str:
    """Size and colours of an image, or why it does not open; the pixels are read where it is asked `whole`."""
    try:
        head = read_head(file)
        with opened(file) as image:
            mode = str(image.mode)
        if whole:
            refuse_damaged(file)
    except BadImage as error:
        return error.reason
    except ConfigError as error:
        return str(error).removeprefix(f"{file} ")
    return _Look(f"{head.height}x{head.width}", mode)


def _copies(images: Sequence[Labelled]) -> list[list[Labelled]]:
    """Groups of files with the same bytes; one file that is named twice is no copy."""
    files = {image.file: image for image in images}
    by_size: dict[int, list[Labelled]] = defaultdict(list)
    for file, image in files.items():
        by_size[_bytes(file)].append(image)
    by_content: dict[bytes, list[Labelled]] = defaultdict(list)
    for group in by_size.values():
        if len(group) > 1:
            for image in group:
                by_content[_hash(image.file)].append(image)
    return [group for group in by_content.values() if len(group) > 1]


def _bytes(file: Path) -> int:
    source = file_or_bytes(file)
    return source.stat().st_size if isinstance(source, Path) else source.getbuffer().nbytes


def _hash(file: Path) -> bytes:
    source = file_or_bytes(file)
    content = source.read_bytes() if isinstance(source, Path) else source.read()
    return hashlib.blake2b(content, digest_size=16).digest()
