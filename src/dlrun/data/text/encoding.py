"""From texts to tensors of token ids, by a vocabulary that only the training part decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor

from dlrun.config.settings import DataSettings
from dlrun.data.base import Dataset, Preprocessing, Spec, class_targets, class_task
from dlrun.data.fingerprint import PARTS, Parts
from dlrun.data.kind import Kind
from dlrun.data.loaders import Split
from dlrun.data.splits import parted, split_rows
from dlrun.data.text.buckets import PaddedTexts, StoredRows
from dlrun.data.text.checks import note_copies
from dlrun.data.text.stored import RaggedFile, StoredTexts
from dlrun.data.text.texts import Texts
from dlrun.data.text.tokens import Level, TokenizedTexts, vocabulary_of
from dlrun.errors import ConfigError, note

_MOST_TEXTS = 0.95  # of the training part: a length that so many keep within is no exception
_BEYOND = 8  # times that length, and a text is an exception
_SHORT = 512  # tokens, which any text may have
_MOST_TOKENS = 8192  # a batch of 32 such texts takes a gigabyte or two to train on
_BYTES = 2 * 2**30  # of all texts, padded to one length
_TOKEN_BYTES = 8


def reading_length(lengths: Sequence[int] | np.ndarray, *, texts: int, given: int | None) -> int:
    """Tokens that are read of a text: as many as `given`, or as the longest has, unless that is out of all proportion.

    Without `given` at most 8 times what 95 % of the training texts keep within, though never fewer than
    512; at most 8,192; and so many that all texts, padded, fit into 2 GiB. A line on the error stream
    says so where that cuts a training text.

    Args:
        lengths: tokens of each training text.
        texts: how many there are in all parts.
    """
    ordered = np.sort(lengths).tolist()
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
        texts = TokenizedTexts.of(raw, level=self.level, lower=self.lower)
        return self.ids(texts, np.arange(len(raw)), np.int64)

    def part(self, inputs: Tensor, targets: Tensor) -> Split:
        """Batches are cut to their longest."""
        return PaddedTexts(inputs, targets, lengths=inputs.count_nonzero(1))

    def ids(self, texts: TokenizedTexts, rows: np.ndarray, kind: type[np.integer[Any]]) -> Tensor:
        """As `inputs`, of these rows of texts that are taken apart already."""
        number_of = texts.numbers_of(self.vocabulary)
        return torch.from_numpy(texts.padded(rows, self.max_length, number_of, kind))


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
    has_val = "val" in raw.own
    rows = split_rows(len(raw), raw.labels, settings, has_test=has_test, has_val=has_val)
    return parted(rows, raw.own)


def prepare_texts(
    raw: Texts, settings: DataSettings, parts: Parts, kept: TextEncoding | None
) -> Dataset:
    """Gather the vocabulary of the training part, where there is none yet, and number the tokens of all parts."""
    given = {name: raw.part(name) for name, rows in parts.items() if rows is None}
    sources = {"": (raw.texts, raw.labels), **given}
    tokens, places = tokenized(
        [texts for texts, _ in sources.values()], level=raw.tokens.level, lower=raw.tokens.lower
    )
    place_of = dict(zip(sources, places, strict=True))
    rows, labels = {}, {}
    for name, own in parts.items():
        source = "" if own is not None else name
        chosen = slice(None) if own is None else np.asarray(own)
        rows[name], labels[name] = place_of[source][chosen], sources[source][1][chosen]
    encoding = kept or _fit(tokens, rows["train"], raw, sum(map(len, rows.values())))
    if kept is None:
        note_copies(tokens, rows["train"], {"validation": rows["val"], "test": rows["test"]})
    train, val, test = (
        encode_texts(
            encoding, tokens, rows[name], labels[name], len(raw.class_names), raw.tokens.bucketing
        )
        for name in PARTS
    )
    return Dataset(_spec(raw, encoding), encoding, train, val, test)


def encode_texts(
    encoding: TextEncoding,
    tokens: TokenizedTexts,
    rows: np.ndarray,
    labels: np.ndarray,
    classes: int,
    bucketing: bool,
) -> Split:
    """These rows of texts with their class numbers (len(rows),) as a model takes them."""
    targets = class_targets(labels, classes)
    lengths = np.minimum(tokens.lengths[rows], encoding.max_length)
    given_lengths = torch.from_numpy(lengths) if bucketing else None
    if isinstance(tokens.codes, RaggedFile):
        number_of = tokens.numbers_of(encoding.vocabulary)
        begins = tokens.starts[:-1][rows]
        stored = StoredRows(tokens.codes, begins, lengths, number_of, encoding.max_length)
        return PaddedTexts(cast(Tensor, stored), targets, lengths=given_lengths)
    few = len(encoding.vocabulary) <= np.iinfo(np.int16).max
    kind = np.int64 if not bucketing else np.int16 if few else np.int32
    return PaddedTexts(encoding.ids(tokens, rows, kind), targets, lengths=given_lengths)


def tokenized(
    sources: Sequence[Sequence[str] | StoredTexts], *, level: Level, lower: bool
) -> tuple[TokenizedTexts, list[np.ndarray]]:
    """The tokens of all texts, and for each of the sources, in memory or in one folder, which of them are its own."""
    first, rows, start = sources[0], [], 0
    if isinstance(first, StoredTexts):
        return TokenizedTexts.stored(first), [cast(StoredTexts, one).rows for one in sources]
    for one in sources:
        rows.append(np.arange(start, start + len(one)))
        start += len(one)
    return TokenizedTexts.of(chain(*sources), level=level, lower=lower), rows


def _fit(tokens: TokenizedTexts, train: np.ndarray, raw: Texts, texts: int) -> TextEncoding:
    settings = raw.tokens
    length = reading_length(tokens.lengths[train], texts=texts, given=settings.max_length)
    return TextEncoding(
        # Of what is read alone: a token that stands beyond it would be known, and never learned.
        vocabulary=vocabulary_of(tokens, train, length, settings),
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
