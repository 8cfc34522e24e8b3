"""From a table to numbers and codes: what is fitted on the training part, and a data set made with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

from dlrun.config.settings import DataSettings
from dlrun.data.base import (
    Dataset,
    Preprocessing,
    Spec,
    class_targets,
    class_task,
    without_constants,
)
from dlrun.data.fingerprint import Parts, as_index
from dlrun.data.kind import Kind
from dlrun.data.loaders import Split
from dlrun.data.splits import parted, split_rows
from dlrun.data.tables.column import Values
from dlrun.data.tables.stored_rows import AT_ONCE, BlockSplit, StoredInputs
from dlrun.data.tables.table import Fill, Reading, Rows, Table, Words, take_fold
from dlrun.errors import ConfigError

A = TypeVar("A")
B = TypeVar("B")
_BLOCK = 2**15  # rows, few enough to stay in a processor's cache while they are scaled
_RARE = ", or set dataset.task=regression where they are numbers"


@dataclass(frozen=True)
class TableEncoding(Preprocessing):
    """How the rows of a table become inputs (N, F): scaled numbers, then codes of categories.

    Attributes:
        reading: how the rows of a file are read, as `Reading`.
        fill, mean, std: of each column of numbers; a missing one becomes `fill` before it is scaled.
        levels: of each column of words, those of the training part in their order; missing is one of
            them where it occurs there. The code of a word is its place from 1, and 0 where it has none.
    """

    kind: ClassVar[str] = "table"
    reading: dict[str, Any]
    fill: list[float]
    mean: list[float]
    std: list[float]
    levels: list[list[str | None]]
    target_mean: list[float]
    target_std: list[float]

    def inputs(self, raw: Rows) -> Tensor:
        """(N, F) float32."""
        return self.inputs_of(raw, None)

    def inputs_of(self, raw: Rows, rows: np.ndarray | None) -> Tensor:
        """(N, F) float32 of these rows; None is all of them."""
        count, width = len(raw) if rows is None else len(rows), len(self.fill) + len(self.levels)
        inputs = np.empty((count, width), np.float32)
        codes = [_codes(*column) for column in zip(raw.words, self.levels, strict=True)]

        def write(start: int) -> None:
            part = slice(start, start + _BLOCK)
            at = part if rows is None else as_index(rows[part])
            block = np.empty((width, len(inputs[part])), np.float32)
            self._scale(raw, at, block)
            for column, words in enumerate(raw.words):
                block[len(self.fill) + column] = codes[column][words.codes[at]]
            inputs[part] = block.T

        _at_once(write, range(0, count, _BLOCK))
        return torch.from_numpy(inputs)

    def _scale(self, raw: Rows, at: np.ndarray | slice, block: np.ndarray) -> None:
        """Write the numbers of the rows `at` into `block` (F, N)."""
        scales = zip(self.fill, self.mean, self.std, strict=True)
        for column, (fill, mean, std) in enumerate(scales):
            numbers = raw.numbers[column][at]
            if isinstance(at, slice) and not raw.stored:
                numbers = numbers.copy()
            missing = np.isnan(numbers)
            if missing.any():
                numbers[missing] = fill
            numbers -= mean
            numbers /= std
            block[column] = numbers

    @property
    def traits(self) -> dict[str, list[str]]:
        """The columns that are read as words."""
        return {"columns of words": self.reading["words"]}

    @property
    def categories(self) -> tuple[int, ...]:
        """How many codes each column of words has, that of unknown words among them."""
        return tuple(len(levels) + 1 for levels in self.levels)


def split_table(table: Table, settings: DataSettings) -> Parts:
    """The rows of each part.

    Raises:
        ConfigError: a split that leaves a part with too few rows, or a test part asked for twice.
    """
    parts = _rows(table, settings)
    if (
        table.rows.stored and len(table) > AT_ONCE
    ):  # in the order of the file, in which they are read
        train, val, test = map(np.sort, parts)
        parts = train, val, test
    return parted(parts, table.own)


def prepare_table(
    table: Table, settings: DataSettings, parts: Parts, encoding: TableEncoding | None
) -> Dataset:
    """Fit the encoding on the training part alone, where there is none yet, and apply it to all parts."""
    if encoding is None:
        train = np.asarray(parts["train"], np.intp)
        encoding = _fit(
            table.reading,
            table.rows,
            train,
            table.targets[train],
            fill=table.fill,
            normalize=settings.normalize == "standard",
            regression=not table.class_names,
        )

    def part(name: str) -> Split:
        rows = parts[name]
        if rows is None and table.test is not None and table.test_targets is not None:
            return encode_rows(encoding, table.test, table.test_targets, len(table.class_names))
        at = np.asarray(rows)
        targets = _targets(encoding, table.targets[at], len(table.class_names))
        return _part(encoding, table.rows, at, targets)

    return Dataset(_spec(table, encoding), encoding, part("train"), part("val"), part("test"))


def encode_rows(encoding: TableEncoding, rows: Rows, targets: np.ndarray, classes: int) -> Split:
    """Rows with their targets, class numbers where there are `classes`, as a model takes them."""
    encoded = _targets(encoding, targets, classes)
    if rows.stored:
        return _part(encoding, rows, np.arange(len(rows)), encoded)
    return Split(encoding.inputs(rows), encoded)


def _part(encoding: TableEncoding, raw: Rows, rows: np.ndarray, targets: Tensor) -> Split:
    """These rows with their targets: in memory, or in the files that hold them."""
    # A run finds the batches that it began with, in files or in memory.
    ordered = len(rows) > AT_ONCE and bool((rows[1:] > rows[:-1]).all())
    if raw.stored:
        width = len(encoding.fill) + len(encoding.levels)
        stored = StoredInputs(encoding, raw, rows, width)
        return BlockSplit.of(stored, targets, in_blocks=ordered)
    inputs = encoding.inputs_of(raw, rows)
    return BlockSplit(inputs, targets) if ordered else Split(inputs, targets)


def _at_once(function: Callable[[A], B], given: Iterable[A]) -> list[B]:
    """`function` of each of `given`, in threads: what NumPy does with many rows does not hold up the others."""
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return list(pool.map(function, given))


def _targets(encoding: TableEncoding, targets: np.ndarray, classes: int) -> Tensor:
    return class_targets(targets, classes) if classes else encoding.targets(targets)


def _rows(table: Table, settings: DataSettings) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row numbers that train, validate and test."""
    strata = table.targets if table.class_names else None
    if table.folds is None:
        has_test = table.test is not None
        return split_rows(len(table.rows), strata, settings, has_test=has_test, rare=_RARE)
    if settings.test_fraction is not None:
        raise ConfigError(
            f"dataset.test_fraction is {settings.test_fraction}, but dataset.folds is {table.folds}, of which "
            "dataset.fold is the test part; set dataset.test_fraction=null"
        )
    rest, test = take_fold(
        len(table.rows), strata, folds=table.folds, fold=table.fold, seed=settings.split_seed
    )
    left = None if strata is None else strata[rest]
    train, val, _ = split_rows(len(rest), left, settings, has_test=True, rare=_RARE)
    return rest[train], rest[val], test


