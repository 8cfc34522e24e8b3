"""What `dlrun inspect` finds in a file or a folder: which kind of data it is, what is in it, how it is trained on.

No torch here.
"""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from glob import has_magic
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from dlrun.data.file_kinds import refuse_markup
from dlrun.data.files import locate, part_folders, part_named
from dlrun.data.images.archive import locate_images
from dlrun.data.images.read import is_image
from dlrun.data.inspection.findings import Inspection, Request
from dlrun.data.inspection.images import common_side, count_in_training, inspect_folder
from dlrun.data.inspection.large import beginning
from dlrun.data.inspection.plan import HOW_WRITTEN, Plan, encoding_of, offered_setting, try_out
from dlrun.data.inspection.rows import as_texts, inspect_rows, read_rows
from dlrun.data.inspection.texts import inspect_characters, settings_by_size
from dlrun.data.tables.sources import PLOTLY, find
from dlrun.data.tables.table_files import FORMS, TYPED, files_of, form_of
from dlrun.data.text.checks import texts_in
from dlrun.errors import BadFile, ConfigError

_TABLES = tuple(form for form in (*FORMS, ".tab") if form not in (".txt", ".data"))
_OF_TABS = (".tsv", ".tab")
_SEPARATORS = {"tab": "\t", "colon": ":", "space": " "}
_MOST_LABELS = 50
_LOOKED_AT = 2000  # lines, or files of a folder
_MOST_FILES = 100_000  # by which a folder is found to be one of images
_SHORTEST = 64  # characters of a text that can be learned from


def inspect(given: str, request: Request) -> Inspection:
    """What is in the file, the folder or the parts `given`.

    Raises:
        ConfigError: there is none, it cannot be read, or the request does not fit it.
    """
    found = _inspected(given, request)
    if request.time is not None and found.kind != "series":
        raise ConfigError(
            f"--time is {request.time}, but {given} is read as {found.kind}, not as a series; name a column of numbers "
            "to forecast with --target, or set --as series"
        )
    if request.target is not None and found.table is None:
        raise ConfigError(
            f"--target is {request.target}, but {given} is read as {found.kind} without columns; leave it out"
        )
    return found


def _inspected(given: str, request: Request) -> Inspection:
    if given.startswith(PLOTLY) or (has_magic(given) and not Path(given).expanduser().exists()):
        return _table_file(given, find("FILE", given), request)
    path = locate_images("FILE", given)
    if path.is_dir():
        return _folder(given, path, request)
    path = locate("FILE", given)
    if request.kind == "text" or (request.kind is None and _is_prose(path, request.settings)):
        return _text(given, path, _with_encoding(request, path))
    try:
        found = _table_file(given, path, request)
    except ConfigError:
        labelled = form_of(path) in _OF_TABS and _separator(path, request.settings) == "tab"
        if request.kind not in (None, "texts") or (form_of(path) in _TABLES and not labelled):
            raise
        return _text(given, path, _with_encoding(request, path))
    one_column = found.table is not None and len(found.table.columns) == 1
    if one_column and request.kind is None and form_of(path) not in _TABLES:
        return _text(given, path, _with_encoding(request, path))
    return found


def _table_file(given: str, path: Path, request: Request) -> Inspection:
    with beginning(path) as (read, share):
        first = files_of(read)[0]
        request = request if first.suffix.lower() in TYPED else _with_encoding(request, first)
        file = _File(given if share == 1 else str(read), read, path)
        found = file.inspected(request)
        if found.mended and found.plan:
            found = file.inspected_again(found, found.plan, request)
    said = (note.replace(str(read), str(path)).removeprefix(f"{path}: ") for note in found.notes)
    found = replace(found, notes=list(dict.fromkeys(said)))
    if share == 1:
        return found
    plan = found.plan and replace(found.plan, settings={**found.plan.settings, "path": given})
    error = found.error.replace(str(read), given)
    return replace(found, path=given, looked_at=share, plan=plan, error=error)


