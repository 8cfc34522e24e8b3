"""New rows of numbers from .npy, .npz and .csv files: raw values in the run's own shape."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from dlrun.data.arrays.scaling import Scaling
from dlrun.data.base import Spec
from dlrun.data.changed_data import Kept
from dlrun.data.file_kinds import refuse_other_kinds
from dlrun.data.images.read import is_image
from dlrun.data.kind import AT_ONCE, Labelled, NewInputs, from_code, one_path
from dlrun.data.tables.headers import LOOKED_AT, judge
from dlrun.errors import ConfigError, first_line, note

_NUMPY = b"\x93NUMPY"
_HEAD = 2**20  # bytes, by which a file is known to be of another kind


class NewArrays(NewInputs):
    """Rows of numbers."""

    preparing = "inputs are (raw - mean) / std"

    def read(self, path: Path, spec: Spec, preprocessing: Scaling) -> np.ndarray:
        return np.concatenate([*self.parts(path, spec, preprocessing)])

    def parts(self, path: Path, spec: Spec, preprocessing: Scaling) -> Iterator[np.ndarray]:
        if is_image(path):
            raise ConfigError(
                f"{path} is an image, but this run was trained on {spec.kind}; give a .npy, .npz or .csv of rows"
            )
        yield from array_parts(path, spec)

    def labelled(self, given: Any, kept: Kept, dataset: Mapping[str, Any]) -> Labelled:
        raise from_code(one_path(given), dataset)


def array_parts(path: Path, spec: Spec) -> Iterator[np.ndarray]:
    """The inputs in one file, (N, *spec.input_shape), raw values as in the data set, some at a time.

    Raises:
        ConfigError: unreadable, of a kind not known, or of another shape.
    """
    suffix = path.suffix.lower()
    if suffix == ".npy":
        yield from _mapped(path, spec)
    elif suffix == ".npz":
        yield _shaped(path, _read_numpy(path), spec)
    elif suffix == ".csv":
        for rows in _read_table(path, spec):
            yield _shaped(path, rows, spec)
    else:
        raise ConfigError(
            f"{path}: files ending in {suffix or 'nothing'} are not known; give an image, .npy, .npz or .csv"
        )


def _mapped(path: Path, spec: Spec) -> Iterator[np.ndarray]:
    whole = _map(path)
    if not _is_stack(whole, spec):
        yield _shaped(path, whole, spec)
        return
    for start in range(0, len(whole), AT_ONCE):
        # Mapped anew: what has been read of a map counts as memory of the process for as long as there is any.
        some = _map(path)[start : start + AT_ONCE]
        yield _shaped(path, some, spec)


def _map(path: Path) -> np.ndarray:
    """The array in a .npy file, mapped; read whole where it cannot be."""
    with suppress(OSError, ValueError):  # told by the reader of whole files
        with path.open("rb") as file:
            begin = file.read(len(_NUMPY))
        if begin == _NUMPY:
            return np.lib.format.open_memmap(path, mode="r")
    return _read_numpy(path)


def _read_numpy(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as file:  # numpy leaves a damaged .npz open
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            names = loaded.files
            if not names:
                raise ConfigError(f"{path} holds no arrays")
            if len(names) != 1 and "inputs" not in names:
                raise ConfigError(
                    f"{path} holds the arrays {', '.join(names)}: name the one to use `inputs`"
                )
            array: np.ndarray = loaded["inputs" if "inputs" in names else names[0]]
            return array
    except ConfigError:
        raise
    except Exception as error:  # numpy raises half a dozen kinds for damaged files
        reason = first_line(error)
        if "pickle" in reason:  # numpy would advise to allow code from the file
            reason = "it is no .npy or .npz file of plain numbers"
        raise ConfigError(f"{path} cannot be read as a NumPy array: {reason}") from error


def _read_table(path: Path, spec: Spec) -> Iterator[np.ndarray]:
    """Rows of numbers, some at a time; below a header, by which columns are found if it names them all."""
    rows = _rows(path)
    first = list(islice(rows, LOOKED_AT + 1))
    columns: list[int] | None = None
    width = 0
    if first and _is_header(path, [[cell.strip() for cell in row] for _, row in first]):
        header = [cell.strip() for cell in first.pop(0)[1]]
        if spec.feature_names and set(spec.feature_names) <= set(header):
            columns = [header.index(name) for name in spec.feature_names]
            width = len(header)
    if not first:
        raise ConfigError(f"{path} holds no rows")
    rows = chain(first, rows)
    while some := list(islice(rows, AT_ONCE)):
        if columns is not None:
            _refuse_longer(path, some, width)
        yield np.array([_numbers(path, number, row, columns, spec) for number, row in some])


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file that are not empty, with their numbers."""
    try:
        with path.open("rb") as content:
            refuse_other_kinds(path, content.read(_HEAD))
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, row in enumerate(csv.reader(file), 1):
                if any(cell.strip() for cell in row):
                    yield number, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} cannot be read as CSV: {error}") from error


