"""Characters as numbers, and a text cut into its three parts in the order in which it was written."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, cast

import numpy as np
import torch
from torch import Tensor

from dlrun.config.settings import DataSettings
from dlrun.data.base import Dataset, Preprocessing, Spec
from dlrun.data.fingerprint import PARTS, Parts, Rows
from dlrun.data.kind import Kind
from dlrun.data.loaders import Split
from dlrun.data.splits import is_folded
from dlrun.data.text.characters import Characters
from dlrun.data.text.stored import CODE_POINTS, StoredText, around, code_points, smallest
from dlrun.data.text.streams import StoredTokens, StreamedText, Tokens
from dlrun.errors import ConfigError, note

UNKNOWN = 0  # the number of every character that the training part does not have
_UNKNOWN_SHOWN = "\N{REPLACEMENT CHARACTER}"
_AT_ONCE = 2**20  # characters that are looked at together: the memory that it takes has a bound
_MOST_FOR_BIGRAMS = 2000  # characters, above which a table of all pairs would be large


@dataclass(frozen=True)
class CharacterEncoding(Preprocessing):
    """Characters by number, from 1 in the order of their code points; 0 is a character not in the training part."""

    kind: ClassVar[str] = "characters"
    tasks = ("language",)
    characters: list[str]
    target_mean: list[float] = field(default_factory=list)
    target_std: list[float] = field(default_factory=list)

    @property
    def token_names(self) -> list[str]:
        return self.characters

    def inputs(self, raw: str) -> Tensor:
        """The numbers of the characters of a text, (N,) int64."""
        return self.numbers(raw, range(len(raw)))[:].long()

    def numbers(self, text: str | StoredText, rows: range) -> Tokens:
        """The numbers of these characters of a text, (N,), in as few bytes each as they take."""
        number_of = np.full(CODE_POINTS, UNKNOWN, smallest(len(self.characters)))
        number_of[code_points("".join(self.characters))] = np.arange(1, len(self.characters) + 1)
        if isinstance(text, StoredText):
            table = number_of[code_points(text.characters)]
            return StoredTokens(text, table, rows.start, rows.stop)
        found = np.empty(len(rows), number_of.dtype)
        for start, points in _chunks(text, rows):
            found[start : start + len(points)] = number_of[points]
        return torch.from_numpy(found)

    def text(self, numbers: Tensor) -> str:
        """The characters of numbers (N,)."""
        return "".join(self.characters[n - 1] if n else _UNKNOWN_SHOWN for n in numbers.tolist())

    def unknown(self, raw: str) -> list[str]:
        """The characters of a text that the training part does not have, in their first order."""
        return list(dict.fromkeys(c for c in raw if c not in self.characters))


def split_characters(raw: Characters, settings: DataSettings) -> Parts:
    """A text cut into train | val | test where it stands.

    Raises:
        ConfigError: too short a text, or settings that a text cannot follow.
    """
    _check(settings)
    return _cut(raw, settings)


def prepare_characters(
    raw: Characters, settings: DataSettings, parts: Parts, encoding: CharacterEncoding | None
) -> Dataset:
    """A text as numbers; only training characters are known.

    Raises:
        ConfigError: one character alone in the training part.
    """
    rows = {name: _consecutive(parts[name]) for name in PARTS}
    encoding = encoding or CharacterEncoding(_different(raw.text, rows["train"]))
    if len(encoding.characters) < 2:
        raise ConfigError(
            f"{raw.source} has no character but {encoding.characters[0]!r} in its training part, so there is nothing "
            "to predict; give another text"
        )
    vocabulary = len(encoding.characters) + 1
    spec = Spec("language", "tokens", (raw.window,), vocabulary, vocabulary=vocabulary)

    numbers = {name: encoding.numbers(raw.text, rows[name]) for name in PARTS}
    note_unseen(raw.source, {"validation": numbers["val"], "test": numbers["test"]})
    train_part, val_part, test_part = (next_characters(numbers[name], raw.window) for name in PARTS)
    data = Dataset(spec, encoding, train_part, val_part, test_part)
    return replace(data, baselines=_baselines(data))


def next_characters(numbers: Tokens, window: int) -> Split:
    """A text as a model takes it: the number of each character, and that of the one that comes next."""
    count = len(numbers) - 1
    inputs, targets = (cast(Tensor, numbers.narrow(0, start, count)) for start in (0, 1))
    return StreamedText(inputs, targets, window=window)


def _consecutive(rows: Rows) -> range:
    assert isinstance(rows, range), "a text is cut where it stands"
    return rows


def _check(settings: DataSettings) -> None:
    if not is_folded(settings) and settings.test_fraction is None:
        raise ConfigError(
            "dataset.test_fraction is null, but a text has no test part of its own: set it, as in 0.1, or "
            "dataset.folds"
        )
    if settings.normalize != "none":
        raise ConfigError(
            f"dataset.normalize is {settings.normalize}, but characters have no scale; set it to none"
        )
    if settings.augment is not None:
        raise ConfigError(
            "dataset.augment is set, but it changes images and this is a text; set it to null"
        )


def _cut(raw: Characters, settings: DataSettings) -> Parts:
    """The text's three parts: shuffled, each would be known from its neighbours.

    Of folds, one block is the test part; what follows it trains, after the end of the text from its beginning on, and
    what comes last before the block validates.
    """
    size = len(raw.text)
    if settings.folds is not None:
        first, last = ((settings.fold + after) * size // settings.folds for after in (0, 1))
    else:
        first, last = size - round((settings.test_fraction or 0.0) * size), size
    tested = last - first
    validated = round(settings.val_fraction * (size - tested))
    trained = size - tested - validated
    asked = [(trained, raw.window + 1), (tested, 2), (validated, 2 if settings.val_fraction else 0)]
    if any(length < least for length, least in asked):
        raise ConfigError(
            f"{raw.source} holds {size} characters, which leaves {trained} to train, {validated} to validate and "
            f"{tested} to test: give a longer text or a smaller dataset.window than {raw.window}; at least "
            f"{raw.window + 1} are needed to train and 2 in each other part"
        )
    begin = last % size
    return {
        "train": range(begin, begin + trained),
        "val": range(begin + trained, begin + trained + validated),
        "test": range(first, last),
    }


def note_unseen(source: str, parts: Mapping[str, Tokens]) -> None:
    """A line on the error stream, where an evaluation's JSON is not, if parts have characters without a number."""
    unseen = {
        name: sum(int((some == UNKNOWN).sum()) for some in part.split(_AT_ONCE))
        for name, part in parts.items()
    }
    counts = [
        f"{count:,} of {len(parts[name]):,} characters of the {name} part"
        for name, count in unseen.items()
        if count
    ]
    if counts:
        note(f"{source}: {' and '.join(counts)} are unseen in training, and read as unknown")


