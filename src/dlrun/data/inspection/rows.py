"""A file of rows: a table, a series, texts in a column, or images that a column names. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dlrun.data.images.duplicates import shared
from dlrun.data.inspection.findings import DataKind, Inspection, Request
from dlrun.data.inspection.image_table import ImageColumn, image_column, inspect_named_images
from dlrun.data.inspection.images import common_side
from dlrun.data.inspection.leakage import MOST_TARGETS, find_leaks
from dlrun.data.inspection.plan import TABLE, Plan, encoding_of, settings_of, try_out
from dlrun.data.inspection.series import (
    SeriesReport,
    TimeColumns,
    inspect_series,
    is_constant,
    rises_evenly,
    settings_by_length,
    time_columns,
    training_rows,
)
from dlrun.data.inspection.table import (
    NO_INPUTS,
    TARGETS,
    TableReport,
    are_class_numbers,
    count_in_training,
    inspect_table,
    likely_target,
    target_of,
)
from dlrun.data.inspection.texts import inspect_texts
from dlrun.data.tables.cells import Cells
from dlrun.data.tables.csv_format import CsvFormat
from dlrun.data.tables.sources import find
from dlrun.data.tables.table_files import TYPED, files_of, read_cells
from dlrun.data.tables.target_column import DROP_MISSING
from dlrun.errors import ConfigError, collected_notes

_SMALL = 2**18  # bytes, of which the names of columns are read
_TIMELIKE = ("identifier", "serial", "unclear date", "date")  # what may count the rows
_OTHER_INPUTS = 2  # columns beside a text and its label, up to which a table is one of texts
_COUNTED = (
    "time",
    "date",
    "datetime",
    "timestamp",
    "ds",
    "year",
    "epoch",
)  # names of times that are numbers


def read_rows(path: Path, settings: Mapping[str, Any]) -> tuple[Cells, list[str]]:
    """The cells of a table, and what is said as they are read.

    Raises:
        ConfigError: they cannot be read as the settings say.
    """
    changed = {key: value for key, value in settings.items() if key in settings_of(TABLE, {})}
    known = settings_of(TABLE, changed)
    words = [str(word) for word in known["missing"]]
    with collected_notes() as notes:
        return read_cells(path, CsvFormat.of(known, missing=words)), notes


def column_names(given: str) -> list[str]:
    """The columns of a table, by its beginning where it is a large file of text.

    Raises:
        ConfigError: it cannot be read.
    """
    first = files_of(find("FILE", given))[0]
    if first.stat().st_size <= _SMALL or first.suffix.lower() in (*TYPED, ".gz", ".zst"):
        return read_rows(first, {"encoding": encoding_of(first)})[0].names
    with TemporaryDirectory() as folder, first.open("rb") as file:
        beginning = Path(folder, first.name)
        beginning.write_bytes(file.read(_SMALL).rpartition(b"\n")[0])
        return read_rows(beginning, {"encoding": encoding_of(beginning)})[0].names


def inspect_rows(given: str, cells: Cells, request: Request) -> Inspection:
    """What is in a file of rows.

    Raises:
        ConfigError: the request does not fit it.
    """
    table = inspect_table(cells, {**settings_of(TABLE, {}), **request.settings})
    rows = _Rows(given, cells, table, request)
    if request.kind in (None, "images"):
        images = image_column(cells, request.settings)
        if images is None and request.kind == "images":
            raise ConfigError(
                f"--as is images, but {given} has no column that names image files; give one with dataset.image, or a "
                "folder"
            )
        if images is not None:
            return _images(rows, images)
    texts = [one.name for one in table.columns if one.kind == "text"]
    time = rows.time_columns() if request.kind in (None, "series") else None
    kind = request.kind or ("series" if time and rows.is_forecast(time) else None)
    if kind is None:
        rest = [name for name in table.inputs if table.column(name).distinct > 1]
        kind = "texts" if texts and len(rest) <= 1 + _OTHER_INPUTS else "table"
    if kind == "series":
        return _series(rows, time)
    return _texts(rows, texts) if kind == "texts" else _table(rows)


@dataclass(frozen=True)
class _Rows:
    """A file of rows, its columns, and what is asked of it."""

    given: str
    cells: Cells
    table: TableReport
    request: Request

    def targets(self, without: Sequence[str] = (), *, of_images: bool = False) -> list[str]:
        """The columns to predict: those that are asked for, or else the likeliest one, if there is any."""
        given, cells = self.request.target, self.cells
        if given is None:
            likely = likely_target(self.table, without, of_images=of_images)
            return [] if likely is None else [likely]
        words = [given] if given in cells.names else given.split(",")
        return [cells.names[cells.position("--target", _name(word.strip()))] for word in words]

    def typed(self, name: str) -> str | int:
        """A column as it is written into settings: by number where the file has no names."""
        return name if self.cells.named else int(name)

    def typed_together(self, names: Sequence[str]) -> Any:
        """One column, or a list of several, as they are written into settings."""
        typed = [self.typed(name) for name in names]
        return typed[0] if len(typed) == 1 else typed

    def found(self, kind: DataKind) -> Inspection:
        """The beginning of what there is to say."""
        return Inspection(kind, self.given, table=self.table)

    def time_columns(self) -> TimeColumns | None:
        """What orders the rows of a series, as asked or as found."""
        columns = self.table.columns
        dates = [one.name for one in columns if one.kind in ("date", "unclear date")]
        if self.request.time is None:
            return time_columns(self.cells, dates) or self._counted()
        time = self.cells.names[self.cells.position("--time", _name(self.request.time))]
        found = time_columns(self.cells, [time]) if time in dates else None
        return found or TimeColumns(time, (), even=False)

    def _counted(self) -> TimeColumns | None:
        """A column of numbers that is called a time and rises in even steps."""
        for one in self.table.columns:
            if one.name.lower() in _COUNTED and one.kind in ("number", "serial"):
                column = self.cells.columns[self.cells.names.index(one.name)]
                values = column.numbers(self.cells.notation)
                if values is not None and rises_evenly(values):
                    return TimeColumns(one.name, (), even=True)
        return None

    def is_forecast(self, time: TimeColumns) -> bool:
        """Whether a number is to be predicted, as a forecast is.

        In rows by the day a last column of words, a holiday, is something that is known of the day.
        """
        targets = self.targets(without=(time.time, *time.series))
        numbers = self.numbers(time)
        by_choice = self.request.target is not None or any(
            one.lower() in TARGETS for one in targets
        )
        return {*targets} <= {*numbers} if by_choice or not time.even else bool(numbers)

    def numbers(self, time: TimeColumns | None = None) -> list[str]:
        """The columns of numbers that may be forecast."""
        aside = () if time is None else (time.time, *time.series)
        columns = (one for one in self.table.columns if one.name not in aside)
        return [one.name for one in columns if one.kind == "number" and one.distinct > 1]

    def settings(self) -> dict[str, Any]:
        """Those of a table, as asked."""
        return {**settings_of(TABLE, {}), **self.request.settings}

    def with_targets(self, found: Inspection, names: Sequence[str], **more: Any) -> Inspection:
        """With what would be predicted, by these settings and `more`."""
        cells, settings = self.cells, {**self.settings(), **more}
        each = (target_of(cells, cells.names.index(one), settings, len(cells)) for one in names)
        return replace(found, targets=[one for one in each if one is not None])

    def with_leaks(self, found: Inspection, targets: Sequence[str]) -> Inspection:
        """With the columns that may reveal a target, or another one that could be; targets are no inputs."""
        columns = self.table.columns
        others = [one.name for one in columns if one.as_target and one.name not in targets]
        sought = [*dict.fromkeys(targets), *reversed(others)][:MOST_TARGETS]
        aside = [one.name for one in columns if one.kind in NO_INPUTS]
        leaks = find_leaks(self.cells, sought, self.settings(), aside)
        leaks = [leak for leak in leaks if not {leak.target, leak.column} <= {*targets}]
        return replace(found, leaks=leaks, leaks_sought=sought)


def _drop_missing(parts: Sequence[Cells | None], targets: Sequence[str]) -> dict[str, Any]:
    """The setting that leaves out rows without a target, where any of the tables has such rows."""
    columns = (
        part.columns[part.names.index(target)]
        for part in parts
        if part is not None
        for target in targets
        if target in part.names
    )
    return {} if all(column.known.all() for column in columns) else {DROP_MISSING: True}


def _name(column: str) -> str | int:
    """A column as a setting has it: by number where it is one."""
    return int(column) if column.removeprefix("-").isdecimal() else column


def _table(rows: _Rows) -> Inspection:
    found, request = rows.found("table"), rows.request
    test = None
    if request.test is not None:
        test, _ = read_rows(find("--test", request.test), request.settings)
        found = replace(found, in_training=count_in_training(rows.cells, test, rows.table))
    names = rows.targets()
    if not names:
        try_out(Plan(TABLE, {**request.settings}, ""), rows.cells)
        return found
    if request.kind is None and (other := _instead_of_table(rows, names)):
        return other
    settings: dict[str, Any] = {"path": rows.given, "target": rows.typed_together(names)}
    settings |= {**_drop_missing([rows.cells, test], names), **request.settings}
    if len(names) == 1 and are_class_numbers(rows.table.column(names[0])):
        settings.setdefault("task", "classification")
    if empty := [one.name for one in rows.table.columns if one.kind == "empty"]:
        settings.setdefault("drop", [rows.typed(one) for one in empty])
    plan = Plan(TABLE, {**settings, **request.test_settings}, "mlp")
    found = rows.with_targets(found.tried(plan, try_out(plan, rows.cells)), names)
    return rows.with_leaks(found, names)


def _instead_of_table(rows: _Rows, targets: list[str]) -> Inspection | None:
    """What a file is whose every column but the targets is left out of a table: a series, or texts of few words."""
    if any(name not in targets for name in rows.table.inputs):
        return None
    others = [one for one in rows.table.columns if one.name not in targets]
    are_numbers = {*targets} <= {*rows.numbers()}
    if are_numbers and all(one.kind in _TIMELIKE for one in others):
        return _series(rows, None)
    words = [one.name for one in others if one.kind == "identifier"]
    return _texts(rows, words) if words and not are_numbers else None


def _texts(rows: _Rows, texts: list[str]) -> Inspection:
    found, request = rows.found("texts"), rows.request
    labels = rows.targets(without=texts)
    texts = texts or [name for name in rows.cells.names if name not in labels][:1]
    if not labels or not texts:
        return found
    if len(labels) > 1:
        raise ConfigError(
            f"--target is {request.target}, but {rows.given} is read as texts, which have one label; name one column, "
            "or set --as table"
        )
    text = rows.typed_together(texts)
    settings = {"path": rows.given, "text": text, "label": rows.typed(labels[0])}
    settings |= _drop_missing([rows.cells], labels)
    plan = Plan("text_table", {**settings, **request.test_settings, **request.settings}, "text_cnn")
    encodings = {str(request.settings.get("encoding", "utf-8")): 1}
    return rows.with_targets(as_texts(found, plan, encodings), labels)


def as_texts(found: Inspection, plan: Plan, encodings: dict[str, int]) -> Inspection:
    """With what labelled texts hold, where train takes them."""
    trial = try_out(plan)
    found = found.tried(plan, trial)
    if trial.raw is None:
        return found
    report = inspect_texts(trial.raw, encodings)
    return replace(found, content=report, in_training=report.in_training if trial.raw.own else None)


def _images(rows: _Rows, images: ImageColumn) -> Inspection:
    request = rows.request
    columns = [*rows.table.columns]
    at = rows.cells.names.index(images.name)
    first = rows.cells.columns[at].first
    columns[at] = replace(
        columns[at], kind="image", reason="names of image files", values=first, as_target=None
    )
    found = Inspection("images", rows.given, table=replace(rows.table, columns=columns))
    aside = [name for name in (images.name, images.parts) if name is not None]
    labels = rows.targets(aside, of_images=True)
    if not labels:
        return found
    settings: dict[str, Any] = {
        "path": rows.given,
        "image": rows.typed(images.name),
        "target": rows.typed_together(labels),
        **images.settings,
        **_drop_missing([rows.cells], labels),
        **request.settings,
        **request.test_settings,
    }
    report = inspect_named_images(rows.cells, images, labels)
    if side := common_side(report):
        settings.setdefault("size", side)
    if report.broken:
        settings.setdefault("drop_bad_images", True)
    plan = Plan("image_table", settings, "cnn")
    trial = try_out(plan)
    found = replace(found.tried(plan, trial), content=report)
    if trial.raw is None:
        return found
    if trial.raw.test is not None and request.test is not None:
        count = len(list(shared(trial.raw.train.paths, trial.raw.test.paths)))
        found = replace(found, in_training=count)
    classes = bool(trial.raw.class_names)
    one = "classification" if classes else "regression"
    return rows.with_targets(found, labels, task=one if len(labels) == 1 else "auto")


def _series(rows: _Rows, time: TimeColumns | None) -> Inspection:
    """A series; of rows in their order where there is no `time`."""
    found, request = rows.found("series"), rows.request
    if time is None and request.kind == "series" and request.time is None:
        raise ConfigError(
            f"{rows.given} has no column of dates that orders its rows; name one with --time, or leave --as out"
        )
    if request.test is not None:
        raise ConfigError(
            "--test is for tables, texts and images: the test part of a series is its end, and has no file of its own"
        )
    numbers = rows.numbers(time)
    report = None
    if time is not None:
        written = str(request.settings.get("time_format", "auto"))
        report = inspect_series(rows.cells, time, written, numbers)
    targets = [] if request.target is None else rows.targets()
    if not targets:
        seasonal = [name for name in numbers if report and name in report.seasons]
        targets = seasonal[:1] or numbers[-1:]
    if not targets:
        return replace(found, content=report)
    plan = Plan("series", _series_settings(rows, time, report, targets), "lstm")
    found = replace(found.tried(plan, try_out(plan)), content=report)
    in_training = training_rows(rows.cells, time)
    constant = [one for one in targets if is_constant(rows.cells, one, in_training)]
    if constant and not (time and time.series):
        said = (
            f"{constant[0]} is the same in all rows of the training part: there is nothing to learn"
        )
        found = replace(found, error=found.error or f"{said}; choose another target")
    return rows.with_targets(found, targets)


def _series_settings(
    rows: _Rows, time: TimeColumns | None, report: SeriesReport | None, targets: list[str]
) -> dict[str, Any]:
    """The settings that the file asks for, and those that are given."""
    cells = rows.cells
    settings: dict[str, Any] = {"path": rows.given, "target": rows.typed_together(targets)}
    if time is not None:
        settings["time"] = rows.typed(time.time)
        if time.series:
            settings["series"] = rows.typed_together(time.series)
    if report and (seasons := [report.seasons[one] for one in targets if one in report.seasons]):
        settings["season"] = seasons[0][0]
    if report and report.repeated:
        settings["combine"] = "first" if rows.table.duplicate_rows >= report.repeated else "mean"
    used = rows.numbers(time)
    if not time or not time.series:
        settings |= settings_by_length(cells, time, used)
        if "drop" in settings:
            used = [name for name in used if name not in settings["drop"]]
            settings["drop"] = [rows.typed(name) for name in settings["drop"]]
    if not all(cells.columns[cells.names.index(name)].known.all() for name in used):
        settings["fill"] = "linear"
    return {**settings, **rows.request.settings}
