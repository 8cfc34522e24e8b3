"""The file that `dlrun predict` writes: in the form of its extension, block by block, whole or not at all."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from queue import Full, Queue
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TextIO

from dlrun.commands._arguments import writing_output
from dlrun.errors import ConfigError
from dlrun.storage.disk import writing
from dlrun.storage.spreadsheets import cells as cells_of_spreadsheet
from dlrun.system.orphans import lives
from dlrun.system.signals import ended_by_signals

if TYPE_CHECKING:
    import polars as pl

    from dlrun.inference.predictions import Cells

_TEXTS = {".csv": ",", ".tsv": "\t"}
_BY_POLARS = (".parquet", ".feather", ".arrow", ".ipc", ".jsonl", ".ndjson")
_PACKINGS = {".gz": "gzip", ".zst": "zstd"}
_PACKED = (*_TEXTS, ".jsonl", ".ndjson")  # the forms that may be packed
_EXCEL = ".xlsx"
_EXCEL_ROWS = 2**20  # of a sheet, its header among them
FORMS = (
    f"{', '.join(_TEXTS)} (also .gz, .zst), .json, .jsonl, .parquet, .feather, .arrow or {_EXCEL}"
)
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_AHEAD = 2  # blocks that wait to be written


class Block(Protocol):
    """Some predictions, in their order."""

    def columns(self) -> Mapping[str, Cells]:
        """By name; those of the first block are the columns of the file."""

    def records(self) -> Iterator[dict[str, Any]]:
        """One for each input."""


class Form(NamedTuple):
    """How a file is written: its extension, and that of its packing, or "" without one."""

    extension: str
    packing: str

    @property
    def is_text(self) -> bool:
        """Whether cells are text that a spreadsheet opens."""
        return self.extension in _TEXTS


def form_of(output: Path) -> Form:
    """The form by the extensions of a file.

    Raises:
        ConfigError: there is no such form, or what writes it is not installed.
    """
    packing = output.suffix.lower() if output.suffix.lower() in _PACKINGS else ""
    form = Form(Path(output.stem if packing else output.name).suffix.lower(), packing)
    if form.extension not in (_PACKED if packing else (*_TEXTS, *_BY_POLARS, ".json", _EXCEL)):
        raise ConfigError(f"--output is {output}, but must end in {FORMS}")
    if form.extension == _EXCEL and find_spec("xlsxwriter") is None:
        raise ConfigError(
            f"--output is {output}, an Excel workbook, which needs: pip install 'dlrun[excel]'"
        )
    return form


def write(blocks: Iterable[Block], output: Path, *, raw: bool) -> int:
    """Write the predictions to `output` as they come, and count them; the file is there when all of them are.

    Args:
        raw: leave cells as they are that a spreadsheet takes for a formula.
    """
    place = output.resolve()
    regular = place.is_file() or not place.exists()
    temporary = place.with_name(f".{place.name}.{os.getpid()}") if regular else place
    if regular:
        _remove_left(place)
    with (
        ended_by_signals(),
        writing_output(output),
        writing(output, temporary if regular else None),
    ):
        count = _writer(form_of(output), raw)(blocks, temporary)
        if regular:
            os.replace(temporary, place)
    return count


def _remove_left(place: Path) -> None:
    """Remove what killed processes left of this file."""
    for left in place.parent.glob(f".{place.name}.*"):
        process = left.suffix[1:]
        if process.isdigit() and not lives(process):
            with suppress(OSError):
                left.unlink()


def _writer(form: Form, raw: bool) -> Callable[[Iterable[Block], Path], int]:
    if form.extension == ".json":
        return _write_json
    if form.extension == _EXCEL:
        return _write_excel
    if form.is_text and form.packing != ".zst":
        return partial(_write_text, form=form, raw=raw)
    return partial(_write_by_polars, form=form, raw=raw)


def _write_text(blocks: Iterable[Block], place: Path, *, form: Form, raw: bool) -> int:
    names: list[str] = []
    count = 0
    with _opened(place, form.packing) as file:
        writer = csv.writer(file, delimiter=_TEXTS[form.extension])
        for block in blocks:
            columns = block.columns()
            if not names:
                names = list(columns)
                writer.writerow(cells_of_spreadsheet(names, raw=raw))
            found = [_plain(columns[name]) for name in names if name in columns]
            rows = len(found[0])
            written = [
                _texts(columns[name], raw=raw) if name in columns else [""] * rows for name in names
            ]
            writer.writerows(zip(*written, strict=True))
            count += rows
    return count


def _opened(place: Path, packing: str) -> TextIO:
    opened: Any = gzip.open if packing else open
    file: TextIO = opened(place, "wt", newline="", encoding="utf-8", errors="backslashreplace")
    return file


def _plain(column: Cells) -> Sequence[Any]:
    """The cells as values of Python."""
    cells: Any = column.cells
    if hasattr(cells, "to_list"):
        cells = cells.to_list()
    elif hasattr(cells, "tolist"):
        cells = cells.tolist()
    found: Sequence[Any] = cells
    return found


def _texts(column: Cells, *, raw: bool) -> Sequence[Any]:
    """The cells as a spreadsheet may open them, each different text looked at once."""
    cells = _plain(column)
    if raw or column.kind in (int, float):
        return cells
    texts = list({cell for cell in cells if isinstance(cell, str)})
    safe = cells_of_spreadsheet(texts)
    if safe == texts:
        return cells
    changed = dict(zip(texts, safe, strict=True))
    return [changed.get(cell, cell) for cell in cells]


def _write_json(blocks: Iterable[Block], place: Path) -> int:
    """As `json.dump` writes a list of the records."""
    count = 0
    with _opened(place, "") as file:
        file.write("[")
        for count, record in enumerate(chain.from_iterable(one.records() for one in blocks), 1):
            text = json.dumps(record, indent=1, default=str).replace("\n", "\n ")
            file.write(f"{',' * (count > 1)}\n {text}")
        file.write("\n]\n" if count else "]\n")
    return count


def _write_excel(blocks: Iterable[Block], place: Path) -> int:
    import xlsxwriter  # optional

    count = 0
    options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    with xlsxwriter.Workbook(place, {**options, "nan_inf_to_errors": True}) as book:
        sheet = book.add_worksheet()
        names: list[str] = []
        for block in blocks:
            columns = block.columns()
            if not names:
                names = list(columns)
                sheet.write_row(0, 0, names)
            for row in zip(*(_plain(columns[name]) for name in names), strict=True):
                count += 1
                if count == _EXCEL_ROWS:
                    raise ConfigError(
                        f"--output is an Excel workbook, whose sheets have {_EXCEL_ROWS:,} rows at most, and there are "
                        "more predictions; choose another form, such as .parquet or .csv"
                    )
                sheet.write_row(count, 0, [str(cell) if _is_odd(cell) else cell for cell in row])
    return count


def _is_odd(cell: Any) -> bool:
    return not isinstance(cell, str | int | float | None)


class _Stopped(Exception):
    """No more frames will come: what makes them has failed."""


def _write_by_polars(blocks: Iterable[Block], place: Path, *, form: Form, raw: bool) -> int:
    """By the table engine, in a thread of its own, which takes the blocks as they come."""
    from polars.io.plugins import register_io_source  # other outputs do without polars

    frames: Queue[Any] = Queue(_AHEAD)

    def source(*_: Any) -> Iterator[pl.DataFrame]:
        while (frame := frames.get()) is not None:
            if isinstance(frame, _Stopped):
                raise frame
            yield frame

    count = 0
    with ThreadPoolExecutor(1) as pool:
        written: Future[None] | None = None
        try:
            for frame in _frames(blocks, escape=form.is_text and not raw):
                if written is None:
                    lazy = register_io_source(source, schema=frame.schema)
                    written = pool.submit(_sink, lazy, place, form)
                count += len(frame)
                _put(frames, frame, written)
            _put(frames, None, written)
        except BaseException:
            _put(frames, _Stopped(), written)
            raise
        if written is not None:
            written.result()
    return count


def _put(frames: Queue[Any], item: Any, written: Future[None] | None) -> None:
    """Hand on `item`, unless the writing has ended early, whose error its result has."""
    while written is not None and not written.done():
        try:
            frames.put(item, timeout=0.1)
            return
        except Full:
            continue


def _frames(blocks: Iterable[Block], *, escape: bool) -> Iterator[pl.DataFrame]:
    """The blocks as frames with the columns and types of the first.

    Raises:
        ConfigError: a column to keep is of another type in a further file.
    """
    import polars as pl

    schema: Any = {}
    for block in blocks:
        frame = pl.DataFrame([_series(*one, escape=escape) for one in block.columns().items()])
        schema = schema or frame.schema
        missing = [
            pl.lit(None, kind).alias(name) for name, kind in schema.items() if name not in frame
        ]
        try:
            yield frame.with_columns(missing).select(list(schema)).cast(schema)
        except pl.exceptions.InvalidOperationError as error:
            reason = str(error).partition("\n")[0]
            raise ConfigError(
                f"--keep names columns of which a further file has other values than the first ({reason}); write .csv, "
                "or give the files one by one"
            ) from error


def _series(name: str, column: Cells, *, escape: bool) -> pl.Series:
    import polars as pl

    cells: Any = column.cells
    if isinstance(cells, pl.Series):
        return cells.alias(name)
    if escape:
        cells = _texts(column, raw=False)
    kinds = {int: pl.Int64, float: pl.Float64}
    return pl.Series(name, cells, kinds.get(column.kind, pl.String))


def _sink(frames: pl.LazyFrame, place: Path, form: Form) -> None:
    from polars.exceptions import PolarsError

    try:
        _sink_frames(frames, place, form)
    except PolarsError as error:
        number = _OS_ERROR.search(str(error))  # which the table engine has in words alone
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(place)) from error


def _sink_frames(frames: pl.LazyFrame, place: Path, form: Form) -> None:
    packing: Any = _PACKINGS.get(form.packing, "uncompressed")
    if form.is_text:
        frames.sink_csv(
            place,
            separator=_TEXTS[form.extension],
            line_terminator="\r\n",
            compression=packing,
            check_extension=False,
        )
    elif form.extension == ".parquet":
        frames.sink_parquet(place)
    elif form.extension in (".jsonl", ".ndjson"):
        frames.sink_ndjson(place, compression=packing, check_extension=False)
    else:
        frames.sink_ipc(place)
