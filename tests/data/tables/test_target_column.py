"""What a table's target is: quantities or classes, which labels are one class, which rows have none."""

from pathlib import Path

import pytest
import yaml

from dlrun.config.search_path import packaged_configs
from dlrun.data.tables import sources
from dlrun.errors import ConfigError

CSV = yaml.safe_load((packaged_configs() / "dataset" / "csv.yaml").read_text(encoding="utf-8"))
SHARED = ("_target_", "val_fraction", "test_fraction", "split_seed", "normalize", "augment")
ROWS = 60


@pytest.fixture
def read(tmp_path: Path, capsys):
    """(target of each row, keys) -> a table with it, and what was said."""

    def make(target, *, test=None, **keys):
        for name, column in (("t.csv", target), ("test.csv", test)):
            if column is not None:
                lines = [f"{row % 7}.5;{column(row)}\n" for row in range(ROWS)]
                (tmp_path / name).write_text(f"a;y\n{''.join(lines)}", encoding="utf-8")
        if test is not None:
            keys["test_path"] = str(tmp_path / "test.csv")
        own = {key: value for key, value in CSV.items() if key not in SHARED}
        path = str(tmp_path / "t.csv")
        made = sources.csv(**{**own, "path": path, "target": "y", "header": True, **keys})
        return made, capsys.readouterr().err.replace(f"dlrun: {tmp_path}/", "")

    return make


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (lambda row: "sold" if row == 7 else row % 19, "t.csv, row 9, column y: sold is not a number, but most of the"),
        (lambda row: "sold" if row == 7 else f"{row}.5", 'sold]\' if sold stands for a missing value, or set data'),
        (lambda row: "sold" if row == 7 else row % 2, "row 9, column y: sold is not a number"),
        (lambda row: "sold" if row == 7 else f"{row}%", "row 9, column y: sold is not a number"),
        (lambda row: "undisclosed" if row % 5 < 3 else row, "undisclosed is not a number, but 24 different numbers"),
        (lambda row: "-inf" if row == 7 else row, "row 9, column y: -inf is not a finite number; mend it, or set"),
        (lambda row: "1e999" if row == 7 else row, "row 9, column y: 1e999 is not a finite number"),
        (lambda row: f"{row + 1},234", "1,234 is not a number; set dataset.thousands=comma"),
        (lambda row: f"${row + 1},234.50", "1,234.50 is not a number; set dataset.thousands=comma"),
        (lambda row: f"2024-01-{row % 28 + 1:02d}", "dataset.target is y, which holds dates, as in 2024-01-01"),
        (lambda row: f"1.{row + 200}" if row % 2 else row + 100, "1.201 may be 1201 as well"),
    ],
)  # fmt: skip
def test_a_target_of_numbers_is_checked_as_inputs_are(read, target, said):
    # Decimal points, so that a comma in the target is none.
    with pytest.raises(ConfigError) as caught:
        read(target)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_an_infinite_target_of_a_regression_is_named(read):
    with pytest.raises(
        ConfigError, match="row 9, column y: inf is not a finite number; mend it, or set"
    ):
        read(lambda row: "inf" if row == 7 else row, task="regression")


@pytest.mark.parametrize(
    ("target", "classes", "said"),
    [
        (lambda row: ["0", "0.0", "1", "1.0"][row % 4], ("0", "1"), "0 and 0.0, 1 and 1.0 are one class each"),
        (lambda row: ["Yes", "yes", "no", "no", "no", "NO", "Yes"][row % 7], ("Yes", "no"), "Yes and yes, no and NO"),
        (lambda row: ["True", "False"][row % 2], ("False", "True"), ""),
        (lambda row: ["1 star", "2 stars", "3 stars"][row % 3], ("1 star", "2 stars", "3 stars"), ""),
    ],
)  # fmt: skip
def test_spellings_of_one_label_are_one_class_with_a_line(read, target, classes, said):
    made, err = read(target)
    assert made.class_names == classes
    assert f"{said}" in err if said else not err
    assert not said or "dataset.merge_labels=false keeps them apart" in err


def test_spellings_can_be_kept_apart(read):
    made, err = read(lambda row: ["Yes", "yes", "no"][row % 3], merge_labels=False)
    assert made.class_names == ("Yes", "no", "yes") and not err


