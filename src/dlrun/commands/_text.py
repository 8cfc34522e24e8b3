"""How counts, times and tables look on the screen."""

from __future__ import annotations

import math
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

NONE = "-"
GAP = "  "
_UNLIMITED = 1_000_000
_PAGE_WIDTH = 110  # longer lines of prose are hard to read


@dataclass
class Column:
    """One column of a table.

    Attributes:
        head: what stands above it, a line each.
        keep_end: shorten a cell from the left: its end is what tells it apart.
    """

    head: tuple[str, ...]
    cells: list[str] = field(default_factory=list)
    right: bool = False
    keep_end: bool = False
    limit: int = _UNLIMITED

    @property
    def width(self) -> int:
        """Characters that it takes up."""
        return min(self.limit, max(map(len, (*self.head, *self.cells)), default=0))

    def lines(self, head_lines: int) -> list[str]:
        """Head and cells, each padded to the column's width."""
        missing, width = [""] * (head_lines - len(self.head)), self.width
        texts = [self._shorten(text, width) for text in (*missing, *self.head, *self.cells)]
        return [text.rjust(width) if self.right else text.ljust(width) for text in texts]

    def _shorten(self, text: str, width: int) -> str:
        if len(text) <= width:
            return text
        return "…" + text[1 - width :] if self.keep_end else text[: width - 1] + "…"


def terminal_width() -> int:
    """Characters in a line; practically unlimited where the output is not a terminal."""
    return shutil.get_terminal_size(fallback=(_UNLIMITED, 24)).columns


def table(columns: Sequence[Column]) -> str:
    """The columns side by side under their heads."""
    head_lines = max(len(column.head) for column in columns)
    rows = zip(*(column.lines(head_lines) for column in columns), strict=True)
    return "\n".join(GAP.join(row).rstrip() for row in rows)


def table_width(columns: Iterable[Column]) -> int:
    """Characters in a line of `table(columns)`."""
    widths = [column.width for column in columns]
    return sum(widths) + len(GAP) * (len(widths) - 1)


def pairs(rows: Iterable[tuple[str, str]], indent: str = "  ") -> str:
    """`name  value` lines with the values below each other."""
    rows = list(rows)
    width = max((len(name) for name, _ in rows), default=0)
    lines = []
    for name, value in rows:
        first, *others = value.split("\n")
        lines.append(f"{indent}{name:<{width}}{GAP}{first}".rstrip())
        lines += [f"{indent}{'':<{width}}{GAP}{other}".rstrip() for other in others]
    return "\n".join(lines)


def wrapped(text: str, indent: str, first: str | None = None) -> str:
    """Lines that fit the page; the first may open with something longer than the others' indent."""
    return textwrap.fill(
        text,
        min(terminal_width(), _PAGE_WIDTH),
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def count(value: float | None) -> str:
    """A whole number with thousands separated."""
    return NONE if value is None or not math.isfinite(value) else f"{int(value):,}"


def duration(seconds: float | None) -> str:
    """`0.4s`, `12s`, `3m20s`, `2h05m` or `3d04h`."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return NONE
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest}s"
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes}m{rest:02}s"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours:02}h" if days else f"{hours}h{minutes:02}m"


def age(seconds: float) -> str:
    """How long ago, in its largest unit: `12s`, `3m`, `2h` or `5d`."""
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(0, int(seconds))}s"


def plural(amount: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{amount:,} {noun}" if amount == 1 else f"{amount:,} {noun}s"
