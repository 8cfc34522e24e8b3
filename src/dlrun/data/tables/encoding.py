"""From a table to numbers and codes: what is fitted on the training part, and a data set made with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from dlrun.config.settings import DataSettings
from dlrun.data.base import (
    Dataset,
    Preprocessing,
    Spec,
    as_targets,
    task_of,
    without_constants,
)
from dlrun.data.fingerprint import Parts, as_index, gather
from dlrun.data.kind import Kind
from dlrun.data.loaders import Split
from dlrun.data.splits import parted, split_rows
from dlrun.data.tables.column import Values
from dlrun.data.tables.stored_rows import AT_ONCE, BlockSplit, StoredInputs
from dlrun.data.tables.table import (
    Fill,
    RareBelow,
    Reading,
    Rows,
    Table,
    Words,
    rare_bound,
)
from dlrun.errors import listed, note

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
            them where it occurs there. The code of a word is its place from 1.
        other: of each column of words, whether a code follows those of the levels: that of all words that are too
            rare in the training part, and of those that are not in it. Without it these have the code 0, whose vector
            no row trains. Empty where an earlier version of dlrun did not write it.
    """

    kind: ClassVar[str] = "table"
    reading: dict[str, Any]
    fill: list[float]
    mean: list[float]
    std: list[float]
    levels: list[list[str | None]]
    target_mean: list[float]
    target_std: list[float]
    other: list[bool] = field(default_factory=list)

    def inputs(self, raw: Rows) -> Tensor:
        """(N, F) float32."""
        return self.inputs_of(raw, None)

    def inputs_of(
        self, raw: Rows, rows: np.ndarray | None, scaled: Sequence[np.ndarray] | None = None
    ) -> Tensor:
        """(N, F) float32 of these rows; None is all of them.

        Args:
            scaled: the numbers of `raw` as `scale` gave them.
        """
        count, width = len(raw) if rows is None else len(rows), len(self.fill) + len(self.levels)
        inputs = np.empty((count, width), np.float32)
        codes = self._codes_of(raw)

        def write(start: int) -> None:
            part = slice(start, start + _BLOCK)
            at = part if rows is None else as_index(rows[part])
            block = np.empty((width, len(inputs[part])), np.float32)
            for column in range(len(self.fill)):
                if scaled is None:
                    block[column] = self._scaled(column, raw.numbers[column], at)
                else:
                    gather(scaled[column], at, block[column])
            for column, words in enumerate(raw.words):
                block[len(self.fill) + column] = codes[column][words.codes[at]]
            inputs[part] = block.T

        _at_once(write, range(0, count, _BLOCK))
        return torch.from_numpy(inputs)

    def scale(self, raw: Rows) -> list[np.ndarray]:
        """The numbers of all rows, (N,) float32 each, for `inputs_of`.

        Each column of `raw` is given up for what it becomes, so that both are never in memory: it is empty then.
        """

        def scale(column: int) -> np.ndarray:
            numbers = raw.numbers[column]
            raw.numbers[column] = np.empty(0)
            found = np.empty(len(numbers), np.float32)
            for start in range(0, len(numbers), _BLOCK):
                part = slice(start, start + _BLOCK)
                found[part] = self._scaled(column, numbers, part)
            return found

        return _at_once(scale, range(len(raw.numbers)))

    def _scaled(self, column: int, numbers: Values, at: np.ndarray | slice) -> np.ndarray:
        """(N,) float64 of a column of numbers, those of the rows `at`."""
        found = numbers[at]
        if isinstance(at, slice) and isinstance(numbers, np.ndarray):
            found = found.copy()
        missing = np.isnan(found)
        if missing.any():
            found[missing] = self.fill[column]
        found -= self.mean[column]
        found /= self.std[column]
        return np.asarray(found)

    def _codes_of(self, raw: Rows) -> list[np.ndarray]:
        """Of each column of words, what its kinds become, and as the last what a missing one does."""
        by_value = self.reading.get(
            "by_value", ()
        )  # the raw words may have been read by another rule
        found = []
        names = self.reading["words"]
        for name, words, levels, other in zip(
            names, raw.words, self.levels, self._others, strict=True
        ):
            known = {level: code for code, level in enumerate(levels, 1)}
            unknown = len(levels) + 1 if other else 0
            kinds = words.values if name in by_value else words.kinds
            codes = [known.get(word, unknown) for word in [*kinds, None]]
            found.append(np.array(codes, np.float32))
        return found

    @property
    def predicted(self) -> list[str]:
        return Reading.of(self.reading).targets

    @property
    def traits(self) -> dict[str, list[str]]:
        """The columns that are read as words."""
        return {"columns of words": self.reading["words"]}

    @property
    def categories(self) -> tuple[int, ...]:
        """How many codes each column of words has, that of unknown words among them."""
        columns = zip(self.levels, self._others, strict=True)
        return tuple(len(levels) + 1 + other for levels, other in columns)

    @property
    def _others(self) -> list[bool]:
        return self.other or [False] * len(self.levels)


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
    """Fit the encoding on the training part alone, where there is none yet, and apply it to all parts.

    Columns of numbers in memory are used up: both they and the inputs would take much of it.
    """
    if encoding is None:
        train = np.asarray(parts["train"], np.intp)
        encoding = _fit(
            table.reading,
            table.rows,
            train,
            table.targets[train],
            fill=table.fill,
            normalize=settings.normalize == "standard",
            regression=not (table.class_names or table.labels),
            rare_below=table.rare_below,
        )
    spec = _spec(table, encoding)
    scaled = None if table.rows.stored else encoding.scale(table.rows)

    def part(name: str) -> Split:
        rows = parts[name]
        if rows is None and table.test is not None and table.test_targets is not None:
            return encode_rows(encoding, table.test, table.test_targets, spec)
        at = np.asarray(rows)
        targets = as_targets(table.targets[at], spec, encoding)
        return _part(encoding, table.rows, at, targets, scaled)

    return Dataset(spec, encoding, part("train"), part("val"), part("test"))


