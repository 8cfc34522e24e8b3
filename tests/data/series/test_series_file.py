"""Series from CSV files: columns, their order, and every way in which a file is refused."""

import numpy as np
import pytest

from dlrun.errors import ConfigError

TABLE = "day,y,z,wind\n2020-01-02,2,20,N\n2020-01-01,1,10,S\n2020-01-03,3,30,N\n"


@pytest.fixture
def read(tmp_path, monkeypatch, read_series):
    """(text, settings) -> the series in a file of this text."""
    monkeypatch.chdir(tmp_path)

    def make(text, **settings):
        (tmp_path / "a.csv").write_text(text, encoding="utf-8")
        return read_series("a.csv", **settings)

    return make


def refusal(read, text, **settings):
    with pytest.raises(ConfigError) as caught:
        read(text, **settings)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_all_columns_of_numbers_are_inputs_unless_told_otherwise(read):
    found = read(TABLE)
    assert (found.inputs, found.targets) == (("y", "z"), ("y",))
    assert found.numbers["z"].tolist() == [20, 10, 30]
    assert len(found) == 3
    assert read(TABLE, drop=["z"]).inputs == ("y",)
    assert read(TABLE, inputs=["z"]).inputs == ("z",)


def test_columns_are_found_by_number_too(read):
    assert read(TABLE, target=-2, drop=[2]).targets == ("z",)
    assert read("1,5\n2,6\n", target=2).inputs == ("1", "2")


def test_several_targets_keep_their_order(read):
    assert read(TABLE, target=["z", "y"]).targets == ("z", "y")


def test_rows_come_in_the_order_of_the_time_column(read):
    assert read(TABLE, time="day").numbers["y"].tolist() == [1, 2, 3]
    assert read("t,y\n3,30\n1,10\n2,20\n", time="t").numbers["y"].tolist() == [10, 20, 30]
    assert read("t,y\n1749-02,2\n1749-01,1\n", time="t").numbers["y"].tolist() == [1, 2]
    assert read("t,y\n2020-01-01T01:00+02:00,2\n2019-12-31T22:30Z,1\n", time="t").numbers[
        "y"
    ].tolist() == [1, 2]


def test_first_rows_are_left_out_in_the_order_of_time(read):
    assert read(TABLE, time="day", skip=1).numbers["y"].tolist() == [2, 3]


def test_words_are_columns_of_zero_and_one_for_the_kinds_in_training(read):
    found = read(TABLE, inputs=["wind", "y"])
    layout = found.layout(range(2))
    assert layout.names == ["y", "wind=N", "wind=S"]
    encoded = layout.encode(found.numbers, found.words)
    assert encoded.tolist() == [[2, 1, 0], [1, 0, 1], [3, 1, 0]]
    assert found.layout(range(1)).names == ["y", "wind=N"]
    assert found.layout(range(1)).encode(found.numbers, found.words)[1].tolist() == [1, 0]


def test_a_target_that_is_no_input_stands_after_the_inputs(read):
    layout = read(TABLE, inputs=["wind", "z"]).layout(range(3))
    assert layout.names == ["z", "wind=N", "wind=S", "y"]
    assert layout.target_places == [3]


def test_missing_values_are_not_a_number_until_they_are_filled(read):
    found = read("y\n1\nNA\n3\n", fill="forward")
    assert np.isnan(found.numbers["y"]).tolist() == [False, True, False]


def test_a_missing_value_is_refused_with_its_place_where_nothing_fills_it(read):
    assert refusal(read, "x,y\n1,1\n2,NA\n") == (
        "a.csv, row 3, column y: the value is missing, and dataset.fill is none; "
        "fill it in, or set dataset.fill to forward, linear, season, mean or zero"
    )
    assert read("x,y\n1,NA\n2,2\n3,3\n", skip=1).numbers["y"].tolist() == [2, 3]


