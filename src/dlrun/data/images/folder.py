"""A folder of images, in one folder a class, with the parts train, val and test above them or not. No torch here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dlrun.config.schema import Positive, Side, Workers
from dlrun.data.files import other_kind, part_folders
from dlrun.data.fingerprint import Fingerprint, Rows
from dlrun.data.images.archive import file_or_bytes, locate_images
from dlrun.data.images.image_format import Alpha, ImageFormat
from dlrun.data.images.read import SUFFIXES, BadImage, is_hidden, is_image, read_head
from dlrun.data.images.survey import Depth, common_format
from dlrun.errors import ConfigError, did_you_mean, listed, note
from dlrun.system.hardware import allowed_memory

Store = Literal["memory", "cache", "files"]

_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")
_FLOAT_BYTES = 4
_SHOWN = 5  # kinds of files in a line
_HEAD = 2**14  # bytes of each file that are looked at though they stay where they are


@dataclass(frozen=True)
class Files:
    """Images of one part: their `paths`, and `targets`: (N,) the number of each one's class, or (N, D) quantities."""

    paths: tuple[str, ...]
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, rows: np.ndarray) -> Files:
        """The images in these rows."""
        return Files(tuple(self.paths[row] for row in rows), self.targets[rows])


@dataclass(frozen=True)
class ImageFiles:
    """Images that are still in their files.

    Attributes:
        train: all of them, where the folder has no parts.
        val, test: None where the folder has no such part, which is then taken from `train`.
        format: what each image is made into.
        store: where they are kept when they have been read once: in memory, or in the cache. Those of "files" are
            read again whenever they are looked at.
        workers: processes that read them.
        class_names: () where targets are quantities.
    """

    train: Files
    val: Files | None
    test: Files | None
    class_names: tuple[str, ...]
    format: ImageFormat
    store: Store
    workers: int

    @property
    def in_memory(self) -> bool:
        """Whether they are read whole at once."""
        return self.store == "memory"

    @property
    def traits(self) -> dict[str, tuple[Any, ...]]:
        """As `Raw.traits`."""
        shape = (self.format.channels, self.format.height, self.format.width)
        return {"classes": self.class_names, "shape": shape}

    @property
    def own(self) -> tuple[str, ...]:
        """As `Raw.own`."""
        return tuple(name for name in ("val", "test") if getattr(self, name) is not None)

    def __len__(self) -> int:
        return len(self.train)

    def fingerprint(self, part: str, rows: Rows) -> tuple[int, str]:
        """As `Raw.fingerprint`: of names, sizes and how files begin; and of all in them where they are read at once."""
        files: Files = getattr(self, part) if rows is None else self.train.take(np.asarray(rows))
        heads, whole = Fingerprint(), Fingerprint()
        for path, target in zip(files.paths, files.targets.tolist(), strict=True):
            source = file_or_bytes(Path(path))
            with source.open("rb") if isinstance(source, Path) else source as file:
                head = file.read(_HEAD)
                rest = file.read() if self.in_memory else b""
                size = file.seek(0, os.SEEK_END)
            heads.words([*self._label(target), Path(path).name, str(size)]).content(head)
            whole.content(rest)
        return len(files), f"{heads}+{whole}" if self.in_memory else str(heads)

    def located(self, error: BadImage) -> ConfigError:
        """The error of a file, with where it is named and what can be done."""
        return error

    def _label(self, target: int | list[float]) -> list[str]:
        return [self.class_names[target]] if isinstance(target, int) else [*map(repr, target)]


