"""New texts to classify: one a line, after a label or not; one a file; or columns of a CSV file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from dlrun.data.base import Preprocessing, Spec
from dlrun.data.changed_data import Kept
from dlrun.data.kind import TEST_PATH, Labelled, NewInputs, Piece, from_code, no_table, pieces_of
from dlrun.data.tables.cells import Cells
from dlrun.data.tables.csv_format import CsvFormat
from dlrun.data.tables.number_format import Notation
from dlrun.data.tables.table_files import TABLES, TYPED, file_pieces, form_of
from dlrun.data.tables.target_column import class_numbers
from dlrun.data.text.checks import is_blank, is_header, texts_in
from dlrun.data.text.encoding import TextEncoding, encode_texts, tokenized
from dlrun.data.text.files import labelled_texts, place_of, separator_of, texts_of
from dlrun.data.text.folder import labelled_files
from dlrun.data.text.gather import Caching
from dlrun.data.text.texts import LabelledTexts, TextLayout
from dlrun.data.text.tokens import WORDS
from dlrun.data.text_files import read_text, text_pieces
from dlrun.errors import ConfigError, did_you_mean, listed, note

_PLAIN = (".txt", ".text", "")


class TextPart(NamedTuple):
    """Some texts of a file, in its order, and the cells that they are among, where it is a table."""

    texts: list[str]
    cells: Cells | None = None


class NewTexts(NewInputs):
    """Texts to classify; evaluated on in the form of the training data, with their labels."""

    preparing = (
        "lower case where `lower`; level word: the matches of `words`, level character: each character; then the place "
        "in vocabulary, 1 for what is not there; 0 fills up at the end, and what is beyond max_length is cut off"
    )

    def read(self, path: Path, spec: Spec, preprocessing: TextEncoding) -> list[str]:
        parts = text_parts(path, preprocessing, spec.class_names)
        return [text for part in parts for text in part.texts]

    def pieces(
        self, files: Sequence[Path], spec: Spec, preprocessing: TextEncoding, keep: Sequence[str]
    ) -> Iterator[Piece]:
        for path in files:
            first = 0
            for texts, cells in text_parts(path, preprocessing, spec.class_names):
                if keep and cells is None:
                    raise no_table(path, keep)
                kept = cells.kept(keep) if cells else {}
                yield from pieces_of(path, texts, kept, first=first)
                first += len(texts)

    def labelled(self, given: Any, kept: Kept, dataset: Mapping[str, Any]) -> Labelled:
        encoding, names = cast(TextEncoding, kept.preprocessing), kept.spec.class_names
        rows: LabelledTexts | None
        caching = Caching(dataset.get("memory_limit"), encoding.level, encoding.lower)
        if encoding.reads_whole_files:
            rows = labelled_files(TEST_PATH, str(given), encoding.file_encoding, caching)
        else:
            if encoding.layout and encoding.layout["form"] == "table":
                dataset = {**dataset, "header": encoding.layout["named"]}
            rows = labelled_texts(TEST_PATH, given, dataset, caching)
        if rows is None:
            raise from_code(given, dataset)
        merge = bool(dataset.get("merge_labels", False))
        labels = rows.labels.distinct
        numbers = class_numbers(labels, names, merge=merge, notation=Notation())
        for label, number in zip(labels, numbers, strict=True):
            if number is None:
                raise ConfigError(
                    f"{rows.place(rows.labels.row_of(label))}: the label {label} is none of this run's"
                    f"{did_you_mean(label, names)}"
                )
        given_labels = np.array(numbers, np.int64)[rows.labels.codes]
        tokens, [every] = tokenized([rows.texts], level=encoding.level, lower=encoding.lower)
        return Labelled(encode_texts(encoding, tokens, every, given_labels, len(names), True))

    def files_in(self, folder: Path, spec: Spec, preprocessing: TextEncoding) -> list[Path]:
        if not preprocessing.reads_whole_files:
            return super().files_in(folder, spec, preprocessing)
        inside = [
            folder,
            *(one for one in folder.rglob("*") if one.is_dir() and one.name[0] != "."),
        ]
        found = sorted(file for one in inside for file in texts_in(one))
        if not found:
            raise ConfigError(f"{folder} is a folder without texts")
        return found

    def describe(self, preprocessing: Preprocessing, spec: Spec) -> tuple[str, dict[str, Any]]:
        return self.preparing, preprocessing.to_dict() | {"words": WORDS.pattern}


def table_parts(
    path: Path, encoding: str, layout: TextLayout, class_names: Sequence[str]
) -> Iterator[TextPart] | None:
    """The texts of the rows, columns joined as in training; None for a file of plain lines.

    Columns go by their names; where training's table had none, by their order.

    Raises:
        ConfigError: a column is not there, or a row has no text.
    """
    delimiter = "tab" if form_of(path) == ".tsv" else layout.delimiter
    how: dict[str, Any] = {"header": False, "encoding": encoding, "delimiter": delimiter}
    format = CsvFormat.of(vars(layout), **how, missing=[""])
    plain = form_of(path) in _PLAIN
    try:
        head = next(file_pieces(path, format, None))
    except ConfigError:
        if plain:
            return None
        raise
    if layout.named and (not plain or {*layout.texts} <= {*head.row(0)}):
        parts = file_pieces(path, format if head.typed else replace(format, header=True), None)
        first = next(parts)
        positions = [_named(first, name) for name in layout.texts]
        labels = layout.label in first.names
    elif not layout.named and not (plain and len(head.names) != len(layout.columns)):
        positions = _counted(head, layout)
        labels = len(head.names) == len(layout.columns)
        parts = file_pieces(path, format, None)
        first = next(parts)
        if not first.typed:
            first = _without_header(first, layout, positions, labels, class_names)
    else:
        return None
    if labels:
        note(f"{path} has labels in column {layout.label}, which are left away")
    return (TextPart(_texts(cells, positions), cells) for cells in chain([first], parts))


def _named(cells: Cells, name: str) -> int:
    if name in cells.names:
        return cells.names.index(name)
    raise ConfigError(
        f"{cells.path} has no column {name}, which this run reads texts from{did_you_mean(name, cells.names)}"
    )


def _counted(cells: Cells, layout: TextLayout) -> list[int]:
    """Where the texts are in a table of training's columns, of all but the labels, or of the texts alone."""
    without = [name for name in layout.columns if name != layout.label]
    for names in (list(layout.columns), without, list(layout.texts)):
        if len(cells.names) == len(names):
            return [names.index(name) for name in layout.texts]
    raise ConfigError(
        f"{cells.path} has {len(cells.names)} columns, but this run was trained on {len(layout.columns)}, labels in "
        f"column {layout.label}; give as many, or leave the labels away"
    )