def _is_header(path: Path, rows: list[list[str]]) -> bool:
    """Whether the first row holds no number, or numbers that count columns as pandas does: 0, 1, 2, …"""
    first, *below = rows
    if not any(map(_is_number, first)):
        return True
    verdict = judge(first, below)
    if verdict.header and verdict.sure:
        note(f"{path}: the first row ({', '.join(first[:4])}, …) is read as a header and left out")
    return verdict.header and verdict.sure


def _refuse_longer(path: Path, rows: list[tuple[int, list[str]]], width: int) -> None:
    """More cells than the header names: a comma too many, perhaps a decimal one, moved the values along."""
    for number, row in rows:
        if any(cell.strip() for cell in row[width:]):
            raise ConfigError(
                f"{path}, row {number}, has {len(row)} columns, but the header names {width}"
            )


def _numbers(
    path: Path, number: int, row: list[str], columns: list[int] | None, spec: Spec
) -> list[float]:
    cells = (
        row if columns is None else [row[column] if column < len(row) else "" for column in columns]
    )
    if len(cells) != spec.num_features:
        named = "; only a run of dataset=image_table takes a table that names images"
        rule = f" pixels a row{named}" if spec.kind == "image" else ""
        raise ConfigError(
            f"{path}, row {number}, has {len(cells)} column{'s'[: len(cells) != 1]}, but this run takes "
            f"{spec.num_features}{rule}"
        )
    for column, cell in enumerate(cells, 1):
        if not _is_number(cell):
            raise ConfigError(
                f"{path}, row {number}, column {column}: {cell or 'an empty cell'} is not a number"
            )
    return [float(cell) for cell in cells]


def _is_number(cell: str) -> bool:
    try:
        return bool(np.isfinite(float(cell)))
    except ValueError:
        return False


def _forms(spec: Spec) -> list[tuple[int, ...]]:
    """The shapes that one input may have: its own, or flat."""
    shape = spec.input_shape
    # Images of one channel are commonly stored without the channel axis.
    plain = shape[1:] if spec.kind == "image" and shape[0] == 1 else shape
    return [shape, plain, (spec.num_features,)]


def _is_stack(array: np.ndarray, spec: Spec) -> bool:
    return array.ndim > 0 and array.shape not in _forms(spec) and len(array) > 0


def _shaped(path: Path, array: np.ndarray, spec: Spec) -> np.ndarray:
    """One input or a stack of them, flat or in shape, as (N, *input_shape)."""
    if array.dtype.kind not in "fiub":
        raise ConfigError(f"{path} holds {array.dtype}, but must hold numbers")
    shape = spec.input_shape
    for one in _forms(spec):
        if array.shape in (one, (len(array) if array.ndim else 0, *one)):
            if not array.size:
                raise ConfigError(f"{path} holds no rows")
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
                values = array.reshape(-1, *shape).astype(np.float32)
            if not np.isfinite(values).all():
                raise ConfigError(f"{path} holds values that are not finite numbers")
            return values
    wanted = f"(N, {', '.join(map(str, shape))}) or (N, {spec.num_features})"
    raise ConfigError(f"{path} has the shape {array.shape}, but this run takes {wanted}")
