"""Texts to classify: as they were read, what a token is, and which tokens are known. No torch here."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from dlrun.config.schema import Count
from dlrun.data.fingerprint import Fingerprint, Rows, as_words
from dlrun.data.tables.number_format import Notation
from dlrun.data.tables.target_column import classes_of
from dlrun.errors import ConfigError, did_you_mean

UNKNOWN = 1  # the id of a token that training did not have; 0 is padding
_NO_TOKENS = ["", "<unknown>"]  # what the ids below the first token's stand for
WORDS = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")

Level = Literal["word", "character"]


@dataclass(frozen=True)
class TokenSettings:
    """How texts become numbers.

    A word is a run of letters, digits and underscores, apostrophes inside it included (don't is one
    word); any other visible character is a word of its own. At the level of characters each is a
    token, blanks included.
    """

    level: Level
    lower: bool  # whether capitals count as small letters
    min_count: Count  # times that training must have a token for it to be known
    max_vocabulary: Count | None  # how many are known at most, the commonest ones
    max_length: (
        Count | None
    )  # tokens that are read of a text; null: those of the longest in training, within reason
    bucketing: bool  # batches of texts alike in length, cut to the longest


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

    texts: Sequence[str]
    labels: np.ndarray
    class_names: tuple[str, ...]
    tokens: TokenSettings
    test_texts: Sequence[str] | None = None
    test_labels: np.ndarray | None = None
    file_encoding: str = "utf-8"
    column: str | int | list[str | int] | None = None
    layout: TextLayout | None = None
    val_texts: Sequence[str] | None = None
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

    def part(self, name: str) -> tuple[Sequence[str], np.ndarray]:
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
        found = Fingerprint().numbers(labels, rows).words(as_words(texts, rows))
        return len(texts) if rows is None else len(rows), str(found)


class Labelled(NamedTuple):
    """A text with its class, and where it stands, or what finds that."""

    at: str | Callable[[], str]
    label: str
    text: str

    @property
    def place(self) -> str:
        """Where it stands, for an error."""
        return self.at if isinstance(self.at, str) else self.at()


def as_texts(
    source: str,
    rows: Sequence[Labelled],
    test_rows: Sequence[Labelled] | None = None,
    *,
    val_rows: Sequence[Labelled] | None = None,
    tokens: TokenSettings,
) -> Texts:
    """The rows with their labels numbered: as numbers where all are whole ones, by spelling otherwise.

    Raises:
        ConfigError: a text without a word, fewer than two classes, a label for each text, or a label
            of the test part that training does not have.
    """
    others = (*(val_rows or ()), *(test_rows or ()))
    refuse_empty((*rows, *others))
    names = classes_of((row.label for row in rows), merge=False, notation=Notation()).names
    if len(names) < 2:
        raise ConfigError(
            f"{source} has a single class, {names[0]}, but a classifier needs two classes or more"
        )
    if len(names) == len(rows):
        raise ConfigError(
            f"{source} has a label of its own for each of its {len(rows)} texts, as in {names[0]}: "
            "check where the labels stand"
        )
    for row in others:
        if row.label not in names:
            raise ConfigError(
                f"{row.place}: the label {row.label} is not in the training part{did_you_mean(row.label, names)}"
            )
    numbers = {name: number for number, name in enumerate(names)}

    def labels(part: Sequence[Labelled]) -> np.ndarray:
        return np.array([numbers[row.label] for row in part], np.int64)

    return Texts(
        texts=[row.text for row in rows],
        labels=labels(rows),
        class_names=tuple(names),
        tokens=tokens,
        test_texts=None if test_rows is None else [row.text for row in test_rows],
        test_labels=None if test_rows is None else labels(test_rows),
        val_texts=None if val_rows is None else [row.text for row in val_rows],
        val_labels=None if val_rows is None else labels(val_rows),
    )


def refuse_empty(rows: Iterable[Labelled]) -> None:
    """Refuse a row that lacks its text or its label.

    Raises:
        ConfigError: naming where it is.
    """
    for row in rows:
        if not row.label or not row.text.strip():
            missing = "label" if row.text.strip() else "text"
            raise ConfigError(f"{row.place}: there is no {missing}; fill it in or take the row out")


def tokenize(text: str, *, level: Level, lower: bool) -> list[str]:
    """The tokens of a text, in order."""
    text = text.lower() if lower else text
    return WORDS.findall(text) if level == "word" else list(text)


_AT_ONCE = 2**13  # texts that are numbered together: the memory that it takes has a bound


class _Numbers(dict[str, int]):
    """A number for each different token, in the order in which they come."""

    def __missing__(self, token: str) -> int:
        self[token] = len(self)
        return len(self) - 1


@dataclass(frozen=True)
class TokenizedTexts:
    """The tokens of N texts, one after the other.

    Attributes:
        codes: int32, each token by its place in `words`.
        starts: (N + 1,) where in `codes` each text begins, and the last one ends.
    """

    codes: np.ndarray
    starts: np.ndarray
    words: Sequence[str]

    @classmethod
    def of(cls, texts: Iterable[str], *, level: Level, lower: bool) -> TokenizedTexts:
        """Take texts apart."""
        numbers, codes, starts = _Numbers(), array("i"), array("q", [0])
        number = numbers.__getitem__
        for text in texts:
            codes.extend(map(number, tokenize(text, level=level, lower=lower)))
            starts.append(len(codes))
        return cls(np.frombuffer(codes, np.int32), np.frombuffer(starts, np.int64), list(numbers))

    @property
    def lengths(self) -> np.ndarray:
        """(N,) tokens of each text."""
        return np.diff(self.starts)

    def padded(
        self, rows: np.ndarray, length: int, number_of: np.ndarray, kind: type[np.integer[Any]]
    ) -> np.ndarray:
        """(len(rows), length) `number_of` each token of these texts, cut or filled up with 0 at the end."""
        found = np.zeros((len(rows), length), kind)
        for some, lengths, codes in self.beginnings(rows, length):
            found[some][np.arange(length) < lengths[:, None]] = number_of[codes]
        return found

    def beginnings(
        self, rows: np.ndarray, length: int
    ) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Some of these rows at a time: how many tokens, `length` at most, each text has, and all those tokens."""
        for first in range(0, len(rows), _AT_ONCE):
            some = slice(first, first + _AT_ONCE)
            lengths = np.minimum(self.lengths[rows[some]], length)
            shift = self.starts[:-1][rows[some]] - (lengths.cumsum() - lengths)
            yield some, lengths, self.codes[np.repeat(shift, lengths) + np.arange(lengths.sum())]

    def numbers_of(self, vocabulary: Sequence[str]) -> np.ndarray:
        """(len(words),) the id of each different token."""
        known = {token: number for number, token in enumerate(vocabulary) if number > UNKNOWN}
        return np.array([known.get(word, UNKNOWN) for word in self.words], np.int32)

    def written(self, row: int) -> bytes:
        """What two texts have in common that are the same token by token."""
        return self.codes[self.starts[row] : self.starts[row + 1]].tobytes()


def vocabulary_of(
    texts: TokenizedTexts, rows: np.ndarray, length: int, settings: TokenSettings
) -> list[str]:
    """The known tokens of training's `rows`, of `length` tokens each, at the place that is its id, common ones first.

    Raises:
        ConfigError: none is common enough.
    """
    counts = np.zeros(len(texts.words), np.int64)
    for _, _, codes in texts.beginnings(rows, length):
        counts += np.bincount(codes, minlength=len(counts))
    common = np.flatnonzero(counts >= settings.min_count).tolist()
    if not common:
        raise ConfigError(
            f"dataset.tokens.min_count is {settings.min_count}, but the training part has no token so often: "
            f"the commonest comes {counts.max()} times; lower it"
        )
    # Of equal counts by spelling: an order that does not hang on the order of the texts.
    common.sort(key=lambda code: (-counts[code], texts.words[code]))
    return [*_NO_TOKENS, *(texts.words[code] for code in common[: settings.max_vocabulary])]