def _without_header(
    cells: Cells, layout: TextLayout, positions: list[int], labels: bool, class_names: Sequence[str]
) -> Cells:
    first = cells.row(0)
    label = (first[int(layout.label) - 1] or "") if labels else ""
    known = label in class_names
    if known or not is_header(label, first[positions[0]] or "", list(class_names)):
        return cells
    return cells.only(range(1, len(cells)))


def _texts(cells: Cells, positions: Sequence[int]) -> list[str]:
    texts = texts_of(cells, positions)
    if "" in texts:
        raise ConfigError(f"{place_of(cells, texts.index(''), positions)}: there is no text")
    return texts


class _Line(NamedTuple):
    """What stands before a separator and after it; all in `label` where there is none."""

    label: str
    found: str
    text: str


def text_parts(
    path: Path, encoding: TextEncoding, class_names: Sequence[str]
) -> Iterator[TextPart]:
    """The texts in a file, some at a time; empty where a line is blank, so that the n-th belongs to line n.

    A run that was trained on files of a text each takes all of a file for one. One trained on lines with
    labels finds out whether the file has labels too, and leaves them away. Of a .csv or .tsv without
    them, of a typed file, and of whatever table training had, columns are read: those that training had its
    texts in, or else the one called text. The first lines of a large file decide.

    Raises:
        ConfigError: missing, empty, not in the encoding of the training files, or without the column.
    """
    if not path.is_file():
        raise ConfigError(f"{path} is not a file")
    layout = TextLayout(**encoding.layout) if encoding.layout else None
    form, of_table = layout.form if layout else "", None
    if form == "folder":
        yield TextPart(["" if is_blank(path) else read_text(path, encoding.file_encoding).strip()])
        return
    if layout and form == "table":
        of_table = table_parts(path, encoding.file_encoding, layout, class_names)
    if of_table is None and form_of(path) in TYPED:
        of_table = _column_parts(path, encoding)
    if of_table is not None:
        yield from of_table
        return
    pieces = _lines_of(path, encoding.file_encoding)
    first = next(pieces)
    separator = separator_of(layout.separator) if layout and form == "lines" else None
    if separator is not None and _has_labels(first, separator, class_names):
        parts = _without_labels(path, chain([first], pieces), separator, class_names)
        yield from _told(path, parts)
    elif form_of(path) in TABLES:
        yield from _column_parts(path, encoding)
    else:
        stripped = ([line.strip() for line in lines] for lines in chain([first], pieces))
        yield from _told(path, stripped)


