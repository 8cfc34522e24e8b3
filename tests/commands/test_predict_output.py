"""`dlrun predict --output`: blocks are written as they come, and the file is there when all of them are."""

import csv
import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from dlrun.commands._predictions_file import form_of, write
from dlrun.errors import ConfigError
from dlrun.inference.predictions import Cells, Predictions

NAMES = ("no", "=yes")
EVERY_FORM = [
    "o.csv", "o.csv.gz", "o.csv.zst", "o.tsv", "o.tsv.gz", "o.jsonl", "o.ndjson", "o.jsonl.gz", "o.parquet",
    "o.feather", "o.arrow", "o.ipc", "o.xlsx",
]  # fmt: skip


def block(first: int, count: int) -> Predictions:
    """Predictions for rows from `first`; the third input of all is an empty text."""
    rows = range(first, first + count)
    chances = np.array([[0.25, 0.75]] * count) + 1e-9 * np.array(rows)[:, None]
    classes = np.array([-1 if row == 2 else 1 for row in rows])
    identity = {"input": Cells(str, ["é\n.txt"] * count), "row": Cells(int, rows)}
    return Predictions(identity, classes, NAMES, chances)


def blocks() -> list[Predictions]:
    return [block(0, 3), block(3, 2)]


def expected() -> list[tuple]:
    """The rows of the table that `blocks` makes."""
    return [
        row
        for one in blocks()
        for row in zip(*(list(column.cells) for column in one.columns().values()), strict=True)
    ]


def read(path: Path) -> pl.DataFrame:
    if path.suffix == ".parquet":
        return pl.read_parquet(path)
    if ".json" in path.name or ".ndjson" in path.name:
        return pl.read_ndjson(path)
    if path.suffix == ".xlsx":
        return pl.read_excel(path)
    if ".csv" in path.name or ".tsv" in path.name:
        return pl.read_csv(path, separator="\t" if ".tsv" in path.name else ",")
    return pl.read_ipc(path)


@pytest.mark.parametrize("name", EVERY_FORM)
def test_each_form_holds_the_same_table(tmp_path, name):
    assert write(blocks(), tmp_path / name, raw=True) == 5
    found = read(tmp_path / name)
    assert found.columns == ["input", "row", "prediction", "p(no)", "p(=yes)"]
    assert found.rows() == expected()


def test_a_csv_holds_no_formula_unless_asked_to(tmp_path):
    for name in ("o.csv", "o.csv.zst", "o.tsv.gz"):
        write(blocks(), tmp_path / name, raw=False)
        assert read(tmp_path / name)["prediction"].drop_nulls().unique().to_list() == ["'=yes"]


def test_a_packed_csv_is_one_and_rows_end_as_in_one_that_is_not(tmp_path):
    write(blocks(), tmp_path / "o.csv", raw=False)
    write(blocks(), tmp_path / "o.csv.gz", raw=False)
    plain = (tmp_path / "o.csv").read_bytes()
    assert gzip.decompress((tmp_path / "o.csv.gz").read_bytes()) == plain
    assert plain.splitlines()[0] == b"input,row,prediction,p(no),p(=yes)"


@pytest.mark.parametrize("count", [1, 3])
def test_json_is_as_of_one_list(tmp_path, count):
    write([block(0, count)], tmp_path / "o.json", raw=False)
    records = list(block(0, count).records())
    assert (tmp_path / "o.json").read_text() == json.dumps(records, indent=1) + "\n"
    assert records[-1]["probabilities"] == (
        {"no": None, "=yes": None} if count == 3 else {"no": 0.25, "=yes": 0.75}
    )


def test_numbers_have_a_column_a_target(tmp_path):
    identity = {"id": Cells(object, ["a", None])}
    write(
        [Predictions(identity, np.array([[1.5, 2.0], [0.1, 1e-9]]))], tmp_path / "o.csv", raw=False
    )
    with open(tmp_path / "o.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["id", "prediction_0", "prediction_1"],
        ["a", "1.5", "2.0"],
        ["", "0.1", "1e-09"],
    ]


def test_a_kept_column_that_is_called_like_one_of_predictions_is_refused():
    one = Predictions({"prediction": Cells(object, ["x"])}, np.array([[1.0]]))
    with pytest.raises(ConfigError, match="--keep names prediction, which is also a column"):
        one.columns()


@pytest.mark.parametrize("name", ["o.csv", "o.json", "o.parquet", "o.csv.zst", "o.xlsx"])
def test_a_failure_half_way_leaves_the_file_of_before_and_nothing_beside_it(tmp_path, name):
    def failing():
        yield block(0, 3)
        raise KeyError("half way")

    output: Path = tmp_path / name
    output.write_text("before")
    with pytest.raises(KeyError):
        write(failing(), output, raw=False)
    assert output.read_text() == "before" and list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize("name", ["o.csv", "o.parquet"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_the_file_of_before_and_nothing_beside_it(tmp_path, name, number):
    def ended():
        yield block(0, 3)
        os.kill(os.getpid(), number)
        yield block(3, 2)

    (tmp_path / name).write_text("before")
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        write(ended(), tmp_path / name, raw=False)
    assert (tmp_path / name).read_text() == "before"
    assert list(tmp_path.iterdir()) == [tmp_path / name]


def test_what_a_killed_process_left_is_removed_by_the_next_but_not_what_another_one_writes(
    tmp_path,
):
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True
    )
    left = tmp_path / f".o.csv.{int(gone.stdout)}"
    written = tmp_path / f".o.csv.{os.getppid()}"
    for file in (left, written):
        file.write_text("half")
    write(blocks(), tmp_path / "o.csv", raw=False)
    assert not left.exists() and written.exists()


def test_more_rows_than_a_sheet_has_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("dlrun.commands._predictions_file._EXCEL_ROWS", 4)
    with pytest.raises(ConfigError, match=r"sheets have 4 rows at most.*choose another form"):
        write(blocks(), tmp_path / "o.xlsx", raw=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.xml", "a", "a.gz", "a.json.gz", "a.parquet.zst", "a.csv.bz2"])
def test_other_forms_are_refused(name):
    with pytest.raises(ConfigError, match=r"must end in .csv, .tsv \(also .gz, .zst\), .json"):
        form_of(Path(name))
