"""Columns of a table that stay in files: numbers, or codes of words, read where they are indexed. No torch here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self
from weakref import ref

import numpy as np

from dlrun.data.stored import read_array, read_rows
from dlrun.data.tables.column import Column, Decimals, Values
from dlrun.data.tables.number_format import Notation, as_number
from dlrun.errors import ConfigError

SAMPLED = 2**16  # rows, by which a column of too many different words is judged
_AT_ONCE = 2**20  # rows


# What the cells of each column of a CSV file are to be read as, as it is asked for each piece of the file.
Types = Callable[[], Sequence[Any]]


class UnreadColumn(Column):
    """A column of a file whose cells are still to be read into the cache.

    Attributes:
        pieces: all columns of the file, some rows at a time, as data frames.
        at: which of them it is.
    """

    def __init__(
        self, pieces: Callable[[Types], Iterator[Any]], at: int, *, numbers: bool = False
    ) -> None:
        super().__init__(np.zeros(0, np.int32), [])
        self.pieces, self.at, self.numbers_at_once = pieces, at, numbers


@dataclass(frozen=True)
class StoredArray:
    """(N,) values in a file. Stands where an array would: it has a length, and gives an array where it is indexed.

    Attributes:
        count: of all values in the file.
        rows: which of them are meant; None for all.
        table: what stands for each value, a code; None where the values stand for themselves.
        absent: the number that stands for a missing one.
    """

    path: Path
    dtype: str
    count: int
    rows: np.ndarray | None = None
    table: np.ndarray | None = None
    absent: float | None = None

    def __len__(self) -> int:
        return self.count if self.rows is None else len(self.rows)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            start, stop, step = at.indices(len(self))
            if step != 1:
                return np.asarray(self)[at]
            if self.rows is None:
                return self._meant(read_array(self.path, self.dtype, start, stop))
            return self._read(self.rows[start:stop])
        rows = np.atleast_1d(np.asarray(at))
        found = self._read(rows if self.rows is None else self.rows[rows])
        return found if np.ndim(at) else found[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        found = self[:]
        return found if dtype is None else found.astype(dtype)

    def take(self, rows: np.ndarray) -> StoredArray:
        """Those of these rows, which stay in the file."""
        return replace(self, rows=rows if self.rows is None else self.rows[rows])

    def meaning(self, table: np.ndarray) -> StoredArray:
        """What stands in `table` for each value, a code."""
        return replace(self, table=table if self.table is None else table[self.table])

    def without(self, number: float) -> StoredArray:
        """The same numbers, of which `number` stands for a missing one."""
        return replace(self, absent=number)

    def pieces(self) -> Iterator[np.ndarray]:
        """All values from first to last, some at a time."""
        for start in range(0, len(self), _AT_ONCE):
            yield self[start : start + _AT_ONCE]

    def _read(self, rows: np.ndarray) -> np.ndarray:
        return self._meant(read_rows(self.path, self.dtype, (), rows))

    def _meant(self, values: np.ndarray) -> np.ndarray:
        if self.table is not None:
            values = self.table[values]
        if self.absent is not None:
            values[values == self.absent] = np.nan
        return values


def without_zeros(numbers: Values) -> Values:
    """The same numbers, of which 0 stands for a missing one."""
    if isinstance(numbers, StoredArray):
        return numbers.without(0.0)
    return np.where(numbers[:] == 0, np.nan, numbers[:])


class StoredWords(Column):
    """A column of cells that repeat: codes in a file, of the `kinds` in the order in which the rows have them."""

    def __init__(
        self,
        codes: StoredArray,
        kinds: Sequence[str],
        missing: Collection[str],
        times: np.ndarray | None,
        *,
        typed: bool = False,
    ) -> None:
        """`times` is how often each kind comes, None where that is not known; `typed`: read as numbers."""
        super().__init__(codes, kinds, missing)  # type: ignore[arg-type]
        self._stored, self._times, self.typed = codes, times, typed

    def _times_of_kinds(self) -> np.ndarray:
        if self._times is None:
            count = len(self._given.kinds)
            self._times = np.zeros(count, np.int64)
            for codes in self._stored.pieces():
                self._times += np.bincount(codes, minlength=count)
        return self._times

    @property
    def _present(self) -> np.ndarray:
        return np.flatnonzero(self._times_of_kinds())

    @property
    def counts(self) -> Counter[str]:
        return self._counted(missing=False)

    def blanks(self) -> Counter[str]:
        return self._counted(missing=True)

    def _counted(self, *, missing: bool) -> Counter[str]:
        words = zip(self._given.kinds, self._times_of_kinds().tolist(), strict=True)
        absent = self._given.missing
        return Counter(
            {word: count for word, count in words if count and (word in absent) == missing}
        )

    @property
    def codes(self) -> np.ndarray:
        return self.kept_codes[:]

    @property
    def kept_codes(self) -> StoredArray:
        return self.by_code(np.append(np.arange(len(self.distinct), dtype=np.int32), np.int32(-1)))

    def by_code(self, values: np.ndarray) -> StoredArray:
        places = {word: place for place, word in enumerate(self.distinct)}
        found = [
            -1 if kind in self._given.missing else places.get(kind, -1)
            for kind in self._given.kinds
        ]
        return self._stored.meaning(values[found])

    @property
    def known(self) -> np.ndarray:
        return self.codes >= 0

    def take(self, rows: np.ndarray) -> StoredWords:
        _, kinds, missing = self._given
        return StoredWords(self._stored.take(rows), kinds, missing, None, typed=self.typed)

    def by_cell(self, function: Callable[[str], str]) -> Column:
        _, kinds, missing = self._given
        changed = [kind if kind in missing else function(kind) for kind in kinds]
        places = {kind: place for place, kind in enumerate(dict.fromkeys(changed))}
        table = np.array([places[kind] for kind in changed], np.int32)
        return StoredWords(self._stored.meaning(table), [*places], missing, None)

    def numbers(self, notation: Notation) -> np.ndarray | None:
        found = self.kept_numbers(notation)
        return None if found is None else found[:]

    def kept_numbers(self, notation: Notation) -> StoredArray | None:
        found = notation.numbers(self.distinct)
        return None if found is None else self.by_code(np.array([*found, np.nan]))


class _StoredValues(Column):
    """A column of many different numbers: (N,) float64 in a file. Its cells are those of `sample`.

    Attributes:
        blanks: how often each word stands for a missing cell.
        strays: cells that hold no number, with the first row and how often each comes.
        place: the file and the column, in words.
    """

    def __init__(
        self,
        values: StoredArray,
        sample: Column,
        blanks: Mapping[str, int],
        strays: Mapping[str, tuple[int, int]],
        place: str,
    ) -> None:
        self.values, self.place = values, place
        self._sample, self._blanks, self.strays = sample, blanks, strays

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, row: int) -> str | None:
        found = (word for word, (first, _) in self.strays.items() if first == row)
        return next(found, None)

    @property
    def _coded(self) -> Any:
        return self._sample._coded

    @property
    def distinct(self) -> list[str]:
        return [*self._sample.distinct, *self.strays]

    @property
    def counts(self) -> Counter[str]:
        share = max(1, len(self) // max(1, len(self._sample)))
        sample = {cell: count * share for cell, count in self._sample.counts.items()}
        return Counter(sample | {word: count for word, (_, count) in self.strays.items()})

    @property
    def codes(self) -> np.ndarray:
        raise too_many(self.place, "values")

    @property
    def kept_codes(self) -> StoredArray:
        raise too_many(self.place, "values")

    def by_code(self, values: np.ndarray) -> StoredArray:
        raise too_many(self.place, "values")

    def take(self, rows: np.ndarray) -> Self:
        strays = {
            word: (int(np.searchsorted(rows, first)), count)
            for word, (first, count) in self.strays.items()
        }
        found = copy(self)
        found.values, found.strays, found._blanks = self.values.take(rows), strays, {}
        return found

    @property
    def known(self) -> np.ndarray:
        return ~np.isnan(self.values[:])

    def where(self, words: Iterable[str]) -> np.ndarray:
        found = [self.strays[word][0] for word in words if word in self.strays]
        if found:
            return np.array(sorted(found))
        return np.flatnonzero(np.any([self.written(word) for word in words], axis=0))

    def row_of(self, cell: str) -> int:
        return int(self.where([cell])[0])

    def blanks(self) -> Counter[str]:
        return Counter(self._blanks)


class StoredNumbers(_StoredValues):
    """A column that was read as numbers."""

    typed = True

    def __getitem__(self, row: int) -> str | None:
        return super().__getitem__(row) or Decimals(self.values[[row]])[0]

    def written(self, word: str) -> np.ndarray:
        if word == "":
            return ~self.known
        number = as_number(word)
        return np.asarray(self.values[:] == (np.nan if number is None else number))

    def numbers(self, notation: Notation) -> np.ndarray | None:
        if self.strays:
            return None
        held = getattr(self, "_held", None)  # asked for several times while it is judged
        found: np.ndarray | None = held and held()
        if found is None:
            found = self.values[:]
            self._held = ref(found)
        return found

    def kept_numbers(self, notation: Notation) -> StoredArray | None:
        return None if self.strays else self.values

    @property
    def any_leading_zero(self) -> bool:
        return False

    @property
    def first(self) -> str:
        known = next((f for f in map(_first_known, self.values.pieces()) if f is not None), 0.0)
        return f"{known:.15g}"


class StoredMoments(_StoredValues):
    """A column of dates or times, as (N,) seconds since 1970.

    Attributes:
        format: how its cells are written.
        walls: (N,) the same as clocks on the wall show it, where cells have zones.
    """

    def __init__(self, *given: Any, format: str, walls: StoredArray | None) -> None:
        super().__init__(*given)
        self.format, self.walls = format, walls

    def take(self, rows: np.ndarray) -> Self:
        found = super().take(rows)
        found.walls = self.walls and self.walls.take(rows)
        return found

    def written(self, word: str) -> np.ndarray:
        return ~self.known if word == "" else np.zeros(len(self), bool)

    def numbers(self, notation: Notation) -> None:
        return None

    def kept_numbers(self, notation: Notation) -> None:
        return None


def _first_known(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known[0]) if len(known) else None


class StoredTexts(Column):
    """A column of too many different words: N cells, of which the first ones alone are known.

    Attributes:
        place: the file and the column, in words.
    """

    def __init__(
        self,
        codes: np.ndarray,
        kinds: Sequence[str],
        missing: Collection[str],
        count: int,
        place: str,
    ) -> None:
        super().__init__(codes, kinds, missing)
        self._count, self.place = count, place

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, row: int) -> str | None:
        return super().__getitem__(row) if row < len(self._given.codes) else None

    def take(self, rows: np.ndarray) -> StoredTexts:
        codes, kinds, missing = self._given
        return StoredTexts(codes[rows[rows < len(codes)]], kinds, missing, len(rows), self.place)

    @property
    def kept_codes(self) -> StoredArray:
        raise too_many(self.place, "words")

    def by_code(self, values: np.ndarray) -> StoredArray:
        raise too_many(self.place, "words")

    def kept_numbers(self, notation: Notation) -> StoredArray | None:
        raise too_many(self.place, "words")


def too_many(place: str, what: str) -> ConfigError:
    """The error of a column that can be read only in memory."""
    name = place.rpartition(" ")[2]
    return ConfigError(
        f"{place} has too many different {what} for a table that exceeds dataset.memory_limit: set "
        f"dataset.drop=[{name}], or dataset.memory_limit to more, if there is more memory"
    )