class _File(NamedTuple):
    """A table as it is `given`, what is `read` of it, and its `path`."""

    given: str
    read: Path
    path: Path

    def inspected(self, request: Request) -> Inspection:
        """What is in it."""
        cells, notes = read_rows(self.read, request.settings)
        found = inspect_rows(self.given, replace(cells, path=self.path), request)
        return replace(found, notes=[*notes, *found.notes])

    def inspected_again(self, found: Inspection, plan: Plan, request: Request) -> Inspection:
        """What is in it by what mends its reading: words that are missing values may hide a column of numbers."""
        added = {key: plan.settings[key] for key in HOW_WRITTEN if key in plan.settings}
        again = self.inspected(replace(request, settings={**added, **request.settings}))
        offered = {error: offered_setting(error) for error in found.mended}
        mended = [error for error, setting in offered.items() if setting and setting[0] in added]
        return replace(again, mended=list(dict.fromkeys([*mended, *again.mended])))


def _with_encoding(request: Request, path: Path) -> Request:
    """With the encoding of a file of text, where that is not the usual one."""
    encoding = encoding_of(path)
    if encoding == "utf-8":
        return request
    return replace(request, settings={"encoding": encoding, **request.settings})


def _is_prose(path: Path, settings: Mapping[str, Any]) -> bool:
    """Whether a file is one text by its name and its lines: most of several words, of different numbers of commas."""
    if path.suffix.lower() in _TABLES or path.suffix.lower() == ".gz":
        return False
    lines = _first_lines(path, settings)
    signs = "\t;|,"
    return bool(lines) and not any(
        len({line.count(sign) for line in lines}) == 1 and lines[0].count(sign) for sign in signs
    )


