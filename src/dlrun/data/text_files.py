"""Labelled texts from the user's own files: a text a line, or a CSV. No torch here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dlrun.data.csv_file import Cells, read_csv
from dlrun.data.csv_form import Form, Header
from dlrun.data.files import locate, locate_file, read_text
from dlrun.data.texts import Texts, TokenSettings
from dlrun.errors import ConfigError, did_you_mean

SEPARATORS = {"tab": "\t", "space": " ", "colon": ":"}


class Labelled(NamedTuple):
    """A text with its class, and where it stands, for an error."""

    place: str
    label: str
    text: str


def text_lines(
    *,
    path: str | list[str],
    test_path: str | list[str] | None,
    separator: str,
    encoding: str,
    tokens: TokenSettings,
) -> Texts:
    """A text a line, after its label and `separator`; or one file a class, each of its lines a text.

    Args:
        path: a file of labels and texts; a folder or a list of files is taken for one file a class,
            which the file's name without its ending names, or all of it where two would be alike.
        test_path: the test part, in the same form; null where it is to be taken from the rest.
        separator: tab, space, colon or any other text; the first in a line counts.

    Raises:
        ConfigError: missing, empty, a line that is not in this form, fewer than two classes, or a
            label of the test part that training does not have.
    """
    parts = [
        _read_lines(key, given, separator, encoding)
        for key, given in (("dataset.path", path), ("dataset.test_path", test_path))
        if given is not None
    ]
    return replace(as_texts(str(path), *parts, tokens=tokens), file_encoding=encoding)


def text_csv(
    *,
    path: str,
    test_path: str | None,
    text: str | int,
    label: str | int,
    header: Header,
    delimiter: str,
    encoding: str,
    tokens: TokenSettings,
) -> Texts:
    """A table with a column of texts and a column of labels, each by its name or its number from 1.

    Raises:
        ConfigError: as `text_lines`, or a column that there is not.
    """
    form = Form(header=header, delimiter=delimiter, encoding=encoding, missing=[""])
    parts = [
        _read_columns(read_csv(locate_file(key, given), form), text, label)
        for key, given in (("dataset.path", path), ("dataset.test_path", test_path))
        if given is not None
    ]
    return replace(as_texts(path, *parts, tokens=tokens), file_encoding=encoding, column=text)


def as_texts(
    source: str,
    rows: Sequence[Labelled],
    test_rows: Sequence[Labelled] | None = None,
    *,
    tokens: TokenSettings,
) -> Texts:
    """The rows with their labels numbered: as numbers where all are whole ones, by spelling otherwise.

    Raises:
        ConfigError: a text without a word, fewer than two classes, a label for each text, or a label
            of the test part that training does not have.
    """
    _refuse_empty((*rows, *(test_rows or ())))
    names = _in_order({row.label for row in rows})
    if len(names) < 2:
        raise ConfigError(
            f"{source} has a single class, {names[0]}, but a classifier needs two classes or more"
        )
    if len(names) == len(rows):
        raise ConfigError(
            f"{source} has a label of its own for each of its {len(rows)} texts, as in {names[0]}: "
            "check where the labels stand"
        )
    for row in test_rows or ():
        if row.label not in names:
            raise ConfigError(
                f"{row.place}: the label {row.label} is not in the training part{did_you_mean(row.label, names)}"
            )
    numbers = {name: number for number, name in enumerate(names)}
    return Texts(
        texts=[row.text for row in rows],
        labels=np.array([numbers[row.label] for row in rows], np.int64),
        class_names=tuple(names),
        tokens=tokens,
        test_texts=None if test_rows is None else [row.text for row in test_rows],
        test_labels=None
        if test_rows is None
        else np.array([numbers[row.label] for row in test_rows], np.int64),
    )


def lines_of(path: Path, encoding: str) -> Iterable[tuple[str, str]]:
    """(place, line) of each line that is not blank."""
    for number, line in enumerate(read_text(path, encoding).split("\n"), 1):
        if line.strip():
            yield f"{path}, line {number}", line


def _read_lines(key: str, given: str | list[str], separator: str, encoding: str) -> list[Labelled]:
    if isinstance(given, str) and not (path := locate(key, given)).is_dir():
        return _read_labelled(path, separator, encoding)
    if isinstance(given, str):
        files = sorted(file for file in path.iterdir() if _is_text(file))
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


def _read_labelled(path: Path, separator: str, encoding: str) -> list[Labelled]:
    between = SEPARATORS.get(separator, separator)
    if not between:
        raise ConfigError("dataset.separator is empty, but must say what ends a label, such as tab")
    rows = []
    for place, line in lines_of(path, encoding):
        label, found, text = line.partition(between)
        if not found:
            raise ConfigError(
                f"{place}: there is no {separator} between a label and a text; mend the line, or set "
                "dataset.separator to tab, space, colon or what else it is"
            )
        rows.append(Labelled(place, label.strip(), text.strip()))
    return rows


def _is_text(file: Path) -> bool:
    return file.is_file() and not file.name.startswith(".")


def _class_names(files: Sequence[Path]) -> list[str]:
    stems = [file.stem for file in files]
    return stems if len({*stems}) == len(stems) else [file.name for file in files]


def _read_columns(cells: Cells, text: str | int, label: str | int) -> list[Labelled]:
    text_at, label_at = (
        _position(cells, f"dataset.{key}", name) for key, name in (("text", text), ("label", label))
    )
    rows = []
    for number, row in enumerate(cells.rows):
        place = cells.place(number, text_at if row[text_at] is None else label_at)
        rows.append(Labelled(place, row[label_at] or "", row[text_at] or ""))
    return rows


def _position(cells: Cells, key: str, column: str | int) -> int:
    if len(cells.names) == 1 and str(column) not in cells.names:
        # Texts and labels in one column: what is between them was taken for a part of the text.
        raise ConfigError(
            f"{key} is {column}, but {cells.path} was read as a single column; set dataset.delimiter "
            "to what is between its columns, such as comma, semicolon or tab"
        )
    return cells.position(key, column)


def _in_order(labels: set[str]) -> list[str]:
    if all(label.removeprefix("-").isdecimal() for label in labels):
        return sorted(labels, key=int)
    return sorted(labels)


def labelled_texts(key: str, given: Any, dataset: Mapping[str, Any]) -> list[Labelled] | None:
    """The labelled texts that `given` names, read as the config `dataset` says; None where it names no files.

    Raises:
        ConfigError: missing, empty, not in this form, or a row without text or label.
    """
    if "separator" in dataset:
        rows = _read_lines(key, given, dataset["separator"], dataset["encoding"])
    elif "text" in dataset and "label" in dataset:
        form = Form(dataset["header"], dataset["delimiter"], dataset["encoding"], [""])
        cells = read_csv(locate_file(key, given), form)
        rows = _read_columns(cells, dataset["text"], dataset["label"])
    else:
        return None
    _refuse_empty(rows)
    return rows


def _refuse_empty(rows: Iterable[Labelled]) -> None:
    for row in rows:
        if not row.label or not row.text.strip():
            missing = "label" if row.text.strip() else "text"
            raise ConfigError(f"{row.place}: there is no {missing}; fill it in or take the row out")
