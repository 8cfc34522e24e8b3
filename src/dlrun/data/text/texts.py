"""Texts to classify: as they were read, what a token is, and which tokens are known. No torch here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Any, Literal, TypeVar

import numpy as np

from dlrun.config.schema import Count
from dlrun.data.fingerprint import Fingerprint, Rows, as_words
from dlrun.data.tables.column import Column, joined
from dlrun.data.tables.number_format import Notation
from dlrun.data.tables.target_column import classes_of
from dlrun.data.text.stored import RaggedFile, StoredTexts, in_budget
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


def tokenize(text: str, *, level: Level, lower: bool) -> list[str]:
    """The tokens of a text, in order."""
    text = text.lower() if lower else text
    return WORDS.findall(text) if level == "word" else list(text)


_Item = TypeVar("_Item")
_AT_ONCE = 2**13  # texts that are numbered together: the memory that it takes has a bound
_TOKENS = 2**20  # tokens of them
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, with as many ones as zeros
_END = "\0"  # between texts that are taken apart together: a token of its own


def in_pieces(items: Iterable[_Item], count: int = _AT_ONCE) -> Iterator[list[_Item]]:
    """So many items at a time."""
    rest = iter(items)
    while some := list(islice(rest, count)):
        yield some


class _Numbers(dict[str, int]):
    """A number for each different token, in the order in which they come."""

    def __missing__(self, token: str) -> int:
        self[token] = len(self)
        return len(self) - 1


class Tokenizer:
    """Takes texts apart into the numbers of their tokens, and numbers new tokens as they come."""

    def __init__(self, *, level: Level, lower: bool) -> None:
        self._level, self._lower = level, lower
        self._numbers = _Numbers({_END: 0})

    @property
    def words(self) -> list[str]:
        """The tokens by number."""
        return list(self._numbers)

    def codes(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of all tokens of these texts, int32, and how many each text has."""
        if self._level == "word" and not any(_END in text for text in texts):
            return self._together(texts)
        parts = [tokenize(text, level=self._level, lower=self._lower) for text in texts]
        lengths = np.fromiter(map(len, parts), np.int64, len(parts))
        return self._number(chain.from_iterable(parts), int(lengths.sum())), lengths

    def _together(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The same of texts without `_END`, sooner: no token reaches beyond it, nor what lower case looks at."""
        tokens = tokenize(_END.join([*texts, ""]), level="word", lower=self._lower)
        codes = self._number(tokens, len(tokens))
        is_end = codes == self._numbers[_END]
        ends = np.flatnonzero(is_end)
        return codes[~is_end], np.diff(ends, prepend=-1) - 1

    def _number(self, tokens: Iterable[str], count: int) -> np.ndarray:
        return np.fromiter(map(self._numbers.__getitem__, tokens), np.int32, count)


@dataclass(frozen=True)
class TokenizedTexts:
    """The tokens of N texts, one after the other.

    Attributes:
        codes: int32, each token by its place in `words`.
        starts: (N + 1,) where in `codes` each text begins, and the last one ends.
    """

    codes: np.ndarray | RaggedFile
    starts: np.ndarray
    words: Sequence[str]

    @classmethod
    def stored(cls, texts: StoredTexts) -> TokenizedTexts:
        """The tokens of all texts in the folder of these."""
        codes, counts, words = texts.tokens
        return cls(codes, np.concatenate([[0], counts.cumsum()]), words)

    @classmethod
    def of(cls, texts: Iterable[str], *, level: Level, lower: bool) -> TokenizedTexts:
        """Take texts apart."""
        tokenizer = Tokenizer(level=level, lower=lower)
        codes, lengths = [np.empty(0, np.int32)], [np.zeros(1, np.int64)]
        for some in in_pieces(texts):
            found, counts = tokenizer.codes(some)
            codes.append(found)
            lengths.append(counts)
        return cls(np.concatenate(codes), np.concatenate(lengths).cumsum(), tokenizer.words)

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
        lengths = np.minimum(np.diff(self.starts)[rows], length)
        for some in in_budget(lengths, _TOKENS, _AT_ONCE):
            yield some, lengths[some], self._taken(self.starts[:-1][rows[some]], lengths[some])

    def _taken(self, begins: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        if isinstance(self.codes, RaggedFile):
            return self.codes.taken(begins, lengths)
        shift = begins - (lengths.cumsum() - lengths)
        return self.codes[np.repeat(shift, lengths) + np.arange(lengths.sum())]

    def numbers_of(self, vocabulary: Sequence[str]) -> np.ndarray:
        """(len(words),) the id of each different token."""
        known = {token: number for number, token in enumerate(vocabulary) if number > UNKNOWN}
        return np.array([known.get(word, UNKNOWN) for word in self.words], np.int32)

    def hashes(self) -> np.ndarray:
        """(N,) a number of 64 bits that is the same of texts that are the same token by token."""
        values = np.random.default_rng(0).integers(2**64, size=len(self.words), dtype=np.uint64)
        longest = int(self.lengths.max(initial=0))
        powers = np.multiply.accumulate(np.full(longest, _FACTOR))
        found = np.empty(len(self.lengths), np.uint64)
        for some, lengths, codes in self.beginnings(np.arange(len(found)), longest):
            ends = lengths.cumsum()
            within = np.arange(len(codes)) - np.repeat(ends - lengths, lengths)
            sums = np.append((values[codes] * powers[within]).cumsum(), np.uint64(0))
            # The sum up to where a text ends, without that up to where it begins; -1 is the 0 at the end.
            found[some] = sums[ends - 1] - sums[ends - lengths - 1]
        return found

    def written(self, row: int) -> bytes:
        """What two texts have in common that are the same token by token."""
        begin, end = self.starts[[row]], self.starts[[row + 1]]
        return self._taken(begin, end - begin).tobytes()


def vocabulary_of(
    texts: TokenizedTexts, rows: np.ndarray, length: int, settings: TokenSettings
) -> list[str]:
    """The known tokens of training's `rows`, of `length` tokens each, at the place that is its id, common ones first.

    Raises:
        ConfigError: none is common enough.
    """
    counts = np.zeros(len(texts.words), np.int64)
    for _, _, codes in texts.beginnings(np.sort(rows), length):  # in the order of a file
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
