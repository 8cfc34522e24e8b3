"""How much memory the files of a table take when they are read, and whether that is too much. No torch here."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from pathlib import Path

from dlrun.data.packed import unpacked_size
from dlrun.data.tables.csv_format import CsvFormat
from dlrun.errors import ConfigError
from dlrun.system.hardware import allowed_memory, local_processes

TYPED = (
    ".parquet",
    ".feather",
    ".arrow",
    ".ipc",
    ".jsonl",
    ".ndjson",
    ".xlsx",
)  # read by `typed_files`
_COLUMNS = (".parquet", ".feather", ".arrow", ".ipc")
_A_CELL = (
    24  # bytes: as it is in the file, and as a number of 64 bits, or a code and its share of a word
)
# Times the bytes of a file: of plain text, of text that is read cell by cell, of an Excel workbook, which is packed.
_PLAIN, _EXACT, _EXCEL = 3, 20, 40
_SMALL = 2**20  # bytes of a file, up to which it is not looked into


def exceeds(files: Sequence[Path], format: CsvFormat, memory_limit: float | None) -> bool:
    """Whether a table takes more memory than `memory_limit` GiB, or where that is None than half of what is free."""
    if memory_limit == math.inf:
        return False
    return sum(_need(file, format) for file in files) > allowed_memory(memory_limit, 0.5)


def refuse_larger(path: Path, format: CsvFormat, memory_limit: float | None) -> None:
    """Refuse a file that can only be read whole and takes too much memory for that.

    Raises:
        ConfigError: saying how much, and what to do.
    """
    need = _need(path, format)
    if need <= allowed_memory(memory_limit, 1):
        return
    limit = "what is free" if memory_limit is None else "dataset.memory_limit"
    if (processes := local_processes()) > 1:
        limit += f" for each of {processes} processes"
    what, remedy = "such a file", "write it as CSV in UTF-8, without comments, or as Parquet"
    if path.suffix.lower() in TYPED:
        what = "an Excel workbook" if path.suffix.lower() == ".xlsx" else "a stream of Arrow"
        remedy = "write it as CSV or Parquet"
    raise ConfigError(
        f"{path} takes about {need / 2**30:.2g} GiB of memory, more than {limit} "
        f"({allowed_memory(memory_limit, 1) / 2**30:.2g} GiB), and {what} can only be read whole: {remedy}, or set "
        "dataset.memory_limit to more, if there is more memory"
    )


def _need(path: Path, format: CsvFormat) -> float:
    """The bytes of memory that a file takes, about."""
    try:
        size = path.stat().st_size
        form = path.suffix.lower()
        if form == ".xlsx":
            return size * _EXCEL
        if form in _COLUMNS:
            from dlrun.data.tables.typed_files import cells_in  # imports polars

            return max(cells_in(path) * _A_CELL, size * 2)
        if form in TYPED or size <= _SMALL:
            return size * _PLAIN
        unpacked = unpacked_size(path)
    except (OSError, EOFError, zlib.error):  # told by what reads it
        return 0
    plain = format.encoding.lower() in ("utf-8", "utf8", "ascii") and format.comment is None
    return unpacked * (_PLAIN if plain and unpacked == size else _EXACT)
