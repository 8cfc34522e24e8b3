"""What stands above the table in a CSV file: Excel's sep line, comments, titles. Pure functions; no torch here."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from dlrun.data.headers import LOOKED_AT, judge

MARKS = ("#", "%", "//")  # of comments, where none is told
_SEP = re.compile(r'\s*"?sep=(\\t|.)"?\s*', re.IGNORECASE)
_BEGIN = 50  # rows
_TITLES = 10  # rows above a table at most


def without_lines(lines: Sequence[str], count: int) -> list[str]:
    """With the first `count` lines blank, so that all others keep their numbers."""
    return [""] * min(count, len(lines)) + list(lines[count:])


def told_delimiter(lines: Sequence[str]) -> tuple[int, str | None]:
    """(lines up to Excel's `sep=;` and with it, the delimiter that it tells); (0, None) where there is none."""
    for count, line in enumerate(lines, 1):
        if found := _SEP.fullmatch(line):
            return count, found[1].replace("\\t", "\t")
        if line.strip():
            break
    return 0, None


def comment_lines(lines: Sequence[str]) -> list[int]:
    """Numbers, from 0, of the lines above the first one that is neither blank nor begins as a comment does."""
    found = []
    for number, line in enumerate(lines):
        if line.strip(' "').startswith(MARKS):
            found.append(number)
        elif line.strip():
            return found
    return []


def of_the_table(comments: Sequence[list[str]], rows: Sequence[list[str]]) -> int:
    """How many of the last `comments`, cut into cells, are rows of the table: its header or data with a # in them.

    They are as wide as the table, and it has no other header, or they have words of its columns.
    """
    if not rows or len(rows[0]) < 2:
        return 0
    verdict = judge(rows[0], rows[1:])
    if verdict.header and verdict.sure:
        return 0
    count = 0
    while count < len(comments) and len(comments[-1 - count]) == len(rows[0]):
        count += 1
    kept = comments[len(comments) - count :]
    table = rows[:LOOKED_AT]
    recurring = any(
        cell and any(cell in row[at : at + 1] for row in table)
        for comment in kept
        for at, cell in enumerate(comment)
    )
    return count if recurring or not verdict.header else 0


def title_rows(rows: Sequence[list[str]]) -> int:
    """How many of the first rows are titles above the table: of few cells, where the others have many."""
    begin = rows[:_BEGIN]
    widths = Counter(map(len, begin))
    width, times = widths.most_common(1)[0]
    if width < 2 or times < 2:
        return 0
    narrow = 0
    for number, row in enumerate(begin[: _TITLES + 1]):
        filled = sum(map(bool, row))
        if number and len(row) == width and filled >= width - 1 and _is_header(rows[number:]):
            return number
        few = filled == 1 and row[0] or filled <= max(1, width // 2)  # noqa: RUF021
        if len(row) > width or not few:
            break
        narrow += number == narrow and len(row) < width
    # Two columns alone may just as well have a first row that lacks a cell.
    return narrow if width > 2 and narrow <= _TITLES else 0


def _is_header(rows: Sequence[list[str]]) -> bool:
    verdict = judge(rows[0], rows[1:])
    return verdict.header and verdict.sure
