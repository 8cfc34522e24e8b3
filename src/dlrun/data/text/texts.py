"""Texts to classify, as they were read. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from dlrun.data.fingerprint import Fingerprint, Rows, as_words
from dlrun.data.tables.column import Column, joined
from dlrun.data.tables.number_format import Notation
from dlrun.data.tables.target_column import classes_of
from dlrun.data.text.stored import StoredTexts
from dlrun.data.text.tokens import TokenSettings
from dlrun.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class TextLayout:
    """How files of labelled texts are written, by which new ones are read.

    Attributes:
        form: lines of labels and texts, files of a class with a text a line, a folder of files of a
            text each, or a table.
        separator: of lines, what ends the label.
        delimiter: of a table, the character between its cells.
        columns: of a table, the names of all; their numbers from 1 where it has no header.
        texts, label: of a table, which of `columns` hold the texts and the labels.
        named: of a table, whether it has a header.
        skip_lines, comment: of a table, as in `CsvFormat`.
    """

    form: Literal["lines", "files", "folder", "table"]
    separator: str = ""
    delimiter: str = ","
    columns: Sequence[str] = ()
    texts: Sequence[str] = ()
    label: str = ""
    named: bool = False
    skip_lines: Literal["auto"] | int = 0
    comment: str | None = None


@dataclass(frozen=True)
class Texts:
    """Texts with their classes, as they were published.

    Attributes:
        labels: (N,) class numbers, one for each of `texts`.
        test_texts, test_labels: the test part, where the data set comes with one.
        val_texts, val_labels: the same for the validation part.
        file_encoding, column: of the files of texts, and where in a CSV they stand, by name or number;
            a list of columns that are joined.
        layout: of the files, where they are the user's own.
    """

    texts: Sequence[str] | StoredTexts
    labels: np.ndarray
    class_names: tuple[str, ...]
    tokens: TokenSettings
    test_texts: Sequence[str] | StoredTexts | None = None
    test_labels: np.ndarray | None = None
    file_encoding: str = "utf-8"
    column: str | int | list[str | int] | None = None
    layout: TextLayout | None = None
    val_texts: Sequence[str] | StoredTexts | None = None
    val_labels: np.ndarray | None = None

    @property
    def traits(self) -> dict[str, tuple[Any, ...]]:
        """As `Raw.traits`."""
        return {"classes": self.class_names}

    @property
    def own(self) -> tuple[str, ...]:
        """As `Raw.own`."""
        parts = {"val": self.val_texts, "test": self.test_texts}
        return tuple(name for name, texts in parts.items() if texts is not None)

    def part(self, name: str) -> tuple[Sequence[str] | StoredTexts, np.ndarray]:
        """Texts and labels of a part of its own, and of `train` those that parts are drawn from."""
        parts = {
            "train": (self.texts, self.labels),
            "val": (self.val_texts, self.val_labels),
            "test": (self.test_texts, self.test_labels),
        }
        texts, labels = parts[name]
        assert texts is not None and labels is not None, "a part of its own has texts with labels"
        return texts, labels

    def __len__(self) -> int:
        return len(self.texts)

    def fingerprint(self, part: str, rows: Rows) -> tuple[int, str]:
        """As `Raw.fingerprint`."""
        texts, labels = self.part(part if rows is None else "train")
        if isinstance(texts, StoredTexts):
            words: Iterable[str | None] = texts if rows is None else texts.take(texts.rows[rows])
        else:
            words = as_words(texts, rows)
        found = Fingerprint().numbers(labels, rows).words(words)
        return len(texts) if rows is None else len(rows), str(found)


@dataclass(frozen=True)
class LabelledTexts:
    """N texts as they stand in files.

    Attributes:
        labels: (N,) the label of each text.
        place: where the text of a row stands, for an error.
    """

    texts: list[str] | StoredTexts
    labels: Column
    place: Callable[[int], str]

    def __len__(self) -> int:
        return len(self.texts)

    def refuse_empty(self) -> None:
        """Refuse a row that lacks its text or its label.

        Raises:
            ConfigError: naming where it is.
        """
        rows = [*self.labels.where([""]).tolist(), *_empty(self.texts)]
        if rows:
            row = min(rows)
            missing = "label" if self.texts[row].strip() else "text"
            raise ConfigError(
                f"{self.place(row)}: there is no {missing}; fill it in or take the row out"
            )

    def take(self, rows: np.ndarray) -> LabelledTexts:
        """The rows with these numbers."""
        if isinstance(self.texts, StoredTexts):
            texts: list[str] | StoredTexts = self.texts.take(self.texts.rows[rows])
        else:
            texts = [self.texts[row] for row in rows.tolist()]
        return LabelledTexts(texts, self.labels.take(rows), lambda row: self.place(int(rows[row])))


def _empty(texts: list[str] | StoredTexts) -> list[int]:
    if isinstance(texts, StoredTexts):
        return texts.empty()
    return [row for row, text in enumerate(texts) if not text or text.isspace()]


# Reads texts some at a time, each time it is called.
Pieces = Callable[[], Iterator[LabelledTexts]]


def joined_texts(pieces: Pieces) -> LabelledTexts:
    """The rows of all pieces, one after the other."""
    texts: list[str] = []
    labels = []
    for piece in pieces():
        texts += piece.texts
        labels.append(piece.labels)
    return LabelledTexts(texts, joined(labels, Notation()), partial(place_in, pieces))


def place_in(pieces: Pieces, row: int) -> str:
    """Where a row stands: the pieces are read again, as that is needed for an error alone."""
    for piece in pieces():
        if row < len(piece):
            return piece.place(row)
        row -= len(piece)
    raise IndexError("there are fewer rows")


def as_texts(
    source: str,
    rows: LabelledTexts,
    test_rows: LabelledTexts | None = None,
    *,
    val_rows: LabelledTexts | None = None,
    tokens: TokenSettings,
) -> Texts:
    """The rows with their labels numbered: as numbers where all are whole ones, by spelling otherwise.

    Raises:
        ConfigError: a text without a word, fewer than two classes, a label for each text, or a label
            of the test part that training does not have.
    """
    others = [part for part in (val_rows, test_rows) if part is not None]
    for part in (rows, *others):
        part.refuse_empty()
    names = classes_of(rows.labels.distinct, merge=False, notation=Notation()).names
    if len(names) < 2:
        raise ConfigError(
            f"{source} has a single class, {names[0]}, but a classifier needs two classes or more"
        )
    if len(names) == len(rows):
        raise ConfigError(
            f"{source} has a label of its own for each of its {len(rows)} texts, as in {names[0]}: "
            "check where the labels stand"
        )
    for part in others:
        for label in part.labels.distinct:
            if label not in names:
                raise ConfigError(
                    f"{part.place(part.labels.row_of(label))}: the label {label} is not in the training part"
                    f"{did_you_mean(label, names)}"
                )
    numbers = {name: number for number, name in enumerate(names)}

    def labels(part: LabelledTexts) -> np.ndarray:
        return np.array([numbers[one] for one in part.labels.distinct], np.int64)[part.labels.codes]

    return Texts(
        texts=rows.texts,
        labels=labels(rows),
        class_names=tuple(names),
        tokens=tokens,
        test_texts=None if test_rows is None else test_rows.texts,
        test_labels=None if test_rows is None else labels(test_rows),
        val_texts=None if val_rows is None else val_rows.texts,
        val_labels=None if val_rows is None else labels(val_rows),
    )
