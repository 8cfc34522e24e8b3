"""The same series from each form of table, in one file or in parts, for training and for new rows."""

import gzip
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from dlrun.config.settings import DataSettings
from dlrun.data.base import Spec
from dlrun.data.kinds import files_of, read_inputs
from dlrun.data.prepare import prepare
from dlrun.data.series.history import read_histories
from dlrun.errors import ConfigError

SPLIT = DataSettings(
    val_fraction=0.25, test_fraction=0.2, split_seed=0, normalize="standard", augment=None
)
DAYS = [date(2021, 1, 1) + timedelta(day) for day in range(30)]
FRAME = pl.DataFrame(
    {
        "t": [day for day in DAYS[::-1] for _ in "AB"],
        "store": ["B", "A"] * 30,
        "y": [day * 1.5 % 7 for day in range(60)],
    }
)
SPEC = Spec("regression", "sequence", (2, 1), 1)
FORMS = {
    "s.csv": lambda frame, path: frame.write_csv(path),
    "s.tsv": lambda frame, path: frame.write_csv(path, separator="\t"),
    "s.csv.gz": lambda frame, path: path.write_bytes(gzip.compress(frame.write_csv().encode())),
    "s.csv.zst": lambda frame, path: frame.lazy().sink_csv(path, compression="zstd"),
    "s.parquet": lambda frame, path: frame.write_parquet(path),
    "s.feather": lambda frame, path: frame.write_ipc(path),
    "s.jsonl": lambda frame, path: frame.write_ndjson(path),
    "s.xlsx": lambda frame, path: frame.write_excel(path),
}


def content(found):
    return found.members, found.inputs, found.numbers["y"].tolist(), found.words


@pytest.fixture
def read(read_series):
    return lambda path, **settings: read_series(path, series="store", time="t", **settings)


@pytest.fixture
def as_csv(tmp_path, monkeypatch, read):
    monkeypatch.chdir(tmp_path)
    FRAME.write_csv(tmp_path / "first.csv")
    return read("first.csv")


@pytest.mark.parametrize("name", FORMS)
def test_a_series_is_the_same_in_each_form_of_table(name, read, as_csv):
    if name.endswith("xlsx"):
        pytest.importorskip("xlsxwriter")
        pytest.importorskip("fastexcel")
    FORMS[name](FRAME, Path(name))
    assert content(read(name)) == content(as_csv)
    scaling = prepare(as_csv, SPLIT).preprocessing
    for one, other in zip(
        read_histories(Path(name), scaling), read_histories(Path("first.csv"), scaling), strict=True
    ):
        assert (one.series, one.ahead.time(1)) == (other.series, other.ahead.time(1))
        assert one.rows_RC.tolist() == other.rows_RC.tolist()


def test_parts_in_a_folder_or_of_a_glob_are_one_file(read, as_csv, tmp_path):
    (tmp_path / "parts").mkdir()
    FRAME[40:].write_parquet("parts/a.parquet")
    FRAME[:40].write_parquet("parts/b.parquet")
    scaling = prepare(as_csv, SPLIT).preprocessing
    assert content(read("parts")) == content(as_csv)
    assert content(read("parts/*.parquet")) == content(as_csv)
    assert files_of(Path("parts"), SPEC, scaling) == [Path("parts")]
    new = read_inputs(Path("parts"), SPEC, scaling)
    assert [one.rows_RC.tolist() for one in new] == [
        one.rows_RC.tolist() for one in read_histories(Path("first.csv"), scaling)
    ]
    FRAME[:1].write_parquet("parts/c.parquet")
    with pytest.raises(
        ConfigError,
        match=r"c\.parquet, row 1, column t: 2021-01-30 stands in row 1 of .*b\.parquet as",
    ):
        read("parts")


@pytest.mark.parametrize(
    "column",
    [
        FRAME["t"].cast(pl.Datetime("ns")),
        FRAME["t"].cast(pl.Datetime("ms")).dt.replace_time_zone("Europe/Berlin"),
        FRAME["t"].cast(pl.Datetime).dt.epoch("s"),
        FRAME["t"].cast(pl.Datetime).dt.epoch("ms"),
        FRAME["t"].dt.to_string("%Y%m%d").cast(pl.Int64),
    ],
)
def test_times_with_a_type_are_read_as_their_text_is(column, read, as_csv):
    FRAME.with_columns(t=column).write_parquet("s.parquet")
    assert content(read("s.parquet")) == content(as_csv)


def test_series_named_by_numbers_are_the_same_in_each_form(read, as_csv):
    numbered = FRAME.with_columns(store=pl.when(pl.col("store") == "A").then(7.0).otherwise(12.0))
    numbered.write_csv("floats.csv")
    numbered.with_columns(pl.col("store").cast(pl.Int64)).write_parquet("s.parquet")
    found = read("floats.csv")
    assert found.members == (("12", 30), ("7", 30))
    assert content(read("s.parquet")) == content(found)
    zeros = FRAME.with_columns(store="0" + pl.col("store").replace({"A": "7", "B": "12"}))
    zeros.write_csv("zeros.csv")
    assert dict(read("zeros.csv").members) == {"012": 30, "07": 30}


def test_times_with_a_type_continue_a_series_whose_times_were_written_otherwise(read, as_csv):
    FRAME.with_columns(t=FRAME["t"].dt.to_string("%d.%m.%Y")).write_csv("german.csv")
    scaling = prepare(read("german.csv"), SPLIT).preprocessing
    FRAME.write_parquet("s.parquet")
    assert read_histories(Path("s.parquet"), scaling)[0].ahead.last == "2021-01-30"
    with pytest.raises(ConfigError, match=r"2021-01-30 is no time written as %d\.%m\.%Y"):
        read_histories(Path("first.csv"), scaling)


def test_what_is_no_table_and_settings_of_other_forms_are_refused(read, as_csv):
    FRAME.write_parquet("s.parquet")
    with pytest.raises(ConfigError, match=r"dataset\.decimal is comma, which only a text file"):
        read("s.parquet", decimal="comma")
    scaling = prepare(as_csv, SPLIT).preprocessing
    Path("s.png").write_bytes(b"")
    with pytest.raises(
        ConfigError, match=r"s\.png: this run was trained on a series; give its rows in"
    ):
        read_inputs(Path("s.png"), SPEC, scaling)
