"""The times of forecasts: at the step of the series, and written as its own."""

import numpy as np
import pytest

from dlrun.data.series.ahead import Ahead, rule_of
from dlrun.data.series.grid import places_of, step_from
from dlrun.data.series.rows import Member
from dlrun.data.times import read_as


def times_ahead(cells, format, step, *, combined=False, count=3):
    """The times of the next rows of a series whose rows are at even steps or, `combined`, within them."""
    times = read_as(cells, format, lambda cell: float(cell))
    member = Member(np.arange(len(cells)))
    if combined:
        places = places_of(times, step_from(step), combined=True).numbers
        member = Member(member.order, places, int(places[-1]) + 1)
    rule = rule_of(times, member, step_from(step), combined=combined)
    return [Ahead(cells[-1], rule).time(ahead) for ahead in range(1, count + 1)]


@pytest.mark.parametrize(
    ("cells", "format", "step", "after"),
    [
        ("2024-02-26 2024-02-27 2024-02-28", "%Y-%m-%d", "1D", "2024-02-29 2024-03-01 2024-03-02"),
        ("26.12.2023 27.12.2023 28.12.2023", "%d.%m.%Y", "1D", "29.12.2023 30.12.2023 31.12.2023"),
        ("2023-11-30 2023-12-31 2024-01-31", "%Y-%m-%d", "1M", "2024-02-29 2024-03-31 2024-04-30"),
        ("2022-11-30 2022-12-30 2023-01-30", "%Y-%m-%d", "1M", "2023-02-28 2023-03-30 2023-04-30"),
        ("2023-10 2023-11 2023-12", "%Y-%m", "1M", "2024-01 2024-02 2024-03"),
        ("Oct-2023 Nov-2023 Dec-2023", "%b-%Y", "1M", "Jan-2024 Feb-2024 Mar-2024"),
        ("Okt-2023 Nov-2023 Dez-2023", "%b-%Y", "1M", "2024-01 2024-02 2024-03"),
        ("7/3/2024 8/3/2024 9/3/2024", "%d/%m/%Y", "1D", "10/3/2024 11/3/2024 12/3/2024"),
        ("2023Q2 2023Q3 2023Q4", "%YQ%q", "1Q", "2024Q1 2024Q2 2024Q3"),
        ("2020-W51 2020-W52 2020-W53", "%G-W%V", "1W", "2021-W01 2021-W02 2021-W03"),
        ("2024-01-03 2024-01-04 2024-01-05", "%Y-%m-%d", "B", "2024-01-08 2024-01-09 2024-01-10"),
        ("2024-01-01T22:00+01:00 2024-01-01T23:00+01:00", "%Y-%m-%d", "1h",
         "2024-01-02T00:00+01:00 2024-01-02T01:00+01:00 2024-01-02T02:00+01:00"),
        ("10 10.5 11", "number", "0.5", "11.5 12 12.5"),
        ("1700000000 1700003600", "epoch", "1h", "1700007200 1700010800 1700014400"),
        ("1-Jan 2-Jan 3-Jan", "%d-%b", "1D", "3-Jan +1 3-Jan +2 3-Jan +3"),
        ("2024-01-01 2024-01-03 2024-01-05 2024-01-08 2024-01-10", "%Y-%m-%d", "B",
         "2024-01-10 +1 2024-01-10 +2 2024-01-10 +3"),
    ],
)  # fmt: skip
def test_rows_to_come_have_the_times_that_follow(cells, format, step, after):
    given = after.split(" ") if "+1 " not in after else after.replace(" +", "_+").split(" ")
    found = times_ahead(cells.split(" "), format, step)
    assert found == [one.replace("_+", " +") for one in given]


@pytest.mark.parametrize(
    ("last", "step", "after"),
    [
        ("2024-01-03 14:30", "1D", ["2024-01-04 00:00", "2024-01-05 00:00"]),
        ("2024-01-03 14:30", "1W", ["2024-01-08 00:00", "2024-01-15 00:00"]),
        ("2024-01-20 14:30", "1M", ["2024-02-01 00:00", "2024-03-01 00:00"]),
        ("2024-05-20 14:30", "1Q", ["2024-07-01 00:00", "2024-10-01 00:00"]),
        ("2024-01-03 14:30", "1h", ["2024-01-03 15:00", "2024-01-03 16:00"]),
    ],
)
def test_combined_rows_are_followed_by_the_beginning_of_the_next_step(last, step, after):
    cells = ["2024-01-01 08:10", "2024-01-01 08:45", "2024-01-02 09:20", last]
    assert times_ahead(cells, "%Y-%m-%d", step, combined=True, count=2) == after
