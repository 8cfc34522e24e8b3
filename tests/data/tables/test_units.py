"""Numbers with units, currencies and the minus of accounts around them."""

import pytest

from dlrun.data.tables.number_format import Dressing, common_dressing, dressing_of


@pytest.mark.parametrize(
    ("cell", "number", "around"),
    [
        ("12 kg", "12", ("", "kg")),
        ("45%", "45", ("", "%")),
        ("-4.5 °C", "-4.5", ("", "°C")),
        ("$5.50", "5.50", ("$", "")),
        ("-$5", "-5", ("$", "")),
        ("US$ 1,200", "1,200", ("US$", "")),
        ("EUR 7", "7", ("EUR", "")),
        ("1.234,50 €", "1.234,50", ("", "€")),
        ("1.5M", "1.5", ("", "M")),
        ("≥5", "5", ("≥", "")),
        ("3 years", "3", ("", "year")),
        ("10 km/h", "10", ("", "km/h")),
        ("80 m2", "80", ("", "m2")),
        ("(82)", "-82", ("", "")),
        ("82-", "-82", ("", "")),
        ("($5.00)", "-5.00", ("$", "")),
        ("\u22125 kg", "-5", ("", "kg")),
    ],
)
def test_the_number_in_a_cell_and_what_stands_around_it(cell, number, around):
    found = dressing_of(cell)
    assert found == Dressing(*around)
    assert found.number(cell) == number


@pytest.mark.parametrize(
    "cell",
    ["C100000", "Q1", "n7", "12", "-5", "kg", "", "10-19", "12x30", "5x2", "(5", "A/5 21171"],
)
def test_codes_and_plain_numbers_are_not_dressed(cell):
    assert dressing_of(cell) is None


def test_a_column_has_a_dressing_where_all_of_it_has_the_same():
    assert common_dressing(["1 kg", "2kg"]) == Dressing("", "kg")
    assert common_dressing(["1 year", "2 years"]) == Dressing("", "year")
    assert common_dressing(["5", "(3)", "4-"]) == Dressing("", "")
    assert common_dressing(["1 kg", "2 g"]) is None
    assert common_dressing(["1 kg", "2"]) is None
    assert common_dressing(["1", "2"]) is None


def test_another_unit_stays_as_it_is_and_a_plain_number_is_one():
    assert Dressing("", "kg").number("5 lb") == "5 lb"
    assert Dressing("", "kg").number("5") == "5"