def _lines_of(path: Path, encoding: str) -> Iterator[list[str]]:
    for text in text_pieces(path, encoding):
        yield text.removesuffix("\n").split("\n")


def _has_labels(lines: list[str], separator: str, class_names: Sequence[str]) -> bool:
    """Whether most lines begin with a class and `separator`."""
    parted = [_parted(line, separator) for line in lines]
    body = parted[_begins_with_header(parted, class_names) :]
    labels = [line.label for line in body if line.found]
    return 2 * sum(label in class_names for label in labels) > sum(any(line) for line in body)


def _without_labels(
    path: Path, pieces: Iterable[list[str]], separator: str, class_names: Sequence[str]
) -> Iterator[list[str]]:
    """The texts after the labels."""
    labels: set[str] = set()
    above = 0
    for lines in pieces:
        parted = [_parted(line, separator) for line in lines]
        header = not above and _begins_with_header(parted, class_names)
        for number, line in enumerate(parted[header:], above + header + 1):
            if any(line) and not line.found:
                raise ConfigError(
                    f"{path}, line {number}: there is no label before a text, as in the other lines; mend the line, or "
                    "take the labels out of all"
                )
        labels.update(line.label for line in parted[header:] if line.found)
        above += len(lines)
        yield [line.text for line in parted[header:]]
    others = sorted(labels - {*class_names})
    strange = f"; training had none called {listed(others)}" if others else ""
    note(f"{path} has labels, which are left away: the texts after them are predicted{strange}")


def _parted(line: str, separator: str) -> _Line:
    label, found, text = line.strip("\ufeff").partition(separator)
    return _Line(label.strip(), found, text.strip())


def _begins_with_header(lines: Sequence[_Line], class_names: Sequence[str]) -> bool:
    first, *rest = lines
    others = [label for label, found, _ in rest if found]
    named = first.found and first.label not in class_names
    return bool(named) and is_header(first.label, first.text, others)


def _told(path: Path, parts: Iterable[list[str]]) -> Iterator[TextPart]:
    """The texts, and at their end a line on the screen that counts the empty ones."""
    blank = count = 0
    for texts in parts:
        blank += sum(not text for text in texts)
        count += len(texts)
        yield TextPart(texts)
    if blank:
        note(f"{path}: {blank:,} of {count:,} lines have no text, and no prediction")


def _column_parts(path: Path, encoding: TextEncoding) -> Iterator[TextPart]:
    column = encoding.column if isinstance(encoding.column, int | str) else "text"
    format = CsvFormat(
        header=True if isinstance(column, str) else "auto",
        delimiter="auto",
        encoding=encoding.file_encoding,
        missing=[""],
        skip_lines="auto",
    )
    for cells in file_pieces(path, format, None):
        yield TextPart(_texts(cells, [cells.position("the column of texts", column)]), cells)
