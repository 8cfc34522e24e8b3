"""What `dlrun inspect` finds in a file or a folder: which kind of data it is, what is in it, how it is trained on.

No torch here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from dlrun.data.files import locate, locate_file, part_folders
from dlrun.data.images.archive import locate_images
from dlrun.data.images.read import is_image
from dlrun.data.inspection.images import ImagesReport, common_side, inspect_images
from dlrun.data.inspection.leakage import Leak, find_leaks
from dlrun.data.inspection.plan import TABLE, Plan, encoding_of, settings_of, try_out
from dlrun.data.inspection.series import SeriesReport, inspect_series, time_column
from dlrun.data.inspection.table import (
    NO_INPUTS,
    TableReport,
    count_in_training,
    inspect_table,
    likely_target,
    read_target,
)
from dlrun.data.inspection.texts import (
    CharactersReport,
    TextsReport,
    inspect_characters,
    inspect_texts,
)
from dlrun.data.tables.csv import Cells
from dlrun.data.tables.csv_format import CsvFormat
from dlrun.data.tables.table_files import TYPED, read_cells
from dlrun.data.tables.target_column import DROP_MISSING
from dlrun.data.text.checks import texts_in
from dlrun.errors import ConfigError, collected_notes

DataKind = Literal["table", "series", "texts", "text", "images"]
_TABLES = (".csv", ".tsv", ".tab", *TYPED)
_OTHER_INPUTS = 2  # columns beside a text and its label, up to which a table is one of texts
_SEPARATORS = {"tab": "\t", "colon": ":", "space": " "}
_MOST_LABELS = 50
_LOOKED_AT = 2000  # lines, or files of a folder


@dataclass(frozen=True)
class Request:
    """What the command line says.

    Attributes:
        target, time: columns.
        test: a test file.
        kind: what the file is; None to find it out.
        settings: other settings of the dataset.
    """

    target: str | None = None
    time: str | None = None
    test: str | None = None
    kind: DataKind | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """What would be predicted of a table.

    Attributes:
        classes: how many rows each class has; empty of numbers.
        values: the least, mean and largest number; empty of classes.
        missing: rows without a value of it.
    """

    name: str
    classes: dict[str, int]
    values: list[float]
    missing: int


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        table: of a file of rows, its columns; also of series and texts.
        content: what there is of this kind of data beside its table.
        leaks: columns that may reveal the target.
        in_training: rows of the test file that stand in the training file; None without a test file.
        plan: how to train on it; None where nothing can be predicted.
        notes: what train will say of the data.
        error: why train refuses them; empty where it does not.
    """

    kind: DataKind
    path: str
    table: TableReport | None = None
    content: SeriesReport | TextsReport | CharactersReport | ImagesReport | None = None
    target: Target | None = None
    leaks: list[Leak] = field(default_factory=list)
    in_training: int | None = None
    plan: Plan | None = None
    notes: list[str] = field(default_factory=list)
    error: str = ""


def inspect(given: str, request: Request) -> Inspection:
    """What is in the file or folder `given`.

    Raises:
        ConfigError: there is none, it cannot be read, or the request does not fit it.
    """
    path = locate_images("FILE", given)
    if path.is_dir():
        return _folder(given, path, request)
    path = locate("FILE", given)
    if request.kind == "images":
        raise ConfigError(f"--as is images, but {given} is a file; give a folder")
    settings = dict(request.settings)
    encoding = encoding_of(path)
    if encoding != "utf-8":
        settings.setdefault("encoding", encoding)
    request = replace(request, settings=settings)
    cells = None
    if request.kind not in ("text", None) or not _is_prose(path, settings):
        try:
            cells, notes = _read_cells(path, settings)
        except ConfigError:
            if request.kind in ("table", "series") or path.suffix.lower() in _TABLES:
                raise
    if cells is None or (len(cells.names) == 1 and path.suffix.lower() not in _TABLES):
        return _text(given, path, request)
    return replace(found := _rows(given, cells, request), notes=[*notes, *found.notes])


def _read_cells(path: Path, settings: Mapping[str, Any]) -> tuple[Cells, list[str]]:
    changed = {key: value for key, value in settings.items() if key in settings_of(TABLE, {})}
    known = settings_of(TABLE, changed)
    words = [str(word) for word in known["missing"]]
    with collected_notes() as notes:
        return read_cells(path, CsvFormat.of(known, missing=words)), notes


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


