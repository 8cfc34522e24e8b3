"""The column that is predicted: quantities or classes, which labels are one class, which rows have none.

No torch here.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Self

import numpy as np

from dlrun.data.tables.cells import Cells
from dlrun.data.tables.column_checks import refuse_ambiguous, refuse_mixture
from dlrun.data.tables.column_kinds import has_leading_zeros, kind_of_numbers, outlying_code
from dlrun.data.tables.columns import undressed
from dlrun.data.tables.csv_format import missing_setting
from dlrun.data.tables.number_format import Dressing, Notation, common_dressing, dressing_of
from dlrun.data.times import are_dates
from dlrun.errors import ConfigError, note

TableTask = Literal["auto", "classification", "regression"]
DROP_MISSING = "drop_missing_target"  # the setting, of each dataset that reads targets from a table

_FEW = 10  # different values, up to which they may be classes
_ROWS = 5  # of each of them on average, from which on whole numbers may be classes
_SHOWN = 3  # words, or classes of several spellings
_CLASSES = "set dataset.task=classification"


@dataclass(frozen=True)
class Labelling:
    """How the target is read; each field is a setting of the datasets that read tables.

    Attributes:
        task: whether it holds classes or quantities.
        strip_label: what is taken away from the end of labels.
        merge_labels: whether those that are equal as numbers, or but for capitals and blanks, are one class.
        drop_missing_target: whether rows without a target are left out; they are refused otherwise.
    """

    task: TableTask = "auto"
    strip_label: str = ""
    merge_labels: bool = False
    drop_missing_target: bool = False

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """The labelling by those of a dataset's `settings`, or of those that a run kept, that are fields of it."""
        return cls(
            **{name: settings[name] for name in cls.__dataclass_fields__ if name in settings}
        )

    def settled(self, cells: Cells, target: int, decimal: str) -> Labelling:
        """With the task that the target asks for, where it is auto."""
        return self if self.task != "auto" else replace(self, task=task_of(cells, target, decimal))

    def label(self, cell: str) -> str:
        """The label that a cell holds."""
        return cell.removesuffix(self.strip_label).rstrip()


def with_targets(
    cells: Cells, targets: Sequence[int], *, drop: bool, key: str = "dataset.target"
) -> Cells:
    """The rows that have all targets; where `drop` is true, a note counts the others.

    Args:
        key: the setting that names the targets.

    Raises:
        ConfigError: no row has them, or one lacks one and `drop` is false.
    """
    known = np.logical_and.reduce([cells.columns[target].known for target in targets])
    if known.all():
        return cells
    names = [cells.names[at] for at in targets if not cells.columns[at].known.all()]
    if not known.any():
        place = f"{cells.place(0, targets[0])}: the value to predict is missing, in this row and"
        if len(targets) > 1:
            place = f"{cells.path}: one of the values to predict ({', '.join(names)}) is missing, in the first row and"
        raise ConfigError(f"{place} all others; set {key} to another column")
    rows = np.flatnonzero(~known)
    words = words_for_missing(cells, targets)
    lack = f"{cells.path}: {len(rows):,} of {len(cells):,} rows have no {' or '.join(names)}"
    if not drop:
        said = f", {_counted(words)}" if any(words) else ""
        raise ConfigError(
            f"{lack}: {_numbers_of(cells, rows)}{said}; set dataset.drop_missing_target=true to leave them out"
            f"{_if_class(words, cells.missing)}"
        )
    note(f"{lack} and are left out{_which(words, cells.missing)}")
    return cells.only(np.flatnonzero(known))


def words_for_missing(cells: Cells, targets: Sequence[int]) -> Counter[str]:
    """How often each word stands for a missing target; an empty one is an empty cell."""
    columns = (cells.columns[target] for target in targets)
    return sum((one.blanks() for one in columns if not one.known.all()), Counter[str]())


def _numbers_of(cells: Cells, rows: np.ndarray) -> str:
    """The first of some rows by their numbers in the file, and in which one where there are several."""
    first = rows[:_SHOWN].tolist()
    files = [cells.lines.file(row) for row in first]
    numbers = [
        f"{cells.lines[row]}{f' of {file.name}' if file else ''}"
        for row, file in zip(first, files, strict=True)
    ]
    left = len(rows) - len(first)
    more = f" and {left:,} more" if left else ""
    return f"row{'' if len(rows) == 1 else 's'} {', '.join(numbers)}{more}"


