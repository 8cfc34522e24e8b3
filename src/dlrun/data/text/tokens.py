"""What a token is: texts taken apart into tokens, their numbers, and which of them are known. No torch here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Literal, TypeVar

import numpy as np

from dlrun.config.schema import Count
from dlrun.data.text.stored import RaggedFile, StoredTexts, in_budget
from dlrun.errors import ConfigError

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
