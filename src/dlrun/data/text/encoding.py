"""From texts to tensors of token ids, by a vocabulary that only the training part decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from dlrun.config.settings import DataSettings
from dlrun.data.base import Dataset, Preprocessing, Spec, class_targets, class_task
from dlrun.data.fingerprint import Parts
from dlrun.data.kind import Kind
from dlrun.data.loaders import Split
from dlrun.data.splits import parted, split_rows
from dlrun.data.text.buckets import PaddedTexts
from dlrun.data.text.checks import note_copies
from dlrun.data.text.texts import Level, Texts, ids_of, tokenize, vocabulary_of
from dlrun.errors import ConfigError, note

_MOST_TEXTS = 0.95  # of the training part: a length that so many keep within is no exception
_BEYOND = 8  # times that length, and a text is an exception
_SHORT = 512  # tokens, which any text may have
_MOST_TOKENS = 8192  # a batch of 32 such texts takes a gigabyte or two to train on
_BYTES = 2 * 2**30  # of all texts, padded to one length
_TOKEN_BYTES = 8


def reading_length(lengths: Sequence[int], *, texts: int, given: int | None) -> int:
    """Tokens that are read of a text: as many as `given`, or as the longest has, unless that is out of all proportion.

    Without `given` at most 8 times what 95 % of the training texts keep within, though never fewer than
    512; at most 8,192; and so many that all texts, padded, fit into 2 GiB. A line on the error stream
    says so where that cuts a training text.

    Args:
        lengths: tokens of each training text.
        texts: how many there are in all parts.
    """
    ordered = sorted(lengths)
    longest = ordered[-1]
    if given is not None:
        return min(longest, given)
    # Rounded down: of a few texts the longest is the exception.
    usual = ordered[int(_MOST_TEXTS * (len(ordered) - 1))]
    padded = max(1, _BYTES // (_TOKEN_BYTES * texts))
    limit = min(max(_SHORT, _BEYOND * usual), _MOST_TOKENS, padded)
    if longest > limit:
        within = sum(length <= usual for length in ordered)
        others = f", {within:,} of {len(ordered):,} have at most {usual:,}" * (usual < longest)
        note(
            f"the longest training text has {longest:,} tokens{others}: the first {limit:,} of each text are read; "
            "dataset.tokens.max_length=… sets another bound"
        )
    return min(longest, limit)


@dataclass(frozen=True)
class TextEncoding(Preprocessing):
    """Which number each token has.

    Attributes:
        vocabulary: the tokens, each at the place that is its id; 0 is padding, 1 any token not known.
        max_length: tokens that are read of a text.
        file_encoding, column: of the files of texts, and where in a CSV they stand, by name or number.
        layout: of these files, a `TextLayout` as plain values; None where they are not the user's own.
    """

    kind: ClassVar[str] = "text"
    vocabulary: list[str]
    level: Level
    lower: bool
    max_length: int
    file_encoding: str
    column: str | int | list[str | int] | None
    layout: dict[str, Any] | None = None
    target_mean: list[float] = field(default_factory=list)
    target_std: list[float] = field(default_factory=list)

    @property
    def reads_whole_files(self) -> bool:
        """Whether a text is a file, rather than a line or a row of one."""
        return self.layout is not None and self.layout["form"] == "folder"

    def inputs(self, raw: Sequence[str]) -> Tensor:
        """Token ids (N, max_length) of N texts, padded at the end."""
        return self.ids([tokenize(text, level=self.level, lower=self.lower) for text in raw])

    def part(self, inputs: Tensor, targets: Tensor) -> Split:
        """Batches are cut to their longest."""
        return PaddedTexts(inputs, targets, lengths=(inputs != 0).sum(1))

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
    has_test = "test" in raw.own
    if has_test and raw.layout and raw.layout.form == "folder":
        # As of images: it is for where there is no test/.
        settings = replace(settings, test_fraction=None)
    if "val" in raw.own:
        settings = replace(settings, val_fraction=0.0)
    rows = split_rows(len(raw), raw.labels, settings, has_test=has_test)
    return parted(rows, raw.own)


def prepare_texts(
    raw: Texts, settings: DataSettings, parts: Parts, kept: TextEncoding | None
) -> Dataset:
    """Gather the vocabulary of the training part, where there is none yet, and number the tokens of all parts."""
    tokenized = _tokenized(raw, raw.texts)
    texts = {
        name: _tokenized(raw, raw.part(name)[0])
        if rows is None
        else [tokenized[row] for row in rows]
        for name, rows in parts.items()
    }
    encoding = kept or _fit(texts["train"], raw, sum(map(len, texts.values())))
    if kept is None:
        note_copies(texts["train"], {"validation": texts["val"], "test": texts["test"]})

    def part(name: str) -> Split:
        rows = parts[name]
        labels = raw.part(name)[1] if rows is None else raw.labels[rows]
        return encode_texts(
            encoding, texts[name], labels, len(raw.class_names), raw.tokens.bucketing
        )

    return Dataset(_spec(raw, encoding), encoding, part("train"), part("val"), part("test"))


def encode_texts(
    encoding: TextEncoding,
    tokenized: Sequence[Sequence[str]],
    labels: np.ndarray,
    classes: int,
    bucketing: bool,
) -> Split:
    """Texts with their class numbers as a model takes them."""
    inputs = encoding.ids(tokenized)
    lengths = (inputs != 0).sum(1) if bucketing else None
    return PaddedTexts(inputs, class_targets(labels, classes), lengths=lengths)


def _tokenized(raw: Texts, texts: Sequence[str]) -> list[list[str]]:
    return [tokenize(text, level=raw.tokens.level, lower=raw.tokens.lower) for text in texts]


def _fit(train: Sequence[Sequence[str]], raw: Texts, texts: int) -> TextEncoding:
    settings = raw.tokens
    length = reading_length(list(map(len, train)), texts=texts, given=settings.max_length)
    return TextEncoding(
        # Of what is read alone: a token that stands beyond it would be known, and never learned.
        vocabulary=vocabulary_of([tokens[:length] for tokens in train], settings),
        level=settings.level,
        lower=settings.lower,
        max_length=length,
        file_encoding=raw.file_encoding,
        column=raw.column,
        layout=asdict(raw.layout) if raw.layout else None,
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


TEXTS = Kind(
    raw=Texts,
    split=split_texts,
    encode=prepare_texts,
    preprocessing=TextEncoding,
    units={"tokens": "texts"},
    reader="dlrun.data.text.new_texts.NewTexts",
)