def dressing_of_target(cells: Cells, target: int, task: TableTask) -> Dressing | None:
    """What stands around the numbers of a target of quantities, which a note shows.

    Raises:
        ConfigError: a number in another notation, or of quantities that were asked for a word.
    """
    column = cells.columns[target]
    if task == "classification" or column.numbers(cells.notation) is not None:
        return None
    dressing = common_dressing(column.distinct)
    if task == "regression" and dressing is None:
        refuse_mixture(cells, target, "mend it")
    if dressing is None or (task == "auto" and len(column.distinct) <= _FEW):
        return None
    refuse_mixture(undressed(cells, {target: dressing}), target, _CLASSES)
    note(
        f"{cells.path}: column {cells.names[target]}, the target, holds numbers with {dressing}, as in "
        f"{next(filter(dressing_of, column.distinct))}, and is read as the numbers alone; "
        "dataset.task=classification makes them classes"
    )
    return dressing


def task_of(cells: Cells, target: int, decimal: str) -> TableTask:
    """Numbers are to be predicted as such, unless there are only two; words are classes.

    Raises:
        ConfigError: dates, or numbers with a few words among them or in another notation than the file's.
    """
    column = cells.columns[target]
    values = column.numbers(cells.notation)
    if (
        are_dates(column.distinct)
        if values is None
        else kind_of_numbers("", column, values) == "date"
    ):
        raise ConfigError(
            f"{cells.path}: dataset.target is {cells.names[target]}, which holds dates, as in {column.first}; "
            f"set dataset.target to another column, or {_CLASSES}"
        )
    refuse_mixture(cells, target, _CLASSES)
    if decimal == "auto":
        refuse_ambiguous(cells, target)
    if values is None or len(np.unique(values)) <= 2:
        return "classification"
    if column.any_leading_zero and has_leading_zeros(column.distinct):
        example = next(cell for cell in column.distinct if has_leading_zeros([cell]))
        note(
            f"{cells.path}: column {cells.names[target]}, the target, has leading zeros, as in {example}, and is read "
            "as classes; dataset.task=regression makes them quantities"
        )
        return "classification"
    if out := outlying_code(column, values):
        note(
            f"{cells.path}: column {cells.names[target]}, the target, has {out} in {len(column.where([out]))} rows, "
            f"far from all other numbers; if it stands for a missing one, set {cells.if_missing([out])}"
        )
    kinds = len(np.unique(values))
    if (values == np.round(values)).all() and kinds <= _FEW and len(cells) >= _ROWS * kinds:
        note(
            f"{cells.path}: column {cells.names[target]}, the target, has {kinds} whole numbers, read as "
            "quantities; dataset.task=classification makes them classes"
        )
    return "regression"


def class_names(
    cells: Cells, target: int, labelling: Labelling, blanks: Counter[str]
) -> tuple[str, ...]:
    """The classes in their order; a line on the screen says which labels are one.

    Args:
        blanks: the words of rows left out for want of a label.

    Raises:
        ConfigError: fewer than two, or one for each row.
    """
    column = cells.columns[target]
    counts: Counter[str] = Counter()
    for cell, count in column.counts.items():
        counts[labelling.label(cell)] += count
    classes = classes_of(counts, merge=labelling.merge_labels, notation=cells.notation)
    names = classes.names
    if len(names) < 2:
        left_out = _which(blanks, cells.missing)
        raise ConfigError(
            f"{cells.place(0, target)}: {names[0]} is the value of all rows, so there is nothing to predict; "
            f"set dataset.target to another column{left_out and f'; rows are left out{left_out}'}"
        )
    if len(names) == len(cells) > 2:
        numbers = cells.notation.numbers(names) is not None
        remedy = "dataset.task=regression" if numbers else "dataset.target to another column"
        raise ConfigError(
            f"{cells.path}, column {cells.names[target]}: each of the {len(names)} rows has a class of its own, so "
            f"none can be learned; set {remedy}"
        )
    note_merged(f"{cells.path}: column {cells.names[target]}", merged(classes))
    return names


def note_merged(where: str, labels: str) -> None:
    """Note which `labels` are one class, where any are."""
    if labels:
        note(f"{where}: {labels} are one class each; dataset.merge_labels=false keeps them apart")


