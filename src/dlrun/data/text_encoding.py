"""From texts to tensors of token ids, by a vocabulary that only the training part decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from dlrun.config import DataSettings
from dlrun.data.base import Dataset, Preprocessing, Spec, Split
from dlrun.data.fingerprint import Parts
from dlrun.data.splitting import parted, split_rows
from dlrun.data.targets import class_targets, class_task
from dlrun.data.texts import Level, Texts, ids_of, tokenize, vocabulary_of
from dlrun.errors import ConfigError


@dataclass(frozen=True)
class TextEncoding(Preprocessing):
    """Which number each token has.

    Attributes:
        vocabulary: the tokens, each at the place that is its id; 0 is padding, 1 any token not known.
        max_length: tokens that are read of a text.
        file_encoding, column: of the files of texts, and where in a CSV they stand, by name or number.
    """

    kind: ClassVar[str] = "text"
    vocabulary: list[str]
    level: Level
    lower: bool
    max_length: int
    file_encoding: str
    column: str | int | None
    target_mean: list[float] = field(default_factory=list)
    target_std: list[float] = field(default_factory=list)

    def inputs(self, raw: Sequence[str]) -> Tensor:
        """Token ids (N, max_length) of N texts, padded at the end."""
        return self.ids([tokenize(text, level=self.level, lower=self.lower) for text in raw])

    def ids(self, tokenized: Sequence[Sequence[str]]) -> Tensor:
        """As `inputs`, of texts that are taken apart already."""
        return torch.from_numpy(ids_of(tokenized, self.vocabulary, self.max_length))


def split_texts(raw: Texts, settings: DataSettings) -> Parts:
    """The rows of each part.

    Raises:
        ConfigError: it cannot be split as asked, or a setting that means nothing for texts.
    """
    if settings.normalize != "none":
        raise ConfigError(
            f"dataset.normalize is {settings.normalize}, but words have no mean; set it to none"
        )
    rows = split_rows(len(raw), raw.labels, settings, has_test="test" in raw.own)
    return parted(rows, raw.own)


def prepare_texts(
    raw: Texts, settings: DataSettings, parts: Parts, encoding: TextEncoding | None
) -> Dataset:
    """Gather the vocabulary of the training part, where there is none yet, and number the tokens of all parts."""
    tokenized = _tokenized(raw, raw.texts)
    if encoding is None:
        encoding = _fit([tokenized[row] for row in np.asarray(parts["train"])], raw)

    def part(name: str) -> Split:
        rows, texts, labels = parts[name], tokenized, raw.labels
        if rows is not None:
            texts, labels = [tokenized[row] for row in rows], raw.labels[rows]
        elif raw.test_texts is not None and raw.test_labels is not None:
            texts, labels = _tokenized(raw, raw.test_texts), raw.test_labels
        return encoded(encoding, texts, labels, len(raw.class_names), raw.tokens.bucketing)

    return Dataset(_spec(raw, encoding), encoding, part("train"), part("val"), part("test"))


def encoded(
    encoding: TextEncoding,
    tokenized: Sequence[Sequence[str]],
    labels: np.ndarray,
    classes: int,
    bucketing: bool,
) -> Split:
    """Texts with their class numbers as a model takes them."""
    inputs = encoding.ids(tokenized)
    lengths = (inputs != 0).sum(1) if bucketing else None
    return Split(inputs, class_targets(labels, classes), lengths)


def _tokenized(raw: Texts, texts: Sequence[str]) -> list[list[str]]:
    return [tokenize(text, level=raw.tokens.level, lower=raw.tokens.lower) for text in texts]


def _fit(train: list[list[str]], raw: Texts) -> TextEncoding:
    settings = raw.tokens
    longest = max(map(len, train))
    return TextEncoding(
        vocabulary=vocabulary_of(train, settings),
        level=settings.level,
        lower=settings.lower,
        max_length=min(longest, settings.max_length or longest),
        file_encoding=raw.file_encoding,
        column=raw.column,
    )


def _spec(raw: Texts, encoding: TextEncoding) -> Spec:
    task, outputs = class_task(len(raw.class_names))
    return Spec(
        task=task,
        kind="tokens",
        input_shape=(encoding.max_length,),
        num_outputs=outputs,
        class_names=raw.class_names,
        vocabulary=len(encoding.vocabulary),
    )
