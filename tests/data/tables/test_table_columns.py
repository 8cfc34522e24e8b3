"""What the columns of a table are found to be, what is said of it, and what overrules it."""

import random
from pathlib import Path

import pytest
import yaml

from dlrun.config.search_path import packaged_configs
from dlrun.data.tables import sources
from dlrun.data.tables.column import Column
from dlrun.data.tables.column_kinds import is_named_identifier, kind_of_numbers
from dlrun.data.tables.number_format import Notation
from dlrun.errors import ConfigError

CSV = yaml.safe_load((packaged_configs() / "dataset" / "csv.yaml").read_text(encoding="utf-8"))
SHARED = ("_target_", "val_fraction", "test_fraction", "split_seed", "normalize", "augment")
ROWS = 60
DRAW = random.Random(0)
SHUFFLED = DRAW.sample(range(ROWS), ROWS)


@pytest.fixture
def read(tmp_path: Path, capsys):
    """(cell of each row, keys) -> the reading of a table with the column `c` of them, and what was said."""

    def make(cell, *, name="c", z=lambda row: f"{row % 7}.25", rows=ROWS, **keys):
        lines = [
            f"{name};z;y",
            *(f"{cell(row)};{z(row)};{'pq'[row % 2]}" for row in range(rows)),
        ]
        (tmp_path / "t.csv").write_text("\n".join(lines), encoding="utf-8")
        own = {key: value for key, value in CSV.items() if key not in SHARED}
        path = str(tmp_path / "t.csv")
        made = sources.csv(**{**own, "path": path, "target": "y", "header": True, **keys})
        return made, capsys.readouterr().err.replace(f"dlrun: {path}: ", "")

    return make


LEFT_OUT = [
    ("c", lambda row: 5, "has the same value in all rows, as 5, and is left out; dataset.numeric=[c]"),
    ("c", lambda row: "a", "has the same value in all rows, as a, and is left out"),
    ("day", lambda row: f"0{row % 9 + 1}/02/2024", "holds dates, as in 01/02/2024, whose form may be one of several"),
    ("day", lambda row: f"2024-01-{row % 28 + 1:02d}" if row else "2024-02-30", "holds dates or times, but 2024-02-30"),
    ("customer", lambda row: f"C{100000 + 37 * row}", "has 60 different words in 60 rows, too many to learn from"),
    ("mail", lambda row: f"user{row // 2 + row % 2 * 30}x{row}@example.com", "has 60 different words in 60 rows"),
    ("ticket", lambda row: f"A/5 {row}" if row % 2 else str(300000 + row), "has 60 different words"),
    ("said", lambda row: f"it was film number {row} of all", "holds texts, and is left out; dataset=text_csv"),
    ("", lambda row: row, "has a whole number of its own for each row"),
    ("Unnamed: 0", lambda row: 3 * row, "has a whole number of its own for each row"),
    ("PassengerId", lambda row: 7 * SHUFFLED[row] + 1000, "has a whole number of its own for each row"),
    ("foo", lambda row: row + 1, "has a whole number of its own for each row"),
    ("foo", lambda row: SHUFFLED[row], "has a whole number of its own for each row"),
    ("foo", lambda row: 5000 + row, "has a whole number of its own for each row"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "cell", "said"), LEFT_OUT)
def test_what_tells_rows_apart_is_left_out_with_a_line(read, name, cell, said):
    made, err = read(cell, name=name)
    assert (made.reading.numbers, made.reading.words) == (["z"], [])
    assert err.startswith(f"column {name or '1'} {said}") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("x", lambda row: row + 0.5),
        ("year", lambda row: 1950 + row),
        ("income", lambda row: 1000 * SHUFFLED[row] + 20000),
        ("citric_acid", lambda row: 7 * SHUFFLED[row] + 1000),
        ("age", lambda row: row % 30),
    ],
)
def test_measurements_are_read_without_a_word(read, name, cell):
    made, err = read(cell, name=name)
    assert made.reading.numbers == [name, "z"] and not err


