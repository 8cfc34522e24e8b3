"""Times as files write them, and the steps between them."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from dlrun.data.series.steps import by_one_clock, steps_of
from dlrun.data.tables.number_format import Notation
from dlrun.data.times import NotATime, Times, ZonesMixed, is_format, likeliest, read_as, readings

NUMBER = Notation().number


def formats(cells):
    return [times.format for times in readings([str(cell) for cell in cells], NUMBER)]


def read(cells, format):
    return read_as([str(cell) for cell in cells], format, NUMBER)


def steps(cells, format="%Y-%m-%d"):
    times = read(cells, format)
    return steps_of(times, np.argsort(times.values, kind="stable"))


DAY = datetime(2021, 2, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cell", "format", "moment"),
    [
        ("2021-02-03", "%Y-%m-%d", DAY),
        ("2021-2-3", "%Y-%m-%d", DAY),
        ("2021-02-03T04:05:06.5Z", "%Y-%m-%d", DAY.replace(hour=4, minute=5, second=6, microsecond=500000)),
        ("2021-02-03 04:05+02:00", "%Y-%m-%d", DAY.replace(hour=2, minute=5)),
        ("2/3/2021 4:05 PM", "%m/%d/%Y", DAY.replace(hour=16, minute=5)),
        ("2/3/2021 12:05 am", "%m/%d/%Y", DAY.replace(hour=0, minute=5)),
        ("03.02.2021 24:00", "%d.%m.%Y", DAY + timedelta(1)),
        ("Wed, 3 February 2021", "%d %b %Y", DAY),
        ("Feb 3, 2021", "%b %d %Y", DAY),
        ("Feb-21", "%b-%y", DAY.replace(day=1)),
        ("Sept 2021", "%b %Y", DAY.replace(month=9, day=1)),
        ("2021-Feb", "%Y-%b", DAY.replace(day=1)),
        ("2.2021", "%m.%Y", DAY.replace(day=1)),
        ("2021-2", "%Y-%m", DAY.replace(day=1)),
        ("2021Q2", "%YQ%q", DAY.replace(month=4, day=1)),
        ("q2 2021", "Q%q %Y", DAY.replace(month=4, day=1)),
        ("2021-W05", "%G-W%V", DAY.replace(day=1)),
        ("20210203", "%Y%m%d", DAY),
        ("202102", "%Y%m", DAY.replace(day=1)),
        ("2021034", "%Y%j", DAY),
        ("1612310400", "epoch", DAY),
        ("1612310400000", "epoch_ms", DAY),
    ],
)  # fmt: skip
def test_a_cell_is_a_moment_by_its_form(cell, format, moment):
    assert is_format(format)
    assert read([cell], format).values.tolist() == [moment.timestamp()]


@pytest.mark.parametrize(
    "cell", ["2021-02-29", "2021-13-01", "31/4/2021", "Total", "", "2021-02-03x", "Foo 21"]
)
def test_what_is_no_day_is_none(cell):
    assert formats([cell]) == []


@pytest.mark.parametrize("format", ["dd.mm", "%Q", "", "Y", "%-d"])
def test_a_form_is_one_of_strptime(format):
    assert not is_format(format)


def test_days_and_months_are_told_apart_by_a_day_above_twelve():
    assert formats(["1/2/2021", "13/2/2021"]) == ["%d/%m/%Y"]
    assert formats(["1/2/2021", "2/13/2021"]) == ["%m/%d/%Y"]
    assert formats(["1/2/2021", "2/1/2021"]) == ["%d/%m/%Y", "%m/%d/%Y"]


def test_the_first_cell_that_is_no_time_is_named_with_the_form_of_the_others():
    cells = [*(str(date(2021, 1, day)) for day in range(1, 20)), "Total"]
    assert likeliest(cells, NUMBER) == "%Y-%m-%d"
    assert likeliest(["x", *cells[:3]], NUMBER) is None
    with pytest.raises(NotATime) as caught:
        read_as(cells, "%Y-%m-%d", NUMBER)
    assert caught.value.row == 19


def test_zones_here_and_there_are_refused():
    with pytest.raises(ZonesMixed) as caught:
        read(["2021-01-01T00:00", "2021-01-02T00:00Z"], "%Y-%m-%d")
    assert caught.value.rows == (1, 0)


BERLIN = ZoneInfo("Europe/Berlin")
HOURS = [datetime(2020, 1, 1, tzinfo=UTC) + timedelta(hours=hour) for hour in range(24 * 366)]
DAYS = [date(2020, 1, 1) + timedelta(day) for day in range(400)]


@pytest.mark.parametrize(
    ("cells", "format", "unit", "size"),
    [
        (DAYS, "%Y-%m-%d", "days", 1),
        ([day for day in DAYS if day.weekday() < 5], "%Y-%m-%d", "business days", 1),
        ([day for day in DAYS if (day + timedelta(1)).day == 1], "%Y-%m-%d", "months", 1),
        (DAYS[::7], "%Y-%m-%d", "weeks", 1),
        ([f"{2000 + i // 4}Q{i % 4 + 1}" for i in range(30)], "%YQ%q", "quarters", 1),
        ([f"{year}-12-31" for year in range(1990, 2020)], "%Y-%m-%d", "years", 1),
        ([f"2020-01-01 {m // 60}:{m % 60:02}" for m in range(0, 900, 15)], "%Y-%m-%d", "minutes", 15),
        ([hour.astimezone(BERLIN) for hour in HOURS], "%Y-%m-%d", "hours", 1),
        ([hour.astimezone(BERLIN).replace(hour=0) for hour in HOURS[12::24]], "%Y-%m-%d", "days", 1),
        ([f"{1749 + (i + 0.5) / 12:.3f}" for i in range(99)], "number", "", pytest.approx(1 / 12, abs=1e-4)),
        (range(5, 90, 5), "number", "", 5),
    ],
    ids=["days", "business", "month-ends", "weeks", "quarters", "years", "minutes", "zoned", "zoned-days",
         "rounded", "numbers"],
)  # fmt: skip
def test_a_calendar_is_regular(cells, format, unit, size):
    found = steps(cells, format)
    assert found.are_regular
    assert (found.unit, found.size) == (unit, size)


@pytest.mark.parametrize(("zone", "minutes"), [("Europe/Berlin", 60), ("America/New_York", 30)])
def test_clocks_put_forward_and_back_leave_a_series_regular(zone, minutes):
    moments = [
        HOURS[0] + timedelta(minutes=minutes * step) for step in range(366 * 1440 // minutes)
    ]
    walls = [moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for moment in moments]
    times = read(walls, "%Y-%m-%d")
    assert (np.diff(times.values) <= 0).any()
    by_one = by_one_clock(times.values)
    assert set(np.diff(by_one)) == {60.0 * minutes}


def test_what_is_missing_is_counted_where_it_is():
    found = steps([*DAYS[:10], *DAYS[15:20], *DAYS[21:40]])
    assert (found.even, found.missing) == (True, {9: 5, 14: 1})
    assert steps([*range(50), *range(60, 90)], "number").missing == {49: 10}


def test_times_that_come_as_they_like_are_uneven():
    found = steps(
        [f"2020-01-01 {clock}" for clock in ("00:00", "00:07", "01:30", "01:31", "09:00")]
    )
    assert not found.even
    assert (found.shortest, found.longest) == (1, 449)


def test_a_leap_day_is_missing_only_from_a_year_that_has_one():
    assert steps(["27.2.", "28.2.", "1.3.", "2.3."], "%d.%m.").are_regular
    assert steps(["27.2.", "28.2.", "29.2.", "1.3."], "%d.%m.").are_regular


def test_two_times_have_no_step():
    assert steps(DAYS[:2]) is None
    times = Times("number", np.array([1.0, 1, 2]), np.array([1.0, 1, 2]), zoned=False)
    assert steps_of(times, np.arange(3)) is None