def image_folder(
    *,
    path: str,
    size: Side | list[Side] | None,
    color: Literal["auto", "grey", "rgb"],
    depth: Depth,
    alpha: Literal["auto"] | Alpha,
    in_memory: Literal["auto"] | bool,
    memory_limit: Positive | None,
    workers: Workers,
) -> ImageFiles:
    """The images under the folder `path`; classes are its folders in the order of their names.

    Raises:
        ConfigError: no such folder, an archive, or a folder of another kind; a file that is no image.
    """
    refuse_size(size)
    folder = _folder(path)
    parts = _parts(folder)
    names = tuple(one.name for one in _folders(parts["train"]))
    if len(names) < 2:
        raise ConfigError(_too_few(folder, parts["train"], names))
    classes = {part: _classes(inside) for part, inside in parts.items()}
    _refuse_unknown(classes, parts)
    found = {part: _files(images, names) for part, images in classes.items()}
    paths = [path for files in found.values() for path in files.paths]
    # Every file is opened, though only as far as its head: one that is broken should not end an epoch.
    heads = [read_head(Path(path)) for path in paths]
    format = common_format(paths, heads, size=size, color=color, depth=depth, alpha=alpha)
    note_left_out(folder, [one for part in parts.values() for one in left_out(part)])
    return ImageFiles(
        train=found["train"],
        val=found.get("val"),
        test=found.get("test"),
        class_names=names,
        format=format,
        store=store_of(in_memory, len(paths), format, memory_limit),
        workers=workers,
    )


def refuse_size(size: int | list[int] | None) -> None:
    """Refuse a `dataset.size` that is no size.

    Raises:
        ConfigError: it is one.
    """
    if isinstance(size, list) and len(size) != 2:
        raise ConfigError(
            f"dataset.size is {size}, but must be [height, width] or one number for both"
        )


def store_of(
    in_memory: Literal["auto"] | bool, images: int, format: ImageFormat, limit: float | None
) -> Store:
    """Where so many images are kept: as the setting says; or in memory within `limit` GiB, and in the cache beyond.

    Without a limit it is half of the memory that is free.
    """
    if in_memory != "auto":
        return "memory" if in_memory else "files"
    numbers = images * format.channels * format.height * format.width
    return "memory" if numbers * _FLOAT_BYTES <= allowed_memory(limit, 0.5) else "cache"


def _folder(path: str) -> Path:
    folder = locate_images("dataset.path", path)
    if folder.is_dir():
        return folder
    if folder.suffix.lower() in _ARCHIVES:
        raise ConfigError(
            f"dataset.path is {path}, an archive: unpack it first, and give the folder that it makes"
        )
    raise ConfigError(f"dataset.path is {path}, a file; give a folder with one folder a class")


def _parts(folder: Path) -> dict[str, Path]:
    """The folders of train, val and test; a folder without parts is all train."""
    inside = _folders(folder)
    parts = part_folders(folder, inside)
    if not parts:
        return {"train": folder}
    named = [one.name for one in parts.values()]
    others = [one.name for one in inside if one.name not in named]
    if others:
        raise ConfigError(
            f"{folder} has the part {named[0]}/ and beside it {listed(others)}, which is none: "
            "parts are train, val and test; move what is no part elsewhere"
        )
    if "train" not in parts:
        raise ConfigError(
            f"{folder} has {listed(named)}, but no train/; name the part to train on so"
        )
    return parts


def _classes(part: Path) -> dict[str, list[Path]]:
    """The images of each class folder of a part, both in the order of their names."""
    return {folder.name: _images(folder) for folder in _folders(part)}


def _images(folder: Path) -> list[Path]:
    inside = _inside(folder)
    images = [one for one in inside if not one.is_dir() and is_image(one)]
    if not images:
        names = listed(one.name for one in inside)
        what = f"has no images in it, only {names}" if inside else "is empty"
        if any(one.is_dir() for one in inside):
            what += ": images in folders inside it are not taken"
        raise ConfigError(
            f"the class folder {folder} {what}; put images there ({', '.join(SUFFIXES)}), or take the folder away"
        )
    for one in images:
        if kind := other_kind(one):
            raise ConfigError(f"{one} is {kind}, and no image; take it away")
    return images


def _folders(folder: Path) -> list[Path]:
    return [one for one in _inside(folder) if one.is_dir()]


def _inside(folder: Path) -> list[Path]:
    """What is in a folder, by name, without hidden files and those that an operating system leaves."""
    # By the name alone: paths in an archive have no order.
    inside = (one for one in folder.iterdir() if not is_hidden(one))
    return sorted(inside, key=lambda one: Path(one.name))


