"""What is in a folder of images: classes, sizes, colours, files that do not open, copies. No torch here."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from dlrun.data.images.archive import file_or_bytes
from dlrun.data.images.folder import images_by_class
from dlrun.data.images.read import opened, read_head, upright
from dlrun.errors import ConfigError

_DECODED = 5000  # images, up to which all of them are read to their end


@dataclass(frozen=True)
class ImagesReport:
    """A folder of images.

    Attributes:
        classes: how many images each has, by part.
        sizes: how many images have so many pixels, height and width, the commonest first.
        modes: how many images have these colours, by Pillow's names.
        broken: files that do not open, and why.
        copies: groups of files with the same bytes.
        copies_in_parts, copies_in_classes: how many of the groups are in several of them.
    """

    classes: dict[str, dict[str, int]]
    sizes: dict[str, int]
    modes: dict[str, int]
    broken: dict[str, str]
    copies: list[list[str]]
    copies_in_parts: int
    copies_in_classes: int

    @property
    def count(self) -> int:
        """All images."""
        return sum(sum(classes.values()) for classes in self.classes.values())


def inspect_images(path: str) -> ImagesReport:
    """What is in the folder `path`, one folder a class.

    Raises:
        ConfigError: no such folder, or one of another form.
    """
    parts = images_by_class(path)
    files = [
        (part, name, file)
        for part, classes in parts.items()
        for name, inside in classes.items()
        for file in inside
    ]
    sizes: Counter[str] = Counter()
    modes: Counter[str] = Counter()
    broken: dict[str, str] = {}
    hashes: dict[bytes, list[tuple[str, str, Path]]] = {}
    for part, name, file in files:
        try:
            size, mode = _look_at(file, whole=len(files) <= _DECODED)
        except ConfigError as error:
            broken[str(file)] = str(error).removeprefix(f"{file} ")
            continue
        sizes[size] += 1
        modes[mode] += 1
        hashes.setdefault(_hash(file), []).append((part, name, file))
    groups = [group for group in hashes.values() if len(group) > 1]
    return ImagesReport(
        classes={
            part: {name: len(inside) for name, inside in classes.items()}
            for part, classes in parts.items()
        },
        sizes=dict(sizes.most_common()),
        modes=dict(modes.most_common()),
        broken=broken,
        copies=[[str(file) for _, _, file in group] for group in groups],
        copies_in_parts=sum(len({part for part, _, _ in group}) > 1 for group in groups),
        copies_in_classes=sum(len({name for _, name, _ in group}) > 1 for group in groups),
    )


def common_side(report: ImagesReport, most: int = 128) -> int | None:
    """A side to resize to, where sizes differ: the middle of the shorter sides, `most` pixels at most."""
    if len(report.sizes) < 2:
        return None
    sides = sorted(
        min(map(int, size.split("x"))) for size, count in report.sizes.items() for _ in range(count)
    )
    return min(most, sides[len(sides) // 2])


def _look_at(file: Path, *, whole: bool) -> tuple[str, str]:
    """Size and colours of an image; its pixels are read where `whole` is true."""
    head = read_head(file)
    with opened(file) as image:
        mode = str(image.mode)
        if whole:
            upright(image).load()
    return f"{head.height}x{head.width}", mode


def _hash(file: Path) -> bytes:
    source = file_or_bytes(file)
    content = source.read_bytes() if isinstance(source, Path) else source.read()
    return hashlib.blake2b(content, digest_size=16).digest()
