"""Lines of a CSV file as rows of stripped cells, of any length, each with the line that it begins in. No torch here."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from dlrun.data.tables.csv_format import CsvFormat, cells_of_any_length, comment_of, delimiter_of
from dlrun.data.tables.headers import LOOKED_AT, judge
from dlrun.errors import ConfigError, note

MARKS = ("#", "%", "//")  # of comments, where no setting gives one
_SEP = re.compile(r'\s*"?sep=(\\t|.)"?\s*', re.IGNORECASE)
_BEGIN = 50  # rows
_TITLES = 10  # rows above a table at most


def without_lines(lines: Sequence[str], count: int) -> list[str]:
    """With the first `count` lines blank, so that all others keep their numbers."""
    return [""] * min(count, len(lines)) + list(lines[count:])


def declared_delimiter(lines: Sequence[str]) -> tuple[int, str | None]:
    """(lines up to Excel's `sep=;` and with it, the delimiter that it declares); (0, None) where there is none."""
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


Record = tuple[int, list[str]]
_READ = "dataset.skip_lines=0 reads from line 1 on"


def read_records(path: Path, text: str, format: CsvFormat) -> tuple[list[Record], str]:
    """((line, cells) of each row that is not empty, the delimiter): without what stands above the table.

    Raises:
        ConfigError: damaged quoting, no row left.
    """
    lines, declared, comments = text.split("\n"), None, []
    mark = comment_of(format.comment)
    if format.skip_lines == "auto":
        skipped, declared = declared_delimiter(lines)
        lines = without_lines(lines, skipped)
        found = [] if mark else comment_lines(lines)
        if found:
            comments = [(number + 1, lines[number]) for number in found]
            lines = without_lines(lines, found[-1] + 1)
    else:
        lines = without_lines(lines, format.skip_lines)
    shown = [line for line in lines if not mark or not line.lstrip().startswith(mark)]
    delimiter = (
        declared
        if declared and format.delimiter == "auto"
        else delimiter_of(format.delimiter, shown)
    )
    records = list(records_in(path, lines, delimiter, mark))
    if comments:
        records = _without_comments(path, comments, records, delimiter)
    if not records:
        raise ConfigError(
            f"{path} has no row that dataset.skip_lines and dataset.comment leave: change one of them"
        )
    if format.skip_lines == "auto":
        records = _without_titles(path, records)
    return records, delimiter


def _without_comments(
    path: Path, comments: Sequence[tuple[int, str]], rows: list[Record], delimiter: str
) -> list[Record]:
    """The rows of a table with `comments` above it, some of which may be its rows as well."""
    width = len(rows[0][1]) if rows else 0
    cut = [(number, _cells(path, line, delimiter, width)) for number, line in comments]
    kept = of_the_table([cells for _, cells in cut], [cells for _, cells in rows])
    above, below = cut[: len(cut) - kept], []
    if above and rows:
        # More of the same, as at the end of what a program has written.
        mark = comments[0][1].strip(' "')[0]
        below = [row for row in rows if row[1][0].startswith(mark) and len(row[1]) != width]
    if above:
        others = f" and {len(below)} more below" if below else ""
        where = f"{_span(above[0][0], above[-1][0])} ({_short(comments[0][1])}){others}"
        note(f"{path}: {where} left out as comments; {_READ}")
    left_out = {line for line, _ in below}
    return cut[len(cut) - kept :] + [row for row in rows if row[0] not in left_out]


def _without_titles(path: Path, records: list[Record]) -> list[Record]:
    titles = title_rows([cells for _, cells in records])
    if titles:
        where = _span(records[0][0], records[titles][0] - 1)
        title = " ".join(filter(None, records[0][1]))
        note(f"{path}: {where} ({_short(title)}) left out as a title above the table; {_READ}")
    return records[titles:]


def _cells(path: Path, line: str, delimiter: str, width: int) -> list[str]:
    """Of a line that may be a remark, quotes and all; without its mark where it has `width` cells so."""
    for part in (line, line.lstrip("#%/ ")):
        with suppress(ConfigError):
            for _, cells in records_in(path, [part], delimiter, None):
                if len(cells) == width:
                    return cells
    return [line.strip()]


def records_in(
    path: Path, lines: Iterable[str], delimiter: str, comment: str | None, *, first: int = 1
) -> Iterator[Record]:
    """(line, cells) of each row that is not empty; the first of `lines` is that with the number `first`.

    Raises:
        ConfigError: damaged quoting.
    """
    source = _Lines(lines, delimiter, comment)
    reader = csv.reader(source, delimiter=delimiter, skipinitialspace=True, strict=True)
    begins = first
    try:
        with cells_of_any_length():
            for cells in reader:
                stripped = [cell.strip() for cell in cells]
                if any(stripped):
                    yield begins, stripped
                begins = first + reader.line_num
                source.between_rows = True
    except csv.Error as error:
        # The reader says this of text that ends inside of quotes alone.
        if "unexpected end of data" in str(error):
            why = "a quote opened in it is never closed; close it, or double a quote that is part of a cell"
        else:
            why = f"it cannot be read as CSV: {error}; mend the row"
        raise ConfigError(f"{path}, row {begins}: {why}") from error


class _Lines:
    """Lines with their ends for the reader; those that begin as a comment does are blank, but not inside of quotes."""

    def __init__(self, lines: Iterable[str], delimiter: str, comment: str | None) -> None:
        # Of cells apart by blanks, those at the ends of a line are no cells.
        self.lines = iter((line.strip(" ") for line in lines) if delimiter == " " else lines)
        self.comment = comment
        self.between_rows = True

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = next(self.lines)
        if self.comment and self.between_rows and line.lstrip().startswith(self.comment):
            return "\n"
        self.between_rows = False
        return f"{line}\n"


def _span(first: int, last: int) -> str:
    return f"line {first}" if first == last else f"lines {first} to {last}"


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:39]}…"
