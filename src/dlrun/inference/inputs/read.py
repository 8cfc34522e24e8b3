"""New inputs for a trained model, read by what its own data were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dlrun.data.arrays.scaling import Scaling
from dlrun.data.base import Preprocessing, Spec
from dlrun.data.files import other_kind
from dlrun.data.images.read import SUFFIXES, is_hidden, is_image
from dlrun.data.series.scaling import SeriesScaling
from dlrun.data.tables.encoding import TableEncoding
from dlrun.data.text.character_encoding import CharacterEncoding
from dlrun.data.text.checks import texts_in
from dlrun.data.text.encoding import TextEncoding
from dlrun.errors import BadFile, ConfigError, command, note
from dlrun.inference.inputs.arrays import read_arrays
from dlrun.inference.inputs.history import read_history
from dlrun.inference.inputs.lines import read_lines
from dlrun.inference.inputs.rows import read_table_rows


def files_of(path: Path, spec: Spec, preprocessing: Preprocessing) -> list[Path]:
    """The files that `path` means: itself, or the images or texts in a folder and the folders in it, by name.

    Raises:
        ConfigError: a folder without images, or of a run that takes none.
    """
    if not path.is_dir():
        return [path]
    if isinstance(preprocessing, TextEncoding) and preprocessing.reads_whole_files:
        return _texts_under(path)
    if spec.kind != "image":
        trained_on = "texts, each a line" if spec.kind == "tokens" else spec.kind
        raise ConfigError(
            f"{path} is a folder, of which only images are taken, or texts where each is a file, and this run was "
            f"trained on {trained_on}; give its files one by one"
        )
    inside = sorted(file for file in path.rglob("*") if file.is_file())
    seen = [file for file in inside if not any(map(is_hidden, _below(file, path)))]
    found = [file for file in seen if is_image(file)]
    if found and len(found) < len(seen):
        other = next(file for file in seen if not is_image(file))
        note(
            f"{path}: {len(seen) - len(found)} files are left out, such as {other.relative_to(path)}; "
            f"images are {', '.join(SUFFIXES)}"
        )
    if not found:
        raise ConfigError(f"{path} is a folder without images ({', '.join(SUFFIXES)})")
    return found


def _below(file: Path, folder: Path) -> list[Path]:
    """The file and the folders that it is in, up to `folder`."""
    return [Path(part) for part in file.relative_to(folder).parts]


def _texts_under(path: Path) -> list[Path]:
    folders = [path, *(one for one in path.rglob("*") if one.is_dir() and one.name[0] != ".")]
    found = sorted(file for folder in folders for file in texts_in(folder))
    if not found:
        raise ConfigError(f"{path} is a folder without texts")
    return found


def read_inputs(path: Path, spec: Spec, preprocessing: Preprocessing) -> Any:
    """The inputs in one file, raw as `preprocessing.inputs` takes them; their number is its length, but of a series.

    Raises:
        ConfigError: missing, unreadable, or not what this run was trained on.
    """
    if not path.is_file():
        kind = other_kind(path)
        raise ConfigError(f"{path} is not a file" + (f", but {kind}; give a file" if kind else ""))
    try:
        return _read(path, spec, preprocessing)
    except BadFile as error:  # how a run reads its files was settled when it was trained
        raise ConfigError(f"{error.what}; {error.mend}") from error


def _read(path: Path, spec: Spec, preprocessing: Preprocessing) -> Any:
    match preprocessing:
        case Scaling():
            return read_arrays(path, spec, preprocessing)
        case SeriesScaling():
            return read_history(path, preprocessing)
        case TextEncoding():
            return read_lines(path, preprocessing, spec.class_names)
        case TableEncoding():
            return read_table_rows(path, preprocessing)
        case CharacterEncoding():
            raise ConfigError(
                "this run's model continues a text and predicts no class; "
                f"use `{command('generate', 'RUN', '--prompt', 'TEXT')}`"
            )
    raise AssertionError(f"nothing reads inputs for {preprocessing.kind}")
