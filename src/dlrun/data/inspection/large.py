"""The beginning of a table that is too large to be looked at as a whole, as a file of its own. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from dlrun.data.tables.table_files import files_of, form_of
from dlrun.system.hardware import free_memory

_LARGEST = 2**29  # bytes of a file, up to which it is read as a whole where memory allows
_SHARE = 6  # of free memory: cells take up to so many times what they take in the file


@contextmanager
def beginning(path: Path) -> Iterator[tuple[Path, float]]:
    """The table in `path`, or within this a file of its first rows, and which share of it that is.

    Packed files and workbooks are taken as a whole: their size says little.
    """
    files = files_of(path)
    size = sum(file.stat().st_size for file in files)
    limit = min(_LARGEST, free_memory() // _SHARE)
    first = files[0]
    if size <= limit or first.suffix.lower() not in (".csv", ".tsv", ".txt", ".data", ".parquet"):
        yield path, 1.0
        return
    with TemporaryDirectory(prefix="dlrun-") as folder:
        share = min(limit / first.stat().st_size, 1.0)
        sample = first
        if share < 1:
            sample = Path(folder, first.name)
            (_first_of_parquet if form_of(first) == ".parquet" else _first_lines)(
                first, sample, share
            )
        yield sample, share * first.stat().st_size / size


def _first_lines(file: Path, sample: Path, share: float) -> None:
    left = int(share * file.stat().st_size)
    with file.open("rb") as whole, sample.open("wb") as copy:
        while left > 2**24:
            left -= copy.write(whole.read(2**24))
        copy.write(whole.read(left).rpartition(b"\n")[0])


def _first_of_parquet(file: Path, sample: Path, share: float) -> None:
    import polars as pl

    rows = pl.scan_parquet(file).select(pl.len()).collect().item()
    pl.scan_parquet(file).head(max(int(rows * share), 1)).sink_parquet(sample)
