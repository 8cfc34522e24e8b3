"""Writers of the columns of a table, one for each form of a column: numbers, codes, moments, texts. No torch here."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from dlrun.data.tables.csv_engine import ODD
from dlrun.data.tables.csv_format import missing_among
from dlrun.data.tables.dates import NotADate, times_of
from dlrun.data.tables.number_format import Notation, may_be_grouped, written
from dlrun.data.tables.stored_columns import SAMPLED
from dlrun.data.times import Times, are_dates

_MOST_WORDS = 2**18  # different ones of a column
_MOST_NUMBERS = 2**16  # different ones, up to which a column of numbers is one of codes
_SAMPLE = 2**14  # different dates, by which a column of them is judged
_MOST_STRAYS = 100  # different words among numbers
_CODE = re.compile(r"-?0\d")
_WIDTHS = ("int8", "int16", "int32")
# What is known of a column before its cells are: many numbers; words, whatever the first cells are; times of day
# beside dates.
Hint = Literal["", "numbers", "words", "times"]


class OtherKind(Exception):
    """The first cells said wrongly what a column is: the table is to be written anew, knowing `hint`."""

    def __init__(self, hint: Hint) -> None:
        super().__init__(hint)
        self.hint = hint


class OddCell(Exception):
    """A cell that the table engine may read in another way than others do."""


@dataclass(frozen=True)
class CellForm:
    """How the cells of a table are written.

    Attributes:
        missing: words for cells without a value.
        typed: whether its columns have types.
    """

    notation: Notation
    missing: Sequence[str]
    typed: bool

    def refuse_odd(self, words: pl.Series) -> None:
        """Refuse cells of a file without types that have a quote or a control character in an odd place.

        Raises:
            OddCell: there is one.
        """
        if not self.typed and words.str.contains(ODD).any():
            raise OddCell("a quote in an odd place")


class TooMany(Exception):
    """More different cells than there can be codes of; nothing of them has been written."""


class Writer:
    type: Any = pl.String
    dtype = "float64"

    def __init__(self, path: Path, form: CellForm, mode: str = "wb") -> None:
        self.path, self.form = path, form
        self._file = path.open(mode)

    def add(self, cells: pl.Series) -> None:
        """Write more cells."""
        raise NotImplementedError

    def of_more_kinds(self, more: list[str], *, words: bool) -> Writer:
        """What goes on with the column, with the cells so far in its file.

        Args:
            more: the different cells that are to come.
            words: they are words, even if they look like something else.
        """
        raise NotImplementedError

    def _write(self, values: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(values, self.dtype).data)

    def rewrite(self, dtype: str, table: np.ndarray | None = None) -> None:
        """Put the values so far down in another type, and as what stands for them in `table`."""
        again = self.path.with_suffix(".again")
        self.write_as(again, dtype, table)
        self._file.close()
        again.replace(self.path)
        self.dtype = dtype

    def write_as(self, path: Path, dtype: str, table: np.ndarray | None = None) -> None:
        """The same in another file."""
        self._file.flush()
        with path.open("wb") as file, self.path.open("rb") as old:
            while len(values := np.fromfile(old, self.dtype, 2**20)):
                file.write((values if table is None else table[values]).astype(dtype).data)

    def close(self) -> None:
        """All is on the disk."""
        self._file.close()

    def about(self) -> dict[str, Any]:
        """What is to be known to read the file."""
        raise NotImplementedError


class _Values(Writer):
    """(N,) float64, nan where missing; instead of codes `before` them, what stands in `table` for each."""

    def __init__(
        self,
        path: Path,
        form: CellForm,
        before: _Coded | None = None,
        table: np.ndarray | None = None,
    ) -> None:
        self.rows = 0
        self.blanks: Counter[str] = Counter()
        self.strays: dict[str, tuple[int, int]] = {}
        if before is not None:
            before.rewrite("float64", table)
            words, times = before.words(), before.times.tolist()
            self.rows = sum(times)
            absent = {*before.missing()}
            self.blanks.update({w: n for w, n in zip(words, times, strict=True) if w in absent})
        super().__init__(path, form, "wb" if before is None else "ab")

    def add_stray(self, word: str, row: int, times: int = 1) -> None:
        """Note a cell that holds no value, in a row of those that are being added.

        Raises:
            OtherKind: there are too many.
        """
        first, before = self.strays.get(word, (self.rows + row, 0))
        self.strays[word] = (first, before + times)
        if len(self.strays) > _MOST_STRAYS:
            raise OtherKind("words")

    def about(self) -> dict[str, Any]:
        blanks = {word: times for word, times in self.blanks.items() if times}
        return {"kind": "numbers", "dtype": self.dtype, "blanks": blanks, "strays": self.strays}


class Numbers(_Values):
    """Numbers."""

    type = pl.Float64

    def add(self, cells: pl.Series) -> None:
        self._write(self._values(cells))
        self.rows += len(cells)

    def _values(self, cells: pl.Series) -> np.ndarray:
        texts = cells
        found = cells if cells.dtype == pl.Float64 else self._cast(texts.cast(pl.String))
        self.blanks[""] += texts.null_count()
        odd = found.is_null() & texts.is_not_null() | ~found.is_finite().fill_null(value=True)
        if not odd.any():
            return found.fill_null(float("nan")).to_numpy()
        values = found.fill_null(float("nan")).to_numpy(writable=True)
        rows = np.flatnonzero(odd.to_numpy())
        numbers = map(self._number, rows.tolist(), texts.gather(rows).cast(pl.String).to_list())
        values[rows] = [*numbers]
        return values

    def _cast(self, texts: pl.Series) -> pl.Series:
        if self.form.notation.decimal == "comma":
            texts = texts.str.replace_all(".", "?", literal=True).str.replace(
                ",", ".", literal=True
            )
        return texts.str.strip_chars().cast(pl.Float64, strict=False)

    def _number(self, row: int, cell: str) -> float:
        word = cell.strip()
        number = self.form.notation.number(word)
        if number is not None:
            return number
        if not word or missing_among([word], self.form.missing):
            self.blanks[word] += 1
            return np.nan
        self.add_stray(word, row)
        return np.nan


class _Coded(Writer):
    """Codes of the different cells, in the order in which rows have them."""

    kind = "words"
    dtype = _WIDTHS[0]

    def __init__(self, path: Path, form: CellForm) -> None:
        super().__init__(path, form)
        self.kinds: dict[Any, int] = {"": 0}
        self.times = np.zeros(1, np.int64)

    def _write(self, values: np.ndarray) -> None:
        times = np.bincount(values, minlength=len(self.kinds))
        times[: len(self.times)] += self.times
        self.times = times
        wide = next(w for w in _WIDTHS if len(self.kinds) <= np.iinfo(w).max)
        if wide != self.dtype:
            self.rewrite(wide)
            self._file = self.path.open("ab")
        super()._write(values)

    def words(self) -> list[str]:
        """What is written for each code."""
        return [*self.kinds]

    def missing(self) -> list[str]:
        """Those of them that stand for a missing cell."""
        found = missing_among(self.words(), self.form.missing)
        return sorted({"", *found} if self.form.typed else found)

    def about(self) -> dict[str, Any]:
        about = {"kind": self.kind, "dtype": self.dtype, "times": self.times.tolist()}
        return {**about, "kinds": self.words(), "missing": self.missing()}


class Words(_Coded):
    def __init__(self, path: Path, form: CellForm) -> None:
        super().__init__(path, form)
        self.type = pl.Categorical(pl.Categories.random())
        self._known = pl.Series(
            dtype=self.type
        )  # the engine forgets codes of which it has no cells
        self._places = np.zeros(0, np.int32)  # of the engine's codes

    def add(self, cells: pl.Series) -> None:
        codes = (cells if cells.dtype == self.type else cells.cast(self.type)).to_physical()
        known = codes.is_not_null().to_numpy()
        numbers = codes.fill_null(0).to_numpy()
        beyond = int(numbers.max(initial=0)) + 1 - len(self._places)
        self._places = np.append(self._places, np.full(max(0, beyond), -1, np.int32))
        places = self._places[numbers]
        new = np.flatnonzero((places < 0) & known)
        if len(new):
            first = new[np.sort(np.unique(numbers[new], return_index=True)[1])]
            self._learn(cells.gather(first).cast(pl.String), numbers[first])
            places = self._places[numbers]
        places[~known] = 0
        self._write(places)

    def _learn(self, words: pl.Series, codes: np.ndarray) -> None:
        if len(words) + len(self.kinds) > _MOST_WORDS:
            raise TooMany
        self.form.refuse_odd(words)
        for word, code in zip(words.str.strip_chars().to_list(), codes.tolist(), strict=True):
            self._places[code] = self.kinds.setdefault(word, len(self.kinds))

    def of_more_kinds(self, more: list[str], *, words: bool) -> Writer:
        both = list(dict.fromkeys([*self.kinds, *more]))
        absent = {"", *missing_among(both, self.form.missing)}
        cells = [cell for cell in both if cell not in absent]
        numbers = None if words else self.form.notation.numbers(cells)
        if numbers is None or any(map(_CODE.match, cells)) or may_be_grouped(cells):
            times = None if words else _times_of(cells)
            return Moments(self, cells, times) if times else Texts(self)
        found = dict(zip(cells, numbers, strict=True))
        table = np.array([found.get(kind, np.nan) for kind in self.kinds])
        return Numbers(self.path, self.form, self, table)


class DecimalCodes(_Coded):
    """Numbers of a file with types, few of which are different."""

    kind = "decimals"

    def add(self, cells: pl.Series) -> None:
        values, places = np.unique(cells.drop_nulls().to_numpy() + 0.0, return_inverse=True)
        new = [value for value in values.tolist() if value not in self.kinds]
        if len(self.kinds) + len(new) > _MOST_NUMBERS:
            raise TooMany
        for value in new:
            self.kinds[value] = len(self.kinds)
        found = np.zeros(len(cells), np.int32)
        codes = np.array([self.kinds[value] for value in values.tolist()], np.int32)
        found[cells.is_not_null().to_numpy()] = codes[places]
        self._write(found)

    def words(self) -> list[str]:
        return ["", *map(written, [*self.kinds][1:])]

    def of_more_kinds(self, more: list[str], *, words: bool) -> Writer:
        table = np.array([np.nan, *[*self.kinds][1:]])
        return Numbers(self.path, self.form, self, table)


def wall_file(path: Path) -> Path:
    return path.with_suffix(".walls")


def _times_of(cells: list[str]) -> Times | None:
    """Cells that are dates or times with a year, in one format."""
    if not are_dates(cells[:_SAMPLE]):
        return None
    try:
        found = times_of(cells)
    except NotADate:
        return None
    return found if "%Y" in found.format else None


class Moments(_Values):
    """(N,) seconds since 1970, and in a file of their own those that clocks on the wall show where cells have zones."""

    def __init__(self, before: Words, cells: list[str], times: Times) -> None:
        self.format, self.zoned, self.sample = times.format, times.zoned, cells[:_SAMPLE]
        moments = zip(times.values, times.walls, strict=True)
        found = dict(zip(cells, moments, strict=True))
        table = np.array([found.get(word, (np.nan, np.nan)) for word in before.words()])
        if self.zoned:
            before.write_as(wall_file(before.path), "float64", table[:, 1])
            self._wall_file = wall_file(before.path).open("ab")
        super().__init__(before.path, before.form, before, table[:, 0])

    def add(self, cells: pl.Series) -> None:
        words = cells.cast(pl.String).str.strip_chars()
        self.form.refuse_odd(words)
        different = words.unique(maintain_order=True).drop_nulls().to_list()
        absent = missing_among(different, self.form.missing)
        known = [word for word in different if word not in absent]
        moments = self._moments(known, words)
        texts = words.to_list()
        found = np.array([moments.get(word, (np.nan, np.nan)) for word in texts]).reshape(-1, 2)
        self.blanks[""] += words.null_count()
        self.blanks.update(word for word in texts if word in absent)
        self._write(found[:, 0])
        if self.zoned:
            self._wall_file.write(np.ascontiguousarray(found[:, 1]).data)
        self.rows += len(cells)

    def _moments(self, known: list[str], words: pl.Series) -> dict[str, tuple[float, float]]:
        """(seconds, seconds on the wall) of each different word."""
        try:
            times = times_of(known, self.format)
        except NotADate as error:
            here = words == error.cell
            self.add_stray(error.cell, here.arg_max() or 0, int(here.sum()))
            return self._moments([word for word in known if word != error.cell], words)
        if times.zoned != self.zoned and known:
            raise OtherKind("words")
        moments = zip(times.values.tolist(), times.walls.tolist(), strict=True)
        return dict(zip(known, moments, strict=True))

    def close(self) -> None:
        super().close()
        if self.zoned:
            self._wall_file.close()

    def about(self) -> dict[str, Any]:
        about = {"kind": "moments", "format": self.format, "zoned": self.zoned}
        return {**super().about(), **about, "sample": self.sample}


class Texts(Writer):
    """Too many different words: known of the first rows alone, by which it is judged what the column is."""

    dtype = "int32"

    def __init__(self, before: Words) -> None:
        before.rewrite(self.dtype)
        super().__init__(before.path, before.form, "ab")
        self.kinds, self.rows = before.kinds, int(before.times.sum())
        self._file.truncate(min(self.rows, SAMPLED) * 4)

    def add(self, cells: pl.Series) -> None:
        self.form.refuse_odd(cells.cast(pl.String))
        some = cells.head(max(0, SAMPLED - self.rows)).cast(pl.String).fill_null("")
        words = some.str.strip_chars().to_list()
        self._write(np.array([self.kinds.setdefault(w, len(self.kinds)) for w in words], np.int32))
        self.rows += len(cells)

    def about(self) -> dict[str, Any]:
        codes = np.fromfile(self.path, self.dtype)
        kinds = [*self.kinds][: int(codes.max(initial=0)) + 1]
        missing = sorted(missing_among(kinds, self.form.missing) | {""})
        return {"kind": "texts", "kinds": kinds, "missing": missing}