def left_out(part: Path) -> list[Path]:
    """What is in a part and is no image of a class: other files, deeper folders, images beside class folders."""
    beside = [one for one in _inside(part) if not one.is_dir() and is_image(one)]
    inside = [one for folder in _folders(part) for one in _inside(folder)]
    return beside + [one for one in inside if one.is_dir() or not is_image(one)]


def note_left_out(folder: Path, left: list[Path]) -> None:
    """Note what is left out, by kind."""
    if not left:
        return
    kinds: dict[str, list[Path]] = {}
    for one in left:
        kind = one.suffix.lower() or "without a suffix"
        if one.is_dir():
            kind = "folders in class folders"
        elif is_image(one):
            kind = "images beside class folders"
        kinds.setdefault(kind, []).append(one)
    shown = [
        f"{kind}: {len(ones)}, such as {ones[0].relative_to(folder)}"
        for kind, ones in kinds.items()
    ][:_SHOWN]
    note(
        f"{folder}: {len(left)} files and folders are left out ({'; '.join(shown)}"
        f"{'; and others' if len(kinds) > _SHOWN else ''}); what is taken lies right in the folder of a class "
        f"and is one of {', '.join(SUFFIXES)}"
    )


def _too_few(folder: Path, train: Path, names: tuple[str, ...]) -> str:
    """The error of a folder with fewer than two class folders, and what may be meant."""
    inside = [one.name for one in _inside(train)]
    if not names:
        archives = [name for name in inside if Path(name).suffix.lower() in _ARCHIVES]
        remedy = f"; unpack {listed(archives)} first" if archives else ""
        what = f"holds {listed(inside)}" if inside else "is empty"
        return (
            f"{train} {what}, and has no class folders: put the images of each class in a folder "
            f"that is named like the class{remedy}"
        )
    only = train / names[0]
    deeper = _folders(only)
    hint = f"; if the classes are in it, set dataset.path={folder / names[0]}" if deeper else ""
    return f"{train} has one class folder, {names[0]}/, but a classifier needs two classes or more{hint}"


def _refuse_unknown(classes: dict[str, dict[str, list[Path]]], parts: dict[str, Path]) -> None:
    for part, images in classes.items():
        unknown = [name for name in images if name not in classes["train"]]
        if unknown:
            raise ConfigError(
                f"{parts[part]} has the class {listed(unknown)}, of which {parts['train']} has none: "
                "a class must have images to train on"
            )
        if not images:
            raise ConfigError(f"{parts[part]} has no class folders; fill it, or take it away")


def _files(images: dict[str, list[Path]], names: tuple[str, ...]) -> Files:
    numbered = [(str(path), names.index(name)) for name, paths in images.items() for path in paths]
    paths, targets = zip(*numbered, strict=True)
    return Files(paths, np.array(targets, np.int64))


def labelled_images(key: str, folder: Path, class_names: tuple[str, ...]) -> Files:
    """The images in the class folders under `folder`, numbered as `class_names` are.

    Raises:
        ConfigError: no folder, none of classes in it, or one of another class.
    """
    if not folder.is_dir():
        raise ConfigError(f"{key} is {folder}, a file; give a folder with one folder a class")
    classes = _classes(folder)
    if not classes:
        raise ConfigError(f"{key} is {folder}, which has no class folders; give one folder a class")
    if unknown := [name for name in classes if name not in class_names]:
        raise ConfigError(
            f"{folder} has the class {listed(unknown)}, which this run does not know"
            f"{did_you_mean(unknown[0], class_names)}"
        )
    return _files(classes, class_names)


def images_by_class(path: str) -> dict[str, dict[str, list[Path]]]:
    """The images that `image_folder` takes, by part and class; not opened yet.

    Raises:
        ConfigError: as `image_folder`, without what is wrong with a file.
    """
    return {part: _classes(inside) for part, inside in _parts(_folder(path)).items()}
