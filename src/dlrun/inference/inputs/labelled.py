"""New rows with what is to be predicted of them, in the form of the training data, encoded as those were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from dlrun.data.arrays.scaling import Scaling
from dlrun.data.base import Split, class_targets
from dlrun.data.baselines import majority_class, training_mean
from dlrun.data.changed_data import Kept
from dlrun.data.files import locate_file, read_text
from dlrun.data.images.archive import locate_images
from dlrun.data.images.folder import labelled_images
from dlrun.data.images.image_format import ImageFormat
from dlrun.data.images.streaming import StoredImages
from dlrun.data.series.dataset import forecasts_of
from dlrun.data.series.scaling import SeriesScaling
from dlrun.data.tables.encoding import TableEncoding, encode_rows
from dlrun.data.tables.number_format import Notation
from dlrun.data.tables.read import read_targets
from dlrun.data.tables.table import Reading
from dlrun.data.tables.target_column import class_numbers
from dlrun.data.text.character_encoding import CharacterEncoding, encode_characters, tell_unseen
from dlrun.data.text.encoding import TextEncoding, encode_texts
from dlrun.data.text.files import labelled_texts
from dlrun.data.text.folder import labelled_files
from dlrun.data.text.texts import Labelled as LabelledText
from dlrun.data.text.texts import tokenize
from dlrun.errors import BadFile, ConfigError, did_you_mean
from dlrun.inference.inputs.history import read_history
from dlrun.inference.inputs.rows import read_labelled_rows

KEY = "dataset.test_path"
_BRIGHTEST = 255.0

Dataset = Mapping[str, Any]  # the config of the run's own data


@dataclass(frozen=True)
class Labelled:
    """New rows as a model takes them.

    Attributes:
        unit: what one of them is called.
        baselines: as of a `Dataset`, what the training part would have said.
    """

    part: Split
    unit: str
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def read_labelled(given: str | list[str], kept: Kept, dataset: Dataset) -> Labelled:
    """The rows that `given` names: a file, or what else the run's `dataset.path` may be.

    Raises:
        ConfigError: missing, unreadable, not in the form of the training data, or a class that those did not have.
    """
    try:
        found = _read(given, kept, dataset)
    except BadFile as error:  # how a run reads its files was settled when it was trained
        raise ConfigError(f"{error.what}; {error.mend}") from error
    return replace(found, baselines={**_baselines(found.part, kept), **found.baselines})


def _read(given: str | list[str], kept: Kept, dataset: Dataset) -> Labelled:
    encoding = kept.preprocessing
    if isinstance(encoding, TextEncoding):
        return _texts(given, encoding, kept, dataset)
    if not isinstance(given, str):
        raise ConfigError(f"{KEY} is {given}, but must name one file")
    match encoding:
        case TableEncoding():
            return _table(locate_file(KEY, given), encoding, kept, dataset)
        case SeriesScaling():
            return _series(locate_file(KEY, given), encoding)
        case CharacterEncoding():
            return _characters(locate_file(KEY, given), encoding, dataset)
        case Scaling() if kept.spec.kind == "image" and encoding.pixel_max:
            return _images(locate_images(KEY, given), encoding, kept, dataset)
    raise _from_code(given, dataset)


def _from_code(given: Any, dataset: Dataset) -> ConfigError:
    return ConfigError(
        f"{KEY} is {given}, but the data of this run come from code, {dataset['_target_']}, and no file has their "
        "form; `dlrun predict` takes new inputs without what is to be predicted"
    )


def _table(path: Path, encoding: TableEncoding, kept: Kept, dataset: Dataset) -> Labelled:
    reading = Reading(**encoding.reading)
    if not reading.target:  # an earlier version wrote none
        reading = replace(reading, target=_named(reading, dataset.get("target", "")))
    cells, rows_of = read_labelled_rows(path, reading)
    names = kept.spec.class_names
    cells, targets = read_targets(cells, reading, names)
    part = encode_rows(encoding, rows_of(cells), targets, len(names))
    return Labelled(part, "rows")


def _named(reading: Reading, column: Any) -> str:
    """The name of the column that a config calls by name, or by number from 1 or from -1."""
    if isinstance(column, int) and str(column) not in reading.columns:
        return reading.columns[column - 1 if column > 0 else column]
    return str(column)


def _texts(given: Any, encoding: TextEncoding, kept: Kept, dataset: Dataset) -> Labelled:
    if encoding.reads_whole_files:
        rows: list[LabelledText] | None = labelled_files(KEY, str(given), encoding.file_encoding)
    else:
        if encoding.layout and encoding.layout["form"] == "table":
            dataset = {**dataset, "header": encoding.layout["named"]}
        rows = labelled_texts(KEY, given, dataset)
    if rows is None:
        raise _from_code(given, dataset)
    names = kept.spec.class_names
    merge = bool(dataset.get("merge_labels", False))
    numbers = class_numbers([row.label for row in rows], names, merge=merge, notation=Notation())
    for row, number in zip(rows, numbers, strict=True):
        if number is None:
            raise ConfigError(
                f"{row.place}: the label {row.label} is none of this run's{did_you_mean(row.label, names)}"
            )
    labels = np.array(numbers, np.int64)
    tokens = [tokenize(row.text, level=encoding.level, lower=encoding.lower) for row in rows]
    return Labelled(encode_texts(encoding, tokens, labels, len(names), True), "texts")


def _series(path: Path, scaling: SeriesScaling) -> Labelled:
    part, baselines = forecasts_of(scaling, read_history(path, scaling, told=True))
    return Labelled(part, "forecasts", baselines)


def _characters(path: Path, encoding: CharacterEncoding, dataset: Dataset) -> Labelled:
    text = read_text(path, str(dataset.get("encoding", "utf-8")))
    if len(text) < 2:
        raise ConfigError(
            f"{path} holds one character, after which nothing comes; give a longer text"
        )
    tell_unseen(str(path), encoding, {"new": text})
    return Labelled(encode_characters(encoding, text), "characters")


def _images(folder: Path, scaling: Scaling, kept: Kept, dataset: Dataset) -> Labelled:
    spec = kept.spec
    if not scaling.reading and spec.input_shape[0] not in (1, 3):
        raise _from_code(folder, dataset)
    files = labelled_images(KEY, folder, spec.class_names)
    # As from files, whose brightest pixel is 255, to what the run's own data have for it.
    share = _BRIGHTEST / scaling.pixel_max
    mean, std = ((np.asarray(values) * share).tolist() for values in (scaling.mean, scaling.std))
    scaling = replace(scaling, mean=mean, std=std, pixel_max=_BRIGHTEST)
    format = ImageFormat.of(spec.input_shape, scaling.reading)
    workers = int(dataset.get("workers", 0))
    stored: Any = StoredImages(files.paths, format, scaling, workers)
    return Labelled(
        Split(cast(Tensor, stored), class_targets(files.targets, len(spec.class_names))), "images"
    )


def _baselines(part: Split, kept: Kept) -> Mapping[str, Mapping[str, float]]:
    if kept.spec.num_classes:
        most = kept.origin.majority if kept.origin else None
        return {} if most is None else majority_class(most, part.targets)
    if kept.spec.task != "regression":
        return {}
    mean = torch.zeros(1, part.targets.shape[1])  # where targets are standardised
    return training_mean(mean, part.targets, kept.preprocessing.target_std)
