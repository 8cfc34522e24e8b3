"""Labelled texts from the user's own files: a text a line, or a CSV. No torch here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dlrun.config.schema import Positive
from dlrun.data.file_kinds import refuse_markup
from dlrun.data.files import locate
from dlrun.data.tables.cells import Cells, Lines
from dlrun.data.tables.column import Column, missing_column
from dlrun.data.tables.column_roles import ColumnName, ColumnRoles
from dlrun.data.tables.csv_format import CsvFormat, Header, SkipLines, missing_among
from dlrun.data.tables.number_format import Notation
from dlrun.data.tables.table_files import (
    files_of,
    locate_table,
    refuse_settings_of_texts,
    table_pieces,
)
from dlrun.data.tables.target_column import (
    DROP_MISSING,
    class_numbers,
    classes_of,
    merged,
    note_merged,
    with_targets,
)
from dlrun.data.text.checks import (
    could_be_header,
    is_header,
    note_labels_apart_by_case,
    note_no_texts,
    texts_in,
)
from dlrun.data.text.gather import Caching, TextFiles, gathered
from dlrun.data.text.stored import StoredTexts
from dlrun.data.text.texts import LabelledTexts, TextLayout, Texts, as_texts
from dlrun.data.text.tokens import TokenSettings
from dlrun.data.text_files import text_pieces
from dlrun.errors import ConfigError, note

SEPARATORS = {"tab": "\t", "space": " ", "colon": ":"}
_FIRST = 50  # lines, by which a file is known to be of another kind
_MARK = "\ufeff"  # the byte order mark, which files put together have inside as well


def text_lines(
    *,
    path: str | list[str],
    test_path: str | list[str] | None,
    separator: str,
    header: Header,
    encoding: str,
    memory_limit: Positive | None,
    tokens: TokenSettings,
) -> Texts:
    """A text a line, after its label and `separator`; or one file a class, each of its lines a text.

    Args:
        path: a file of labels and texts; a folder or a list of files is taken for one file a class,
            which the file's name without its ending names, or all of it where two would be alike.
        test_path: the test part, in the same form; null where it is to be taken from the rest.
        separator: tab, space, colon or any other text; the first in a line counts.
        header: whether the first line of a file of labels and texts names the two; auto looks.
        memory_limit: GiB; texts that take more are read from files of the cache; null: half of what is free.

    Raises:
        ConfigError: missing, empty, a line that is not in this form, fewer than two classes, or a
            label of the test part that training does not have.
    """
    given = {"dataset.path": path} | ({"dataset.test_path": test_path} if test_path else {})
    caching = Caching(memory_limit, tokens.level, tokens.lower)
    parts = _read_lines(given, separator, header, encoding, caching)
    raw = as_texts(str(path), *parts, tokens=tokens)
    note_labels_apart_by_case(str(path), parts[0].labels.counts)
    labelled = isinstance(path, str) and locate("dataset.path", path).is_file()
    layout = TextLayout("lines", separator=separator) if labelled else TextLayout("files")
    return replace(raw, file_encoding=encoding, layout=layout)


def text_csv(
    *,
    path: str,
    test_path: str | None,
    text: ColumnName | list[ColumnName],
    label: ColumnName,
    header: Header,
    skip_lines: SkipLines,
    comment: str | None,
    delimiter: str,
    encoding: str,
    missing: list[str | int | float],
    merge_labels: bool,
    drop_missing_target: bool,
    memory_limit: Positive | None,
    tokens: TokenSettings,
) -> Texts:
    """A table with a column of texts and a column of labels, each by its name or its number from 1.

    Args:
        missing: words that stand for no label.
        merge_labels: whether labels equal as numbers, or but for capitals and blanks, are one class.
        drop_missing_target: whether rows without a label are left out; they are refused otherwise.
        text: several columns are joined to one text, line after line, without the cells that are empty.
        memory_limit: as of `text_lines`.

    Raises:
        ConfigError: as `text_lines`, or a column that there is not.
    """
    settings = locals()
    format, roles = CsvFormat.of(settings, missing=[""]), ColumnRoles(label, text)
    files = {"dataset.path": path} | ({"dataset.test_path": test_path} if test_path else {})
    found = {key: locate_table(key, given) for key, given in files.items()}
    refuse_settings_of_texts(settings | {"decimal": "auto", "thousands": "none"}, *found.values())
    caching = Caching(memory_limit, tokens.level, tokens.lower)
    forms, parts = _read_tables(found, format, roles, missing, drop_missing_target, caching)
    _note_missing_texts(path, parts[0].texts, missing)
    if merge_labels:
        parts = _merged(path, parts)
    raw = as_texts(path, *parts, tokens=tokens)
    layout = _table_layout(forms[0], format, roles)
    return replace(raw, file_encoding=encoding, column=text, layout=layout)


def lines_of(path: Path, encoding: str) -> Iterator[tuple[list[int], list[str]]]:
    """The lines that are not blank, with their numbers, some at a time."""
    begin = 1
    for text in text_pieces(path, encoding):
        lines = text.split("\n")
        kept = [number for number, line in enumerate(lines) if line and not line.isspace()]
        numbers = [begin + number for number in kept]
        yield numbers, [lines[number].lstrip(_MARK) for number in kept]
        begin += len(lines) - 1


def texts_of_class(name: str, path: Path, encoding: str) -> Iterator[LabelledTexts]:
    """A file of texts that have one label, a text a line."""
    for numbers, lines in lines_of(path, encoding):
        yield labelled_lines(path, numbers, [name] * len(lines), [line.strip() for line in lines])


def labelled_lines(
    path: Path, numbers: Sequence[int], labels: Iterable[str], texts: list[str]
) -> LabelledTexts:
    """Texts that stand in the lines of a file that have these numbers."""
    return LabelledTexts(texts, Column.of(labels), lambda row: f"{path}, line {numbers[row]}")


def separator_of(given: str) -> str:
    """The text that ends a label, of one of the names of separators or of itself."""
    return SEPARATORS.get(given, given)


def _read_lines(
    given: Mapping[str, str | list[str]],
    separator: str,
    header: Header,
    encoding: str,
    caching: Caching,
) -> list[LabelledTexts]:
    """The texts that each setting names."""
    files = {key: _files_of_lines(key, one, separator, encoding) for key, one in given.items()}
    what = next(iter(files.values())).files[0]
    found = gathered(what, files, [separator, encoding], caching)
    return [
        _without_header(rows, header) if _is_labelled(key, given[key]) else rows
        for key, rows in found.items()
    ]


def _is_labelled(key: str, given: str | list[str]) -> bool:
    return isinstance(given, str) and not locate(key, given).is_dir()


def _files_of_lines(key: str, given: str | list[str], separator: str, encoding: str) -> TextFiles:
    if isinstance(given, str) and not (path := locate(key, given)).is_dir():
        if not separator_of(separator):
            raise ConfigError(
                "dataset.separator is empty, but must say what ends a label, such as tab"
            )
        return TextFiles([path], partial(_read_labelled, path, separator, encoding))
    if isinstance(given, str):
        files = texts_in(path)
        _refuse_class_folders(key, given, path, files)
        left_out = sorted({one.name for one in path.iterdir()} - {one.name for one in files})
        note_no_texts(path, left_out, f"{key}=[FILE,FILE] chooses the files of the classes")
    else:
        files = [locate(f"{key}[{number}]", file) for number, file in enumerate(given)]
    if len(files) < 2:
        raise ConfigError(
            f"{key} is {given}, which holds {len(files)} files, but there must be one for each of two classes or more"
        )
    return TextFiles(files, partial(_read_classes, files, encoding))


def _read_classes(files: Sequence[Path], encoding: str) -> Iterator[LabelledTexts]:
    for name, file in zip(_class_names(files), files, strict=True):
        yield from texts_of_class(name, file, encoding)


def _refuse_class_folders(key: str, given: str, path: Path, files: Sequence[Path]) -> None:
    folders = [one for one in path.iterdir() if one.is_dir() and one.name[0] != "."]
    if len(folders) > 1 and len(files) < 2:
        raise ConfigError(
            f"{key} is {given}, a folder of folders, but dataset=text_lines reads one file a class; "
            "of one folder a class, a file a text, use dataset=text_folder"
        )


def _read_labelled(path: Path, separator: str, encoding: str) -> Iterator[LabelledTexts]:
    between = separator_of(separator)
    for numbers, lines in lines_of(path, encoding):
        if numbers and numbers[0] == 1:
            refuse_markup(path, "\n".join(lines[:_FIRST]))
        labels, texts = list[str](), list[str]()
        for number, line in zip(numbers, lines, strict=True):
            label, found, text = line.partition(between)
            if not found:
                raise ConfigError(
                    f"{path}, line {number}: there is no {separator} between a label and a text; mend the line, or set "
                    "dataset.separator to tab, space, colon or what else it is"
                )
            labels.append(label.strip())
            texts.append(text.strip())
        yield labelled_lines(path, numbers, labels, texts)


def _without_header(rows: LabelledTexts, header: Header) -> LabelledTexts:
    label, text = rows.labels[0] or "", rows.texts[0]
    others = +(rows.labels.counts - Counter([label]))
    if header == "auto" and is_header(label, text, others):
        note(
            f'{rows.place(0)}: "{label}" and "{text}" are taken for a header and left out; '
            "dataset.header=false reads it as a text"
        )
        return rows.take(np.arange(1, len(rows)))
    if header == "auto" and could_be_header(label, text, others):
        note(
            f'{rows.place(0)}: "{label}" is a class of this one text, "{text}"; '
            "if they name what is below them, dataset.header=true leaves them out"
        )
    return rows.take(np.arange(1, len(rows))) if header is True else rows


def _class_names(files: Sequence[Path]) -> list[str]:
    stems = [file.stem for file in files]
    return stems if len({*stems}) == len(stems) else [file.name for file in files]


def _read_tables(
    paths: Mapping[str, Path],
    format: CsvFormat,
    roles: ColumnRoles,
    missing: Sequence[object],
    drop: bool,
    caching: Caching,
) -> tuple[list[Cells], list[LabelledTexts]]:
    """Each table without its rows, and those of its rows that have a label.

    Raises:
        ConfigError: as `with_targets`, or a column that there is not.
    """
    files = {
        key: TextFiles(files_of(path), partial(_texts_of_table, path, format, roles))
        for key, path in paths.items()
    }
    settings = [format, roles.target, roles.text]
    found = gathered(next(iter(paths.values())), files, settings, caching)
    forms = [_form_of(path, format) for path in paths.values()]
    tables = zip(forms, found.values(), strict=True)
    return forms, [_with_labels(form, rows, format, roles, missing, drop) for form, rows in tables]


def _form_of(path: Path, format: CsvFormat) -> Cells:
    """What a table's columns are called and how it is written, without its rows."""
    first = next(table_pieces(path, format))
    return replace(first, path=path, columns=[missing_column(0)] * len(first.columns))