def encode_rows(encoding: TableEncoding, rows: Rows, targets: np.ndarray, spec: Spec) -> Split:
    """Rows with their targets, class numbers or quantities, as a model takes them."""
    encoded = as_targets(targets, spec, encoding)
    if rows.stored:
        return _part(encoding, rows, np.arange(len(rows)), encoded)
    return Split(encoding.inputs(rows), encoded)


def _part(
    encoding: TableEncoding,
    raw: Rows,
    rows: np.ndarray,
    targets: Tensor,
    scaled: Sequence[np.ndarray] | None = None,
) -> Split:
    """These rows with their targets: in memory, or in the files that hold them."""
    # A run finds the batches that it began with, in files or in memory.
    ordered = len(rows) > AT_ONCE and bool((rows[1:] > rows[:-1]).all())
    if raw.stored:
        width = len(encoding.fill) + len(encoding.levels)
        stored = StoredInputs(encoding, raw, rows, width)
        return BlockSplit.of(stored, targets, in_blocks=ordered)
    inputs = encoding.inputs_of(raw, rows, scaled)
    return BlockSplit(inputs, targets) if ordered else Split(inputs, targets)


def _at_once(function: Callable[[A], B], given: Iterable[A]) -> list[B]:
    """`function` of each of `given`, in threads: what NumPy does with many rows does not hold up the others."""
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return list(pool.map(function, given))


