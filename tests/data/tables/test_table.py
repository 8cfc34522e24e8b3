"""Tables: what is read from which column, what is fitted on which rows, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from dlrun.config.settings import DataSettings
from dlrun.data.prepare import prepare, preprocessing_from
from dlrun.data.splits import take_fold
from dlrun.data.tables import sources
from dlrun.errors import ConfigError

CSV = yaml.safe_load(
    (Path(__file__).parents[3] / "configs" / "dataset" / "csv.yaml").read_text(encoding="utf-8")
)
SHARED = ("_target_", "val_fraction", "test_fraction", "split_seed", "normalize", "augment")
HOUSES = "rooms,heat,price\n" + "".join(
    f"{n},{'gas' if n % 3 else 'oil'},{n}.5\n" for n in range(30)
)


@pytest.fixture
def table(tmp_path):
    """(content, keys of csv.yaml) -> the table; the target is `price` unless given."""

    def make(content, *, test=None, **keys):
        (tmp_path / "t.csv").write_text(content)
        if test is not None:
            (tmp_path / "test.csv").write_text(test)
            keys["test_path"] = str(tmp_path / "test.csv")
        own = {name: value for name, value in CSV.items() if name not in SHARED}
        return sources.csv(**{**own, "path": str(tmp_path / "t.csv"), "target": "price", **keys})

    return make


def settings(**keys):
    given = {"val_fraction": 0.2, "test_fraction": 0.2, "split_seed": 0, "normalize": "standard"}
    return DataSettings(**{**given, "augment": None, **keys})


def refusal(make, *words, **keys):
    with pytest.raises(ConfigError) as caught:
        make(*words, **keys)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# What is read


def test_a_class_of_its_own_for_each_row_is_refused_with_what_else_the_target_may_be(table):
    numbers = table_of(range(10))
    said = "t.csv, column price: each of the 10 rows has a class of its own, so none can be learned; set "
    assert said + "dataset.task=regression" in refusal(table, numbers, task="classification")
    words = table_of(f"name{row}" for row in range(10))
    assert said + "dataset.target to another column" in refusal(table, words)


def test_classes_too_small_to_split_may_be_numbers(table):
    made = table(table_of(row // 2 for row in range(10)), task="classification")
    message = refusal(prepare, made, settings())
    assert message.endswith(
        "none of the 5 has a row for each part, the largest 2: give more rows a class, "
        "or set dataset.task=regression where they are numbers"
    )


def test_a_class_that_a_part_has_none_of_is_named_once(table, capsys):
    made = table(table_of(["yes"] + ["no"] * 29))
    prepare(made, settings())
    assert capsys.readouterr().err == (
        "dlrun: a class has too few rows for every part: yes has none to validate on or test on, "
        "and of one class alone roc_auc is nan\n"
    )
    prepare(table(table_of(["yes", "no"] * 15)), settings())
    assert capsys.readouterr().err == ""


def table_of(prices):
    return "a,price\n" + "".join(f"{row},{price}\n" for row, price in enumerate(prices))


def test_decimal_commas_are_numbers(table):
    made = table("size;heat;price\n1,5;gas;10,25\n2;oil;11,5\n2,5;gas;12\n")
    assert made.rows.numbers[0].tolist() == [1.5, 2, 2.5]
    assert made.targets.tolist() == [10.25, 11.5, 12]
    assert (made.reading.decimal, made.reading.thousands) == ("comma", "none")
    assert table("1,5;10,5\n2;11\n3;12\n", target=2).targets.tolist() == [10.5, 11, 12]


def test_a_test_file_is_read_in_the_notation_of_the_training_file(table):
    made = table("size;price\n1,5;10\n2;11\n3;12\n", test="size;price\n1,500;7\n")
    assert np.array(made.test.numbers).tolist() == [[1.5]]


def test_numbers_of_another_notation_are_not_taken_for_words(table):
    rows = 'size,heat,price\n"12,345",gas,1\n"9,900",oil,2\n800,gas,3\n'
    said = (
        "t.csv, row 2, column size: 12,345 is not a number; set dataset.thousands=comma for 12345, or "
        "dataset.decimal=comma for 12.345, or set dataset.categorical=[size] or dataset.drop=[size]"
    )
    assert said in refusal(table, rows)
    assert table(rows, thousands="comma").rows.numbers[0].tolist() == [12345, 9900, 800]
    assert table(rows, categorical=["size"]).reading.numbers == []
    assert "or set dataset.task=classification" in refusal(table, rows, target="size")


def test_numbers_with_more_around_them_are_told_from_names(table, capsys):
    table("pay,price\n" + "".join(f"${n}.50,{n}\n" for n in range(30)))
    assert "they are numbers with more around them, as in $0.50" in capsys.readouterr().err


def test_numbers_and_words_are_told_apart():
    made = sources.csv(**{k: v for k, v in CSV.items() if k not in SHARED})
    assert made.reading.numbers == ["total_bill", "smoker", "size"]
    assert (made.reading.yes_no, made.reading.words) == (["smoker"], ["sex", "day", "time"])
    assert (len(made.rows), made.class_names) == (244, ())
    assert [column[0] for column in made.rows.numbers] == [16.99, 0, 2]
    assert [words.as_list()[0] for words in made.rows.words] == ["Female", "Sun", "Dinner"]
    assert made.targets[0] == 1.01


def test_what_columns_are_can_be_said(table):
    made = table("zip,age,x,price\n1,2,3,4\n5,6,7,8\n9,1,2,3\n", categorical=["zip"], drop=[-2])
    assert (made.reading.words, made.reading.numbers) == (["zip"], ["age"])
    message = refusal(table, "a,price\nx,1\ny,2\nz,3\n", numeric=["a"])
    assert "t.csv, row 2, column a: x is not a number" in message


def test_missing_numbers_are_nan_missing_words_none_and_named_zeros_missing(table):
    made = table("a,b,w,price\n0,0,u,1\n?,3,,2\n4,,v,3\n", zero_is_missing=["a"])
    np.testing.assert_array_equal(made.rows.numbers, [[np.nan, np.nan, 4], [0, 3, np.nan]])
    assert made.rows.words[0].as_list() == ["u", None, "v"]


def test_rows_without_a_target_are_refused_with_their_numbers_or_left_out_and_counted(
    table, capsys
):
    text = "a,price\n1,1\n2,?\n3,3\n4,4\n"
    message = refusal(table, text)
    assert (
        "t.csv: 1 of 4 rows have no price: row 3, ? in 1; set dataset.drop_missing_target=true"
        in message
    )
    made = table(text, drop_missing_target=True)
    assert made.rows.numbers[0].tolist() == [1, 3, 4]
    assert "1 of 4 rows have no price and are left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("targets", "task", "class_names"),
    [
        (["no", "yes", "no"], "auto", ("no", "yes")),
        (["0", "1", "0"], "auto", ("0", "1")),
        (["10", "9", "8"], "auto", ()),
        (["10", "9", "8", "8"], "classification", ("8", "9", "10")),
        (["0", "1", "0"], "regression", ()),
        (["a.", "b", "a"], "auto", ("a", "b")),
    ],
)
def test_what_is_predicted_goes_by_the_target_unless_it_is_said(table, targets, task, class_names):
    content = "a,price\n" + "".join(f"{row},{value}\n" for row, value in enumerate(targets))
    made = table(content, task=task, strip_label=".")
    assert made.class_names == class_names
    wanted = (
        [class_names.index(value.removesuffix(".")) for value in targets]
        if class_names
        else [float(value) for value in targets]
    )
    assert made.targets.tolist() == wanted


def test_a_test_file_is_read_by_the_names_of_its_columns(table):
    made = table(
        "a,w,price\n1,x,no\n2,y,yes\n", test="price,w,more,a\nyes.,z,0,7\n", strip_label="."
    )
    assert np.array(made.test.numbers).tolist() == [[7]]
    assert [words.as_list() for words in made.test.words] == [["z"]]
    assert made.test_targets.tolist() == [1]


def test_a_column_of_names_is_pointed_out(table, capsys):
    people = "name,heat,price\n" + "".join(f"n{row},{'ab'[row % 2]},{row}\n" for row in range(30))
    table(people)
    assert "column name has 30 different words in 30 rows" in capsys.readouterr().err
    table(people, categorical=["name"])
    assert not capsys.readouterr().err


# What is refused


@pytest.mark.parametrize(
    ("content", "keys", "words"),
    [
        ("a,price\n1,2\n1,3\n", {"target": "prize"}, "dataset.target is prize, which is no column of"),
        ("1,2\n1,3\n", {"target": 3}, "dataset.target is 3, which is no column of"),
        ("a,price\n1,\n2,?\n", {}, "row 2, column price: the value to predict is missing, in this row"),
        ("a,price\n1,x\n2,x\n", {}, "row 2, column price: x is the value of all rows"),
        ("a,b,price\n1,,x\n2,,y\n", {}, "column b: every value is missing, in this row and all others"),
        ("a,price\n1,2\n2,3\nx,5\n3,4\n", {}, "row 4, column a: x is not a number, but most of the"),
        ("a,price\n1,2\n2,3\n", {"task": "regression", "drop": ["a"]}, "has no column left"),
        ("a,price\n1,2\n2,3\n", {"drop": ["price"]}, "dataset.drop names price, which dataset.target"),
        ("a,price\n1,x\n2,3\n", {"task": "regression"}, "row 2, column price: x is not a number"),
        ("a,price\n1,2\n2,3\n", {"path": "gone.csv"}, "dataset.path is gone.csv, which does not exist"),
        ("a,price\n1,2\n2,3\n", {"path": "plotly:tip.csv.gz"}, "did you mean tips.csv.gz?"),
    ],
)  # fmt: skip
def test_a_bad_table_is_one_line_that_says_where_and_what(table, content, keys, words):
    assert words in refusal(table, content, **keys)


@pytest.mark.parametrize(
    ("content", "test", "words"),
    [
        (
            "a,price\n1,x\n2,y\n",
            "a,price\n1,x\n1,z\n",
            "test.csv, row 3, column price: z is no class of",
        ),
        ("a,price\n1,x\n2,y\n", "b,price\n1,x\n", "test.csv has no column a, only b, price"),
        ("a,price\n1,x\n2,y\n", "a,price\nq,x\n", "test.csv, row 2, column a: q is not a number"),
        ("1,x\n2,y\n", "1,2,x\n", "test.csv has 3 columns, but"),
    ],
)
def test_a_test_file_that_does_not_fit_is_refused(table, content, test, words):
    target = "price" if "price" in content else -1
    assert words in refusal(table, content, test=test, target=target)


def test_a_test_part_is_not_asked_for_twice(table):
    assert "test_fraction=null" in refusal(prepare, table(HOUSES), settings(folds=3))


# What is fitted


def rows_of(data, part):
    """The rooms of a part, from its standardised inputs."""
    scaled = getattr(data, part).inputs[:, 0].double()
    return scaled * data.preprocessing.std[0] + data.preprocessing.mean[0]


def test_scaling_filling_and_categories_come_from_the_training_rows_alone(table):
    before = prepare(table(HOUSES), settings())
    held_out = {round(v) for part in ("val", "test") for v in rows_of(before, part).tolist()}
    lines = HOUSES.splitlines()
    for room in held_out:
        lines[room + 1] = f"{1000 * room + 1},coal {room},{10**6}"
    after = prepare(table("\n".join(lines)), settings())
    assert after.preprocessing == before.preprocessing
    torch.testing.assert_close(after.train.inputs, before.train.inputs)
    assert after.preprocessing.levels == [["gas", "oil"]]
    for part in ("val", "test"):
        assert getattr(after, part).inputs[:, 1].tolist() == [0.0] * len(getattr(after, part))
    train = rows_of(before, "train")
    assert before.preprocessing.mean[0] == pytest.approx(train.mean().item())
    assert before.preprocessing.target_mean[0] == pytest.approx(train.mean().item() + 0.5)


@pytest.mark.parametrize("rule", ["mean", "median", "zero"])
def test_missing_numbers_are_filled_from_the_training_rows(table, rule):
    values = [1.0, 2.0, 3.0, 50.0] * 10
    holes = ["?" if row % 5 == 0 else str(value) for row, value in enumerate(values)]
    content = "a,price\n" + "".join(f"{hole},{row}\n" for row, hole in enumerate(holes))
    data = prepare(table(content, fill=rule), settings(normalize="none"))
    rows = data.train.targets[:, 0] * data.preprocessing.target_std[0]
    rows = (rows + data.preprocessing.target_mean[0]).round().int().tolist()
    known = [values[row] for row in rows if row % 5]
    wanted = {"mean": np.mean(known), "median": np.median(known), "zero": 0.0}[rule]
    for row, value in zip(rows, data.train.inputs[:, 0].tolist(), strict=True):
        assert value == pytest.approx(wanted if row % 5 == 0 else values[row])


def test_a_missing_word_is_a_category_of_its_own_and_one_never_seen_is_code_0(table):
    content = "w,price\n" + "".join(f"{'xy?'[row % 3]},{row}\n" for row in range(30))
    data = prepare(table(content, test="w,price\nz,1\n?,2\nx,3\n"), settings(test_fraction=None))
    assert data.preprocessing.levels == [["x", "y", None]]
    assert data.test.inputs[:, 0].tolist() == [0, 3, 1]
    assert (data.spec.categories, data.spec.feature_names) == ((4,), ("w",))


def test_numbers_stand_before_categories_in_the_inputs(table):
    data = prepare(table("w,a,price\n" + "u,1,2\nv,2,3\n" * 9), settings())
    assert data.spec.feature_names == ("a", "w")
    assert data.train.inputs[:, 1].unique().tolist() == [1, 2]
    assert data.spec.input_shape == (2,)


def test_the_encoding_comes_back_from_plain_values(table):
    made = table(HOUSES)
    encoding = prepare(made, settings()).preprocessing
    again = preprocessing_from(yaml.safe_load(yaml.safe_dump(encoding.to_dict())))
    assert again == encoding
    torch.testing.assert_close(again.inputs(made.rows), encoding.inputs(made.rows))


# Cross-validation


def test_folds_are_disjoint_cover_all_and_keep_the_shares_of_classes():
    strata = np.array([0] * 50 + [1] * 27)
    folds = [take_fold(77, strata, folds=10, fold=fold, seed=3) for fold in range(10)]
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(77))
    for rest, test in folds:
        assert sorted([*rest, *test]) == list(range(77))
        assert len(test) in (7, 8)
        assert (strata[test] == 1).sum() in (2, 3)


def test_a_fold_is_the_test_part_and_the_seed_changes_all(table):
    def tested(fold, seed):
        data = prepare(
            table(HOUSES),
            settings(test_fraction=None, split_seed=seed, folds=5, fold=fold),
        )
        assert len(data.train) + len(data.val) + len(data.test) == 30
        assert not {*rows_of(data, "train").tolist()} & {*rows_of(data, "test").tolist()}
        return sorted(round(value) for value in rows_of(data, "test").tolist())

    found = [tested(fold, 0) for fold in range(5)]
    assert sorted(row for rows in found for row in rows) == list(range(30))
    assert [tested(fold, 1) for fold in range(5)] != found


# Headers


GRID = "".join(f"0.{n},0.{n * 7 % 9},{100 + n}.5\n" for n in range(10, 40))


def test_a_header_of_numbers_is_no_row_and_its_last_column_no_value(table):
    made = table(f"0,1,2\n{GRID}", target=-1)
    assert (made.reading.columns, len(made.rows), made.targets.min()) == (
        ["0", "1", "2"],
        30,
        110.5,
    )


@pytest.mark.parametrize(
    ("above", "test", "words"),
    [
        ("a,b,price\n", GRID, "names none of the columns a, b, price; put their names in a first row"),
        ("a,b,price\n", f"x,y,z\n{GRID}", "test.csv, row 1 (x, y, z) names none of the columns a, b, price"),
        ("", f"a,b,price\n{GRID}", "test.csv, row 1 (a, b, price) looks like a header, but none was found in"),
    ],
)  # fmt: skip
def test_a_test_file_with_another_header_is_refused(table, above, test, words):
    assert words in refusal(table, above + GRID, test=test, target=-1)


def test_lines_above_the_table_are_left_out_of_both_files(table, capsys):
    made = table(f"# by x\na,b,price\n{GRID}", test=f"Sales\nprice,a,b\n{GRID}")
    assert (made.reading.columns, len(made.rows), len(made.test)) == (["a", "b", "price"], 30, 30)
    assert capsys.readouterr().err.count("left out as") == 2


# Known tables


def test_labels_of_the_census_are_those_of_both_its_files(tmp_path):
    row = "39, State-gov, 1, Bachelors, 13, Never, Adm, Not, W, Male, 0, 0, 40, US, "
    folder = tmp_path / "tabular"
    folder.mkdir()
    (folder / "adult-train.csv").write_text(f"{row}<=50K\n{row}>50K\n\n")
    (folder / "adult-test.csv").write_text(f"{row}>50K.\n".replace("State-gov", "?"))
    made = sources.census(root=str(tmp_path), drop=["fnlwgt"], fill="median")
    assert (made.class_names, made.test_targets.tolist()) == (("<=50K", ">50K"), [1])
    assert "fnlwgt" not in made.reading.numbers
    assert made.test.words[0].as_list()[0] is None


def test_columns_of_numbers_are_given_up_for_what_they_become(table):
    made = table(HOUSES)
    before = [np.array(column) for column in made.rows.numbers]
    data = prepare(made, settings())
    assert before and all(len(column) == 0 for column in made.rows.numbers)  # no memory for both
    train = np.asarray(data.origin.parts["train"])
    for at, (column, mean, std) in enumerate(
        zip(before, data.preprocessing.mean, data.preprocessing.std, strict=True)
    ):
        known = np.where(np.isnan(column), data.preprocessing.fill[at], column)
        assert (mean, std) == (known[train].mean(), known[train].std())
        expected = ((known[train] - mean) / std).astype(np.float32)
        assert np.array_equal(data.train.inputs[:, at].numpy(), expected)
