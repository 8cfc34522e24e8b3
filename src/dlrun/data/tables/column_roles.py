"""What the columns of a CSV file are for: which are predicted, which are read and how. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

Inferred = Literal["date", "yes_no", "constant"]
ColumnName = str | int  # by name, or by number: from 1, or from -1 at the end


@dataclass(frozen=True)
class ColumnRoles:
    """The columns of a file by what they are for; each field is a setting of the datasets that read CSV files.

    Attributes:
        target: what is predicted; of texts, their label.
        text: of texts, the columns that are joined to one.
        inputs: what a series is forecast from; None for all columns that can be.
        known_future: inputs of a series that are known of the rows to be forecast as well.
        time: what the rows of a series are ordered by; None for their order in the file.
        series: the column, or several, that tell the series of a file apart; None for one series.
        only: the value by column that the rows of a series must have; None for all rows.
        drop: columns that are left out.
        categorical, numeric: read as the one and as the other, whatever they hold.
        dates: read as dates and times, with the format of each, auto for the one that fits.
        infer: the kinds of columns that are found besides numbers and categories, and what none should read.
        zero_is_missing: columns of numbers in which 0 stands for a missing value.
    """

    target: ColumnName | list[ColumnName]
    text: ColumnName | list[ColumnName] = ""
    inputs: list[ColumnName] | None = None
    known_future: Sequence[ColumnName] | None = None
    time: ColumnName | None = None
    series: ColumnName | list[ColumnName] | None = None
    only: Mapping[str, Any] | None = None
    drop: Sequence[ColumnName] = ()
    categorical: Sequence[ColumnName] = ()
    numeric: Sequence[ColumnName] = ()
    dates: Mapping[str, str] | None = None
    infer: Sequence[Inferred] = ()
    zero_is_missing: Sequence[ColumnName] = ()

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """The roles by those of a dataset's `settings` that are fields of them."""
        return cls(
            **{name: settings[name] for name in cls.__dataclass_fields__ if name in settings}
        )