def _texts_of_table(path: Path, format: CsvFormat, roles: ColumnRoles) -> Iterator[LabelledTexts]:
    """Rows of a table, with the cells of the labels as they are."""
    positions: tuple[list[int], int] | None = None
    for cells in table_pieces(path, format):
        positions = positions or _positions(cells, roles)
        texts_at, label_at = positions
        texts = texts_of(cells, texts_at)
        bare = replace(cells, columns=[])  # all that a place needs
        place = partial(_place_of_text, bare, texts, texts_at, label_at)
        yield LabelledTexts(texts, cells.columns[label_at], place)


def _place_of_text(
    cells: Cells, texts: Sequence[str], texts_at: list[int], label_at: int, row: int
) -> str:
    return place_of(cells, row, [label_at] if texts[row] else texts_at)


def _with_labels(
    form: Cells,
    rows: LabelledTexts,
    format: CsvFormat,
    roles: ColumnRoles,
    missing: Sequence[object],
    drop: bool,
) -> LabelledTexts:
    """The rows that have a label, one that is no word for a missing one.

    Raises:
        ConfigError: as `with_targets`.
    """
    labels = rows.labels.without(missing_among(rows.labels.distinct, missing))
    if labels.known.all():
        return rows
    cells = replace(
        form,
        columns=[labels] * len(form.names),  # of the others, nothing but their names is asked for
        lines=Lines.joined(list(table_pieces(form.path, format))),
        missing=list(map(str, missing)),
    )
    with_targets(cells, [_label_at(form, roles)], drop=drop, key="dataset.label")
    return replace(rows, labels=labels).take(np.flatnonzero(labels.known))