def _first_lines(path: Path, settings: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    with path.open(encoding=settings.get("encoding", "utf-8"), errors="replace") as file:
        for line in file:
            if line.strip():
                lines.append(line.rstrip("\n"))
            if len(lines) >= _LOOKED_AT:
                break
    return lines


def _text(given: str, path: Path, request: Request) -> Inspection:
    """A file of text that is no table: labelled lines, or one long text."""
    encodings = {str(request.settings.get("encoding", "utf-8")): 1}
    separator = _separator(path, request.settings) if request.kind in (None, "texts") else None
    if separator or request.kind == "texts":
        settings = {"path": given, "separator": separator or "tab"}
        plan = Plan(
            "text_lines", {**settings, **request.test_settings, **request.settings}, "text_cnn"
        )
        return as_texts(Inspection("texts", given), plan, encodings)
    if request.test is not None:
        raise ConfigError(
            "--test is for tables, texts with labels and images: the test part of one long text is its end"
        )
    if request.kind is None:
        _refuse_markup(path, request.settings)
    plan = Plan("char_lm", {"path": given, **request.settings}, "char_lstm")
    trial = try_out(plan)
    if trial.raw is None:
        raise ConfigError(trial.error)
    report = inspect_characters(trial.raw, encodings)
    settings, run_settings = settings_by_size(report.characters)
    plan = Plan(plan.option, {**settings, **plan.settings}, plan.model, run_settings)
    found = Inspection("text", given, content=report).tried(plan, trial)
    if report.characters < _SHORTEST:
        error = f"{given} holds {report.characters} characters, too few to learn from; give a longer text"
        return replace(found, plan=None, error=error)
    return found


def _refuse_markup(path: Path, settings: Mapping[str, Any]) -> None:
    """Refuse a page or a table in another notation, which few want as a text.

    Raises:
        ConfigError: it is one.
    """
    try:
        refuse_markup(path, "\n".join(_first_lines(path, settings)))
    except BadFile as error:
        raise ConfigError(f"{error}, or take it as one long text with --as text") from error


def _separator(path: Path, settings: Mapping[str, Any]) -> str | None:
    """What stands between a label and a text in each line; None where lines have no labels."""
    lines = _first_lines(path, settings)
    for name, sign in _SEPARATORS.items():
        labels = Counter(line.partition(sign)[0].strip() for line in lines if sign in line)
        several = 2 <= len(labels) <= min(_MOST_LABELS, len(lines) / 2)
        if several and labels.total() == len(lines) and max(map(len, labels)) <= 40:
            return name
    return None


def _folder(given: str, path: Path, request: Request) -> Inspection:
    if request.kind == "text":
        raise ConfigError(f"--as is text, but {given} is a folder; give a file")
    files = [one for one in _some_files(path) if one.name[0] != "."]
    if not files:
        raise ConfigError(f"{given} has no files with a content; give a file, or a folder of files")
    images = any(map(is_image, files))
    tables = [one for one in files if one.parent == path and form_of(one) in _TABLES]
    if images and tables and request.kind in (None, "images"):
        found = _of_parts(given, tables, request)
        if found.kind == "images":
            return found
    if request.kind == "images" or (request.kind is None and images):
        return _images(given, request)
    in_folders = any(one.is_dir() and one.name[0] != "." for one in path.iterdir())
    if request.kind in ("table", "series") or (tables and not in_folders):
        if any(part_named(one.stem) for one in tables):
            return _of_parts(given, tables, request)
        return _table_file(given, path, request)
    return _text_files(given, path, files if in_folders else texts_in(path), in_folders, request)


def _of_parts(given: str, tables: list[Path], request: Request) -> Inspection:
    """The table of a folder, or the one that is named train, with that which is named test, where train takes it."""
    parts = {part_named(one.stem): one for one in tables}
    table = parts.get("train", tables[0])
    path = f"{given.rstrip('/')}/{table.name}"
    if "test" in parts and "train" in parts and request.test is None:
        test = f"{given.rstrip('/')}/{parts['test'].name}"
        with suppress(ConfigError):  # one without labels, to predict
            found = _table_file(path, table, replace(request, test=test))
            if not found.error:
                return found
    return _table_file(path, table, request)


def _text_files(
    given: str, path: Path, texts: list[Path], in_folders: bool, request: Request
) -> Inspection:
    """Labelled texts: a folder a class with a file for each text, or a file a class with a line for each."""
    encodings = Counter(encoding_of(one) for one in texts[:_LOOKED_AT])
    settings: dict[str, Any] = {"path": given, **request.test_settings}
    if encodings and (most := max(encodings, key=lambda one: (one != "utf-8", one))) != "utf-8":
        settings["encoding"] = most
    option = "text_folder" if in_folders else "text_lines"
    plan = Plan(option, {**settings, **request.settings}, "text_cnn")
    found = as_texts(Inspection("texts", given), plan, dict(encodings))
    if found.content is None:
        if request.kind is not None:
            raise ConfigError(found.error)
        form = "a folder for each class" if in_folders else "a file for each class"
        rule = f"{given} is read as texts with {form}, and refused: {found.error}"
        raise ConfigError(f"{rule}; or give one of its files or folders, to look at that")
    return found


def _some_files(path: Path) -> list[Path]:
    """Files of a folder, of its folders, and of those of its parts; what is empty, as in /proc, may wait if read."""
    inside = sorted(path.iterdir(), key=lambda one: one.name)
    folders = [one for one in inside if one.is_dir() and one.name[0] != "."]
    parts = part_folders(path, folders).values()
    within = (one for folder in folders for one in _inside(folder))
    deeper = (
        one
        for part in parts
        for folder in _inside(part)
        if folder.is_dir()
        for one in _inside(folder)
    )
    looked_at = islice(chain(within, deeper, inside), _MOST_FILES)
    return [one for one in looked_at if _holds_bytes(one)]


def _holds_bytes(path: Path) -> bool:
    """Whether it is a file with a content; one that has gone meanwhile, or may not be looked at, is none."""
    if not isinstance(path, Path):  # of the archive that ships with dlrun
        return path.is_file()
    try:
        found = path.stat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size > 0


def _inside(folder: Path) -> Iterator[Path]:
    """What is in a folder; nothing where it may not be read."""
    with suppress(PermissionError):
        yield from folder.iterdir()


def _images(given: str, request: Request) -> Inspection:
    report = inspect_folder(given)
    settings: dict[str, Any] = {"path": given}
    if side := common_side(report):
        settings["size"] = side
    plan = Plan("image_folder", {**settings, **request.settings}, "cnn")
    found = Inspection("images", given, content=report).tried(plan, try_out(plan))
    if sum(map(len, report.classes.values())) < 2:
        table = "or give a table that names them and their labels (dataset=image_table)"
        return replace(found, plan=None, error=f"{found.error}; {table}")
    if report.broken:
        file, reason = next(iter(report.broken.items()))
        more = f", and {len(report.broken) - 1:,} more likewise" if len(report.broken) > 1 else ""
        found = replace(found, error=f"{file} {reason}{more}; mend it, or take it away")
    if request.test is None:
        return found
    test = Path(str(locate_images("--test", request.test)))
    return replace(found, in_training=count_in_training(given, test))