def _rows(given: str, cells: Cells, request: Request) -> Inspection:
    """A file of rows: a table, texts in a column, or a series."""
    known = {**settings_of(TABLE, {}), **request.settings}
    table = inspect_table(cells, known)
    dates = [one.name for one in table.columns if one.kind == "date"]
    texts = [one.name for one in table.columns if one.kind == "text"]
    time = request.time and cells.names[cells.position("--time", _name(request.time))]
    time = time or (time_column(cells, dates) if request.kind in (None, "series") else None)
    kind = request.kind or ("series" if time and _is_forecast(cells, table, request) else None)
    if kind is None:
        rest = [one for one in table.columns if one.kind not in NO_INPUTS and one.distinct > 1]
        kind = "texts" if texts and len(rest) <= 1 + _OTHER_INPUTS else "table"
    if kind == "series":
        return _series(given, cells, table, time, request)
    if kind == "texts":
        return _texts_in_table(given, cells, table, texts, request)
    return _table(given, cells, table, request)


def _is_forecast(cells: Cells, table: TableReport, request: Request) -> bool:
    """Whether what is to be predicted is a number, as a forecast is."""
    name = _target_name(cells, table, request)
    return any(one.name == name and one.kind == "number" for one in table.columns)


def _name(column: str) -> str | int:
    """A column as a setting has it: by number where it is one."""
    return int(column) if column.removeprefix("-").isdecimal() else column


def _target_name(
    cells: Cells, table: TableReport, request: Request, without: tuple[str, ...] = ()
) -> str | None:
    if request.target is not None:
        return cells.names[cells.position("--target", _name(request.target))]
    return likely_target(table, without)


def _table(given: str, cells: Cells, table: TableReport, request: Request) -> Inspection:
    found = Inspection("table", given, table)
    test = None
    if request.test is not None:
        test, _ = _read_cells(locate_file("--test", request.test), {**request.settings})
        found = replace(found, in_training=count_in_training(cells, test, table))
    name = _target_name(cells, table, request)
    if name is None:
        return found
    target, leaks = _look_at_target(cells, table, name, request.settings)
    settings: dict[str, Any] = {"path": given, "target": _column(cells, name)}
    settings |= {**_drop_missing([cells, test], name), **request.settings}
    empty = [one.name for one in table.columns if one.kind == "empty"]
    if empty and "drop" not in settings:
        settings["drop"] = [_column(cells, one) for one in empty]
    if request.test is not None:
        settings |= {"test_path": request.test, "test_fraction": None}
    plan = Plan(TABLE, settings, "mlp")
    trial = try_out(plan, cells)
    found = replace(found, plan=plan, notes=trial.notes, error=trial.error)
    return replace(found, target=target, leaks=leaks)


def _column(cells: Cells, name: str) -> str | int:
    """A column as it is written into settings: by number where the file has no names."""
    return name if cells.named else int(name)


def _drop_missing(parts: Sequence[Cells | None], target: str) -> dict[str, Any]:
    """The setting that leaves out rows without a target, where any of the tables has such rows."""
    columns = (
        part.columns[part.names.index(target)]
        for part in parts
        if part is not None and target in part.names
    )
    return {} if all(column.known.all() for column in columns) else {DROP_MISSING: True}


def _look_at_target(
    cells: Cells, table: TableReport, name: str, settings: Mapping[str, Any]
) -> tuple[Target | None, list[Leak]]:
    """The target, None where train refuses it, and what may reveal it."""
    at = cells.names.index(name)
    known = cells.only(cells.columns[at].known.nonzero()[0])
    missing = len(cells) - len(known)
    try:
        names, targets = read_target(known, at, {**settings_of(TABLE, {}), **settings})
    except ConfigError:
        return None, []
    without = [one.name for one in table.columns if one.kind in NO_INPUTS]
    leaks = find_leaks(known, at, targets, len(names), without)
    if not names:
        values = [float(targets.min()), float(targets.mean()), float(targets.max())]
        return Target(name, {}, values, missing), leaks
    counts = Counter(targets.tolist())
    return Target(name, {names[at]: counts[at] for at in range(len(names))}, [], missing), leaks


def _texts_in_table(
    given: str, cells: Cells, table: TableReport, texts: list[str], request: Request
) -> Inspection:
    found = Inspection("texts", given, table)
    label = _target_name(cells, table, request, without=tuple(texts))
    texts = texts or [name for name in cells.names if name != label][:1]
    if label is None or not texts:
        return found
    columns = [_column(cells, name) for name in texts]
    text = columns[0] if len(columns) == 1 else columns
    settings: dict[str, Any] = {"path": given, "text": text, "label": _column(cells, label)}
    settings |= _drop_missing([cells], label)
    plan = Plan("text_csv", {**settings, **_test(request), **request.settings}, "text_cnn")
    encoding = request.settings.get("encoding", "utf-8")
    found = _as_texts(found, plan, {encoding: 1})
    return replace(found, target=_look_at_target(cells, table, label, request.settings)[0])


def _test(request: Request) -> dict[str, Any]:
    """The settings of a test file."""
    return {} if request.test is None else {"test_path": request.test, "test_fraction": None}


