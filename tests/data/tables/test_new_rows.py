"""New rows of a table for a trained model: by name, in order, with what training never saw."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dlrun.cli import main
from dlrun.data.base import Spec
from dlrun.data.kinds import read_inputs
from dlrun.data.tables.encoding import TableEncoding
from dlrun.data.tables.table import Reading, Rows
from dlrun.errors import ConfigError

SPEC = Spec("regression", "features", (3,), 1)
READING = Reading(
    columns=["size", "heat", "price", "age"],
    named=True,
    numbers=["size", "age"],
    words=["heat"],
    zero_is_missing=["age"],
    missing=["", "?"],
    delimiter="auto",
    encoding="utf-8",
)


def encoding(**changes):
    reading = {**vars(READING), **changes}
    return TableEncoding(reading, [5.0, 7.0], [1.0, 2.0], [2.0, 4.0], [["gas", None]], [], [])


@pytest.fixture
def read(tmp_path):
    """(content, changes of the reading) -> the rows of a file with that content."""

    def make(content, *, name="new.csv", **changes) -> Rows:
        (tmp_path / name).write_text(content)
        return read_inputs(tmp_path / name, SPEC, encoding(**changes))

    return make


@pytest.mark.parametrize(
    "content",
    [
        "age,heat,size\n4,gas,3\n0,?,\n",
        "more;age;price;heat;size\nx;4;9;gas;3\nx;?;9;;\n",
        "3,gas,9,4\n,,,\n?,,9,0\n",
        "3,gas,4\n?,?,0\n",
    ],
    ids=["by name", "by name among others", "all columns in order", "those read in order"],
)
def test_rows_are_read_by_name_or_in_the_order_of_the_data_set(read, content):
    rows = read(content)
    np.testing.assert_array_equal(np.stack(rows.numbers, 1), [[3, 4], [np.nan, np.nan]])
    assert [words.as_list() for words in rows.words] == [["gas", None]]


def test_a_table_without_names_is_read_in_order_whatever_its_cells_look_like(read):
    rows = read("3,1,4\n", columns=["1", "2", "3"], named=False, numbers=["1", "3"], words=["2"],
                zero_is_missing=[])  # fmt: skip
    assert (np.stack(rows.numbers, 1).tolist(), rows.words[0].as_list()) == ([[3, 4]], ["1"])


def test_rows_go_through_what_was_fitted_in_training(read):
    rows = read("size,heat,age\n3,gas,0\n?,coal,10\n,,?\n")
    wanted = [[1, 1.25, 1], [2, 2, 0], [2, 1.25, 2]]
    torch.testing.assert_close(encoding().inputs(rows), torch.tensor(wanted))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("size,heat,age\n3,gas,4\nbig,gas,4\n", "new.csv, row 3, column size: big is not a number"),
        ("3,gas,x\n", "new.csv, row 1, column age: x is not a number"),
        ("size,heat\n3,gas\n", "new.csv has no column age, only size, heat"),
        ("3,gas\n", "new.csv, row 1: its columns are 2, but this run reads 3: size, heat, age"),
        ("size,heat,age\n", "new.csv, row 1: a header and no rows"),
        ("3,gas,4\n3,gas\n", "new.csv, row 2: its columns are 2"),
        ("", "new.csv is empty"),
    ],
)
def test_rows_that_do_not_fit_are_refused_with_row_and_column(read, content, words):
    with pytest.raises(ConfigError) as caught:
        read(content)
    assert words in str(caught.value)


NUMBERED = {"columns": ["0", "1", "2"], "numbers": ["0", "1"], "words": [], "zero_is_missing": []}


def test_columns_called_by_numbers_are_found_by_name_and_values_are_no_names(read):
    assert read("1,2,0\n5,6,7\n", **NUMBERED).numbers == [7, 5]
    assert read("0,7\n0.5,1\n", **NUMBERED).numbers[1].tolist() == [7, 1]


@pytest.mark.parametrize(
    ("named", "words"),
    [
        (True, "new.csv, row 1 (a, b, c) looks like a header, but names none of the columns that this run reads"),
        (False, "new.csv, row 1 (a, b, c) looks like a header, but the file that this run was trained on has none"),
    ],
)  # fmt: skip
def test_a_header_of_other_names_is_no_row(read, named, words):
    with pytest.raises(ConfigError) as caught:
        read("a,b,c\n3,gas,4\n5,oil,6\n", named=named)
    assert words in str(caught.value)


def test_lines_left_out_in_training_are_no_rows_lost(read):
    titled = "Report\nof 2024, May\nsize,heat,age\n3,gas,4\n"
    assert len(read(titled, skip_lines=2)) == 1
    with pytest.raises(ConfigError, match="2 lines above it are left out, as in training"):
        read("size,heat,age\n3,gas,4\n5,gas,6\n", skip_lines=2)


def test_numbers_are_read_in_the_notation_of_the_data_set(read):
    rows = read("size;heat;age\n3,5;gas;1.400\n2;gas;4,25\n", decimal="comma", thousands="point")
    assert np.stack(rows.numbers, 1).tolist() == [[3.5, 1400], [2, 4.25]]


@pytest.mark.parametrize(
    ("content", "mend"),
    [
        (b"size,heat,age\n3,gas,4\n3,gas\n", "the header are 3; mend the row"),
        (b"size,heat,age\n3,g\xe4s,4\n", "0xe4 is not utf-8; save it as utf-8, as the files that"),
        (b"\xff\xfes\x00", "is read as utf-8; save it as utf-8"),
        (b'size,heat,age\n3,gas,"1,5"\n', "1,5 is not a number; write it with a decimal point"),
    ],
)  # fmt: skip
def test_what_a_run_has_settled_is_not_offered_to_be_set(tmp_path, content, mend):
    (tmp_path / "new.csv").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_inputs(tmp_path / "new.csv", SPEC, encoding())
    assert mend in str(caught.value)
    assert "dataset." not in str(caught.value)


def test_a_file_of_another_kind_is_refused(read):
    with pytest.raises(ConfigError, match="this run was trained on a table; give rows"):
        read("3", name="new.npy")


def test_a_trained_table_predicts_rows_with_categories_that_it_never_saw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["experiment=tips", "trainer.max_epochs=20", "tracking.tensorboard=false"]
    assert main(["train", *words]) == 0
    header = "day,time,size,total_bill,sex,smoker"
    (tmp_path / "new.csv").write_text(f"{header}\nSun,Dinner,2,10,Male,No\nMonday,,2,50,Male,No\n")
    assert main(["predict", "last", "new.csv", "--output", "out.json"]) == 0
    small, large = (row["prediction"][0] for row in json.loads(Path("out.json").read_text()))
    assert 0 < small < large < 15
    assert main(["predict", "last", "new.csv"]) == 0
    assert capsys.readouterr().out.splitlines()[-2].startswith("new.csv[0]")


def test_a_table_with_a_header_of_numbers_is_trained_on_and_predicted_by_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [(n / 7, n % 5 / 3, 100 + n) for n in range(60)]
    body = "".join(f"{a:.3f},{b:.3f},{c:.1f}\n" for a, b, c in rows)
    Path("t.csv").write_text(f"# by a tool\n0,1,2\n{body}")
    Path("new.csv").write_text("1,0\n0.5,4.5\n")
    words = ["dataset=csv", "dataset.path=t.csv", "dataset.target=2", "trainer.max_epochs=1"]
    assert main(["train", *words, "trainer.num_threads=1", "tracking.tensorboard=false"]) == 0
    said = capsys.readouterr()
    assert "dataset.target=2 is the column called 2, which is number 3" in said.err
    assert "line 1 (# by a tool) left out as comments" in said.err
    assert main(["predict", "last", "new.csv"]) == 0
    assert capsys.readouterr().out.count("new.csv") == 1  # the header is no row


def test_numbers_with_a_unit_are_read_as_in_training_or_without_it(read):
    rows = read("size,heat,age\n3 kg,gas,4\n5,gas,4\n", dressings={"size": ["", "kg"]})
    assert rows.numbers[0].tolist() == [3, 5]
    with pytest.raises(ConfigError, match="column size: 3 lb is not a number"):
        read("size,heat,age\n3 lb,gas,4\n", dressings={"size": ["", "kg"]})


def test_columns_that_training_left_out_may_be_missing_from_new_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        f"{row},C{row},{row % 9} kg,{['01', '02'][row % 2]},{'pq'[row % 2]}" for row in range(60)
    ]
    Path("t.csv").write_text("\n".join(["id,customer,weight,zip,kind", *rows]))
    Path("new.csv").write_text("zip,weight\n01,5 kg\n00,5\n")
    words = [
        "dataset=csv",
        "dataset.path=t.csv",
        "dataset.target=kind",
        "model=linear",
        "trainer.max_epochs=1",
    ]
    assert main(["train", *words, "tracking.tensorboard=false"]) == 0
    err = capsys.readouterr().err
    assert "column id has a whole number" in err and "column customer has 60" in err
    assert main(["predict", "last", "new.csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
