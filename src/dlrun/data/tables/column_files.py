"""The columns of a table in files: written some rows at a time, and read by `stored_columns`. No torch here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from dlrun.data.tables.column import Column, Decimals
from dlrun.data.tables.column_writers import (
    CellForm,
    DecimalCodes,
    Hint,
    Numbers,
    OtherKind,
    TooMany,
    Words,
    Writer,
    wall_file,
)
from dlrun.data.tables.stored_columns import (
    SAMPLED,
    StoredArray,
    StoredMoments,
    StoredNumbers,
    StoredTexts,
    StoredWords,
)
from dlrun.data.tables.typed_files import all_midnight, as_numbers, as_texts, is_numeric


class ColumnFile:
    """One column, whose form may change with the cells that come: codes, then numbers or texts where those are many."""

    def __init__(self, path: Path, form: CellForm, hint: Hint) -> None:
        self.path, self.form, self.hint = path, form, hint
        self._nulls = 0  # cells before the first one with a value, in a file with types
        self._writer: Writer | None = None
        if not form.typed:
            self._writer = Numbers(path, form) if hint == "numbers" else Words(path, form)

    @property
    def type(self) -> Any:
        """What the cells of a CSV file are to be read as."""
        assert self._writer is not None, "of a CSV file, there is one from the beginning"
        return self._writer.type

    def add(self, cells: pl.Series) -> None:
        """Write more cells.

        Raises:
            OtherKind, OddCell: as they say.
        """
        if self.form.typed:
            if cells.null_count() == len(cells) and self._writer is None:
                self._nulls += len(cells)
                return
            cells = self._untyped(cells)
        self._add(cells)

    def _untyped(self, values: pl.Series) -> pl.Series:
        """Numbers or words, as `typed_files` has them."""
        numbers = None
        if self.hint != "words" and is_numeric(values.dtype):
            numbers = as_numbers(values, self.form.missing)
            if numbers is None:
                raise OtherKind("words")
        if values.dtype == pl.Datetime and self.hint != "times" and not all_midnight(values):
            raise OtherKind("times")
        if self._writer is None:
            kind = Words if numbers is None else DecimalCodes
            self._writer = kind(self.path, self.form)
            if self._nulls:
                nothing = pl.String if numbers is None else pl.Float64
                self._writer.add(pl.Series([None] * self._nulls, dtype=nothing))
        if numbers is not None:
            return pl.Series(numbers, nan_to_null=True)
        return as_texts(values, times=self.hint == "times")

    def _add(self, cells: pl.Series) -> None:
        assert self._writer is not None
        try:
            self._writer.add(cells)
        except TooMany:
            different = cells.drop_nulls().unique(maintain_order=True).cast(pl.String)
            more = different.str.strip_chars().to_list()
            self._writer = self._writer.of_more_kinds(more, words=self.hint == "words")
            self._writer.add(cells)

    def close(self) -> None:
        """All is on the disk."""
        if self._writer is None:
            self._writer = Words(self.path, self.form)
            self._writer.add(pl.Series([None] * self._nulls, dtype=pl.String))
        self._writer.close()

    def about(self) -> dict[str, Any]:
        """What is to be known to read the file, once it is closed."""
        assert self._writer is not None
        return self._writer.about()


def stored_column(path: Path, count: int, about: dict[str, Any], place: str) -> Column:
    """The column of `count` cells in a file, by what `ColumnFile.about` said; `place` names it."""
    kind = about["kind"]
    if kind == "texts":
        codes = np.fromfile(path, np.int32)
        return StoredTexts(codes, about["kinds"], about["missing"], count, place)
    values = StoredArray(path, about["dtype"], count)
    if kind in ("numbers", "moments"):
        strays = {word: (first, times) for word, (first, times) in about["strays"].items()}
        if kind == "numbers":
            sample: Column = Decimals(values[:SAMPLED])
            return StoredNumbers(values, sample, about["blanks"], strays, place)
        walls = replace(values, path=wall_file(path)) if about["zoned"] else None
        given = (values, Column.of(about["sample"]), about["blanks"], strays, place)
        return StoredMoments(*given, format=about["format"], walls=walls)
    times = np.array(about["times"], np.int64)
    return StoredWords(values, about["kinds"], about["missing"], times, typed=kind == "decimals")
