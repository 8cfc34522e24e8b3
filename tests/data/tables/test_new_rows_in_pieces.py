"""New rows of a large table: pieces hold the rows that the whole file has, in every form, and name their mistakes."""

import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from dlrun.data.base import Spec
from dlrun.data.kinds import files_of, read_inputs, read_pieces
from dlrun.data.tables import csv, csv_engine, table_files, typed_files
from dlrun.data.tables.encoding import TableEncoding
from dlrun.data.tables.table import Reading
from dlrun.errors import ConfigError

SPEC = Spec("regression", "features", (3,), 1)
READING = Reading(
    columns=["id", "size", "heat", "price", "day"],
    named=True,
    numbers=["size"],
    words=["heat"],
    zero_is_missing=[],
    missing=["", "?"],
    delimiter="auto",
    encoding="utf-8",
    dates={"day": {"format": "%Y-%m-%d", "parts": ["days"]}},
)
ENCODING = TableEncoding(
    dict(vars(READING)), [5.0, 0.0], [1.0, 0.0], [2.0, 1.0], [["gas", "wood, dry"]], [], []
)
ROWS = 5000
FORMS = ["t.csv", "t.tsv", "t.csv.gz", "t.csv.zst", "t.jsonl", "t.parquet", "t.feather"]


def frame() -> pl.DataFrame:
    """Words that begin late, missing cells, and numbers that are whole in the first rows alone."""
    rows = np.arange(ROWS)
    return pl.DataFrame(
        {
            "id": [f"{row:05d}" for row in rows],
            "size": [None if row % 97 == 3 else row + 0.25 * (row > 3000) for row in rows],
            "heat": ["gas" if row < 2000 else "wood, dry" if row % 2 else None for row in rows],
            "day": pl.Series(rows).cast(pl.Int32).cast(pl.Date),
            "count": rows,
        }
    )


def written(path: Path, table: pl.DataFrame) -> Path:
    packing = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix, "uncompressed")
    if ".csv" in path.name or ".tsv" in path.name:
        sign = "\t" if ".tsv" in path.name else ","
        table.write_csv(path, separator=sign, compression=packing)
    elif path.suffix == ".parquet":
        table.write_parquet(path, row_group_size=700)
    elif path.suffix == ".jsonl":
        table.with_columns(pl.col("day").cast(pl.String)).write_ndjson(path)
    else:
        table.write_ipc(path, record_batch_size=700)
    return path


@pytest.fixture
def small_pieces(monkeypatch):
    """Every file is a large one, of pieces of few rows."""
    monkeypatch.setattr(table_files, "_WHOLE", 0)
    monkeypatch.setattr(csv_engine, "_PIECE", 20_000)
    monkeypatch.setattr(csv, "_ROWS", 512)
    monkeypatch.setattr(typed_files, "_ROWS", 512)


@pytest.mark.parametrize("name", FORMS)
def test_pieces_are_encoded_as_the_whole_file(tmp_path, small_pieces, name):
    path = written(tmp_path / name, frame())
    pieces = list(read_pieces([path], SPEC, ENCODING, ["id", "count"]))
    found = torch.cat([ENCODING.inputs(piece.raw) for piece in pieces])
    assert len(pieces) > 2
    assert torch.equal(found, ENCODING.inputs(read_inputs(path, SPEC, ENCODING)))
    assert [row for piece in pieces for row in piece.rows] == list(range(ROWS))
    kept = {
        name: [cell for piece in pieces for cell in piece.kept[name]] for name in ("id", "count")
    }
    assert kept["id"] == frame()["id"].to_list()
    assert kept["count"] == [str(row) if "sv" in path.name else row for row in range(ROWS)]


@pytest.mark.parametrize("name", FORMS)
def test_a_mistake_far_down_is_named_with_its_row(tmp_path, small_pieces, name):
    table = frame().with_columns(heat=pl.lit("gas"), day=pl.col("day").cast(pl.String))
    bad = table.with_columns(
        day=pl.when(pl.col("count") == 4321).then(pl.lit("soon")).otherwise("day")
    )
    path = written(tmp_path / name, bad)
    row = 4321 + (2 if "sv" in name else 1)  # counted from 1, a header among them
    with pytest.raises(ConfigError, match=rf"{name}, row {row}, column day: soon is no date"):
        for _ in read_pieces([path], SPEC, ENCODING):
            pass


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,2,gas", r"row 4002: its columns are 3, but those of the header are 5"),
        ("id,size,heat,day,count", "row 4002 repeats the header"),
        ('1,2,gas,2020-01-01,"3', "row 4002: it cannot be read as CSV"),
        ("1,much,gas,2020-01-01,3", "row 4002, column size: much is not a number"),
    ],
)
def test_a_row_that_is_none_is_named_as_by_the_reader_of_whole_files(
    tmp_path, small_pieces, line, message
):
    path = written(tmp_path / "t.csv", frame())
    lines = path.read_text().splitlines()
    lines[4001] = line
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ConfigError, match=message):
        for _ in read_pieces([path], SPEC, ENCODING):
            pass
    with pytest.raises(ConfigError, match=message):
        read_inputs(path, SPEC, ENCODING)


def test_a_column_to_keep_that_there_is_not_is_refused_with_the_nearest(tmp_path):
    path = written(tmp_path / "t.csv", frame())
    with pytest.raises(
        ConfigError, match=r"--keep names idd, which is no column of .*did you mean id\?"
    ):
        next(read_pieces([path], SPEC, ENCODING, ["idd"]))


def test_a_folder_and_a_glob_of_parts_are_read_part_by_part(tmp_path):
    for number in range(3):
        written(tmp_path / f"part{number}.csv", frame()[number * 10 : number * 10 + 10])
    (tmp_path / "packed.csv.gz").write_bytes(gzip.compress((tmp_path / "part0.csv").read_bytes()))
    names = [f"part{number}.csv" for number in range(3)]
    assert [file.name for file in files_of(tmp_path / "part*.csv", SPEC, ENCODING)] == names
    with pytest.raises(ConfigError, match=r"nothing.* matches no file"):
        files_of(tmp_path / "nothing*.csv", SPEC, ENCODING)
    files = files_of(tmp_path, SPEC, ENCODING)
    kept = [
        cell for piece in read_pieces(files, SPEC, ENCODING, ["id"]) for cell in piece.kept["id"]
    ]
    assert kept == [f"{row:05d}" for row in [*range(10), *range(30)]]
