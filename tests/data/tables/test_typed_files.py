"""Each form of file gives the same table as the CSV of it; what cannot be read is named by file, row and column."""

import inspect
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from dlrun.data.tables.sources import csv
from dlrun.errors import ConfigError

FRAME = pl.DataFrame(
    {
        "x": [0.25 * at for at in range(60)],
        "k": [at % 7 if at % 9 else None for at in range(60)],
        "c": [("red", "green", None)[at % 3] for at in range(60)],
        "b": [at % 4 == 0 for at in range(60)],
        "y": [at % 3 + 9 for at in range(60)],
    }
)
WRITERS = {
    "t.tsv": lambda path: FRAME.write_csv(path, separator="\t"),
    "t.csv.gz": lambda path: FRAME.write_csv(path, compression="gzip"),
    "t.csv.zst": lambda path: FRAME.write_csv(path, compression="zstd"),
    "t.parquet": FRAME.write_parquet,
    "t.feather": FRAME.write_ipc,
    "t.arrow": FRAME.write_ipc_stream,
    "t.ndjson": FRAME.write_ndjson,
}


def load(path, **settings):
    option = yaml.safe_load(Path("configs/dataset/csv.yaml").read_text())
    given = {name: option[name] for name in inspect.signature(csv).parameters}
    return csv(**{**given, "path": str(path), "target": "y", "task": "classification", **settings})


def content(table):
    return table.fingerprint("train", np.arange(len(table))), table.class_names, table.traits


@pytest.fixture
def expected(tmp_path):
    FRAME.write_csv(tmp_path / "t.csv")
    return content(load(tmp_path / "t.csv"))


@pytest.mark.parametrize("name", WRITERS)
def test_each_form_is_the_table_of_the_csv_file(tmp_path, expected, name):
    WRITERS[name](tmp_path / name)
    assert content(load(tmp_path / name)) == expected
    assert expected[1] == ("9", "10", "11")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_parts_are_one_table(tmp_path, expected, suffix):
    folder = tmp_path / "parts"
    folder.mkdir()
    for at in range(3):
        part = FRAME[20 * at : 20 * at + 20]
        part = part.select(FRAME.columns[::-1]) if at == 1 else part
        getattr(part, f"write_{suffix}")(folder / f"{at}.{suffix}")
    assert content(load(folder)) == content(load(folder / f"*.{suffix}")) == expected
    getattr(FRAME.rename({"x": "z"}), f"write_{suffix}")(folder / f"3.{suffix}")
    with pytest.raises(ConfigError, match=rf"3\.{suffix} has other columns .* lacks x and has z"):
        load(folder)


def test_excel_is_the_table_of_the_csv_file(tmp_path, expected):
    pytest.importorskip("fastexcel")
    pytest.importorskip("xlsxwriter")
    FRAME.write_excel(tmp_path / "t.xlsx")
    assert content(load(tmp_path / "t.xlsx")) == expected


def test_what_cannot_be_read_is_named(tmp_path):
    FRAME.write_parquet(tmp_path / "t.parquet")
    with pytest.raises(ConfigError, match=r"dataset.delimiter is ;, which only a text file"):
        load(tmp_path / "t.parquet", delimiter=";")
    FRAME.with_columns(l=pl.concat_list("x", "k")).write_parquet(tmp_path / "l.parquet")
    with pytest.raises(ConfigError, match="column l holds lists"):
        load(tmp_path / "l.parquet")
    (tmp_path / "t.jsonl").write_text('{"x": 1, "y": 2}\n{"x": 2,\n')
    with pytest.raises(ConfigError, match=r"t\.jsonl, row 2: no JSON"):
        load(tmp_path / "t.jsonl")
    (tmp_path / "bad.parquet").write_text("x,y\n")
    with pytest.raises(ConfigError, match="cannot be read as Parquet"):
        load(tmp_path / "bad.parquet")
