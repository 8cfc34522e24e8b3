"""From image files to normalised training, validation and test parts, in memory or read as they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from dlrun.config.settings import DataSettings
from dlrun.data.arrays.scaling import Scaling, fit_images
from dlrun.data.base import Dataset, Spec, as_targets, task_of, without_constants
from dlrun.data.fingerprint import PARTS, Parts, Rows
from dlrun.data.images.cached import cached_pixels
from dlrun.data.images.duplicates import note_duplicates
from dlrun.data.images.folder import Files, ImageFiles
from dlrun.data.images.image_format import ImageFormat
from dlrun.data.images.read import BadImage
from dlrun.data.images.streaming import FilePixels, Pixels, StoredImages, StoredSplit
from dlrun.data.images.table import ImageTable
from dlrun.data.kind import Kind
from dlrun.data.loaders import Split
from dlrun.data.splits import parted, split_rows
from dlrun.errors import note
from dlrun.system.hardware import usable_cores

_FITTED_ON = 5_000  # images: their mean is that of a million to a hundredth of a standard deviation
_AT_ONCE = 256  # images in a reading
_BRIGHTEST = 255.0


def split_images(raw: ImageFiles, settings: DataSettings) -> Parts:
    """The images of each part; where the folder has a part, its fraction means nothing.

    Raises:
        ConfigError: a split that leaves a part with too few images.
    """
    own = replace(
        settings,
        val_fraction=0.0 if "val" in raw.own else settings.val_fraction,
        test_fraction=None if "test" in raw.own else settings.test_fraction,
    )
    strata = raw.train.targets if raw.class_names else None
    rows = split_rows(len(raw), strata, own, has_test="test" in raw.own, has_val="val" in raw.own)
    return parted(rows, raw.own)


def prepare_images(
    raw: ImageFiles, settings: DataSettings, parts: Parts, scaling: Scaling | None
) -> Dataset:
    """Fit the normalisation on the training part, where there is none yet, and apply it to all parts.

    The normalisation is fitted on all training images up to 5,000, and on as many drawn from
    `split_seed` where there are more: the same in memory and out of it.

    Raises:
        ConfigError: a file that is no image.
    """
    if scaling is not None:  # files are read as they were
        raw = replace(raw, format=ImageFormat.of(raw.traits["shape"], scaling.reading))
    files = [_files(raw, name, parts[name]) for name in PARTS]
    try:
        pixels = _pixels(files, raw)
        if scaling is None:
            note_duplicates(files[0].paths, {"validation": files[1].paths, "test": files[2].paths})
            scaling = _fit(files[0], pixels[0], raw, settings)
    except BadImage as error:
        raise raw.located(error) from error
    spec = _spec(raw)
    train, val, test = (
        _split(as_targets(part.targets, spec, scaling), kept, scaling)
        for part, kept in zip(files, pixels, strict=True)
    )
    return Dataset(spec, scaling, train, val, test)


def _files(raw: ImageFiles, name: str, rows: Rows) -> Files:
    files: Files = raw.train.take(np.asarray(rows)) if rows is not None else getattr(raw, name)
    return files


def _fit(
    train: Files, pixels: np.ndarray | Pixels, raw: ImageFiles, settings: DataSettings
) -> Scaling:
    normalize = settings.normalize == "standard"
    count = min(len(train), _FITTED_ON if normalize else 1)
    drawn = np.sort(np.random.default_rng(settings.split_seed).permutation(len(train))[:count])
    images = pixels[drawn] if isinstance(pixels, np.ndarray) else _read(pixels, drawn)
    if images.size and images.min() == images.max():
        note(
            "all training images have the same colour, so nothing can be learned from them; look at "
            "dataset.alpha and dataset.depth, and at the files"
        )
    scaling = fit_images(
        images, normalize=normalize, pixel_max=_BRIGHTEST, reading=raw.format.reading
    )
    return (
        ImageTableScaling.of(scaling, train.targets, raw)
        if isinstance(raw, ImageTable)
        else scaling
    )


def _split(targets: Tensor, pixels: np.ndarray | Pixels, scaling: Scaling) -> Split:
    if isinstance(pixels, np.ndarray):
        return Split(scaling.inputs(pixels), targets)
    return StoredSplit.of(StoredImages(pixels, scaling), targets)


def _pixels(parts: Sequence[Files], raw: ImageFiles) -> Sequence[np.ndarray | Pixels]:
    """The pixels of each part, from 0 to 255: in memory, (N, channels, height, width), or where they are kept."""
    if raw.store == "cache":
        return _cached(parts, raw)
    files = [FilePixels(part.paths, raw.format, raw.workers) for part in parts]
    if raw.store == "files":
        return files
    return [_read(part, np.arange(len(part))) for part in files]


def _cached(parts: Sequence[Files], raw: ImageFiles) -> list[Pixels]:
    """The pixels of each part, in one file for any way to part them."""
    found = [raw.train, *(part for part in (raw.val, raw.test) if part is not None)]
    paths = tuple(path for part in found for path in part.paths)
    processes = raw.workers and max(raw.workers, round(usable_cores()))
    cached = cached_pixels(paths, raw.format, FilePixels(paths, raw.format, processes).batches)
    places = {path: place for place, path in enumerate(paths)}
    return [
        replace(cached, rows=np.array([places[path] for path in part.paths], np.int64))
        for part in parts
    ]


def _read(images: Pixels, rows: np.ndarray) -> np.ndarray:
    """The pixels of these images, (N, channels, height, width)."""
    form = images.format
    pixels = np.empty((len(rows), form.channels, form.height, form.width), form.dtype)
    numbers, start = rows.tolist(), 0
    batches = [numbers[at : at + _AT_ONCE] for at in range(0, len(numbers), _AT_ONCE)]
    for batch in images.batches(batches):
        pixels[start : start + len(batch)] = batch
        start += len(batch)
    return pixels


def _spec(raw: ImageFiles) -> Spec:
    labels = raw.labels if isinstance(raw, ImageTable) else ()
    names = tuple(raw.reading.targets) if isinstance(raw, ImageTable) else ()
    task, outputs = task_of(raw.class_names, labels, len(names))
    return Spec(
        task=task,
        kind="image",
        input_shape=(raw.format.channels, raw.format.height, raw.format.width),
        num_outputs=outputs,
        class_names=raw.class_names,
        target_names=names if len(names) > 1 else (),
        labels=labels,
    )


@dataclass(frozen=True)
class ImageTableScaling(Scaling):
    """The scaling of images that a table names, and of its targets.

    Attributes:
        table: how more tables are read, as `LabelReading`.
    """

    kind: ClassVar[str] = "image_table"
    table: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, scaling: Scaling, targets: np.ndarray, raw: ImageTable) -> ImageTableScaling:
        """That of the images with what their table adds; `targets` are those of the training part."""
        of_classes = raw.class_names or raw.labels
        quantities = np.empty((len(targets), 0)) if of_classes else targets
        mean, std = quantities.mean(0), quantities.std(0)
        own = {"target_mean": mean.tolist(), "target_std": without_constants(std, mean).tolist()}
        return cls(**{**vars(scaling), **own, "table": dict(vars(raw.reading))})

    @property
    def predicted(self) -> list[str]:
        names: list[str] = self.table["targets"]
        return names

    @property
    def target_names(self) -> list[str]:
        return self.predicted if len(self.predicted) > 1 else []

    @property
    def traits(self) -> dict[str, list[str]]:
        """The columns that are predicted."""
        return {"targets": self.predicted}


# Also of images that came as an array: new ones may be files.
IMAGES = Kind(
    raw=ImageFiles,
    split=split_images,
    encode=prepare_images,
    preprocessing=Scaling,
    units={"image": "images"},
    reader="dlrun.data.images.new_images.NewImages",
)
IMAGE_TABLES = replace(
    IMAGES,
    raw=ImageTable,
    preprocessing=ImageTableScaling,
    reader="dlrun.data.images.new_images.NewTableImages",
)
