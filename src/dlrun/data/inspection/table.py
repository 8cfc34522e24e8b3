"""What is in a table: what train reads each column as, what stands out, what could be predicted. No torch here."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from dlrun.data.tables.cells import Cells
from dlrun.data.tables.column import Column, Decimals
from dlrun.data.tables.column_checks import refuse_ambiguous
from dlrun.data.tables.columns import SortedColumns, sort_column, undressed
from dlrun.data.tables.dates import date_form, date_numbers
from dlrun.data.tables.table import RareBelow, rare_bound
from dlrun.data.tables.target_column import (
    Labelling,
    class_names,
    dressing_of_target,
    numbers_of_classes,
    with_targets,
)
from dlrun.errors import ConfigError, collected_notes

NO_INPUTS = (
    "identifier",
    "serial",
    "text",
    "unclear date",
    "constant",
    "refused",
    "empty",
    "dropped",
)
_UNIQUE = ("identifier", "serial")  # differ between copies of a row as well
TARGETS = ("target", "label", "labels", "class", "y", "outcome")
_CLASSES = ("label", "labels", "class", "classes", "category")  # names of what is no quantity
_MOST_CLASSES = 100
_FEW_CLASSES = 20  # whole numbers
_FEW_IMAGE_CLASSES = 10  # up to which whole numbers are classes of images
_SHOWN = 3  # categories
_LONGEST = 24  # characters of a cell
_REASONS = {
    "date": "dates or times",
    "read_date": "dates or times",
    "odd_date": "dates, but {example} is none in their form",
    "ambiguous_date": "dates, and {example} may be several",
    "identifier": "{levels} different words in {rows} rows",
    "text": "texts of five words or more",
    "serial": "a whole number of its own in each row",
    "code": "digits with leading zeros, as in {example}",
    "dressed": "numbers with a unit, as in {example}",
    "constant": "one value in all rows",
    "one_value": "one value in all rows",
    "yes_no": "yes and no, read as 1 and 0",
    "numbered": "whole numbers, but named as an identifier",
    "outlying": "{example} may stand for missing",
    "levels": "{levels} different words, many to learn from",
    "alike": "{example} differ in capitals or blanks alone",
}
_KINDS = {"odd_date": "unclear date", "ambiguous_date": "unclear date"}


@dataclass(frozen=True)
class Target:
    """What would be predicted of a table.

    Attributes:
        classes: how many rows each class has, the commonest first; empty of numbers.
        values: the least, mean and largest number; empty of classes.
        missing: rows without a value of it.
    """

    name: str
    classes: dict[str, int]
    values: list[float]
    missing: int


@dataclass(frozen=True)
class ColumnReport:
    """One column.

    Attributes:
        kind: what train reads it as: number, category, date or yes/no; or why it is left out; or refused.
        reason: why it is read so.
        missing, distinct: how many cells, and how many different ones of the others.
        values: the range of numbers and dates, the commonest words, or the first cell of what is left out.
        as_target: what would be predicted; None where it cannot be a target.
    """

    name: str
    kind: str
    reason: str
    missing: int
    distinct: int
    values: str
    as_target: Target | None


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

    def column(self, name: str) -> ColumnReport:
        """The column `name`."""
        return next(column for column in self.columns if column.name == name)

    @property
    def inputs(self) -> list[str]:
        """The columns that are read."""
        return [one.name for one in self.columns if one.kind not in NO_INPUTS]


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


def likely_target(
    report: TableReport, without: Sequence[str] = (), *, of_images: bool = False
) -> str | None:
    """The column that is most likely to be predicted: by its name, or else the last that can be.

    One that train refuses as it stands is as likely; one that most rows lack is not. `of_images`: the first of
    classes, where one has them.
    """
    found = [
        one
        for one in report.columns
        if (one.as_target or one.kind == "refused") and one.name not in without
    ]
    found = [one for one in found if 2 * one.missing <= report.rows] or found
    names = [one.name for one in found]
    chosen = [name for name in names if name.lower() in TARGETS] or names[-1:]
    if of_images and chosen == names[-1:]:
        few = min(_FEW_IMAGE_CLASSES, report.rows // 5)
        chosen = [one.name for one in found if _is_of_classes(one, few)] or chosen
    return next(iter(chosen), None)


def _is_of_classes(column: ColumnReport, most: int) -> bool:
    target = column.as_target
    whole = target is not None and all(value.is_integer() for value in target.values[::2])
    return whole and 2 <= column.distinct <= most


def are_class_numbers(column: ColumnReport) -> bool:
    """Whether a target of numbers is one of classes by its name: a few whole numbers called label or the like."""
    numbers = column.as_target is not None and not column.as_target.classes
    return numbers and column.name.lower() in _CLASSES and _is_of_classes(column, _FEW_CLASSES)


def _column(cells: Cells, at: int, settings: dict[str, Any]) -> ColumnReport:
    name, column = cells.names[at], cells.columns[at]
    kind, reason, cells = _kind(cells, at, settings)
    distinct = _count_different(cells, at, kind)
    missing = len(column) - int(column.known.sum())
    usable = kind not in NO_INPUTS and distinct > 1
    target = target_of(cells, at, settings) if usable else None
    return ColumnReport(name, kind, reason, missing, distinct, _values(cells, at, kind), target)


def _values(cells: Cells, at: int, kind: str) -> str:
    """What a column holds, in a few words."""
    column = cells.columns[at]
    if kind in ("empty", "refused"):
        return ""
    if kind == "number" and (values := column.numbers(cells.notation)) is not None:
        return _range(values)
    if kind == "date":
        return _first_and_last(column)
    return _short(column.first) if kind in NO_INPUTS else _commonest(column)


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
        said = str(error).removeprefix(f"{cells.path}, ")
        return "refused", said.replace(f", column {cells.names[at]}:", ":", 1), cells
    reason = ", ".join(
        _REASONS.get(remark.fact, remark.fact).format(
            example=_short(remark.example), levels=f"{remark.levels:,}", rows=f"{len(cells):,}"
        )
        for remark in found.remarks
    )
    if at in found.dates:
        return "date", reason or "dates or times", cells
    if at in found.yes_no:
        return "yes/no", reason or _REASONS["yes_no"], cells
    if at in found.numbers:
        return "number", reason or "numbers", undressed(cells, found.dressings)
    if at in found.words:
        rare = _rare(cells.columns[at], settings["rare_below"])
        return "category", ", ".join(filter(None, [reason, rare])) or "words", cells
    fact = found.remarks[0].fact
    return _KINDS.get(fact, fact), reason, cells


def _rare(column: Column, rare_below: RareBelow) -> str:
    """How many categories would be joined if all rows were trained on; empty where none."""
    bound = rare_bound(rare_below, len(column.distinct))
    rare = sum(count < bound for count in column.counts.values())
    return f"{rare:,} in fewer than {bound} rows, read as one" if rare else ""


def _count_different(cells: Cells, at: int, kind: str = "number") -> int:
    """How many different cells a column has, or numbers, however they are written."""
    column = cells.columns[at]
    numbers = column.numbers(cells.notation) if kind == "number" else None
    if numbers is None:
        return len(column.distinct)
    return pl.Series(numbers[~np.isnan(numbers)] + 0.0).n_unique()  # -0 is 0


def _range(values: np.ndarray) -> str:
    least, most, mean = np.nanmin(values), np.nanmax(values), np.nanmean(values)
    return f"{short_number(least)} to {short_number(most)}, mean {short_number(mean)}"


def short_number(value: float) -> str:
    """About four digits of a number, without an exponent where it has few zeros."""
    if value and not 1e-3 <= abs(value) < 1e7:
        return f"{value:.4g}"
    decimals = 3 - math.floor(math.log10(abs(value))) if value else 0
    text = f"{round(value, decimals):{',' if abs(value) >= 1e4 else ''}.{max(decimals, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _first_and_last(column: Column) -> str:
    """The first and the last of the dates in a column, where they have a year."""
    form = date_form(column)
    days = date_numbers(column, replace(form, parts=["days"]))[0][:]
    if np.isnan(days).all():
        return _short(column.first)
    ends = (column[int(np.nanargmin(days))], column[int(np.nanargmax(days))])
    return " to ".join(_short(str(end)) for end in ends)


def _commonest(column: Column) -> str:
    counts = column.counts
    most = counts.most_common(_SHOWN)
    said = ", ".join(f"{_short(word)} {count / len(column):.0%}" for word, count in most)
    return said + (", …" if len(counts) > len(most) else "")


def _short(cell: str) -> str:
    flat = " ".join(cell.split())
    return flat if len(flat) <= _LONGEST else f"{flat[: _LONGEST - 1]}…"


def target_of(
    cells: Cells, at: int, settings: dict[str, Any], most: int = _MOST_CLASSES
) -> Target | None:
    """What would be predicted of a column; None where train would refuse, or has more than `most` classes."""
    known = cells.only(cells.columns[at].known.nonzero()[0])
    missing = len(cells) - len(known)
    try:
        names, targets = read_target(known, at, settings)
    except ConfigError:
        return None
    if not names:
        values = [float(targets.min()), float(targets.mean()), float(targets.max())]
        return Target(cells.names[at], {}, values, missing)
    if len(names) > min(most, len(targets) / 2):
        return None
    counts = np.bincount(targets, minlength=len(names))
    order = np.argsort(-counts, kind="stable").tolist()
    return Target(cells.names[at], {names[one]: int(counts[one]) for one in order}, [], missing)


def read_target(
    cells: Cells, at: int, settings: dict[str, Any]
) -> tuple[tuple[str, ...], np.ndarray]:
    """The classes, none of a regression, and the targets of the rows that have one.

    Raises:
        ConfigError: train would refuse this target.
    """
    column = cells.columns[at]
    labelling = Labelling.of(settings)
    if (
        isinstance(column, Decimals)
        and labelling.task == "auto"
        and _count_different(cells, at) > 2
    ):
        return (), np.asarray(column.numbers(cells.notation))  # of a million without their words
    cells, at = replace(cells, names=[cells.names[at]], columns=[column]), 0
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
    kinds = [report.column(name).kind for name in both]
    hashes = [row_hashes(part.in_order(both, needed=both), kinds) for part in (train, test)]
    return int(np.isin(hashes[1], hashes[0]).sum())
