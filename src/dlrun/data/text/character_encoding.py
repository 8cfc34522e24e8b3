"""Characters as numbers, and a text cut into its three parts in the order in which it was written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from dlrun.config.settings import DataSettings
from dlrun.data.base import Dataset, Preprocessing, Spec
from dlrun.data.fingerprint import PARTS, Parts, Rows
from dlrun.data.kind import Kind
from dlrun.data.loaders import Split
from dlrun.data.text.characters import Characters
from dlrun.data.text.streams import StreamedText
from dlrun.errors import ConfigError, note

UNKNOWN = 0  # the number of every character that the training part does not have
_UNKNOWN_SHOWN = "\N{REPLACEMENT CHARACTER}"
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
        known, points = _code_points("".join(self.characters)), _code_points(raw)
        places = np.searchsorted(known, points)
        found = known[np.minimum(places, len(known) - 1)] == points
        return torch.from_numpy(np.where(found, places + 1, UNKNOWN))

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
    train, val, test = (_text(raw, parts[name]) for name in PARTS)
    encoding = encoding or CharacterEncoding(sorted(set(train)))
    if len(encoding.characters) < 2:
        raise ConfigError(
            f"{raw.source} has no character but {train[0]!r} in its training part, so there is nothing to "
            "predict; give another text"
        )
    vocabulary = len(encoding.characters) + 1
    spec = Spec("language", "tokens", (raw.window,), vocabulary, vocabulary=vocabulary)

    tell_unseen(raw.source, encoding, {"validation": val, "test": test})
    train_part, val_part, test_part = (
        encode_characters(encoding, text, raw.window) for text in (train, val, test)
    )
    data = Dataset(spec, encoding, train_part, val_part, test_part)
    return replace(data, baselines=_baselines(data))


def encode_characters(encoding: CharacterEncoding, text: str, window: int) -> Split:
    """A text as a model takes it: each character, and the one that comes next."""
    numbers = encoding.inputs(text)
    return StreamedText(numbers[:-1], numbers[1:], window=window)


def _text(raw: Characters, rows: Rows) -> str:
    assert isinstance(rows, range), "a text is cut where it stands"
    return raw.text[rows.start : rows.stop]


def _check(settings: DataSettings) -> None:
    if settings.test_fraction is None:
        raise ConfigError(
            "dataset.test_fraction is null, but a text has no test part of its own: set it, as in 0.1"
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
    """The text's three parts: shuffled, each would be known from its neighbours."""
    size = len(raw.text)
    tested = round((settings.test_fraction or 0.0) * size)
    validated = round(settings.val_fraction * (size - tested))
    trained = size - tested - validated
    asked = [(trained, raw.window + 1), (tested, 2), (validated, 2 if settings.val_fraction else 0)]
    if any(length < least for length, least in asked):
        raise ConfigError(
            f"{raw.source} holds {size} characters, which leaves {trained} to train, {validated} to validate and "
            f"{tested} to test: give a longer text or a smaller dataset.window than {raw.window}; at least "
            f"{raw.window + 1} are needed to train and 2 in each other part"
        )
    return {
        "train": range(trained),
        "val": range(trained, size - tested),
        "test": range(size - tested, size),
    }


def tell_unseen(source: str, encoding: CharacterEncoding, parts: Mapping[str, str]) -> None:
    """A line on the error stream, where an evaluation's JSON is not."""
    unseen = {name: int((encoding.inputs(text) == UNKNOWN).sum()) for name, text in parts.items()}
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
    found = {"character frequencies": _language(alone[part.targets])}
    if size <= _MOST_FOR_BIGRAMS:
        pairs = _counts(data.train.inputs * size + data.train.targets, size**2).view(size, size)
        # What was never seen after a character is as likely as it is anywhere, for one time of reading.
        after = (pairs + alone) / (pairs.sum(1, keepdim=True) + 1)
        found["pairs of characters"] = _language(after[part.inputs, part.targets])
    return found


def _language(chances: Tensor) -> Mapping[str, float]:
    """The loss in nats and in bits a character where what came had these chances."""
    nats = -chances.log().mean().item()
    return {"loss": nats, "bits": nats / math.log(2)}


def _counts(numbers: Tensor, size: int) -> Tensor:
    return numbers.bincount(minlength=size).double()


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


CHARACTERS = Kind(
    raw=Characters,
    split=split_characters,
    encode=prepare_characters,
    preprocessing=CharacterEncoding,
    units={"tokens": "characters"},
    reader="dlrun.data.text.new_characters.NewCharacters",
)