def test_a_column_without_a_value_is_called_empty(read):
    assert refusal(read, "x,y,z\n1,1,\n2,2,\n") == (
        "a.csv, column z: every value is missing; leave it out with dataset.drop or dataset.inputs"
    )


def test_decimal_commas_are_numbers(read):
    found = read("t;y\n3;1,5\n1;2,25\n2;3\n", time="t")
    assert found.numbers["y"].tolist() == [2.25, 3, 1.5]
    assert (found.reading["decimal"], found.reading["thousands"]) == ("comma", "none")
    assert refusal(read, 'x,y\n1,"1,500"\n2,"2,500"\n') == (
        "a.csv, row 2, column y: 1,500 is not a number; set dataset.thousands=comma for 1500, or "
        "dataset.decimal=comma for 1.5, or mend it, "
        "or leave the column out with dataset.drop"
    )


def test_words_among_numbers_are_refused_with_their_place(read):
    assert refusal(read, "y\n1\n2\n3.x\n").startswith(
        "a.csv, row 4, column y: 3.x is not a number; mend it"
    )


@pytest.mark.parametrize(
    ("text", "settings", "said"),
    [
        ("", {}, "a.csv is empty"),
        ("x,y\n", {}, "a header and no rows"),
        ("x,y\n1,2\n3\n", {}, "a.csv, row 3: "),
        (TABLE, {"target": "Y2"}, "dataset.target is Y2, which is no column of a.csv"),
        (TABLE, {"target": "wnd"}, "did you mean wind?"),
        (TABLE, {"target": "wind"}, "dataset.target is wind, which holds words"),
        (TABLE, {"target": []}, "dataset.target is an empty list"),
        (TABLE, {"drop": ["q"]}, "dataset.drop is q, which is no column of a.csv"),
        (TABLE, {"inputs": ["q"]}, "dataset.inputs is q, which is no column of a.csv"),
        (TABLE, {"skip": 3}, "dataset.skip is 3, but a.csv has 3 rows"),
        (TABLE, {"time": "wind"}, "a.csv, row 2, column wind: N is neither a number nor a date"),
        ("t,y\n1,2\n1,3\n", {"time": "t"}, "a.csv, row 3, column t: 1 stands in row 2 as well"),
        ("y\n" + "1\n" * 9, {"inputs": []}, "dataset.inputs is an empty list"),
    ],
)  # fmt: skip
def test_a_file_or_column_that_will_not_do_is_refused_in_one_line(read, text, settings, said):
    assert said in refusal(read, text, **settings)


def test_a_column_of_too_many_words_is_no_input(read):
    text = "y,note\n" + "".join(f"{row},word{row}\n" for row in range(60))
    assert "the column note, which holds 60 different words" in refusal(read, text, inputs=["note"])


def test_a_series_knows_its_file(read):
    assert read(TABLE).source == "a.csv"


def test_a_missing_file_is_refused_with_the_nearest_name(read, tmp_path, read_series):
    read(TABLE)
    with pytest.raises(ConfigError, match=r"dataset.path is b.csv, which does not exist"):
        read_series("b.csv")


DAYS = "".join(f"2020-01-{day},{day * day}.5,{day}\n" for day in range(10, 30))


@pytest.mark.parametrize(
    ("above", "form"),
    [
        ("Sales\nday,y,z\n", {}),
        ("# by x, y\n#day,y,z\n", {}),
        ("a\nb,c,d\nday,y,z\n", {"skip_lines": 2}),
        ("// by x\nday,y,z\n// units: m\n", {"comment": "slashes"}),
    ],
)
def test_what_stands_above_a_series_is_no_time_of_it(read, above, form):
    found = read(above + DAYS, time="day", skip=2, **form)
    assert (len(found), found.numbers["y"][0], found.reading["header"]) == (18, 144.5, True)
    assert {**form, "comment": None, **form}.items() <= found.reading.items()


def test_a_series_that_pandas_wrote_has_the_names_that_it_gave(read):
    assert read(f",0,1\n{DAYS}", time="unnamed_1", target="0").inputs == ("0", "1")