def _positions(cells: Cells, roles: ColumnRoles) -> tuple[list[int], int]:
    """Where the texts are and where the labels are."""
    texts_at, label_at = _texts_at(cells, roles), _label_at(cells, roles)
    if label_at in texts_at:
        raise ConfigError(
            f"dataset.label is {roles.target}, a column that dataset.text names too: a text must not hold its label"
        )
    return texts_at, label_at


def texts_of(cells: Cells, positions: Sequence[int]) -> list[str]:
    """The text of each row: its cells in these columns, line after line; empty where all of them are."""
    columns = [cells.column(at) for at in positions]
    if len(columns) == 1:
        return [cell or "" for cell in columns[0]]
    return ["\n".join(filter(None, row)) for row in zip(*columns, strict=True)]


def place_of(cells: Cells, row: int, positions: Sequence[int]) -> str:
    """Where these cells of a row are, for an error."""
    first, *others = positions
    more = "".join(f" and {cells.names[position]}" for position in others)
    return cells.place(row, first) + more


def _table_layout(cells: Cells, format: CsvFormat, roles: ColumnRoles) -> TextLayout:
    return TextLayout(
        "table",
        delimiter=cells.delimiter,
        columns=cells.names,
        texts=[cells.names[position] for position in _texts_at(cells, roles)],
        label=cells.names[_label_at(cells, roles)],
        named=cells.named,
        skip_lines=format.skip_lines,
        comment=format.comment,
    )