def numbers_of_classes(
    cells: Cells, target: int, names: Sequence[str], labelling: Labelling, of_names: Notation
) -> np.ndarray:
    """(N,) the number of the class of each row.

    Args:
        of_names: how numbers are written in `names`.

    Raises:
        ConfigError: a label that is none of the `names`, with row and column.
    """
    column = cells.columns[target]
    labels = list(map(labelling.label, column.distinct))
    merge, notation = labelling.merge_labels, cells.notation
    numbers = class_numbers(labels, names, merge=merge, notation=notation, of_names=of_names)
    for cell, label, number in zip(column.distinct, labels, numbers, strict=True):
        if number is None:
            raise ConfigError(
                f"{cells.place(column.row_of(cell), target)}: {label} is no class of the training file, which has "
                f"{', '.join(names[:10])}; mend it, or set dataset.strip_label to what stands behind it"
            )
    narrow = np.promote_types(np.int16, np.min_scalar_type(-len(names)))
    return np.asarray(column.by_code(np.array([*numbers, -1], narrow))[:])


class Classes(NamedTuple):
    """Classes in order: as numbers where all labels are, by spelling otherwise.

    Attributes:
        names: of each class, the one of its spellings that stands for all: of numbers the shortest, of
            words the commonest.
        spellings: the labels of each class, its name first.
    """

    names: tuple[str, ...]
    spellings: list[list[str]]


def classes_of(labels: Iterable[str], *, merge: bool, notation: Notation) -> Classes:
    """The classes of `labels`; where `merge` is false each spelling is one."""
    counts = Counter(labels)
    groups: dict[str | float, list[str]] = {}
    for label in sorted(counts, key=lambda label: (-counts[label], label)):
        groups.setdefault(_key(label, notation) if merge else label, []).append(label)
    numbers = {label: notation.value(label) for label in counts}
    if None not in numbers.values():
        ordered = [sorted(group, key=len) for group in groups.values()]
        ordered.sort(key=lambda group: (numbers[group[0]], group[0]))
    else:
        ordered = sorted(groups.values())
    return Classes(tuple(group[0] for group in ordered), ordered)


def class_numbers(
    labels: Sequence[str],
    names: Sequence[str],
    *,
    merge: bool,
    notation: Notation,
    of_names: Notation | None = None,
) -> list[int | None]:
    """(N,) the number of the class of each label, None where it is in none of those that `names` names.

    Args:
        notation, of_names: how numbers are written in the labels, and in the names if otherwise.
    """
    of_names = of_names or notation
    exact = {name: number for number, name in enumerate(names)}
    alike = {_key(name, of_names): number for number, name in enumerate(names)} if merge else {}

    def number(label: str) -> int | None:
        found = exact.get(label)
        return alike.get(_key(label, notation)) if found is None and merge else found

    known = {label: number(label) for label in {*labels}}
    return [known[label] for label in labels]


def merged(classes: Classes) -> str:
    """Which labels are one class, as in `0 and 0.0, 1 and 1.0`; empty where none are."""
    several = [group for group in classes.spellings if len(group) > 1]
    said = ", ".join(" and ".join(group) for group in several[:_SHOWN])
    return f"{said} and others" if len(several) > _SHOWN else said


def _key(label: str, notation: Notation) -> str | float:
    """What labels of one class have in common."""
    number = notation.value(label)
    if number is not None:
        return number
    return " ".join(unicodedata.normalize("NFC", label).split()).casefold()


def _which(words: Counter[str], missing: Sequence[str]) -> str:
    """The words that stand for a missing target, and what to do where one is a class."""
    return f": {_counted(words)}{_if_class(words, missing)}" if any(words) else ""


def _counted(words: Counter[str]) -> str:
    said = ", ".join(f"{word or 'empty'} in {count}" for word, count in words.most_common(_SHOWN))
    return said + (f" and {len(words) - _SHOWN} other words" if len(words) > _SHOWN else "")


def _if_class(words: Counter[str], missing: Sequence[str]) -> str:
    if not any(words):
        return ""
    first = next(word for word, _ in words.most_common() if word)
    return (
        f"; if such a word is a class, give dataset.missing without it, as in "
        f"{missing_setting(missing, less=[first])}"
    )
