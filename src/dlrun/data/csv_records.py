"""Lines of a CSV file as rows of stripped cells, of any length, each with the line that it begins in. No torch here."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from dlrun.data.csv_form import Form, cells_of_any_length, comment_of, delimiter_of
from dlrun.data.csv_opening import (
    comment_lines,
    of_the_table,
    title_rows,
    told_delimiter,
    without_lines,
)
from dlrun.errors import ConfigError
from dlrun.hints import note

Record = tuple[int, list[str]]
_READ = "dataset.skip_lines=0 reads from line 1 on"


def read_records(path: Path, text: str, form: Form) -> tuple[list[Record], str]:
    """((line, cells) of each row that is not empty, the delimiter): without what stands above the table.

    Raises:
        ConfigError: damaged quoting, no row left.
    """
    lines, told, comments = text.split("\n"), None, []
    mark = comment_of(form.comment)
    if form.skip_lines == "auto":
        skipped, told = told_delimiter(lines)
        lines = without_lines(lines, skipped)
        found = [] if mark else comment_lines(lines)
        if found:
            comments = [(number + 1, lines[number]) for number in found]
            lines = without_lines(lines, found[-1] + 1)
    else:
        lines = without_lines(lines, form.skip_lines)
    shown = [line for line in lines if not mark or not line.lstrip().startswith(mark)]
    delimiter = told if told and form.delimiter == "auto" else delimiter_of(form.delimiter, shown)
    records = _records(path, lines, delimiter, mark)
    if comments:
        records = _without_comments(path, comments, records, delimiter)
    if not records:
        raise ConfigError(
            f"{path} has no row that dataset.skip_lines and dataset.comment leave: change one of them"
        )
    if form.skip_lines == "auto":
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
            for _, cells in _records(path, [part], delimiter, None):
                if len(cells) == width:
                    return cells
    return [line.strip()]


def _records(path: Path, lines: Sequence[str], delimiter: str, comment: str | None) -> list[Record]:
    source = _Lines(lines, delimiter, comment)
    reader = csv.reader(source, delimiter=delimiter, skipinitialspace=True, strict=True)
    records, begins = [], 1
    try:
        with cells_of_any_length():
            for cells in reader:
                stripped = [cell.strip() for cell in cells]
                if any(stripped):
                    records.append((begins, stripped))
                begins = reader.line_num + 1
                source.between_rows = True
    except csv.Error as error:
        # The reader says this of text that ends inside of quotes alone.
        if "unexpected end of data" in str(error):
            why = "a quote opened in it is never closed; close it, or double a quote that is part of a cell"
        else:
            why = f"it cannot be read as CSV: {error}; mend the row"
        raise ConfigError(f"{path}, row {begins}: {why}") from error
    return records


class _Lines:
    """Lines with their ends for the reader; those that begin as a comment does are blank, but not inside of quotes."""

    def __init__(self, lines: Sequence[str], delimiter: str, comment: str | None) -> None:
        # Of cells apart by blanks, those at the ends of a line are no cells.
        self.lines = iter([line.strip(" ") for line in lines] if delimiter == " " else lines)
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