def test_a_test_file_may_spell_labels_otherwise(read):
    made, _ = read(lambda row: ["0", "1"][row % 2], test=lambda row: ["0.0", "1.0"][row % 2])
    assert made.test_targets.tolist() == [0, 1] * 30


def test_rows_of_a_test_file_without_a_target_follow_the_same_rule(read):
    parts = {"target": lambda row: row % 2, "test": lambda row: ["0", "1", ""][row % 3]}
    with pytest.raises(ConfigError) as caught:
        read(**parts)
    assert "test.csv: 20 of 60 rows have no y: rows 4, 7, 10 and 17 more; set" in str(caught.value)
    made, err = read(**parts, drop_missing_target=True)
    assert made.test_targets.tolist() == [0, 1] * 20
    assert "test.csv: 20 of 60 rows have no y and are left out" in err


def test_rows_without_a_target_are_named_with_their_file_where_there_are_parts(tmp_path, read):
    (tmp_path / "parts").mkdir()
    for part in "ab":
        rows = "".join(f"{row}.5,{row if row % 2 else ''}\n" for row in range(4))
        (tmp_path / f"parts/{part}.csv").write_text(f"a,y\n{rows}")
    with pytest.raises(
        ConfigError,
        match=r"4 of 8 rows have no y: rows 2 of a\.csv, 4 of a\.csv, 2 of b\.csv and 1 more;",
    ):
        read(lambda row: row, path=f"{tmp_path}/parts/*.csv")


@pytest.mark.parametrize(
    "word", ["n/a", "N/A", "NULL", "null", "-", "--", ".", "#N/A", "<NA>", "none", "NaN", "?"]
)
def test_words_for_a_missing_value_are_no_classes(read, word):
    with pytest.raises(ConfigError) as caught:
        read(lambda row: ["pos", "neg", word][row % 3])
    assert f"rows 4, 7, 10 and 17 more, {word} in 20; set dataset.drop_missing_target=true" in str(
        caught.value
    )
    assert "if such a word is a class, give dataset.missing without it" in str(caught.value)
    made, err = read(lambda row: ["pos", "neg", word][row % 3], drop_missing_target=True)
    assert made.class_names == ("neg", "pos") and len(made.rows) == 40
    assert (
        f"t.csv: 20 of 60 rows have no y and are left out: {word} in 20; if such a word is a class"
        in err
    )


def test_a_class_called_none_is_kept_where_missing_does_not_name_it(read):
    made, err = read(lambda row: ["None", "Mild", "Severe"][row % 3], missing=[""])
    assert made.class_names == ("Mild", "None", "Severe") and not err


def test_a_single_class_that_is_left_names_the_words_left_out(read):
    with pytest.raises(
        ConfigError, match=r"\+ is the value of all rows.*left out: - in 30; if such"
    ):
        read(lambda row: "+-"[row % 2], drop_missing_target=True)


@pytest.mark.parametrize("spelling", ["{}", "{}.0"])
def test_a_few_whole_numbers_are_quantities_with_a_line(read, spelling):
    made, err = read(lambda row: spelling.format(row % 3))
    assert made.class_names == ()
    assert "has 3 whole numbers, read as quantities; dataset.task=classification makes them" in err
    made, err = read(lambda row: spelling.format([1, 2, 10][row % 3]), task="classification")
    assert [float(name) for name in made.class_names] == [1, 2, 10] and not err


def test_a_target_with_a_unit_is_read_as_the_numbers_alone(read):
    made, err = read(lambda row: f"{row}%", test=lambda row: f"{row + 1} %")
    assert made.targets[:3].tolist() == [0, 1, 2] and made.test_targets[:2].tolist() == [1, 2]
    assert "holds numbers with % after them, as in 0%, and is read as the numbers alone" in err
    with pytest.raises(ConfigError, match="has a class of its own"):
        read(lambda row: f"{row}%", task="classification")


def test_codes_with_leading_zeros_are_classes(read):
    made, err = read(lambda row: f"0{row % 3 + 1}")
    assert made.class_names == ("01", "02", "03") and "dataset.task=regression" in err


def test_a_far_code_among_targets_is_pointed_out(read):
    _, err = read(lambda row: -999 if row % 9 == 0 else row / 7)
    assert "has -999 in 7 rows, far from all other numbers" in err and '"-999"]' in err