def _baselines(data: Dataset) -> Mapping[str, Mapping[str, float]]:
    """Nats a character by how often each comes, and by how often each follows another, in the training part."""
    size, part = data.spec.vocabulary, data.split(data.tested)
    counts = _counts(data.train.targets, size) + 1
    alone = counts / counts.sum()
    found = {"character frequencies": _language(alone, _counts(part.targets, size))}
    if size <= _MOST_FOR_BIGRAMS:
        pairs = _pairs(data.train, size)
        # What was never seen after a character is as likely as it is anywhere, for one time of reading.
        after = (pairs + alone) / (pairs.sum(1, keepdim=True) + 1)
        found["pairs of characters"] = _language(after, _pairs(part, size))
    return found


def _language(chances: Tensor, times: Tensor) -> Mapping[str, float]:
    """The loss in nats and in bits a character where what had these chances came so many times."""
    nats = -(times * chances.log()).sum().item() / times.sum().item()
    return {"loss": nats, "bits": nats / math.log(2)}


def _counts(numbers: Tensor, size: int) -> Tensor:
    found = torch.zeros(size, dtype=torch.int64)
    for some in numbers.split(_AT_ONCE):
        found += some.bincount(minlength=size)
    return found.double()


def _pairs(part: Split, size: int) -> Tensor:
    """(size, size) how often each character is followed by each, in double precision."""
    found = torch.zeros(size**2, dtype=torch.float64)
    for inputs, targets in zip(
        part.inputs.split(_AT_ONCE), part.targets.split(_AT_ONCE), strict=True
    ):
        found += (inputs.long() * size + targets).bincount(minlength=size**2)
    return found.view(size, size)


def _different(text: str | StoredText, rows: range) -> list[str]:
    """The characters among these of a text, in the order of their code points."""
    if isinstance(text, StoredText):
        return list(text.distinct(rows))
    seen = np.zeros(CODE_POINTS, bool)
    for _, points in _chunks(text, rows):
        seen[points] = True
    return list(map(chr, np.flatnonzero(seen).tolist()))


def _chunks(text: str, rows: range) -> Iterator[tuple[int, np.ndarray]]:
    """The code points of these characters of a text, some at a time, and where among `rows` they start."""
    before = 0
    for first, last in around(rows.start, rows.stop, len(text)):
        for start in range(first, last, _AT_ONCE):
            points = code_points(text[start : min(start + _AT_ONCE, last)])
            yield before, points
            before += len(points)


CHARACTERS = Kind(
    raw=Characters,
    split=split_characters,
    encode=prepare_characters,
    preprocessing=CharacterEncoding,
    units={"tokens": "characters"},
    reader="dlrun.data.text.new_characters.NewCharacters",
)