def _as_texts(found: Inspection, plan: Plan, encodings: dict[str, int]) -> Inspection:
    trial = try_out(plan)
    found = replace(found, plan=plan, notes=trial.notes, error=trial.error)
    if trial.raw is None:
        return found
    report = inspect_texts(trial.raw, encodings)
    return replace(found, content=report, in_training=report.in_training if trial.raw.own else None)


def _series(
    given: str, cells: Cells, table: TableReport, time: str | None, request: Request
) -> Inspection:
    if time is None:
        raise ConfigError(
            f"{given} has no column of dates that orders its rows; name one with --time, or leave --as out"
        )
    if request.test is not None:
        raise ConfigError(
            "--test is for tables and texts: the test part of a series is its end, and has no file of its own"
        )
    numbers = [one.name for one in table.columns if one.kind == "number" and one.name != time]
    written = request.settings.get("time_format", "auto")
    report = inspect_series(cells, time, written, numbers)
    found = Inspection("series", given, table, report)
    target = request.target and _target_name(cells, table, request)
    seasonal = [name for name in numbers if name in report.seasons]
    target = target or next(iter([*seasonal[:1], *numbers[-1:]]), None)
    if target is None:
        return found
    plan = Plan("series", _series_settings(given, cells, report, target, request), "lstm")
    trial = try_out(plan)
    return replace(found, plan=plan, notes=trial.notes, error=trial.error)


def _series_settings(
    given: str, cells: Cells, report: SeriesReport, target: str, request: Request
) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "path": given,
        "time": _column(cells, report.time),
        "target": _column(cells, target),
    }
    if seasons := report.seasons.get(target):
        settings["season"] = seasons[0]
    used = [column for column in cells.columns if column.numbers(cells.notation) is not None]
    if not all(column.known.all() for column in used):
        settings["fill"] = "linear"
    return {**settings, **request.settings}


def _text(given: str, path: Path, request: Request) -> Inspection:
    """A file of text that is no table: labelled lines, or one long text."""
    encodings = {request.settings.get("encoding", "utf-8"): 1}
    separator = _separator(path, request.settings) if request.kind in (None, "texts") else None
    if separator or request.kind == "texts":
        settings = {"path": given, "separator": separator or "tab"}
        plan = Plan("text_lines", {**settings, **_test(request), **request.settings}, "text_cnn")
        return _as_texts(Inspection("texts", given), plan, encodings)
    plan = Plan("char_lm", {"path": given, **request.settings}, "char_lstm")
    trial = try_out(plan)
    if trial.raw is None:
        raise ConfigError(trial.error)
    report = inspect_characters(trial.raw, encodings)
    return Inspection("text", given, content=report, plan=plan, notes=trial.notes)


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
    if request.kind in ("table", "series", "text"):
        raise ConfigError(f"--as is {request.kind}, but {given} is a folder; give a file")
    files = [one for one in _some_files(path) if one.name[0] != "."]
    if request.kind == "images" or (request.kind is None and any(map(is_image, files))):
        return _images(given, request)
    in_folders = any(one.is_dir() and one.name[0] != "." for one in path.iterdir())
    texts = files if in_folders else texts_in(path)
    encodings = Counter(encoding_of(one) for one in texts[:_LOOKED_AT])
    settings: dict[str, Any] = {"path": given, **_test(request)}
    if encodings and (most := max(encodings, key=lambda one: (one != "utf-8", one))) != "utf-8":
        settings["encoding"] = most
    option = "text_folder" if in_folders else "text_lines"
    plan = Plan(option, {**settings, **request.settings}, "text_cnn")
    found = _as_texts(Inspection("texts", given), plan, dict(encodings))
    if found.content is None:
        raise ConfigError(found.error)
    return found


def _some_files(path: Path) -> list[Path]:
    """Files of a folder, of its folders, and of those of its parts."""
    inside = sorted(path.iterdir(), key=lambda one: one.name)
    folders = [one for one in inside if one.is_dir()]
    parts = list(part_folders(path, folders).values())
    within = [one for folder in folders for one in folder.iterdir()]
    deeper = [
        one
        for part in parts
        for folder in part.iterdir()
        if folder.is_dir()
        for one in folder.iterdir()
    ]
    return [one for one in (*within, *deeper, *inside) if one.is_file()]


def _images(given: str, request: Request) -> Inspection:
    report = inspect_images(given)
    settings: dict[str, Any] = {"path": given}
    if side := common_side(report):
        settings["size"] = side
    plan = Plan("image_folder", {**settings, **request.settings}, "cnn")
    trial = try_out(plan)
    return Inspection(
        "images", given, content=report, plan=plan, notes=trial.notes, error=trial.error
    )
