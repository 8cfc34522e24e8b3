"""Dates and times of day in the usual forms, and what only resembles them."""

import pytest

from dlrun.data.times import are_compact_dates, are_dates, is_date


@pytest.mark.parametrize(
    "cell",
    [
        "2024-01-31", "2024/1/3", "2024.01.31", "2024-01", "31.12.2024", "31/12/24", "12/31/2024", "12/2024",
        "2024-01-31 10:30", "2024-01-31T10:30:00.5Z", "2024-01-31T10:30:00+02:00", "1/31/2024 6:44 PM",
        "20240131", "20240131T103000", "31 Jan 2024", "31-Jan-24", "Jan 31, 2024", "January 3rd 2024", "5-Jan",
        "Feb-2024", "2024 Feb", "2024-Q1", "Q3 2024", "2024-W05", "Wed, 31 Jan 2024 10:30:00 GMT", "10:30",
        "9:05:01 pm", "31Jan2024", "2024-01-31 10:30 CET", "99/12/31",
    ],
)  # fmt: skip
def test_a_date_or_a_time_of_day_is_one(cell: str) -> None:
    assert is_date(cell)


@pytest.mark.parametrize(
    "cell",
    ["10-19", "1.2.3", "192.168.1.1", "2024-13-01", "32/12/2024", "2024", "Mark 12", "12 kg", "March", "1:2", "A-1-2",
     "1/2", "2021-0001", "2021-01 abc"],
)  # fmt: skip
def test_what_resembles_a_date_is_none(cell: str) -> None:
    assert not is_date(cell)


def test_a_column_is_one_of_dates_where_most_of_its_cells_are() -> None:
    days = [f"2024-01-{day:02d}" for day in range(1, 21)]
    assert are_dates([*days, "unknown"])
    assert not are_dates([*days[:3], "unknown"])
    assert not are_dates([])


def test_numbers_are_dates_where_all_of_them_read_so() -> None:
    assert are_compact_dates([f"202401{day:02d}" for day in range(1, 21)])
    assert are_compact_dates([f"2024{month:02d}" for month in range(1, 13)])
    assert not are_compact_dates([f"202401{day:02d}" for day in range(1, 60)])
    assert not are_compact_dates(["20240101", "20240102"])  # too few to tell from numbers