def _texts_at(cells: Cells, roles: ColumnRoles) -> list[int]:
    if not isinstance(roles.text, list):
        return [_position(cells, "dataset.text", roles.text)]
    if not roles.text:
        raise ConfigError("dataset.text is [], but must name a column of texts or more")
    return [_position(cells, f"dataset.text[{at}]", name) for at, name in enumerate(roles.text)]


def _label_at(cells: Cells, roles: ColumnRoles) -> int:
    assert not isinstance(roles.target, list), "a text has one label"
    return _position(cells, "dataset.label", roles.target)


def _position(cells: Cells, key: str, column: ColumnName) -> int:
    if len(cells.names) == 1 and str(column) not in cells.names:
        # Texts and labels in one column: what is between them was taken for a part of the text.
        raise ConfigError(
            f"{key} is {column}, but {cells.path} was read as a single column; set dataset.delimiter "
            "to what is between its columns, such as comma, semicolon or tab"
        )
    return cells.position(key, column)


def _note_missing_texts(
    source: str, texts: list[str] | StoredTexts, missing: Sequence[object]
) -> None:
    """Note texts that are one of the words of `missing`; they may be real texts, so they stay."""
    known = {str(word).casefold() for word in missing if str(word)}
    longest = max(map(len, known), default=0)
    some = texts.short(longest) if isinstance(texts, StoredTexts) else texts
    found = Counter(
        text for text in some if len(text) <= longest and text and text.casefold() in known
    )
    if found:
        note(
            f"{source}: {found.total()} texts are {', '.join(found)}, a word for a missing value, and are read as they "
            "stand; take the rows out if they have no text"
        )


def _merged(source: str, parts: list[LabelledTexts]) -> list[LabelledTexts]:
    """The same rows with one spelling of each class of the first part, which a note names."""
    classes = classes_of(parts[0].labels.counts, merge=True, notation=Notation())
    note_merged(source, merged(classes))

    def renamed(rows: LabelledTexts) -> LabelledTexts:
        labels = rows.labels.distinct
        numbers = class_numbers(labels, classes.names, merge=True, notation=Notation())
        names = {
            label: label if number is None else classes.names[number]
            for label, number in zip(labels, numbers, strict=True)
        }
        return replace(rows, labels=rows.labels.by_cell(names.__getitem__))

    return list(map(renamed, parts))


def labelled_texts(
    key: str, given: Any, dataset: Mapping[str, Any], caching: Caching
) -> LabelledTexts | None:
    """The labelled texts that `given` names, read as the config `dataset` says; None where it names no files.

    Raises:
        ConfigError: missing, empty, not in this form, or a row without text or label.
    """
    if "separator" in dataset:
        settings = (dataset["separator"], dataset.get("header", False), dataset["encoding"])
        rows = _read_lines({key: given}, *settings, caching)[0]
    elif "text" in dataset and "label" in dataset:
        roles = ColumnRoles(dataset["label"], dataset["text"])
        table = ({key: locate_table(key, given)}, CsvFormat.of(dataset, missing=[""]), roles)
        missing, drop = dataset.get("missing", []), bool(dataset.get(DROP_MISSING, False))
        rows = _read_tables(*table, missing, drop, caching)[1][0]
    else:
        return None
    rows.refuse_empty()
    return rows
