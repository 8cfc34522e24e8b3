"""The files of a table: one of any form, or a folder or glob of parts with the same columns. No torch here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from dlrun.data.files import locate
from dlrun.data.tables.cells import Cells, Lines
from dlrun.data.tables.column import joined, missing_column
from dlrun.data.tables.csv import IsHeader, csv_pieces, open_csv, read_csv
from dlrun.data.tables.csv_format import CsvFormat
from dlrun.data.tables.csv_rules import listed
from dlrun.data.tables.headers import judge
from dlrun.data.tables.memory_need import TYPED, exceeds, refuse_larger
from dlrun.errors import ConfigError

Reader = Callable[[Path, CsvFormat, IsHeader | None], Cells]

FORMS = (".csv", ".tsv", ".txt", ".data", *TYPED)
_WHOLE = 2**22  # bytes of a file that is read at once, where it may be read in pieces
_PACKED = (".gz", ".zst")
TABLES = (".csv", ".tsv", *TYPED)  # what is read of a folder
_SHOWN = "/".join(TABLES)
# Settings of text files, as the options have them.
_OF_TEXTS = {
    "header": "auto",
    "skip_lines": "auto",
    "comment": None,
    "delimiter": "auto",
    "decimal": "auto",
    "thousands": "none",
    "encoding": "utf-8",
}


def form_of(path: Path) -> str:
    """The extension that says how a file is written, without that of its packing."""
    packed = path.suffix.lower() in _PACKED
    return Path(path.stem if packed else path.name).suffix.lower()


def is_typed(path: Path) -> bool:
    """Whether all files of a table have types."""
    return path.suffix.lower() in TYPED or all(
        file.suffix.lower() in TYPED for file in files_of(path)
    )


def locate_table(key: str, path: str) -> Path:
    """The file, the folder or the glob of parts that the setting `key` names.

    Raises:
        ConfigError: as `locate`, or a folder or a glob without any table.
    """
    pattern = Path(path).expanduser()
    found = pattern if has_magic(path) and not pattern.exists() else locate(key, path)
    files_of(found, key)
    return found


def files_of(path: Path, key: str = "dataset.path") -> list[Path]:
    """The files of a table, by name; those of a folder whose names begin with a dot or `_` are none.

    Raises:
        ConfigError: there are none, or of several forms.
    """
    if path.is_dir():
        inside = [
            file for file in path.iterdir() if form_of(file) in TABLES and file.name[0] not in "._"
        ]
        missing = f"a folder that holds no table; give a file or a folder of {_SHOWN}"
    elif has_magic(str(path)) and not path.exists():
        inside = list(map(Path, glob(str(path), recursive=True)))
        missing = f"which no file matches; give one that does, from {Path.cwd()} or absolute"
    else:
        return [path]
    files = sorted(file for file in inside if file.is_file())
    if not files:
        raise ConfigError(f"{key} is {path}, {missing}")
    forms = sorted({*map(form_of, files)})
    if len(forms) > 1:
        one = path / f"*{forms[0]}" if path.is_dir() else path.with_name(f"*{forms[0]}")
        raise ConfigError(
            f"{key} is {path}, which has files of several forms, {' and '.join(forms)}; give those of one, as in {one}"
        )
    return files


def refuse_settings_of_texts(settings: Mapping[str, Any], *paths: Path | None) -> None:
    """Refuse what is set of how a text is written where none of the files is a text.

    Raises:
        ConfigError: naming the setting.
    """
    given = [path for path in paths if path is not None]
    for key, default in _OF_TEXTS.items():
        if settings[key] != default and all(map(is_typed, given)):
            raise ConfigError(
                f"dataset.{key} is {settings[key]}, which only a text file such as .csv has, but {given[0]} is none; "
                f"leave it out"
            )


def read_cells(
    path: Path,
    format: CsvFormat,
    is_header: IsHeader | None = None,
    *,
    memory_limit: float | None = math.inf,
) -> Cells:
    """The cells of all files of a table; `is_header` as of `read_csv`.

    Where they take more memory than `memory_limit` GiB, None for half of what is free, they are read into the cache.

    Raises:
        ConfigError: as `read_csv` and `read_typed`, or parts with other columns than the first; too large to be read.
    """
    first, *others = files = files_of(path)
    read: Reader = _read_file
    if exceeds(files, format, memory_limit):
        read = partial(_open_file, memory_limit)
    cells = read(first, format, is_header)
    parts = [
        cells,
        *(
            _like_first(_read_part(read, other, format, cells, is_header), cells)
            for other in others
        ),
    ]
    if read is not _read_file:
        from dlrun.data.tables.stored_table import stored  # imports polars

        return stored(path, parts)
    if not others:
        return cells
    columns = [
        joined(columns, cells.notation)
        for columns in zip(*(part.columns for part in parts), strict=True)
    ]
    return replace(cells, path=path, columns=columns, lines=Lines.joined(parts))


def table_pieces(path: Path, format: CsvFormat) -> Iterator[Cells]:
    """The cells that `read_cells` reads, some rows at a time.

    Raises:
        ConfigError: as `read_cells`.
    """
    first: Cells | None = None
    for file in files_of(path):
        for piece in _pieces_of(file, format, first):
            yield piece if first is None else _like_first(piece, first)
            if first is None:
                first = replace(piece, columns=[missing_column(0)] * len(piece.columns))


def _pieces_of(path: Path, format: CsvFormat, first: Cells | None) -> Iterator[Cells]:
    """Of one file, which is a further part where there is a `first`."""
    yield from file_pieces(path, *((format, None) if first is None else _like(format, first)))


def file_pieces(
    path: Path,
    format: CsvFormat,
    is_header: IsHeader | None,
    *,
    listed: bool = True,
    texts: Sequence[str] = (),
) -> Iterator[Cells]:
    """The cells of one file, some rows at a time; a small one is read at once.

    Args:
        is_header: as of `read_csv`.
        listed, texts: as of `csv_pieces`.

    Raises:
        ConfigError: as `read_cells`.
    """
    if path.stat().st_size <= _WHOLE:
        yield _read_file(path, format, is_header)
    elif path.suffix.lower() in TYPED:
        from dlrun.data.tables.typed_files import typed_pieces  # imports polars

        yield from typed_pieces(path, format.missing, listed=listed)
    else:
        format = _with_delimiter(path, format)
        yield from csv_pieces(path, format, is_header, listed=listed, texts=texts)


def read_alike(
    path: Path, format: CsvFormat, first: Cells, *, memory_limit: float | None = math.inf
) -> Cells:
    """Another table of the columns of `first`, with a header where that has one."""
    return read_cells(path, *_like(format, first), memory_limit=memory_limit)


def _like(format: CsvFormat, first: Cells) -> tuple[CsvFormat, IsHeader | None]:
    """The format of another table of the columns of `first`, and what decides of its first row."""
    if first.typed:
        return replace(format, header=True), None
    format = replace(format, decimal=first.notation.decimal)
    if format.names or not first.named:
        return format, partial(_refuse_header, first.path)
    return replace(format, header=True), None


def _read_part(
    read: Reader, path: Path, format: CsvFormat, first: Cells, is_header: IsHeader | None
) -> Cells:
    """A further part."""
    if is_header and not first.typed:
        return read(path, replace(format, decimal=first.notation.decimal), is_header)
    return read(path, *_like(format, first))


def _read_file(path: Path, format: CsvFormat, is_header: IsHeader | None) -> Cells:
    if path.suffix.lower() in TYPED:
        from dlrun.data.tables.typed_files import read_typed  # imports polars

        return read_typed(path, format.missing)
    return read_csv(path, _with_delimiter(path, format), is_header)


def _open_file(
    memory_limit: float | None, path: Path, format: CsvFormat, is_header: IsHeader | None
) -> Cells:
    """The same with columns that are still to be read into the cache, or with those in memory of a small part.

    Raises:
        ConfigError: too large to be read whole, as it must be.
    """
    from dlrun.data.tables.typed_files import open_typed  # imports polars

    if path.suffix.lower() in TYPED:
        opened = open_typed(path, format.missing)
    else:
        opened = open_csv(path, _with_delimiter(path, format), is_header)
    if opened is not None:
        return opened
    refuse_larger(path, format, memory_limit)
    return _read_file(path, format, is_header)


def _with_delimiter(path: Path, format: CsvFormat) -> CsvFormat:
    tabs = form_of(path) == ".tsv" and format.delimiter == "auto"
    return replace(format, delimiter="tab") if tabs else format


def _like_first(part: Cells, first: Cells) -> Cells:
    """With the columns in the order of the first part.

    Raises:
        ConfigError: they are others.
    """
    if not first.named and not part.named and len(first.names) != len(part.names):
        raise ConfigError(
            f"{part.path} has {len(part.names)} columns, but {first.path} has {len(first.names)}; give parts of the "
            "same columns"
        )
    lacking = [name for name in first.names if name not in part.names]
    more = [name for name in part.names if name not in first.names]
    if lacking or more:
        said = [f"lacks {listed(lacking)}"] * bool(lacking) + [
            f"has {listed(more)} besides"
        ] * bool(more)
        raise ConfigError(
            f"{part.path} has other columns than {first.path}: it {' and '.join(said)}; give parts of the same columns"
        )
    return part.in_order(first.names, needed=first.names)


def _refuse_header(train: Path, row: str, first: list[str], below: list[list[str]]) -> bool:
    verdict = judge(first, below)
    if verdict.header and verdict.sure:
        raise ConfigError(
            f"{row} looks like a header, but none was found in {train}: take it out, or set dataset.header=true "
            "if both have one"
        )
    return False