def test_few_rows_may_count_from_one(read):
    made, err = read(lambda row: row + 1, name="x", rows=12)
    assert made.reading.numbers == ["x", "z"] and not err


def test_what_counts_the_rows_is_read_where_there_is_nothing_else(read):
    made, err = read(lambda row: row, drop=["z"])
    assert made.reading.numbers == ["c"] and not err


@pytest.mark.parametrize(
    ("cell", "keys", "numbers", "words"),
    [
        (lambda row: row, {"numeric": ["c"]}, ["c", "z"], []),
        (lambda row: f"2024-01-{row % 28 + 1:02d}", {"categorical": ["c"]}, ["z"], ["c"]),
        (lambda row: 5, {"numeric": ["c"]}, ["c", "z"], []),
        (lambda row: ["no", "Yes"][row % 2], {"categorical": ["c"]}, ["z"], ["c"]),
        (lambda row: f"C{row}", {"categorical": ["c"]}, ["z"], ["c"]),
        (lambda row: f"C{row}", {"drop": ["c"]}, ["z"], []),
        (lambda row: f"0{row % 9}", {"numeric": ["c"]}, ["c", "z"], []),
        (lambda row: f"{row} kg", {"categorical": ["c"]}, ["z"], ["c"]),
    ],
)
def test_what_is_said_of_a_column_overrules_what_is_found(read, cell, keys, numbers, words):
    made, err = read(cell, **keys)
    assert (made.reading.numbers, made.reading.words) == (numbers, words) and not err


@pytest.mark.parametrize(
    ("cell", "first", "said"),
    [
        (lambda row: f"{row + 40} kg", 40, "they are numbers with more around them, as in 40 kg, and read as the"),
        (lambda row: f"{row}%", 0, "numbers with more around them"),
        (lambda row: f"${row}.50", 0.5, "numbers with more around them"),
        (lambda row: f"({row + 1})" if row % 2 == 0 else row, -1, "numbers with more around them, as in (1)"),
        (lambda row: f"\u2212{row + 5}", -5, ""),
        (lambda row: f"\u00a0{row + 5}\u200b", 5, ""),
        (lambda row: "".join(chr(0xFF10 + int(digit)) for digit in str(row + 50)), 50, ""),
    ],
)  # fmt: skip
def test_numbers_are_read_however_they_are_written(read, cell, first, said):
    made, err = read(lambda row: cell(row % 30))
    assert made.rows.numbers[0][0] == first
    assert said in err if said else not err


def test_codes_with_leading_zeros_are_categories(read):
    made, err = read(lambda row: ["00501", "90210", "01201"][row % 3], name="zip")
    assert made.reading.words == ["zip"] and made.rows.words[0].as_list()[0] == "00501"
    assert (
        "column zip has leading zeros, as in 00501, and is read as categories; dataset.numeric=[zip]"
        in err
    )


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (lambda row: f"u{row % 25}", "column c has 25 different words in 60 rows: many to learn from"),
        (lambda row: ["Rome", "rome", "Oslo"][row % 3], "differ in capitals or blanks alone, as in Rome and rome"),
        (lambda row: [1, 2.5, -999][row % 3], "column c has -999 in 20 rows, far from all other numbers; if it stands"),
    ],
)  # fmt: skip
def test_what_is_odd_of_a_column_that_is_read_is_said(read, cell, said):
    made, err = read(cell)
    assert "c" in [*made.reading.numbers, *made.reading.words]
    assert said in err and err.count("\n") == 1


def test_repeated_numbers_named_as_identifiers_are_said_to_be_read_as_quantities(read):
    _, err = read(lambda row: row % 20, name="user_id")
    assert (
        "named as identifiers are, but read as quantities; dataset.categorical=[user_id] reads"
        in err
    )


