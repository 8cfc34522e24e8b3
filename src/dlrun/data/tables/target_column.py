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

from dlrun.data.tables.column_checks import refuse_ambiguous, refuse_mixture
from dlrun.data.tables.column_kinds import has_leading_zeros, kind_of_numbers, outlying_code
from dlrun.data.tables.columns import undressed
from dlrun.data.tables.csv import Cells
from dlrun.data.tables.csv_format import missing_setting
from dlrun.data.tables.number_format import Dressing, Notation, common_dressing, dressing_of
from dlrun.data.times import are_dates
from dlrun.errors import ConfigError, note

TableTask = Literal["auto", "classification", "regression"]

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
    """

    task: TableTask = "auto"
    strip_label: str = ""
    merge_labels: bool = False

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


def with_targets(cells: Cells, target: int) -> Cells:
    """Without the rows that have no target, which a note counts.

    Raises:
        ConfigError: that is all of them.
    """
    column = cells.columns[target]
    if not column.known.any():
        raise ConfigError(
            f"{cells.place(0, target)}: the value to predict is missing, in this row and all others; "
            "set dataset.target to another column"
        )
    if words := column.blanks():
        note_left_out(cells, target, words)
    return cells.only(np.flatnonzero(column.known))


def note_left_out(cells: Cells, target: int, words: Counter[str]) -> None:
    """Note how many rows have no target; `words` are their cells, empty where nothing stands in them."""
    note(
        f"{cells.path}: {words.total()} of {len(cells)} rows have no {cells.names[target]} "
        f"and are left out{_which(words, cells.missing)}"
    )


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
    cells: Cells, target: int, names: Sequence[str], labelling: Labelling
) -> np.ndarray:
    """(N,) the number of the class of each row.

    Raises:
        ConfigError: a label that is none of the `names`, with row and column.
    """
    column = cells.columns[target]
    labels = list(map(labelling.label, column.distinct))
    numbers = class_numbers(labels, names, merge=labelling.merge_labels, notation=cells.notation)
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
    numbers = {label: notation.number(label) for label in counts}
    if None not in numbers.values():
        ordered = [sorted(group, key=len) for group in groups.values()]
        ordered.sort(key=lambda group: (numbers[group[0]], group[0]))
    else:
        ordered = sorted(groups.values())
    return Classes(tuple(group[0] for group in ordered), ordered)


def class_numbers(
    labels: Sequence[str], names: Sequence[str], *, merge: bool, notation: Notation
) -> list[int | None]:
    """(N,) the number of the class of each label, None where it is in none of those that `names` names."""
    exact = {name: number for number, name in enumerate(names)}
    alike = {_key(name, notation): number for number, name in enumerate(names)} if merge else {}

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
    number = notation.number(label)
    if number is not None:
        return number
    return " ".join(unicodedata.normalize("NFC", label).split()).casefold()


def _which(words: Counter[str], missing: Sequence[str]) -> str:
    """The words that stand for a missing target, and what to do where one is a class."""
    if not any(words):
        return ""
    said = ", ".join(f"{word or 'empty'} in {count}" for word, count in words.most_common(_SHOWN))
    more = f" and {len(words) - _SHOWN} other words" if len(words) > _SHOWN else ""
    first = next(word for word, _ in words.most_common() if word)
    return (
        f": {said}{more}; if such a word is a class, give dataset.missing without it, as in "
        f"{missing_setting(missing, less=[first])}"
    )