def _fit(
    reading: Reading,
    rows: Rows,
    train: np.ndarray,
    targets: np.ndarray,
    *,
    fill: Fill,
    normalize: bool,
    regression: bool,
) -> TableEncoding:
    """The encoding by the rows `train`; `targets` are theirs."""

    def fitted(column: Values) -> tuple[float, float, float]:
        numbers = column[train]
        missing = _filling(numbers, fill)
        numbers[np.isnan(numbers)] = missing
        return missing, *(
            (float(numbers.mean()), float(numbers.std())) if normalize else (0.0, 1.0)
        )

    found = np.array(_at_once(fitted, rows.numbers)).reshape(-1, 3)
    fills, means, stds = found.T.tolist()
    target = targets[:, None] if regression else np.empty((len(targets), 0))
    return TableEncoding(
        reading=dict(vars(reading)),
        fill=fills,
        mean=means,
        std=without_constants(np.array(stds), np.array(means)).tolist(),
        levels=[_levels(words.take(train)) for words in rows.words],
        target_mean=target.mean(0).tolist(),
        target_std=without_constants(target.std(0), target.mean(0)).tolist(),
    )


def _filling(column: np.ndarray, rule: Fill) -> float:
    known = column[~np.isnan(column)]
    if rule == "zero" or not len(known):
        return 0.0
    return float(np.median(known, overwrite_input=True) if rule == "median" else known.mean())


def _levels(words: Words) -> list[str | None]:
    """The different words in order, missing last."""
    codes = np.unique(words.codes[:])
    known = sorted(words.kinds[code] for code in codes if code >= 0)
    return [*known, None] if len(known) < len(codes) else [*known]


def _codes(words: Words, levels: Sequence[str | None]) -> np.ndarray:
    """What each of the kinds of `words` becomes, and as the last what a missing one does."""
    numbers: Mapping[str | None, int] = {level: code for code, level in enumerate(levels, 1)}
    return np.array([numbers.get(word, 0) for word in [*words.kinds, None]], np.float32)


def _spec(table: Table, encoding: TableEncoding) -> Spec:
    reading = table.reading
    task, outputs = class_task(len(table.class_names)) if table.class_names else ("regression", 1)
    names = tuple(reading.features)
    return Spec(
        task=task,
        kind="features",
        input_shape=(len(names),),
        num_outputs=outputs,
        class_names=table.class_names,
        feature_names=names,
        categories=encoding.categories,
    )


TABLES = Kind(
    raw=Table,
    split=split_table,
    encode=prepare_table,
    preprocessing=TableEncoding,
    units={"features": "rows"},
    reader="dlrun.data.tables.new_rows.NewRows",
)
