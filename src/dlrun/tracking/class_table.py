"""Precision, recall and F1 of each class, with their means: rows for programs, a table for people. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

_FIGURES = ("precision", "recall", "f1")
_NONE = "-"
_LONGEST = 40  # characters of a class


@dataclass(frozen=True)
class ClassRow:
    """What one class comes to, against all others.

    Attributes:
        precision, recall, f1: None where the class has no samples and is never predicted.
        support: how many samples the class has.
    """

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int

    @classmethod
    def of(cls, name: str, hits: int, actual: int, predicted: int) -> ClassRow:
        """From how many samples of the class are predicted as it, how many it has, how many are predicted as it."""
        if not actual + predicted:
            return cls(name, None, None, None, 0)
        precision = hits / predicted if predicted else 0.0
        recall = hits / actual if actual else 0.0
        return cls(name, precision, recall, 2 * hits / (actual + predicted), actual)


def means(rows: Sequence[ClassRow]) -> tuple[ClassRow, ClassRow]:
    """The means over the classes: macro, each counts once; and weighted, each counts as often as it has samples."""
    supports = [row.support for row in rows]
    return _mean("macro mean", rows, [1] * len(rows)), _mean("weighted mean", rows, supports)


def _mean(name: str, rows: Sequence[ClassRow], weights: Sequence[int]) -> ClassRow:
    known = [pair for pair in zip(rows, weights, strict=True) if pair[0].f1 is not None]
    whole = sum(weight for _, weight in known)

    def mean(figure: str) -> float | None:
        summed = sum(weight * getattr(row, figure) for row, weight in known)
        return summed / whole if whole else None

    support = sum(row.support for row in rows)
    return ClassRow(name, mean("precision"), mean("recall"), mean("f1"), support)


def facts(rows: Sequence[ClassRow]) -> list[dict[str, Any]]:
    """The rows as plain values."""
    return [asdict(row) for row in rows]


def rows_from(stored: Any) -> list[ClassRow]:
    """The rows of `facts` read back; none where they are damaged."""
    try:
        return [
            ClassRow(
                name=str(one["name"]),
                precision=_number(one["precision"]),
                recall=_number(one["recall"]),
                f1=_number(one["f1"]),
                support=int(one["support"]),
            )
            for one in stored or ()
        ]
    except (TypeError, ValueError, KeyError):
        return []


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def class_table(rows: Sequence[ClassRow], *, most: int | None = None) -> str:
    """The rows under their heads and above their means; of more than `most` classes those with the least F1."""
    shown, head = list(rows), "class"
    if most is not None and len(rows) > most:
        known = [row for row in rows if row.f1 is not None]
        shown = sorted(known, key=lambda row: row.f1 or 0.0)[:most]
        head = f"worst {len(shown)} of {len(rows):,} classes"
    cells = [_cells(row) for row in (*shown, *means(rows))]
    table = [[head, *_FIGURES, "support"], *cells]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        f"{name:<{widths[0]}}  "
        + "  ".join(f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True))
        for name, *others in table
    )


def _cells(row: ClassRow) -> list[str]:
    figures = (getattr(row, figure) for figure in _FIGURES)
    texts = (_NONE if value is None else f"{value:.4f}" for value in figures)
    name = row.name if len(row.name) <= _LONGEST else f"{row.name[: _LONGEST - 1]}…"
    return [name, *texts, f"{row.support:,}"]