def test_columns_of_a_kind_share_a_line(read):
    made, err = read(lambda row: f"a{row};b{row};c{row};d{row}", name="c1;c2;my c;c4")
    assert made.reading.words == [] and err.count("\n") == 1
    assert "columns c1, c2, my c and 1 more have 60 different words in 60 rows" in err
    assert "'dataset.categorical=[c1,c2,\"my c\",c4]' reads them all the same" in err


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (lambda row: "undisclosed" if row % 9 < 5 else row, "undisclosed is not a number, but 25 different numbers"),
        (lambda row: "inf" if row == 7 else row, "t.csv, row 9, column c: inf is not a finite number; mend it, or set"),
        (lambda row: "1e999" if row == 7 else row, "row 9, column c: 1e999 is not a finite number"),
        (lambda row: "0x1F" if row == 7 else row, "column c: 0x1F is not a number, but most of the column are; mend"),
        (lambda row: f"{row}M" if row % 3 else f"{row}K", "0K is not written as most of the column are, which have M"),
        (lambda row: f"{row} kg" if row % 9 else "?!", "?! is not a number, but most of the column are; set"),
        (lambda row: f"1.{row + 200}" if row % 2 else row + 100, "1.201 may be 1201 as well, for all decimals of"),
        (lambda row: f"${row + 1},200", "1,200 is not a number; set dataset.thousands=comma for 1200"),
    ],
)  # fmt: skip
def test_numbers_that_are_not_plain_are_refused_with_row_and_column(read, cell, said):
    with pytest.raises(ConfigError) as caught:
        read(cell)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_points_that_may_group_thousands_are_decided_by_a_key(read):
    def cell(row):
        return f"1.{row + 200}" if row % 2 else row + 100

    def whole(row):
        return row % 7

    with pytest.raises(ConfigError, match=r"take the points out of the column for 1201, or set"):
        read(cell)
    assert read(cell, decimal="point")[0].rows.numbers[0][1] == 1.201
    with pytest.raises(ConfigError, match=r"set dataset.thousands=point for 1201, or set dataset"):
        read(cell, z=whole)
    assert read(cell, z=whole, thousands="point")[0].rows.numbers[0][1] == 1201


def test_a_table_of_nothing_but_identifiers_is_refused(read):
    with pytest.raises(
        ConfigError,
        match=r"no column left to predict from: column c holds identifiers, which dataset.cat",
    ):
        read(lambda row: f"C{row}", drop=["z"])


def test_the_remedy_for_dates_of_several_forms_names_each_column_with_a_form(read):
    setting = r"'dataset.dates=\{c: \"%./%./%Y\", z: \"%./%./%Y\"\}'"

    def date(row):
        return f"0{row % 9 + 1}/0{row % 7 + 1}/2024"

    with pytest.raises(ConfigError, match=f"columns c, z hold dates or times, which {setting}"):
        read(date, z=date)


@pytest.mark.parametrize("name", ["id", "user_id", "PassengerId", "Order ID", "customerid", "uuid"])
def test_names_of_identifiers(name):
    assert is_named_identifier(name)
    assert not any(map(is_named_identifier, ["acid", "paid", "humid", "width", "idle", "age"]))


def test_a_cell_that_is_missing_or_comes_twice_is_none_of_a_count():
    def kind(*cells):
        column = Column.of(cells, missing={""})
        return kind_of_numbers("a", column, column.numbers(Notation()))

    numbers = [str(row) for row in range(60)]
    assert kind(*numbers) == "serial"
    assert kind(*numbers, "") == kind(*numbers, "7") == "number"


def test_what_is_to_be_typed_names_what_is_set_already(read):
    made, err = read(lambda row: f"{row % 7};;C{row}", name="a;e;c", drop=["z", "e"])
    assert made.reading.numbers == ["a"] and "dataset.drop=[z,e,c] turns this message off" in err
    with pytest.raises(ConfigError, match=r"every value is missing.*set dataset\.drop=\[z,e,f\]"):
        read(lambda row: f"{row};;", name="a;e;f", drop=["z"])


def test_decimals_of_two_kinds_are_said_to_be_so(read):
    with pytest.raises(
        ConfigError, match=r"827,4 is not written as the numbers of column q are"
    ) as caught:
        read(lambda row: f"827,{row % 9 + 4};0.{row + 1}5", name="p;q")
    assert "dataset.decimal" not in str(caught.value)
