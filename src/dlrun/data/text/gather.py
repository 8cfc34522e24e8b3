"""Labelled texts from files: in memory, or in the cache where they take more than they may. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dlrun.data.cache import made_once
from dlrun.data.tables.column import Column
from dlrun.data.text.stored import (
    LAYOUT,
    StoredTexts,
    TextWriter,
    about_texts,
    exceeds,
    stored_labels,
)
from dlrun.data.text.texts import LabelledTexts, Pieces, joined_texts, place_in
from dlrun.data.text.tokens import Level, Tokenizer, in_pieces

_TIMES = 5  # times its bytes of memory are what texts take: as they are read, as texts, as numbers


class TextFiles(NamedTuple):
    """Files of labelled texts, and what reads them."""

    files: Sequence[Path]
    pieces: Pieces


class Caching(NamedTuple):
    """When texts are read from the cache, and as which tokens they are kept there.

    Attributes:
        memory_limit: GiB, above which they are; None for half of what is free.
        level, lower: as of `TokenSettings`.
    """

    memory_limit: float | None
    level: Level
    lower: bool


def gathered(
    what: Path, parts: Mapping[str, TextFiles], settings: Any, caching: Caching
) -> dict[str, LabelledTexts]:
    """The texts of each part, in memory or from the cache.

    Args:
        what: the file or folder, for messages.
        settings: all that decides what `pieces` give.

    Raises:
        ConfigError: as the reading of a file, or the cache cannot be written.
    """
    files = [file for part in parts.values() for file in part.files]
    if not exceeds(files, caching.memory_limit, times=_TIMES):
        return {name: joined_texts(part.pieces) for name, part in parts.items()}
    pieces = {name: part.pieces for name, part in parts.items()}
    deciding = (LAYOUT, list(parts), settings, caching.level, caching.lower)
    folder = made_once(what, files, deciding, partial(_write, pieces, caching), act="encoded")
    about, found, start = about_texts(folder), {}, 0
    for name, count in about["parts"].items():
        rows = np.arange(start, start + count, dtype=np.int32)
        labels = Column(stored_labels(folder, rows), about["labels"], about["missing"])
        place = partial(place_in, pieces[name])
        found[name] = LabelledTexts(StoredTexts(folder, rows), labels, place)
        start += count
    return found


def _write(parts: Mapping[str, Pieces], caching: Caching, folder: Path) -> None:
    """All parts, one after the other."""
    tokenizer = Tokenizer(level=caching.level, lower=caching.lower)
    places: dict[str, int] = {}
    missing: set[str] = set()
    counts = {}
    with TextWriter(folder) as writer:
        for name, pieces in parts.items():
            counts[name] = 0
            for piece in pieces():
                kinds, codes = piece.labels.distinct, piece.labels.codes
                if (codes < 0).any():
                    kinds, missing = [*kinds, ""], {""}
                table = np.array([places.setdefault(kind, len(places)) for kind in kinds], np.int32)
                labels = in_pieces(table[codes])
                for texts, own in zip(in_pieces(piece.texts), labels, strict=True):
                    writer.add(texts, *tokenizer.codes(texts), np.array(own))
                counts[name] += len(piece)
        about = {"parts": counts, "labels": list(places), "missing": list(missing)}
        writer.describe({**about, "words": tokenizer.words})
