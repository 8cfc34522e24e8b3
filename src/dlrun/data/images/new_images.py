"""New images: files, which are resized to the run's own form, and arrays, which have it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any, cast

import numpy as np

from dlrun.data.arrays.new_arrays import array_parts
from dlrun.data.arrays.scaling import Scaling
from dlrun.data.base import Preprocessing, Spec, as_targets, class_targets
from dlrun.data.changed_data import Kept
from dlrun.data.files import locate_file
from dlrun.data.images.archive import locate_images
from dlrun.data.images.dataset import ImageTableScaling
from dlrun.data.images.folder import labelled_images
from dlrun.data.images.image_format import ImageFormat, reading_steps
from dlrun.data.images.labels import LabelReading, read_more, read_names
from dlrun.data.images.read import SUFFIXES, is_hidden, is_image, read_image
from dlrun.data.images.streaming import FilePixels, StoredImages, StoredSplit
from dlrun.data.images.table import files_of, root_of
from dlrun.data.kind import TEST_PATH, Labelled, NewInputs, Piece, from_code, no_table, one_path
from dlrun.data.tables.target_column import DROP_MISSING
from dlrun.errors import ConfigError, note

_BRIGHTEST = 255.0
_AT_ONCE = 2**22  # numbers of the images of a piece


class NewImages(NewInputs):
    """Images, also of runs whose own came as arrays."""

    preparing = (
        "inputs are (raw - mean) / std; raw runs from 0 (black) to pixel_max, channels first; of an image file it is "
        "the pixels that the steps in image_files lead to (mode L, grey, is 0.299 R + 0.587 G + 0.114 B), from 0 to "
        "255, times pixel_max / 255"
    )

    def read(self, path: Path, spec: Spec, preprocessing: Scaling) -> np.ndarray:
        if not _is_one_image(path):
            return np.concatenate([*array_parts(path, spec)])
        if not preprocessing.pixel_max:
            raise ConfigError(
                f"{path} is an image, but this run was trained on {spec.kind}; give a .npy, .npz or .csv of rows"
            )
        format = ImageFormat.of(spec.input_shape, preprocessing.reading)
        if format.colours not in (1, 3):
            raise ConfigError(
                f"{path} is an image of 1 or 3 channels, but this run takes {format.channels}; give a .npy or .npz"
            )
        pixels = read_image(path, format).astype(np.float32)
        return pixels[None] * np.float32(preprocessing.pixel_max / 255)

    def parts(self, path: Path, spec: Spec, preprocessing: Scaling) -> Iterator[np.ndarray]:
        yield from array_parts(path, spec)

    def pieces(
        self, files: Sequence[Path], spec: Spec, preprocessing: Scaling, keep: Sequence[str]
    ) -> Iterator[Piece]:
        many = max(1, _AT_ONCE // spec.num_features)
        for of_images, alike in groupby(files, _is_one_image):
            if not of_images:
                yield from super().pieces(list(alike), spec, preprocessing, keep)
                continue
            while some := list(islice(alike, many)):
                if keep:
                    raise no_table(some[0], keep)
                pixels = np.concatenate([self.read(path, spec, preprocessing) for path in some])
                yield Piece(list(map(str, some)), [0] * len(some), pixels)

    def labelled(self, given: Any, kept: Kept, dataset: Mapping[str, Any]) -> Labelled:
        spec, scaling = kept.spec, cast(Scaling, kept.preprocessing)
        if not scaling.pixel_max:
            raise from_code(one_path(given), dataset)
        folder = locate_images(TEST_PATH, one_path(given))
        if not scaling.reading and spec.input_shape[0] not in (1, 3):
            raise from_code(folder, dataset)
        files = labelled_images(TEST_PATH, folder, spec.class_names)
        # As from files, whose brightest pixel is 255, to what the run's own data have for it.
        share = _BRIGHTEST / scaling.pixel_max
        mean, std = (
            (np.asarray(values) * share).tolist() for values in (scaling.mean, scaling.std)
        )
        scaling = replace(scaling, mean=mean, std=std, pixel_max=_BRIGHTEST)
        format = ImageFormat.of(spec.input_shape, scaling.reading)
        images = StoredImages(
            FilePixels(files.paths, format, int(dataset.get("workers", 0))), scaling
        )
        targets = class_targets(files.targets, len(spec.class_names))
        return Labelled(StoredSplit.of(images, targets))

    def files_in(self, folder: Path, spec: Spec, preprocessing: Scaling) -> list[Path]:
        inside = sorted(file for file in folder.rglob("*") if file.is_file())
        seen = [file for file in inside if not any(map(is_hidden, _below(file, folder)))]
        found = [file for file in seen if is_image(file)]
        if found and len(found) < len(seen):
            other = next(file for file in seen if not is_image(file))
            note(
                f"{folder}: {len(seen) - len(found)} files are left out, such as {other.relative_to(folder)}; "
                f"images are {', '.join(SUFFIXES)}"
            )
        if not found:
            raise ConfigError(f"{folder} is a folder without images ({', '.join(SUFFIXES)})")
        return found

    def describe(self, preprocessing: Preprocessing, spec: Spec) -> tuple[str, dict[str, Any]]:
        plain = preprocessing.to_dict()
        format = ImageFormat.of(spec.input_shape, plain["reading"])
        if format.colours not in (1, 3):  # any other is no image file
            return "inputs are (raw - mean) / std", plain
        return self.preparing, plain | {"image_files": reading_steps(format)}


class NewTableImages(NewImages):
    """Images, and tables that name them."""

    def labelled(self, given: Any, kept: Kept, dataset: Mapping[str, Any]) -> Labelled:
        spec, scaling = kept.spec, cast(ImageTableScaling, kept.preprocessing)
        reading = replace(LabelReading(**scaling.table), root=dataset["image_root"])
        table = locate_file(TEST_PATH, one_path(given))
        labels = read_more(table, reading, spec.classes, drop_missing_target=dataset[DROP_MISSING])
        drop = bool(dataset["drop_bad_images"])
        files = files_of(labels, root_of(table, reading, labels.names), drop=drop).files
        format = ImageFormat.of(spec.input_shape, scaling.reading)
        images = StoredImages(FilePixels(files.paths, format, int(dataset["workers"])), scaling)
        return Labelled(StoredSplit.of(images, as_targets(files.targets, spec, scaling)))

    def files_of(self, path: Path, preprocessing: ImageTableScaling) -> list[Path]:
        if not path.is_file() or is_image(path) or path.suffix.lower() in (".npy", ".npz"):
            return [path]
        labels = read_names(path, LabelReading(**preprocessing.table))
        root = root_of(path, LabelReading(**preprocessing.table), labels.names)
        return [Path(name) for name in files_of(labels, root, drop=False).files.paths]


def _is_one_image(path: Path) -> bool:
    """Arrays by their suffix, images by how they begin."""
    return path.suffix.lower() not in (".npy", ".npz", ".csv") and is_image(path)


def _below(file: Path, folder: Path) -> list[Path]:
    """The file and the folders that it is in, up to `folder`."""
    return [Path(part) for part in file.relative_to(folder).parts]
