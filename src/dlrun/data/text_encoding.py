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
from dlrun.data.splitting import split_rows
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


def prepare_texts(raw: Texts, settings: DataSettings) -> Dataset:
    """Split `raw`, gather the vocabulary of the training part and number the tokens of all parts.

    Raises:
        ConfigError: it cannot be split as asked, or a setting that means nothing for texts.
    """
    if settings.normalize != "none":
        raise ConfigError(
            f"dataset.normalize is {settings.normalize}, but words have no mean; set it to none"
        )
    train, val, test = split_rows(
        len(raw.texts), raw.labels, settings, has_test=raw.test_texts is not None
    )
    tokenized = _tokenized(raw, raw.texts)
    encoding = _fit([tokenized[row] for row in train], raw)

    def part(texts: Sequence[Sequence[str]], labels: np.ndarray) -> Split:
        return _split(encoding, texts, labels, raw)

    def rows(numbers: np.ndarray) -> Split:
        return part([tokenized[row] for row in numbers], raw.labels[numbers])

    if raw.test_texts is not None and raw.test_labels is not None:
        tested = part(_tokenized(raw, raw.test_texts), raw.test_labels)
    else:
        tested = rows(test)
    return Dataset(_spec(raw, encoding), encoding, rows(train), rows(val), tested)


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


def _split(
    encoding: TextEncoding, texts: Sequence[Sequence[str]], labels: np.ndarray, raw: Texts
) -> Split:
    inputs = encoding.ids(texts)
    lengths = (inputs != 0).sum(1) if raw.tokens.bucketing else None
    return Split(inputs, class_targets(labels, len(raw.class_names)), lengths)


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
