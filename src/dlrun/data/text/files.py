"""Labelled texts from the user's own files: a text a line, or a CSV. No torch here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from sys import intern
from typing import Any

from dlrun.data.file_kinds import refuse_markup
from dlrun.data.files import locate, locate_file, read_text
from dlrun.data.tables.column_roles import ColumnName, ColumnRoles
from dlrun.data.tables.csv import Cells, read_csv
from dlrun.data.tables.csv_format import CsvFormat, Header, SkipLines, missing_among
from dlrun.data.tables.number_format import Notation
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
from dlrun.data.text.texts import Labelled, TextLayout, Texts, TokenSettings, as_texts, refuse_empty
from dlrun.errors import ConfigError, note

SEPARATORS = {"tab": "\t", "space": " ", "colon": ":"}
_MARK = "\ufeff"  # the byte order mark, which files put together have inside as well


def text_lines(
    *,
    path: str | list[str],
    test_path: str | list[str] | None,
    separator: str,
    header: Header,
    encoding: str,
    tokens: TokenSettings,
) -> Texts:
    """A text a line, after its label and `separator`; or one file a class, each of its lines a text.

    Args:
        path: a file of labels and texts; a folder or a list of files is taken for one file a class,
            which the file's name without its ending names, or all of it where two would be alike.
        test_path: the test part, in the same form; null where it is to be taken from the rest.
        separator: tab, space, colon or any other text; the first in a line counts.
        header: whether the first line of a file of labels and texts names the two; auto looks.

    Raises:
        ConfigError: missing, empty, a line that is not in this form, fewer than two classes, or a
            label of the test part that training does not have.
    """
    parts = [
        _read_lines(key, given, separator, header, encoding)
        for key, given in (("dataset.path", path), ("dataset.test_path", test_path))
        if given is not None
    ]
    raw = as_texts(str(path), *parts, tokens=tokens)
    note_labels_apart_by_case(str(path), [row.label for row in parts[0]])
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
    tokens: TokenSettings,
) -> Texts:
    """A table with a column of texts and a column of labels, each by its name or its number from 1.

    Args:
        missing: words that stand for no label.
        merge_labels: whether labels equal as numbers, or but for capitals and blanks, are one class.
        drop_missing_target: whether rows without a label are left out; they are refused otherwise.
        text: several columns are joined to one text, line after line, without the cells that are empty.

    Raises:
        ConfigError: as `text_lines`, or a column that there is not.
    """
    format, roles = CsvFormat.of(locals(), missing=[""]), ColumnRoles(label, text)
    tables = [
        _with_labels(
            read_csv(locate_file(key, given), format), roles, missing, drop=drop_missing_target
        )
        for key, given in (("dataset.path", path), ("dataset.test_path", test_path))
        if given is not None
    ]
    parts = [_read_columns(cells, roles) for cells in tables]
    _note_missing_texts(path, [row.text for row in parts[0]], missing)
    if merge_labels:
        parts = _merged(path, parts)
    raw = as_texts(path, *parts, tokens=tokens)
    layout = _table_layout(tables[0], format, roles)
    return replace(raw, file_encoding=encoding, column=text, layout=layout)


def lines_of(path: Path, encoding: str) -> Iterable[tuple[str, str]]:
    """(place, line) of each line that is not blank."""
    return _lines(path, read_text(path, encoding))


def _lines(path: Path, text: str) -> Iterable[tuple[str, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"{path}, line {number}", line.lstrip(_MARK)


def separator_of(given: str) -> str:
    """The text that ends a label, of one of the names of separators or of itself."""
    return SEPARATORS.get(given, given)


def _read_lines(
    key: str, given: str | list[str], separator: str, header: Header, encoding: str
) -> list[Labelled]:
    if isinstance(given, str) and not (path := locate(key, given)).is_dir():
        return _read_labelled(path, separator, header, encoding)
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
    return [
        Labelled(place, name, line.strip())
        for name, file in zip(_class_names(files), files, strict=True)
        for place, line in lines_of(file, encoding)
    ]


def _refuse_class_folders(key: str, given: str, path: Path, files: Sequence[Path]) -> None:
    folders = [one for one in path.iterdir() if one.is_dir() and one.name[0] != "."]
    if len(folders) > 1 and len(files) < 2:
        raise ConfigError(
            f"{key} is {given}, a folder of folders, but dataset=text_lines reads one file a class; "
            "of one folder a class, a file a text, use dataset=text_folder"
        )


def _read_labelled(path: Path, separator: str, header: Header, encoding: str) -> list[Labelled]:
    between = separator_of(separator)
    if not between:
        raise ConfigError("dataset.separator is empty, but must say what ends a label, such as tab")
    content = read_text(path, encoding)
    refuse_markup(path, content)
    rows = []
    for place, line in _lines(path, content):
        label, found, text = line.partition(between)
        if not found:
            raise ConfigError(
                f"{place}: there is no {separator} between a label and a text; mend the line, or set "
                "dataset.separator to tab, space, colon or what else it is"
            )
        # One object for all labels of a class: memory for them would be a copy a line.
        rows.append(Labelled(place, intern(label.strip()), text.strip()))
    return _without_header(rows, header)


def _without_header(rows: list[Labelled], header: Header) -> list[Labelled]:
    first, *rest = rows
    if header == "auto" and is_header(first.label, first.text, [row.label for row in rest]):
        note(
            f'{first.place}: "{first.label}" and "{first.text}" are taken for a header and left out; '
            "dataset.header=false reads it as a text"
        )
        return rest
    if header == "auto" and could_be_header(first.label, first.text, [row.label for row in rest]):
        note(
            f'{first.place}: "{first.label}" is a class of this one text, "{first.text}"; '
            "if they name what is below them, dataset.header=true leaves them out"
        )
    return rest if header is True else rows


def _class_names(files: Sequence[Path]) -> list[str]:
    stems = [file.stem for file in files]
    return stems if len({*stems}) == len(stems) else [file.name for file in files]


def _read_columns(cells: Cells, roles: ColumnRoles) -> list[Labelled]:
    texts_at, label_at = _texts_at(cells, roles), _label_at(cells, roles)
    if label_at in texts_at:
        raise ConfigError(
            f"dataset.label is {roles.target}, a column that dataset.text names too: a text must not hold its label"
        )
    # The columns that are read alone, and one object for all labels of a class.
    rows = []
    labels, columns = cells.column(label_at), [cells.column(at) for at in texts_at]
    every = range(len(columns))
    for number, (label, *row) in enumerate(zip(labels, *columns, strict=True)):
        joined = joined_text(row, every)
        looked_at = [label_at] if joined else texts_at
        rows.append(Labelled(partial(place_of, cells, number, looked_at), label or "", joined))
    return rows


def joined_text(row: Sequence[str | None], positions: Sequence[int]) -> str:
    """The texts in these cells of a row, line after line; empty where all of them are."""
    return "\n".join(filter(None, (row[position] for position in positions)))


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


def _with_labels(
    cells: Cells, roles: ColumnRoles, missing: Sequence[object], *, drop: bool
) -> Cells:
    """The rows that have a label, one that is no word for a missing one.

    Raises:
        ConfigError: as `with_targets`.
    """
    position = _label_at(cells, roles)
    labels = cells.columns[position]
    labels = labels.without(missing_among(labels.distinct, missing))
    cells = replace(cells.with_columns({position: labels}), missing=list(map(str, missing)))
    return with_targets(cells, [position], drop=drop, key="dataset.label")


def _note_missing_texts(source: str, texts: Sequence[str], missing: Sequence[object]) -> None:
    """Note texts that are one of the words of `missing`; they may be real texts, so they stay."""
    words = missing_among(filter(None, texts), missing)
    found = Counter(text for text in texts if text in words)
    if found:
        note(
            f"{source}: {found.total()} texts are {', '.join(found)}, a word for a missing value, and are read as they "
            "stand; take the rows out if they have no text"
        )


def _merged(source: str, parts: list[list[Labelled]]) -> list[list[Labelled]]:
    """The same rows with one spelling of each class of the first part, which a note names."""
    classes = classes_of((row.label for row in parts[0]), merge=True, notation=Notation())
    note_merged(source, merged(classes))
    renamed = []
    for rows in parts:
        labels = [row.label for row in rows]
        numbers = class_numbers(labels, classes.names, merge=True, notation=Notation())
        names = [None if number is None else classes.names[number] for number in numbers]
        renamed.append(
            [
                row if name in (None, row.label) else row._replace(label=name)
                for row, name in zip(rows, names, strict=True)
            ]
        )
    return renamed


def labelled_texts(key: str, given: Any, dataset: Mapping[str, Any]) -> list[Labelled] | None:
    """The labelled texts that `given` names, read as the config `dataset` says; None where it names no files.

    Raises:
        ConfigError: missing, empty, not in this form, or a row without text or label.
    """
    if "separator" in dataset:
        how = (dataset["separator"], dataset.get("header", False), dataset["encoding"])
        rows = _read_lines(key, given, *how)
    elif "text" in dataset and "label" in dataset:
        roles = ColumnRoles(dataset["label"], dataset["text"])
        cells = read_csv(locate_file(key, given), CsvFormat.of(dataset, missing=[""]))
        drop = bool(dataset.get(DROP_MISSING, False))
        cells = _with_labels(cells, roles, dataset.get("missing", []), drop=drop)
        rows = _read_columns(cells, roles)
    else:
        return None
    refuse_empty(rows)
    return rows