def _rows(table: Table, settings: DataSettings) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row numbers that train, validate and test."""
    strata = table.targets if table.class_names else None
    has_test = table.test is not None
    return split_rows(len(table.rows), strata, settings, has_test=has_test, rare=_RARE)


def _fit(
    reading: Reading,
    rows: Rows,
    train: np.ndarray,
    targets: np.ndarray,
    *,
    fill: Fill,
    normalize: bool,
    regression: bool,
    rare_below: RareBelow,
) -> TableEncoding:
    """The encoding by the rows `train`; `targets` are theirs."""

    def fitted(column: Values) -> tuple[float, float, float]:
        numbers = column[train]
        missing = np.isnan(numbers)
        some = missing.any()
        filling = _filling(numbers[~missing] if some else numbers, fill)
        if some:
            numbers[missing] = filling
        return filling, *(_mean_and_std(numbers) if normalize else (0.0, 1.0))

    found = np.array(_at_once(fitted, rows.numbers)).reshape(-1, 3)
    fills, means, stds = found.T.tolist()
    target = targets.reshape(len(targets), -1) if regression else np.empty((len(targets), 0))
    levels = [_levels(words.take(train), rare_below) for words in rows.words]
    _note_rare(dict(zip(reading.words, levels, strict=True)), len(train))
    return TableEncoding(
        reading=dict(vars(reading)),
        fill=fills,
        mean=means,
        std=without_constants(np.array(stds), np.array(means)).tolist(),
        levels=[found.known for found in levels],
        other=[found.rare > 0 for found in levels],
        target_mean=target.mean(0).tolist(),
        target_std=without_constants(target.std(0), target.mean(0)).tolist(),
    )


def _mean_and_std(numbers: np.ndarray) -> tuple[float, float]:
    """As NumPy computes both, but in place: `numbers` become their squared deviations."""
    mean = numbers.mean()
    numbers -= mean
    numbers *= numbers
    return float(mean), float(np.sqrt(numbers.mean()))


def _filling(known: np.ndarray, rule: Fill) -> float:
    """What stands in for missing ones, by the numbers that are known."""
    if rule == "zero" or not len(known):
        return 0.0
    return float(np.median(known) if rule == "median" else known.mean())


class _Levels(NamedTuple):
    """The categories of a column.

    Attributes:
        known: what the words stand for in order, missing last; without those that are too rare.
        rare, rows: how many are too rare, and the rows that have one of them.
        bound: the rows below which they are.
    """

    known: list[str | None]
    rare: int
    rows: int
    bound: int


def _levels(words: Words, rare_below: RareBelow) -> _Levels:
    """Those of the training part."""
    counts: Counter[str | None] = Counter()
    times = np.bincount(words.codes[:] + 1, minlength=len(words.values) + 1)
    for at in np.flatnonzero(times).tolist():
        counts[words.values[at - 1] if at else None] += int(times[at])
    bound = rare_bound(rare_below, len(counts))
    kept = {word: count for word, count in counts.items() if count >= bound}
    known = [*sorted(word for word in kept if word is not None), *([None] if None in kept else [])]
    left = counts.total() - sum(kept.values())
    return _Levels(known, len(counts) - len(kept), left, bound)


def _note_rare(columns: Mapping[str, _Levels], rows: int) -> None:
    """Note which columns have categories that are joined."""
    joined = {name: levels for name, levels in columns.items() if levels.rare}
    if not joined:
        return
    said = [
        f"{one.rare:,} of {one.rare + len(one.known):,} in column {name} ({one.rows / rows:.1%} of the rows)"
        for name, one in joined.items()
    ]
    bound = max(one.bound for one in joined.values())
    note(
        f"categories with fewer than {bound} training rows are read as one, other: {listed(said)}; "
        "so are categories that are not in training; dataset.rare_below=0 keeps each"
    )


def _spec(table: Table, encoding: TableEncoding) -> Spec:
    reading = table.reading
    task, outputs = task_of(table.class_names, table.labels, len(table.target_names) or 1)
    names = tuple(reading.features)
    return Spec(
        task=task,
        kind="features",
        input_shape=(len(names),),
        num_outputs=outputs,
        class_names=table.class_names,
        feature_names=names,
        categories=encoding.categories,
        target_names=table.target_names,
        labels=table.labels,
    )


TABLES = Kind(
    raw=Table,
    split=split_table,
    encode=prepare_table,
    preprocessing=TableEncoding,
    units={"features": "rows"},
    reader="dlrun.data.tables.new_rows.NewRows",
)
