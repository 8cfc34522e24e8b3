"""The kinds of data, a line each, and which of them something is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dlrun.data.arrays.scaling import ARRAYS
from dlrun.data.base import Preprocessing, Spec
from dlrun.data.baselines import majority_class, training_mean
from dlrun.data.changed_data import Kept
from dlrun.data.files import other_kind
from dlrun.data.images.dataset import IMAGE_TABLES, IMAGES
from dlrun.data.kind import Kind, Labelled
from dlrun.data.loaders import Split
from dlrun.data.series.dataset import SERIES
from dlrun.data.tables.encoding import TABLES
from dlrun.data.text.character_encoding import CHARACTERS
from dlrun.data.text.encoding import TEXTS
from dlrun.errors import BadFile, ConfigError

KINDS: tuple[Kind, ...] = (
    IMAGE_TABLES,  # before those that it is a special case of
    ARRAYS,
    IMAGES,
    TABLES,
    TEXTS,
    CHARACTERS,
    SERIES,
)


def kind_of(preprocessing: Preprocessing, spec: Spec) -> Kind:
    """The kind of the data that a run was trained on."""
    return next(
        kind
        for kind in KINDS
        if isinstance(preprocessing, kind.preprocessing) and spec.kind in kind.units
    )


def files_of(path: Path, spec: Spec, preprocessing: Preprocessing) -> list[Path]:
    """The files that `path` means: itself, those that a table names, or the images or texts in a folder, by name.

    Raises:
        ConfigError: a folder without images, or of a run that takes none.
    """
    reader = kind_of(preprocessing, spec).new_inputs
    if path.is_dir():
        return reader.files_in(path, spec, preprocessing)
    return reader.files_of(path, preprocessing)


def read_inputs(path: Path, spec: Spec, preprocessing: Preprocessing) -> Any:
    """As `NewInputs.read`.

    Raises:
        ConfigError: missing, unreadable, or not what this run was trained on.
    """
    if not path.is_file() and not path.is_dir():
        kind = other_kind(path)
        raise ConfigError(f"{path} is not a file" + (f", but {kind}; give a file" if kind else ""))
    try:
        return kind_of(preprocessing, spec).new_inputs.read(path, spec, preprocessing)
    except BadFile as error:  # how a run reads its files was settled when it was trained
        raise ConfigError(f"{error.what}; {error.mend}") from error


def read_labelled(given: str | list[str], kept: Kept, dataset: Mapping[str, Any]) -> Labelled:
    """As `NewInputs.labelled`, with what the training part would have said.

    Raises:
        ConfigError: missing, unreadable, not in the form of the training data, or a class that those did not have.
    """
    try:
        found = kind_of(kept.preprocessing, kept.spec).new_inputs.labelled(given, kept, dataset)
    except BadFile as error:  # how a run reads its files was settled when it was trained
        raise ConfigError(f"{error.what}; {error.mend}") from error
    return replace(found, baselines={**_baselines(found.part, kept), **found.baselines})


def _baselines(part: Split, kept: Kept) -> Mapping[str, Mapping[str, float]]:
    names = kept.spec.target_names
    if kept.spec.classes:
        most = kept.origin.majority if kept.origin else None
        return {} if most is None else majority_class(most, part.targets, names)
    if kept.spec.task != "regression" or kept.preprocessing.scaled_by_row:
        return {}
    mean = torch.zeros(1, part.targets.shape[1])  # where targets are standardised
    return training_mean(mean, part.targets, kept.preprocessing.target_std, names)
