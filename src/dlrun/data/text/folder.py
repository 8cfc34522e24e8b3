"""Labelled texts, one a file, in one folder a class, with train/, val/ and test/ above them or not. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from dlrun.config.schema import Positive
from dlrun.data.files import locate, part_folders
from dlrun.data.tables.column import Column
from dlrun.data.text.checks import is_blank, note_no_texts, texts_in
from dlrun.data.text.gather import Caching, TextFiles, gathered
from dlrun.data.text.texts import LabelledTexts, TextLayout, Texts, as_texts
from dlrun.data.text.tokens import TokenSettings, in_pieces
from dlrun.data.text_files import read_text
from dlrun.errors import ConfigError, listed, note

_FILES = 512  # that are read at a time
_UNLABELLED = ("unsup", "unlabeled", "unlabelled")  # folders of texts without a class


def text_folder(
    *,
    path: str,
    test_path: str | None,
    encoding: str,
    memory_limit: Positive | None,
    tokens: TokenSettings,
) -> Texts:
    """The texts under the folder `path`, each a file, in one folder a class; classes are in the order of their names.

    Args:
        path: a folder of class folders, or of train/, val/ and test/ with these in them.
        test_path: class folders of the test part; null where it is `path`/test or taken from the rest.
        memory_limit: as of `text_lines`.

    Raises:
        ConfigError: no such folder, one of another form, fewer than two classes, a file that cannot be
            read, or a class of the test part that training does not have.
    """
    folder = _folder("dataset.path", path)
    parts = _parts(folder)
    if test_path is not None:
        if "test" in parts:
            raise ConfigError(
                f"dataset.test_path is {test_path}, but {folder} has a {parts['test'].name}/ of its own; "
                f"set dataset.path={parts['train']} to leave that out"
            )
        parts["test"] = _tested(_folder("dataset.test_path", test_path))
    files = {name: _labelled(part, encoding) for name, part in parts.items()}
    caching = Caching(memory_limit, tokens.level, tokens.lower)
    rows = gathered(folder, files, encoding, caching)
    raw = as_texts(
        str(parts["train"]),
        rows["train"],
        rows.get("test"),
        val_rows=rows.get("val"),
        tokens=tokens,
    )
    return replace(raw, file_encoding=encoding, layout=TextLayout("folder"))


def labelled_files(key: str, given: str, encoding: str, caching: Caching) -> LabelledTexts:
    """The labelled texts under the folder that the setting `key` names, or under its test/."""
    folder = _tested(_folder(key, given))
    return gathered(folder, {key: _labelled(folder, encoding)}, encoding, caching)[key]


def _folder(key: str, path: str) -> Path:
    folder = locate(key, path)
    if not folder.is_dir():
        raise ConfigError(
            f"{key} is {path}, a file; give a folder with one folder a class, or read a file by "
            "dataset=text_lines or dataset=text_csv"
        )
    return folder


def _parts(folder: Path) -> dict[str, Path]:
    """The folders of class folders by the name of their part; a folder without train/ is all train."""
    inside = _folders(folder)
    parts = part_folders(folder, inside)
    if "train" not in parts:
        return {"train": folder}
    others = [one.name for one in inside if one not in parts.values()]
    if others:
        note(f"{folder}: {listed(others)} beside {parts['train'].name}/ left out")
    return parts


def _tested(folder: Path) -> Path:
    return _parts(folder).get("test", folder)


def _labelled(part: Path, encoding: str) -> TextFiles:
    """The texts in each folder with its name; a note counts what is no text."""
    folders = _folders(part)
    classes = [one for one in folders if one.name.lower() not in _UNLABELLED]
    if len(classes) < 2:
        lines = " (dataset=text_lines reads one file a class)" if texts_in(part) else ""
        raise ConfigError(
            f"{part} has {len(classes)} class folders, but there must be one for each of two classes or more{lines}"
        )
    _note_unlabelled([one for one in folders if one not in classes])
    left_out = [one.name for one in part.iterdir() if one.name[0] != "." and one not in folders]
    found: list[Path] = []
    for folder in classes:
        texts = texts_in(folder)
        if not texts:
            raise ConfigError(
                f"the class folder {folder} has no texts in it; put a file a text there, or take the folder away"
            )
        names = {one.name for one in folder.iterdir()} - {one.name for one in texts}
        left_out += [f"{folder.name}/{name}" for name in sorted(names)]
        found += texts
    blank = [file for file in found if is_blank(file)]
    note_no_texts(part, left_out, "a text is a file of its own in the folder of its class")
    if blank:
        empty = [f"{file.parent.name}/{file.name}" for file in blank]
        note(f"{part}: {len(empty):,} left out, for being empty: {listed(empty)}")
    gone = {*blank}
    files = [file for file in found if file not in gone]
    return TextFiles(files, partial(_read_files, files, encoding))


def _read_files(files: Sequence[Path], encoding: str) -> Iterator[LabelledTexts]:
    for some in in_pieces(files, _FILES):
        texts = [read_text(file, encoding).strip() for file in some]
        labels = Column.of([file.parent.name for file in some])
        yield LabelledTexts(texts, labels, partial(_place, some))


def _place(files: Sequence[Path], row: int) -> str:
    return str(files[row])


def _note_unlabelled(folders: list[Path]) -> None:
    for folder in folders:
        count = sum(1 for _ in folder.iterdir())
        note(f"{folder} left out, {count:,} files without a class; rename it if it is one")


def _folders(folder: Path) -> list[Path]:
    return sorted(
        one for one in folder.iterdir() if one.is_dir() and not one.name.startswith((".", "__"))
    )
