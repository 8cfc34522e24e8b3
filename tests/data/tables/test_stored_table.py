"""A table larger than memory gives the rows, statistics and batches of the same table in memory."""

import gzip
import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from dlrun.cli import main
from dlrun.config.settings import DataSettings
from dlrun.data.cache import clear, entries
from dlrun.data.changed_data import Kept
from dlrun.data.tables import column_writers, csv_engine, encoding, stored_rows, typed_files
from dlrun.data.tables.column_roles import ColumnRoles
from dlrun.data.tables.csv_format import CsvFormat
from dlrun.data.tables.encoding import prepare_table, split_table
from dlrun.data.tables.new_rows import NewRows
from dlrun.data.tables.read import read_table
from dlrun.data.tables.target_column import Labelling
from dlrun.errors import ConfigError, RunFailed, collected_notes

ROWS = 3000
NOTHING, ALL = 1e-9, math.inf  # GiB of memory
SETTINGS = DataSettings(
    val_fraction=0.2, test_fraction=0.2, split_seed=1, normalize="standard", augment=None
)


@pytest.fixture(autouse=True)
def small_pieces(tmp_path, monkeypatch):
    """Tables are read some rows at a time, and have more of them than are shuffled at a time."""
    monkeypatch.setenv("DLRUN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(csv_engine, "_PIECE", 20_000)
    monkeypatch.setattr(csv_engine, "_MANY", 20)
    monkeypatch.setattr(typed_files, "_ROWS", 500)
    monkeypatch.setattr(stored_rows, "_BLOCK", 50)
    monkeypatch.setattr(stored_rows, "_IN_ORDER", 700)
    for module in (stored_rows, encoding):
        monkeypatch.setattr(module, "AT_ONCE", 400)


def frame(rows=ROWS):
    rng = np.random.default_rng(0)
    days = np.datetime64("2024-01-01") + rng.integers(0, 500, rows)
    return pl.DataFrame(
        {
            "x": np.round(rng.normal(size=rows), 4),
            "count": rng.integers(0, 300, rows),
            "colour": rng.choice(["red", "green", "NA", ""], rows),
            "day": days,
            "sure": rng.choice(["yes", "no"], rows),
            "same": ["always"] * rows,
            "zero": rng.choice([0.0, 1.5, 2.5], rows),
            "label": rng.choice(["good", "bad", "ugly"], rows),
        }
    ).with_columns(
        x=pl.when(pl.int_range(rows) % 17 == 3).then(None).otherwise("x"),
        colour=pl.when(pl.col("colour") == "").then(None).otherwise("colour"),
    )


def table(path, limit, target="label", **roles):
    form = CsvFormat("auto", "auto", "utf-8", ["", "NA"], decimal="auto", skip_lines="auto")
    chosen = ColumnRoles(
        target, infer=["date", "yes_no", "constant"], zero_is_missing=["zero"], **roles
    )
    return read_table(
        path,
        None,
        form,
        chosen,
        Labelling(drop_missing_target=True),
        fill="median",
        memory_limit=limit,
    )


WRITERS = {
    "table.csv": lambda path: frame().write_csv(path),
    "table.tsv": lambda path: frame().write_csv(path, separator="\t"),
    "table.csv.gz": lambda path: path.write_bytes(gzip.compress(frame().write_csv().encode())),
    "table.csv.zst": lambda path: frame().write_csv(path, compression="zstd"),
    "table.parquet": lambda path: frame().write_parquet(path),
    "table.feather": lambda path: frame().write_ipc(path),
    "table.jsonl": lambda path: frame().write_ndjson(path),
}


@pytest.mark.parametrize(
    ("name", "target"),
    [*((name, "label") for name in WRITERS), ("table.csv", "x"), ("table.feather", "x")],
)
def test_what_is_stored_is_encoded_as_in_memory(tmp_path, name, target):
    WRITERS[name](tmp_path / name)
    with collected_notes() as stored_notes:
        stored = table(tmp_path / name, NOTHING, target)
    with collected_notes() as notes:
        whole = table(tmp_path / name, ALL, target)
    assert stored.rows.stored
    assert not whole.rows.stored
    assert stored_notes[1:] == notes
    assert stored.reading == whole.reading
    assert stored.class_names == whole.class_names
    parts = split_table(stored, SETTINGS)
    for part, rows in parts.items():
        assert stored.fingerprint(part, rows) == whole.fingerprint(part, rows)
    one, other = (prepare_table(t, SETTINGS, parts, None) for t in (stored, whole))
    assert one.preprocessing == other.preprocessing  # of the same training rows
    for name in ("train", "val", "test"):
        batches = zip(
            getattr(one, name).in_order(100), getattr(other, name).in_order(100), strict=True
        )
        assert all(torch.equal(x, u) and torch.equal(y, v) for (x, y), (u, v) in batches)


def test_parts_of_a_folder_are_one_table(tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    whole = frame()
    for at in range(3):
        part = whole[at * 1000 : (at + 1) * 1000]
        part.select(whole.columns if at != 1 else whole.columns[::-1]).write_csv(
            folder / f"{at}.csv"
        )
    whole.write_csv(tmp_path / "whole.csv")
    stored, one = table(folder, NOTHING), table(tmp_path / "whole.csv", ALL)
    assert len(stored) == ROWS
    assert stored.fingerprint("train", np.arange(ROWS)) == one.fingerprint("train", np.arange(ROWS))
    (folder / "1.csv").write_text((folder / "1.csv").read_text() + "bad,1,same\n")
    with pytest.raises(ConfigError, match=r"1\.csv, row 1002: its columns are 3"):
        table(folder, NOTHING)


@pytest.mark.parametrize(("rows", "begun"), [(300, "memory"), (ROWS, "memory"), (ROWS, "cache")])
@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_are_those_of_memory_and_a_resume_finds_them(tmp_path, shuffle, rows, begun):
    frame(rows).write_csv(tmp_path / "table.csv")
    stored, whole = table(tmp_path / "table.csv", NOTHING), table(tmp_path / "table.csv", ALL)
    # A table that is shuffled at once has the parts that it has in memory.
    parts = split_table(whole if begun == "memory" else stored, SETTINGS)
    if rows == 300:
        assert all(np.array_equal(parts[n], split_table(stored, SETTINGS)[n]) for n in parts)
    feeds = [
        prepare_table(t, SETTINGS, parts, None).train.batches(
            77, seed=3, shuffle=shuffle, drop_last=False
        )
        for t in (stored, whole)
    ]
    one, other = (list(feed.epoch(2)) for feed in feeds)
    assert len(one) == len(feeds[0])
    assert all(
        torch.equal(x, u) and torch.equal(y, v) for (x, y), (u, v) in zip(one, other, strict=True)
    )
    for skip in (1, len(one) // 2, len(one) - 1, len(one)):
        for feed in feeds:
            resumed = list(feed.epoch(2, skip=skip))
            assert len(resumed) == len(one) - skip
            assert all(
                torch.equal(x, u) for (x, _), (u, _) in zip(resumed, one[skip:], strict=True)
            )
    seen = torch.cat([x for x, _ in one])
    everything = torch.cat([x for x, _ in feeds[0].split.in_order(1000)])
    assert torch.equal(seen.sort(0).values, everything.sort(0).values)


def test_a_cache_serves_until_its_file_changes_and_is_cleared(tmp_path):
    file = tmp_path / "table.csv"
    frame().write_csv(file)
    table(file, NOTHING)
    table(file, NOTHING)
    assert len(entries()) == 1
    assert entries()[0].is_current
    with file.open("a") as end:
        end.write("1.5,3,red,2024-01-05,yes,always,0,bad\n")
    assert not entries()[0].is_current
    assert len(table(file, NOTHING)) == ROWS + 1
    assert len(entries()) == 2
    held = table(file, NOTHING).rows
    assert len(clear()) == 2
    with pytest.raises(
        RunFailed, match=r"cannot be read \(No such file or directory\): resume the run"
    ):
        held.numbers[0][:]


def test_numbers_of_many_kinds_are_numbers_whatever_their_first_cells_are(tmp_path, monkeypatch):
    monkeypatch.setattr(column_writers, "_MOST_WORDS", 100)
    monkeypatch.setattr(column_writers, "_MOST_NUMBERS", 100)
    rng = np.random.default_rng(1)
    more = {
        "many": rng.integers(0, 10_000, ROWS),
        "name": [f"n{at}" for at in range(ROWS)],
        "moment": np.datetime64("2024-03-01T10:00", "ms") + 1000 * rng.integers(0, 10**7, ROWS),
        "zoned": [
            f"2024-01-0{at % 7 + 1}T1{at % 9}:{at % 60:02}:{at % 37:02}+0{at % 5}:00"
            for at in range(ROWS)
        ],
        "epoch": rng.integers(1_600_000_000, 1_700_000_000, ROWS),
    }
    for name in ("table.csv", "table.parquet"):
        found = frame().with_columns(**{key: pl.Series(cells) for key, cells in more.items()})
        WRITERS_OF[name](found, tmp_path / name)
        stored, whole = (
            table(tmp_path / name, limit, dates={"epoch": "epoch"}) for limit in (NOTHING, ALL)
        )
        assert stored.reading == whole.reading
        assert {*stored.reading.dates} == {"day", "moment", "zoned", "epoch"}
        assert "many" in stored.reading.numbers
        rows = np.arange(ROWS)
        assert stored.fingerprint("train", rows) == whole.fingerprint("train", rows)
        with pytest.raises(ConfigError, match=r"column name has too many different words"):
            table(tmp_path / name, NOTHING, categorical=["name"])


WRITERS_OF = {
    "table.csv": lambda found, path: found.write_csv(path),
    "table.parquet": lambda found, path: found.write_parquet(path),
}


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("x", "about 3", r"row 2502, column x: about 3 is not a number"),
        ("count", "many", r"row 2502, column count: many is not a number"),
        ("label", '"a', r"row 2502: it cannot be read as CSV"),
    ],
)
def test_a_mistake_is_told_with_its_row(tmp_path, column, cell, message):
    file = tmp_path / "table.csv"
    frame().write_csv(file)
    lines = file.read_text().splitlines()
    cells = lines[2501].split(",")
    cells[frame().columns.index(column)] = cell
    lines[2501] = ",".join(cells)
    file.write_text("\n".join(lines))
    with pytest.raises(ConfigError, match=message):
        table(file, NOTHING)


def test_a_workbook_too_large_is_refused_with_what_to_do(tmp_path):
    file = tmp_path / "table.xlsx"
    file.write_bytes(b"PK" * 1000)
    message = r"about 7\.5e-05 GiB .*can only be read whole: write it as CSV or Parquet"
    with pytest.raises(ConfigError, match=message):
        table(file, NOTHING)


def test_new_rows_with_targets_are_read_from_the_cache_too(tmp_path):
    frame().write_csv(tmp_path / "table.csv")
    frame(1000).write_csv(tmp_path / "new.csv")
    whole = table(tmp_path / "table.csv", ALL)
    data = prepare_table(whole, SETTINGS, split_table(whole, SETTINGS), None)
    kept = Kept(data.spec, data.preprocessing, None, "run")
    found = [
        NewRows().labelled(str(tmp_path / "new.csv"), kept, {"memory_limit": limit}).part
        for limit in (NOTHING, 1.0)
    ]
    assert len(entries()) == 1
    for (x, y), (u, v) in zip(*(part.in_order(100) for part in found), strict=True):
        assert torch.equal(x, u)
        assert torch.equal(y, v)


def test_an_empty_column_at_the_end_is_left_out(tmp_path):
    file = tmp_path / "table.csv"
    lines = frame().write_csv().splitlines()
    file.write_text("\n".join([lines[0], *(f"{line}," for line in lines[1:])]) + "\n")
    stored, whole = table(file, NOTHING), table(file, ALL)
    rows = np.arange(ROWS)
    assert stored.reading == whole.reading
    assert stored.fingerprint("train", rows) == whole.fingerprint("train", rows)
    file.write_text(file.read_text() + f"{lines[-1]},more\n")
    with pytest.raises(ConfigError, match="a cell behind the last column"):
        table(file, NOTHING)


def test_what_is_learned_from_the_data_comes_from_the_training_rows_alone(tmp_path):
    found = frame()
    found.write_csv(tmp_path / "table.csv")
    before = table(tmp_path / "table.csv", NOTHING)
    parts = split_table(before, SETTINGS)
    train = np.isin(np.arange(ROWS), parts["train"])
    far = pl.lit(1e6)
    found.with_columns(
        x=pl.when(pl.Series(train)).then("x").otherwise(far),
        colour=pl.when(pl.Series(train)).then("colour").otherwise(pl.lit("new")),
    ).write_csv(tmp_path / "other.csv")
    after = table(tmp_path / "other.csv", NOTHING)
    fitted = [prepare_table(t, SETTINGS, parts, None).preprocessing for t in (before, after)]
    assert fitted[0] == fitted[1]
    assert before.fingerprint("test", parts["test"]) != after.fingerprint("test", parts["test"])


def points(run):
    """What was measured, without the speed of the machine."""
    lines = Path(run, "metrics.jsonl").read_text().splitlines()
    return [
        {k: v for k, v in json.loads(line).items() if k != "samples_per_second"} for line in lines
    ]


@pytest.mark.parametrize("rows", [300, ROWS])
def test_a_run_from_the_cache_has_the_losses_of_one_in_memory(tmp_path, monkeypatch, capsys, rows):
    """Bit for bit: of few rows from the beginning, of more when the one resumes what the other has begun."""
    monkeypatch.chdir(tmp_path)
    frame(rows).write_csv("table.csv")
    usual = (
        "train", "dataset=table", "dataset.path=table.csv", "dataset.target=label", "model=logistic",
        "trainer.batch_size=16", "trainer.max_epochs=2", "trainer.log_every_steps=3", "trainer.accelerator=cpu",
        "checkpoint.every_steps=5",
    )  # fmt: skip
    stored, whole = "dataset.memory_limit=1e-6", "dataset.memory_limit=10"
    assert main([*usual, stored, "hydra.run.dir=stored"]) == 0
    if rows == 300:
        assert main([*usual, whole, "hydra.run.dir=whole"]) == 0
        assert points("stored") == points("whole")
    assert main([*usual, stored, "trainer.max_steps=7", "hydra.run.dir=begun"]) == 0
    assert main(["resume", "begun", "trainer.max_steps=null", whole]) == 0
    assert points("begun")[-1] == points("stored")[-1]
    assert main(["eval", "stored"]) == 0
    assert main(["cache"]) == 0
    assert str(tmp_path / "table.csv") in capsys.readouterr().out


def test_a_file_that_changes_before_a_resume_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    frame().write_csv("table.csv")
    usual = ("dataset=table", "dataset.path=table.csv", "dataset.target=label", "model=logistic")
    run = ("trainer.max_steps=3", "dataset.memory_limit=1e-6", "hydra.run.dir=run")
    assert main(["train", *usual, *run, "trainer.accelerator=cpu"]) == 0
    frame(ROWS + 1).write_csv("table.csv")
    assert main(["resume", "run", "trainer.max_steps=5"]) == 2
    assert "which has 3,001 rows, but had 3,000 when this run began" in capsys.readouterr().err
    assert [one.is_current for one in entries()] == [True, False]
