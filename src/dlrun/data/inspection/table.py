"""What is in a table: what train reads each column as, what stands out, what could be predicted. No torch here."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from dlrun.data.tables.column import Column, Decimals
from dlrun.data.tables.column_checks import refuse_ambiguous
from dlrun.data.tables.columns import SortedColumns, sort_column, undressed
from dlrun.data.tables.csv import Cells
from dlrun.data.tables.table import RareBelow, rare_bound
from dlrun.data.tables.target_column import (
    Labelling,
    class_names,
    dressing_of_target,
    numbers_of_classes,
    with_targets,
)
from dlrun.errors import ConfigError, collected_notes

NO_INPUTS = ("identifier", "serial", "text", "unclear date", "constant", "refused", "empty")
_UNIQUE = ("identifier", "serial")  # differ between copies of a row as well
_TARGETS = ("target", "label", "labels", "class", "y", "outcome")
_MOST_CLASSES = 100
_SHOWN = 3  # categories
_LONGEST = 24  # characters of a cell
_REASONS = {
    "date": "dates or times, as in {example}",
    "read_date": "dates or times, as in {example}",
    "identifier": "{levels} different words in {rows} rows",
    "text": "texts of five words or more",
    "serial": "a whole number of its own in each row",
    "code": "digits with leading zeros, as in {example}",
    "dressed": "numbers with a unit, as in {example}",
    "constant": "one value in all rows",
    "numbered": "whole numbers, but named as an identifier",
    "outlying": "numbers; {example} may stand for missing",
    "levels": "{levels} different words, many to learn from",
    "alike": "words; {example} differ in capitals or blanks alone",
}


@dataclass(frozen=True)
class ColumnReport:
    """One column.

    Attributes:
        kind: what train reads it as: number or category; or why it is left out; or refused.
        missing, distinct: how many cells, and how many different ones of the others.
        values: the range of numbers, or the commonest words.
        as_target: what would be predicted, in words; empty where it cannot be a target.
    """

    name: str
    kind: str
    reason: str
    missing: int
    distinct: int
    values: str
    as_target: str


@dataclass(frozen=True)
class TableReport:
    """A table.

    Attributes:
        constant, identifiers: columns.
        same_columns: groups of columns with the same cells, or with words that stand for one another.
        duplicate_rows: rows that stand above as well, identifiers left aside.
    """

    rows: int
    columns: list[ColumnReport]
    constant: list[str]
    identifiers: list[str]
    same_columns: list[list[str]]
    duplicate_rows: int

    def kind(self, name: str) -> str:
        """The kind of the column `name`."""
        return next(column.kind for column in self.columns if column.name == name)


def inspect_table(cells: Cells, settings: dict[str, Any]) -> TableReport:
    """What is in `cells`; `settings` are those of the dataset."""
    columns = [_column(cells, at, settings) for at in range(len(cells.names))]
    kinds = [column.kind for column in columns]
    return TableReport(
        rows=len(cells),
        columns=columns,
        constant=[one.name for one in columns if one.distinct == 1 and not one.missing],
        identifiers=[one.name for one in columns if one.kind in _UNIQUE],
        same_columns=_same_columns(cells),
        duplicate_rows=_count_copies(row_hashes(cells, kinds)),
    )


def likely_target(report: TableReport, without: Sequence[str] = ()) -> str | None:
    """The column that is most likely to be predicted: by its name, or else the last that can be."""
    found = [one.name for one in report.columns if one.as_target and one.name not in without]
    named = [name for name in found if name.lower() in _TARGETS]
    return next(iter(named or found[-1:]), None)


def _column(cells: Cells, at: int, settings: dict[str, Any]) -> ColumnReport:
    name, column = cells.names[at], cells.columns[at]
    kind, reason, cells = _kind(cells, at, settings)
    distinct = _count_different(column)
    values = cells.columns[at].numbers(cells.notation) if kind == "number" else None
    shown = _range(values) if values is not None else _commonest(column, kind)
    missing = len(column) - int(column.known.sum())
    usable = kind not in NO_INPUTS and distinct > 1
    target = _as_target(cells, at, settings) if usable else ""
    return ColumnReport(name, kind, reason, missing, distinct, shown, target)


def _kind(cells: Cells, at: int, settings: dict[str, Any]) -> tuple[str, str, Cells]:
    """What a column is read as, why, and the cells without the units around its numbers."""
    if not cells.columns[at].known.any():
        return "empty", "no value in any row", cells
    given = {
        key: [cells.position(f"dataset.{key}", one) for one in settings[key]]
        for key in ("drop", "categorical", "numeric")
    }
    if at in given["drop"]:
        return "dropped", "dataset.drop names it", cells
    if at in given["categorical"]:
        rare = _rare(cells.columns[at], settings["rare_below"])
        return "category", ", ".join(filter(None, ["dataset.categorical names it", rare])), cells
    found = SortedColumns()
    try:
        sort_column(cells, at, found, settings["infer"], decided=at in given["numeric"])
        if settings["decimal"] == "auto":
            refuse_ambiguous(cells, at)
    except ConfigError as error:
        return "refused", str(error).removeprefix(f"{cells.path}, "), cells
    reason = ", ".join(
        _REASONS.get(remark.fact, remark.fact).format(
            example=remark.example, levels=f"{remark.levels:,}", rows=f"{len(cells):,}"
        )
        for remark in found.remarks
    )
    if at in found.dates:
        return "date", reason or "dates or times", cells
    if at in found.yes_no:
        return "yes/no", "yes and no, read as 1 and 0", cells
    if at in found.numbers:
        return "number", reason or "numbers", undressed(cells, found.dressings)
    if at in found.words:
        rare = _rare(cells.columns[at], settings["rare_below"])
        return "category", ", ".join(filter(None, [reason or "words", rare])), cells
    fact = found.remarks[0].fact
    return {"date": "unclear date"}.get(fact, fact), reason, cells


def _rare(column: Column, rare_below: RareBelow) -> str:
    """How many categories would be joined if all rows were trained on; empty where none."""
    bound = rare_bound(rare_below, len(column.distinct))
    rare = sum(count < bound for count in column.counts.values())
    return f"{rare:,} in fewer than {bound} rows, read as one" if rare else ""


def _count_different(column: Column) -> int:
    if not isinstance(column, Decimals):
        return len(column.distinct)
    values = _known_numbers(column)
    return pl.Series(values).n_unique() if len(values) else 0


def _known_numbers(column: Decimals) -> np.ndarray:
    return np.asarray(column.take(np.flatnonzero(column.known)).numbers(None))  # type: ignore[arg-type]


def _range(values: np.ndarray) -> str:
    return f"{np.nanmin(values):.4g} to {np.nanmax(values):.4g}, mean {np.nanmean(values):.4g}"


def _commonest(column: Column, kind: str) -> str:
    if kind in ("empty", "refused"):
        return ""
    if kind in NO_INPUTS or kind == "date":
        return f"as {_short(column.first)}"
    counts = column.counts
    most = counts.most_common(_SHOWN)
    said = ", ".join(f"{_short(word)} {count / len(column):.0%}" for word, count in most)
    return said + (", …" if len(counts) > len(most) else "")


def _short(cell: str) -> str:
    flat = " ".join(cell.split())
    return flat if len(flat) <= _LONGEST else f"{flat[: _LONGEST - 1]}…"


def _as_target(cells: Cells, at: int, settings: dict[str, Any]) -> str:
    """What train would predict; empty where it would refuse."""
    if isinstance(cells.columns[at], Decimals):
        return "numbers"
    alone = replace(cells, names=[cells.names[at]], columns=[cells.columns[at]])
    try:
        names, targets = read_target(alone, 0, settings)
    except ConfigError:
        return ""
    if not names:
        return "numbers"
    counts = np.bincount(targets, minlength=len(names))
    if len(names) > min(_MOST_CLASSES, len(targets) / 2):
        return ""
    return f"{len(names)} classes, {counts.min() / len(targets):.0%} to {counts.max() / len(targets):.0%}"


def read_target(
    cells: Cells, at: int, settings: dict[str, Any]
) -> tuple[tuple[str, ...], np.ndarray]:
    """The classes, none of a regression, and the targets of the rows that have one.

    Raises:
        ConfigError: train would refuse this target.
    """
    labelling = Labelling.of(settings)
    with collected_notes():
        known = with_targets(cells, [at], drop=True)
        if dressing := dressing_of_target(known, at, labelling.task):
            known = undressed(known, {at: dressing})
        labelling = labelling.settled(known, at, settings["decimal"])
        if labelling.task == "regression":
            return (), np.asarray(known.columns[at].numbers(known.notation), np.float64)
        names = class_names(known, at, labelling, Counter())
        return names, numbers_of_classes(known, at, names, labelling, known.notation)


def _same_columns(cells: Cells) -> list[list[str]]:
    """Groups of columns that say the same: equal cells, or categories that stand for one another in all rows."""
    groups: dict[bytes, list[str]] = {}
    for name, column in zip(cells.names, cells.columns, strict=True):
        if isinstance(column, Decimals):
            content, words = column.numbers(cells.notation), ""
        elif len(column.distinct) < 2:
            continue  # constant columns
        else:
            content = column.codes
            few = 2 * len(column.distinct) <= len(column)
            words = "" if few else "\0".join(column.distinct)
        found = hashlib.blake2b(np.ascontiguousarray(content).tobytes(), digest_size=16)
        found.update(words.encode("utf-8", "surrogatepass"))
        groups.setdefault(found.digest(), []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def row_hashes(cells: Cells, kinds: Sequence[str]) -> np.ndarray:
    """(N,) uint64, equal for rows that are equal but for identifiers; of several files if `kinds` are the same."""
    columns = {}
    for at, (column, kind) in enumerate(zip(cells.columns, kinds, strict=True)):
        if kind in _UNIQUE:
            continue
        values = column.numbers(cells.notation) if kind == "number" else None
        if values is None:
            hashes = pl.Series(column.distinct, dtype=pl.String).hash(seed=0).to_numpy()
            values = np.append(hashes, np.uint64(0))[column.codes]
        else:
            values = values + 0.0  # -0 as 0
        columns[str(at)] = values
    if not columns:
        return np.arange(len(cells), dtype=np.uint64)
    return pl.DataFrame(columns).hash_rows(seed=0).to_numpy()


def _count_copies(hashes: np.ndarray) -> int:
    return len(hashes) - pl.Series(hashes).n_unique()


def count_in_training(train: Cells, test: Cells, report: TableReport) -> int:
    """How many rows of a test file stand in the training file as well, in the columns that both have."""
    both = [name for name in train.names if name in test.names]
    kinds = [report.kind(name) for name in both]
    hashes = [row_hashes(part.in_order(both, needed=both), kinds) for part in (train, test)]
    return int(np.isin(hashes[1], hashes[0]).sum())
