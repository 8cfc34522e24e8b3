"""What is in labelled texts, and in one long text: lengths, labels, copies, characters. No torch here."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlrun.data.inspection.plan import option_settings
from dlrun.data.text.characters import Characters
from dlrun.data.text.texts import Texts
from dlrun.data.text.tokens import tokenize

_SHOWN = 20  # characters
_STREAMS = 32  # trainer.batch_size
_SHORTEST_WINDOW = 8


@dataclass(frozen=True)
class TextsReport:
    """Labelled texts.

    Attributes:
        parts: how many texts each has; `train` is all where the data have no parts.
        labels: how many texts of `train` each has.
        tokens: of the texts of `train`: least, middle, what 95 % have at most, most.
        characters: the same.
        copies: texts of `train` that stand above as well.
        contradictions: different texts with several labels.
        in_training: texts of other parts that are in `train` as well.
        encodings: how many files have each.
    """

    parts: dict[str, int]
    labels: dict[str, int]
    tokens: list[int]
    characters: list[int]
    copies: int
    contradictions: int
    in_training: int
    encodings: dict[str, int]


@dataclass(frozen=True)
class CharactersReport:
    """One long text, for a language model.

    Attributes:
        commonest: some of its different characters, the commonest first.
    """

    characters: int
    lines: int
    distinct: int
    commonest: str
    encodings: dict[str, int]


def inspect_texts(raw: Texts, encodings: dict[str, int]) -> TextsReport:
    """What is in texts as train reads them."""
    counts = np.bincount(raw.labels, minlength=len(raw.class_names)).tolist()
    labels: dict[str, set[int]] = {}
    for text, label in zip(raw.texts, raw.labels.tolist(), strict=True):
        labels.setdefault(text, set()).add(label)
    others = [text for name in raw.own for text in raw.part(name)[0]]
    tokens = [
        len(tokenize(text, level=raw.tokens.level, lower=raw.tokens.lower)) for text in raw.texts
    ]
    return TextsReport(
        parts={name: len(raw.part(name)[0]) for name in ("train", *raw.own)},
        labels=dict(zip(raw.class_names, counts, strict=True)),
        tokens=_lengths(tokens),
        characters=_lengths([len(text) for text in raw.texts]),
        copies=len(raw.texts) - len(labels),
        contradictions=sum(len(found) > 1 for found in labels.values()),
        in_training=sum(text in labels for text in others),
        encodings=encodings,
    )


def inspect_characters(raw: Characters, encodings: dict[str, int]) -> CharactersReport:
    """What is in one long text."""
    counts = Counter[str]()
    some = ""
    for some in raw.pieces(range(len(raw))):
        counts.update(some)
    return CharactersReport(
        characters=len(raw),
        lines=counts["\n"] + (not some.endswith("\n")),
        distinct=len(counts),
        commonest="".join(sign for sign, _ in counts.most_common(_SHOWN) if sign.strip()),
        encodings=encodings,
    )


def settings_by_size(characters: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a short text asks for, of the dataset and of the run: fewer, shorter windows side by side."""
    defaults = option_settings("char_lm")
    kept = (1 - defaults["test_fraction"]) * (1 - defaults["val_fraction"])
    trained = math.floor(characters * kept) - 2
    window = max(min(defaults["window"], trained // _STREAMS), _SHORTEST_WINDOW)
    streams = max(min(_STREAMS, trained // window), 1)
    return (
        {} if window == defaults["window"] else {"window": window},
        {} if streams == _STREAMS else {"trainer.batch_size": streams},
    )


def _lengths(lengths: Sequence[int]) -> list[int]:
    return [int(one) for one in np.quantile(lengths, [0, 0.5, 0.95, 1])]
