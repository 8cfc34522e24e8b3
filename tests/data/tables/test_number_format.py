"""How numbers are written: what each notation reads, and what is found out by looking."""

import pytest

from dlrun.data.tables.number_format import Notation, may_be_grouped, notation_of
from dlrun.errors import ConfigError

READ = [
    ("point", "none", "1.5", 1.5), ("point", "none", "1,5", None), ("point", "none", "1_000", None),
    ("comma", "none", "-1,5e2", -150), ("comma", "none", "7", 7), ("comma", "none", "1.5", None),
    ("comma", "none", "1,2,3", None), ("comma", "point", "1.234.567,5", 1234567.5),
    ("comma", "point", "1.5", None), ("comma", "point", "0.500", None), ("point", "comma", "12,345", 12345),
    ("point", "comma", "12,345.25", 12345.25), ("point", "comma", "1,23", None),
    ("point", "space", "12 345", 12345), ("comma", "space", "12\u00a0345,5", 12345.5),
    ("point", "apostrophe", "12'345", 12345), ("point", "comma", "nan", None),
]  # fmt: skip


@pytest.mark.parametrize(("decimal", "thousands", "cell", "number"), READ)
def test_a_cell_is_a_number_in_its_notation_alone(decimal, thousands, cell, number):
    assert Notation(decimal, thousands).number(cell) == number
    assert Notation(decimal, thousands).numbers([cell]) == (None if number is None else [number])


@pytest.mark.parametrize(
    ("columns", "decimal"),
    [
        ([["1,5", "2", None]], "comma"),
        ([["1,5", "12,345"]], "comma"),
        ([["12,345", "1"]], "point"),
        ([["1,5", "x"]], "point"),
        ([["1,5"], ["2.5"]], "point"),
        ([["1,5"], ["2.500"]], "comma"),
        ([["1"], ["x"]], "point"),
    ],
)
def test_a_decimal_comma_is_found_where_a_whole_column_says_so_and_none_another(columns, decimal):
    assert notation_of("auto", "none", columns, look=True) == Notation(decimal)
    assert notation_of("auto", "none", columns, look=False) == Notation("point")


def test_one_sign_decides_the_other_and_cannot_be_both():
    assert notation_of("auto", "comma", [["1,5"]], look=True) == Notation("point", "comma")
    assert notation_of("auto", "point", [], look=True) == Notation("comma", "point")
    with pytest.raises(
        ConfigError, match=r"dataset\.thousands is comma, and dataset.decimal as well"
    ):
        notation_of("comma", "comma", [], look=True)


@pytest.mark.parametrize(
    ("cell", "hint"),
    [
        ("12,345", "dataset.thousands=comma for 12345, or dataset.decimal=comma for 12.345"),
        ("50,31", "dataset.decimal=comma for 50.31"),
        ("1.234,5", "dataset.decimal=comma dataset.thousands=point for 1234.5"),
        ("12 345", "dataset.thousands=space for 12345"),
        ("big", ""),
    ],
)
def test_a_cell_of_another_notation_says_what_to_set(cell, hint):
    assert Notation().hint(cell) == hint


@pytest.mark.parametrize("cell", ["\u22125", "\u20135", "\uff0d\uff15", "\u200b-5", "\u00a0-5"])
def test_a_minus_may_be_set_as_word_processors_do(cell):
    assert Notation().number(cell) == -5
    assert Notation().numbers([cell, "-5"]) == [-5, -5]
    assert Notation("comma", "point").number(cell + "") == -5


def test_points_may_group_thousands_where_all_numbers_have_three_digits_after_or_fewer_before():
    assert may_be_grouped(["1.234", "987", "12"]) == "1.234"
    assert may_be_grouped(["1.234", "987", "1.5"]) is None
    assert may_be_grouped(["1.234", "12.345"]) is None
    assert may_be_grouped(["0.234", "987"]) is None
    assert may_be_grouped(["1.234", "9870"]) is None
