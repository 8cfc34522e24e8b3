"""One column of a file: the different words in it and which of them each row has, or numbers. No torch here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from dlrun.data.fingerprint import Indexed as Values
from dlrun.data.tables.number_format import Notation, as_number, written


class _Coded(NamedTuple):
    """What is written in a column: (N,) int32 the place of each cell in `kinds`; `missing` are no values."""

    codes: np.ndarray
    kinds: Sequence[str]
    missing: Collection[str]


class Column:
    """N stripped cells, None where one is missing.

    Attributes:
        typed: whether they were read as numbers, so that nothing is to be told from how they are written.
    """

    typed = False

    def __init__(
        self, codes: np.ndarray, kinds: Sequence[str], missing: Collection[str] = ()
    ) -> None:
        """Each cell by its place in `kinds`, those of `missing` for cells without a value; "" is an empty one."""
        self._given = _Coded(codes, kinds, missing)

    @cached_property
    def _coded(self) -> _Coded:
        return self._given

    @classmethod
    def of(cls, cells: Iterable[str], missing: Collection[str] = ()) -> Column:
        """From a cell a row."""
        places: dict[str, int] = {}
        codes = [places.setdefault(cell, len(places)) for cell in cells]
        return cls(np.array(codes, np.int32), list(places), missing)

    def __len__(self) -> int:
        return len(self._coded.codes)

    def __getitem__(self, row: int) -> str | None:
        """One cell."""
        cell = self._coded.kinds[self._coded.codes[row]]
        return None if cell in self._coded.missing else cell

    def take(self, rows: np.ndarray) -> Column:
        """The cells of these rows."""
        return Column(self._coded.codes[rows], self._coded.kinds, self._coded.missing)

    @cached_property
    def _present(self) -> np.ndarray:
        """The codes that are there, in the order of the rows."""
        first = np.full(len(self._coded.kinds), len(self), np.int64)
        first[self._coded.codes[::-1]] = np.arange(len(self))[::-1]
        order = np.argsort(first, kind="stable")
        return order[: int((first < len(self)).sum())]

    @cached_property
    def distinct(self) -> list[str]:
        """The different cells, missing ones left out, in the order of the rows."""
        words = (self._coded.kinds[code] for code in self._present.tolist())
        return [word for word in words if word not in self._coded.missing]

    @cached_property
    def codes(self) -> np.ndarray:
        """(N,) int32, the place of each cell in `distinct`; -1 where it is missing."""
        places = np.full(len(self._coded.kinds), -1, np.int32)
        there = [
            code
            for code in self._present.tolist()
            if self._coded.kinds[code] not in self._coded.missing
        ]
        places[there] = np.arange(len(there))
        if (places == np.arange(len(places))).all():
            return self._coded.codes
        return places[self._coded.codes]

    @property
    def kept_codes(self) -> Values:
        """As `codes`; of a column that stays in a file, so do they."""
        return self.codes

    def by_code(self, values: np.ndarray) -> Values:
        """(N,) what stands in `values` for each of `distinct`, and as the last one for a missing cell."""
        return values[self.codes]

    @cached_property
    def counts(self) -> Counter[str]:
        """How often each different cell comes, missing ones left out."""
        times = np.bincount(self.codes + 1, minlength=len(self.distinct) + 1)[1:]
        return Counter(dict(zip(self.distinct, times.tolist(), strict=True)))

    @cached_property
    def as_list(self) -> list[str | None]:
        """(N,) the cells."""
        return np.array([*self.distinct, None], object)[self.codes].tolist()

    @cached_property
    def known(self) -> np.ndarray:
        """(N,) whether a cell is there."""
        return self.codes >= 0

    @property
    def first(self) -> str:
        """The first cell that is not missing."""
        return self.distinct[0]

    def without(self, words: Collection[str]) -> Column:
        """The same column, in which `words` stand for missing cells as well."""
        codes, kinds, missing = self._coded
        return Column(codes, kinds, {*missing, *words})

    def by_cell(self, function: Callable[[str], str]) -> Column:
        """`function` of each cell, called once for each different one."""
        absent = next(iter(self._coded.missing), None)
        kinds = [*map(function, self.distinct), *([] if absent is None else [absent])]
        return Column(self.codes % len(kinds), kinds, self._coded.missing)

    def where(self, words: Iterable[str]) -> np.ndarray:
        """The rows whose cell is one of `words`."""
        wanted = {*words}
        return np.flatnonzero(
            np.array([word in wanted for word in self.distinct] + [False])[self.codes]
        )

    def row_of(self, cell: str) -> int:
        """The first row that holds `cell`, one of `distinct`."""
        return int((self.codes == self.distinct.index(cell)).argmax())

    def written(self, word: str) -> np.ndarray:
        """(N,) whether a cell is written like this, missing or not."""
        return np.array([kind == word for kind in self._coded.kinds])[self._coded.codes]

    def blanks(self) -> Counter[str]:
        """How often each word stands for a missing cell; an empty one is an empty cell."""
        codes, kinds, missing = self._coded
        times = np.bincount(codes, minlength=len(kinds))
        there = ((kinds[code], int(times[code])) for code in self._present.tolist())
        return Counter({word: count for word, count in there if word in missing})

    def numbers(self, notation: Notation) -> np.ndarray | None:
        """(N,) float64, nan where missing; None where some cell holds no finite number in this notation."""
        found = notation.numbers(self.distinct)
        return None if found is None else np.array([*found, np.nan])[self.codes]

    def kept_numbers(self, notation: Notation) -> Values | None:
        """As `numbers`; of a column that stays in a file, so do they."""
        return self.numbers(notation)

    @property
    def any_leading_zero(self) -> bool:
        """Whether a cell begins with a zero and a digit after it, as 00501."""
        return any(cell[0] == "0" and cell[1:2].isdecimal() for cell in self.distinct if cell)


class Decimals(Column):
    """A column that was read as numbers: (N,) float64, nan where missing. Its cells are what numbers look like."""

    typed = True

    def __init__(self, values: np.ndarray, *, single: bool = False) -> None:
        """`single` says that the numbers had 32 bits: 0.1 is what was 0.1 there."""
        self._values, self.single = values, single

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, row: int) -> str | None:
        return written(self._values[row].item(), single=self.single) or None

    @cached_property
    def _coded(self) -> _Coded:
        kinds, codes = np.unique(self._values, return_inverse=True)
        words = [written(number, single=self.single) for number in kinds.tolist()]
        return _Coded(codes.astype(np.int32), words, ("",))

    def take(self, rows: np.ndarray) -> Column:
        return Decimals(self._values[rows], single=self.single)

    @property
    def known(self) -> np.ndarray:
        return ~np.isnan(self._values)

    def written(self, word: str) -> np.ndarray:
        number = as_number(word)
        return ~self.known if word == "" else self._values == (np.nan if number is None else number)

    def blanks(self) -> Counter[str]:
        missing = len(self) - int(self.known.sum())
        return Counter({"": missing} if missing else {})

    def numbers(self, notation: Notation) -> np.ndarray:
        return self._values

    @property
    def first(self) -> str:
        return str(self[int(self.known.argmax())])

    @property
    def any_leading_zero(self) -> bool:
        return False


class Listed(Column):
    """A column whose cells are kept one by one, as those of texts, which seldom repeat; None where one is missing."""

    def __init__(self, cells: list[str | None]) -> None:
        self._cells = cells

    def __len__(self) -> int:
        return len(self._cells)

    def __getitem__(self, row: int) -> str | None:
        return self._cells[row]

    @cached_property
    def _coded(self) -> _Coded:
        return Column.of((cell or "" for cell in self._cells), {""})._given

    def take(self, rows: np.ndarray) -> Column:
        return Listed([self._cells[row] for row in rows.tolist()])

    @property
    def as_list(self) -> list[str | None]:
        return self._cells


def joined(columns: Sequence[Column], notation: Notation) -> Column:
    """The cells of `columns`, one below the other: numbers where one of them has been read as such and all are."""
    if any(isinstance(column, Decimals) for column in columns):
        found = [column.numbers(notation) for column in columns]
        values = [numbers for numbers in found if numbers is not None]
        if len(values) == len(columns):
            single = all(isinstance(column, Decimals) and column.single for column in columns)
            return Decimals(np.concatenate(values), single=single)
    places: dict[str, int] = {}
    missing: set[str] = set()
    codes = []
    for own, kinds, absent in (column._coded for column in columns):
        codes.append(
            np.array([places.setdefault(kind, len(places)) for kind in kinds], np.int32)[own]
        )
        missing.update(absent)
    return Column(np.concatenate(codes), list(places), missing)


def missing_column(count: int) -> Column:
    """A column of missing cells alone."""
    return Column(np.zeros(count, np.int32), [""], ("",))


def rows_like(columns: Sequence[Column], row: Sequence[str]) -> np.ndarray:
    """The numbers of the rows that are written as `row`."""
    found = np.arange(len(columns[0]))
    for column, cell in zip(columns, row, strict=True):
        if len(found):
            found = found[column.take(found).written(cell)]
    return found
