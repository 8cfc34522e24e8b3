"""Measured numbers as people read them: four significant digits at any size, columns with equal decimals."""

import math

import pytest

from dlrun.tracking.numbers import column_texts, number_text, spread_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.9889, "0.9889"),
        (0.972, "0.972"),
        (0.045823, "0.04582"),
        (1.0, "1"),
        (0.0, "0"),
        (-0.0, "0"),
        (-1.98433, "-1.984"),
        (1.2341e-05, "1.234e-05"),
        (0.00012345, "0.0001234"),
        (1e-12, "1e-12"),
        (48.0412, "48.04"),
        (999.96, "1000"),
        (9999.96, "10000"),
        (51234.56, "51235"),
        (999_999.4, "999999"),
        (999_999.6, "1e+06"),
        (2701616109.6282, "2.702e+09"),
        (-2701616109.6282, "-2.702e+09"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
    ],
)
def test_a_number_has_four_significant_digits_and_keeps_its_size(value: float, text: str) -> None:
    assert number_text(value) == text
    if math.isfinite(value):
        assert float(text) == pytest.approx(value, rel=5e-4)


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0.9889, 0.972, 1.0], ["0.9889", "0.9720", "1.0000"]),
        ([0.0458, 0.9889], ["0.0458", "0.9889"]),
        ([48.04, 0.98894], ["48.0400", "0.9889"]),
        ([3.0, 12.0], ["3", "12"]),
        ([1234.5, 20.25], ["1234.50", "20.25"]),
        ([0.00001234, 0.98], ["1.234e-05", "0.98"]),
        ([2701616109.6, 0.9], ["2.702e+09", "0.9"]),
        ([0.5, None, math.nan, -math.inf], ["0.5000", "-", "nan", "-inf"]),
        ([0.0, 0.25], ["0.0000", "0.2500"]),
        ([-0.00001, 0.5], ["-1e-05", "0.5"]),
        ([0.0], ["0"]),
        ([], []),
    ],
)
def test_the_numbers_of_a_column_have_equal_decimals_unless_that_hides_one(
    values: list[float | None], texts: list[str]
) -> None:
    assert column_texts(values, "-") == texts


def test_a_spread_stands_beside_its_mean_and_one_value_has_none() -> None:
    assert spread_text(0.84213, 0.05812) == "0.8421 ± 0.058"
    assert spread_text(51234.5, 1234.5) == "51234 ± 1234"
    assert spread_text(2.5e-07, 3.14e-09) == "2.5e-07 ± 3.1e-09"
    assert spread_text(0.5, 0.0) == "0.5 ± 0"
    assert spread_text(0.5, None) == "0.5"
