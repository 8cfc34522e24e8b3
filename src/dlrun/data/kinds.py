"""The kinds of data, a line each, and which of them something is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import torch

from dlrun.data.arrays.scaling import ARRAYS
from dlrun.data.base import Preprocessing, Spec
from dlrun.data.baselines import majority_class, training_mean
from dlrun.data.changed_data import Kept
from dlrun.data.files import other_kind
from dlrun.data.images.dataset import IMAGE_TABLES, IMAGES
from dlrun.data.kind import Kind, Labelled, Piece
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
    """The files that `path` means: itself, those that a glob or a table names, or the inputs in a folder, by name.

    Raises:
        ConfigError: a folder without images, or of a run that takes none; a glob that no file matches.
    """
    reader = kind_of(preprocessing, spec).new_inputs
    if path.is_dir():
        return reader.files_in(path, spec, preprocessing)
    if not has_magic(str(path)) or path.exists():
        return reader.files_of(path, preprocessing)
    found = sorted(Path(one) for one in glob(str(path.expanduser()), recursive=True))
    if not found:
        raise ConfigError(
            f"{path} matches no file; give one that does, from {Path.cwd()} or absolute"
        )
    return [file for one in found for file in files_of(one, spec, preprocessing)]


def read_inputs(path: Path, spec: Spec, preprocessing: Preprocessing) -> Any:
    """As `NewInputs.read`.

    Raises:
        ConfigError: missing, unreadable, or not what this run was trained on.
    """
    reader = kind_of(preprocessing, spec).new_inputs
    if not (reader.reads_folders and path.is_dir()):
        _refuse_other_kind(path)
    with _settled():
        return reader.read(path, spec, preprocessing)


def read_pieces(
    files: Sequence[Path], spec: Spec, preprocessing: Preprocessing, keep: Sequence[str] = ()
) -> Iterator[Piece]:
    """As `NewInputs.pieces`.

    Raises:
        ConfigError: as `read_inputs`; there is no column to keep.
    """
    for path in files:
        _refuse_other_kind(path)
    with _settled():
        reader = kind_of(preprocessing, spec).new_inputs
        yield from reader.pieces(files, spec, preprocessing, keep)


def _refuse_other_kind(path: Path) -> None:
    if not path.is_file():
        kind = other_kind(path)
        raise ConfigError(f"{path} is not a file" + (f", but {kind}; give a file" if kind else ""))


@contextmanager
def _settled() -> Iterator[None]:
    """Within it, no remedy is a setting: how a run reads its files was settled when it was trained."""
    try:
        yield
    except BadFile as error:
        raise ConfigError(f"{error.what}; {error.mend}") from error


def read_labelled(given: str | list[str], kept: Kept, dataset: Mapping[str, Any]) -> Labelled:
    """As `NewInputs.labelled`, with what the training part would have said.

    Raises:
        ConfigError: missing, unreadable, not in the form of the training data, or a class that those did not have.
    """
    with _settled():
        found = kind_of(kept.preprocessing, kept.spec).new_inputs.labelled(given, kept, dataset)
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
