"""Even steps of time: found, or asked for by dataset.step, with gaps filled and rows of one step combined by rules."""

from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np
import pytest
import torch

from dlrun.config.settings import DataSettings
from dlrun.data.prepare import prepare
from dlrun.data.series.grid import combine, step_from
from dlrun.data.series.history import read_histories
from dlrun.data.series.windows import fill
from dlrun.errors import ConfigError

SPLIT = DataSettings(
    val_fraction=0.25, test_fraction=0.2, split_seed=0, normalize="standard", augment=None
)
NAN = np.nan


@pytest.fixture
def read(tmp_path, monkeypatch, capsys, read_series):
    """(times, values or None for their places, settings) -> the series, and the lines that are said."""
    monkeypatch.chdir(tmp_path)

    def make(times, values=None, name="a.csv", **settings):
        rows = zip(times, range(len(times)) if values is None else values, strict=True)
        (tmp_path / name).write_text("t,y\n" + "".join(f"{time},{value}\n" for time, value in rows))
        capsys.readouterr()
        found = read_series(name, **{"time": "t", "header": True, "fill": "zero"} | settings)
        return found, capsys.readouterr().err.replace("dlrun: ", "").splitlines()

    return make


def values_of(read, times, **settings):
    return read(times, **settings)[0].numbers["y"].tolist()


def refusal(read, *arguments, **settings):
    with pytest.raises(ConfigError) as caught:
        read(*arguments, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def nan(found):
    """Missing values as None, which equals itself."""
    return [None if value != value else value for value in found]


@pytest.mark.parametrize(
    ("step", "times"),
    [
        ("15min", ["2021-01-01 10:00", "2021-01-01 10:15", "2021-01-01 10:45"]),
        ("1h", ["2021-01-01 23:00", "2021-01-02 00:00", "2021-01-02 02:00"]),
        ("1D", ["2024-02-28", "2024-02-29", "2024-03-02"]),
        ("2D", ["2021-01-01", "2021-01-03", "2021-01-07"]),
        ("1W", ["2020-W52", "2020-W53", "2021-W02"]),
        ("week", ["2021-01-03", "2021-01-10", "2021-01-24"]),
        ("1M", ["2021-01-31", "2021-02-28", "2021-04-30"]),
        ("1M", ["Nov 2020", "Dec 2020", "Feb 2021"]),
        ("1Q", ["2020Q3", "2020Q4", "2021Q2"]),
        ("1Y", ["2019-12-31", "2020-12-31", "2022-12-31"]),
        ("B", ["2021-01-07", "2021-01-08", "2021-01-12", "2021-01-13"]),
        (10, [1980, 1990, 2010]),
        ("0.5", [1.5, 2.0, 3.0]),
    ],
)
def test_a_step_without_a_row_gets_one_to_be_filled(read, step, times):
    found, said = read(times, step=step)
    assert nan(found.numbers["y"]) == [0, 1, None, *range(2, len(times))]
    assert any(
        "steps of" in line and "dataset.fill=zero fills their values" in line for line in said
    )
    assert found.reading["step"] == step
    assert refusal(read, times, step=step, fill="none").endswith(
        "and dataset.fill is none; set dataset.fill to forward, linear, season, mean or zero"
    )


def test_the_line_about_missing_rows_counts_them_and_names_the_first(read):
    times = ["2021-01-01", "2021-01-02", "2021-01-05", "2021-01-07"]
    assert read(times, step="1D")[1][0] == (
        "a.csv, column t: 3 of 7 steps of 1D have no row, first 2 after 2021-01-02: "
        "dataset.fill=zero fills their values"
    )


@pytest.mark.parametrize("step", ["1h", "1D", "1W", "1M", "1Q", "1Y"])
def test_a_complete_series_is_the_same_with_its_step_given(read, step):
    length = {"h": 60, "D": 60 * 24, "W": 60 * 24 * 7}
    if step[1] in length:
        begin = datetime(2019, 12, 1)
        times = [begin + row * timedelta(minutes=length[step[1]]) for row in range(60)]
    else:
        months = {"M": 1, "Q": 3, "Y": 12}[step[1]]
        times = [date(2000 + row * months // 12, row * months % 12 + 1, 28) for row in range(60)]
    found, said = read(times, step=step, fill="none")
    assert found.numbers["y"].tolist() == [*range(60)] and said == []


def hours(zone):
    """Each hour over both changes of clocks in Berlin in 2021, as a clock shows it with its offset, or without."""
    found = []
    for begin in (datetime(2021, 3, 27, 12), datetime(2021, 10, 30, 12)):
        summer = [datetime(2021, 3, 28, 1), datetime(2021, 10, 31, 1)]
        part = []
        for row in range(40):
            utc = begin + timedelta(hours=row)
            ahead = 2 if summer[0] <= utc < summer[1] else 1
            part.append(f"{utc + timedelta(hours=ahead):%Y-%m-%d %H:%M}" + f"+0{ahead}:00" * zone)
        found.append(part)
    return found


@pytest.mark.parametrize("zone", [True, False])
def test_the_hour_of_a_clock_change_is_neither_missing_nor_there_twice(read, zone):
    for times in hours(zone):
        found, said = read(times, step="1h", fill="none")
        assert found.numbers["y"].tolist() == [*range(40)] and said == []
        days = [time[:10] for time in times]
        counts = [days.count(day) for day in dict.fromkeys(days)]
        each = values_of(read, times, values=[1] * 40, step="1D", combine="sum")
        assert each == counts


def test_offsets_that_differ_are_one_time(read):
    times = [
        "2021-01-01T00:00+01:00",
        "2021-01-01T00:00Z",
        "2021-01-01T06:30+05:30",
        "2020-12-31T21:00-05:00",
    ]
    found, said = read(times, step="1h", fill="none")
    assert found.numbers["y"].tolist() == [0, 1, 2, 3] and said == []


def test_days_of_local_midnights_written_in_utc_are_whole(read):
    midnights = [f"2021-03-{day}T{23 if day < 28 else 22}:00Z" for day in range(20, 32)]
    assert values_of(read, midnights, step="1D", fill="none") == [*range(12)]


def test_months_written_by_their_last_or_first_business_day_are_even(read):
    ends = ["2021-01-29", "2021-02-26", "2021-03-31", "2021-04-30", "2021-05-28", "2021-06-30"]
    assert read(ends)[1] == []
    assert values_of(read, ends, step="1M", fill="none") == [*range(6)]


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [("mean", [2, None, 5]), ("sum", [6, None, 5]), ("min", [1, None, 5]), ("max", [3, None, 5]),
     ("first", [2, None, 5]), ("last", [3, None, 5])],
)  # fmt: skip
def test_rows_of_one_step_are_combined_by_the_rule(read, rule, wanted):
    times = ["2021-01-01 08:00", "2021-01-01 09:00", "2021-01-01 20:00", "2021-01-03 23:59"]
    found, said = read(times, values=[2, 1, 3, 5], step="1D", combine=rule)
    assert nan(found.numbers["y"]) == wanted
    assert said[0] == (
        f"a.csv: 4 rows become 2: those of one step of 1D are combined by dataset.combine={rule}"
    )


def test_values_that_are_missing_do_not_count_among_combined_ones():
    values, places = np.array([1.0, NAN, NAN, 4.0]), np.array([0, 0, 1, 2])
    for rule in ("mean", "sum", "min", "max", "first", "last"):
        assert nan(combine(values, places, 3, rule)) == [1, None, 4]


def test_a_missing_value_beside_a_known_one_of_its_step_needs_no_rule_to_be_filled(read):
    times = ["2021-01-01 08:00", "2021-01-01 09:00", "2021-01-02 08:00", "2021-01-02 09:00"]
    settings = {"step": "1D", "combine": "mean", "fill": "none"}
    assert read(times, values=["", 1, 2, 3], **settings)[0].numbers["y"].tolist() == [1, 2.5]
    assert refusal(read, times, ["", "", 2, 3], **settings).startswith(
        "a.csv, row 2, column y: the value is missing, and dataset.fill is none"
    )


def test_hours_and_quarters_are_those_of_the_clock_and_the_year(read):
    minutes = [f"2021-01-01 0{hour}:{minute}" for hour in (1, 2) for minute in (50, 55)]
    assert values_of(read, minutes, values=[1] * 4, step="1h", combine="sum") == [2, 2]
    zoned = [f"2021-01-01 0{hour}:{minute}+05:30" for hour in (1, 2) for minute in (10, 50)]
    assert values_of(read, zoned, values=[1] * 4, step="1h", combine="sum") == [2, 2]
    months = [f"2021-{month:02}" for month in (2, 3, 4, 5)]
    assert values_of(read, months, values=[1] * 4, step="3M", combine="sum") == [2, 2]


def test_rows_of_one_time_are_combined_without_a_step(read):
    found, said = read(["2021-01-02", "2021-01-01", "2021-01-02"], values=[1, 2, 3], combine="mean")
    assert found.numbers["y"].tolist() == [2, 2]
    assert "a.csv: 3 rows become 2: those of one time are combined by dataset.combine=mean" in said


def test_rows_of_several_series_that_are_combined_are_said_to_be(tmp_path, read_series, capsys):
    days = [date(2021, 1, 1) + timedelta(day) for day in range(20)]
    rows = [f"{day},{store},{store == 'A'}" for day in days for store in "AB"]
    (tmp_path / "a.csv").write_text(
        "\n".join(["t,store,y", *rows, ""]).replace("True", "1").replace("False", "2")
    )
    found = read_series(tmp_path / "a.csv", time="t", combine="sum")
    assert found.numbers["y"].tolist() == [3] * 20
    assert (
        "rows of store are combined as if they were of one series; dataset.series=[store] learns from each"
        in capsys.readouterr().err
    )
    (tmp_path / "a.csv").write_text("t,z,y\n" + "".join(f"{day},{day.day % 2},1\n" for day in days))
    read_series(tmp_path / "a.csv", time="t", step="1D")
    assert capsys.readouterr().err == ""


def test_the_last_word_of_a_step_stands_for_all_of_them(tmp_path, monkeypatch, read_series):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text(
        "t,y,w\n2021-01-01,1,a\n2021-01-01,2,b\n2021-01-01,2,\n2021-01-03,2,a\n"
    )
    found = read_series(
        "a.csv", time="t", inputs=["y", "w"], step="1D", combine="mean", fill="zero"
    )
    assert found.words["w"] == ("b", None, "a")


def test_two_rows_of_a_step_are_refused_where_nothing_combines_them(read):
    assert refusal(
        read, ["2021-01-01 08:00", "2021-01-02 09:00", "2021-01-02 20:00"], step="1D"
    ) == (
        "a.csv, row 4, column t: 2021-01-02 20:00 is of the same step of 1D as 2021-01-02 09:00 in row 3; "
        "set dataset.combine to mean, sum or last, or give a shorter dataset.step"
    )


def test_clocks_that_are_late_are_at_the_nearest_step_and_said_where_they_are_far_off(read):
    times = [
        "2021-01-01 10:00:03",
        "2021-01-01 10:14:58",
        "2021-01-01 10:30:01",
        "2021-01-01 11:00:02",
    ]
    found, said = read(times, step="15min")
    assert nan(found.numbers["y"]) == [0, 1, 2, None, 3]
    assert not any("beside" in line for line in said)
    times[1] = "2021-01-01 10:19:00"
    assert read(times, step="15min")[1][0] == (
        "a.csv, column t: 1 of 4 times lie beside the steps of 15min, as 2021-01-01 10:19:00 does by 26% of a step; "
        "each row is taken at the nearest one"
    )


def test_rows_of_late_clocks_that_come_twice_are_combined_at_the_nearest_step(read):
    hours = [
        datetime(2021, 1, 1) + timedelta(hours=row // 2, seconds=[-40, 25, 0][row % 3])
        for row in range(20)
    ]
    found, _ = read(hours, step="1h", combine="mean")
    assert found.numbers["y"].tolist() == [row + 0.5 for row in range(0, 20, 2)]
    once = hours[:6:2] + hours[8::2]
    said = read(once)[1][0]
    assert "1 row (1h apart) is missing after 2021-01-01 02:00:25" in said
    assert "dataset.step=1h with dataset.fill adds the rows" in said


@pytest.mark.parametrize(
    ("times", "step", "said"),
    [
        (["2021-01-01", "2021-01-02"], "5m", "dataset.step is 5m, but must be a step of time such as 15min, 1h, 1D"),
        (["2021-01-01", "2021-01-02"], "m", "; m may be minutes or months"),
        (["2021-01-01", "2021-01-02"], "0D", "dataset.step is 0D, but must be"),
        (["2021-01-01", "2021-01-02"], "1.5M", "dataset.step is 1.5M, but must be"),
        (["2021-01-01", "2021-01-02"], "-1D", "dataset.step is -1D, but must be"),
        (["2021-01-01", "2021-01-02"], 5, "it has times written as %Y-%m-%d, but dataset.step is 5; give a unit"),
        ([1, 2, 3], "1D", "it has plain numbers, but dataset.step is 1D; give a number, such as 1, or say with"),
        (["2021-01-01", "2041-01-02"], "1min", "of which 10,520,641 lie"),
        (["2021-01-04", "2021-01-05", "2021-01-06", "2021-01-07", "2021-01-08"] * 6, "B", "stands in row 2 as well"),
    ],
)  # fmt: skip
def test_a_step_that_does_not_fit_is_refused_with_the_remedy(read, times, step, said):
    assert said in refusal(read, times, step=step)


def test_a_row_on_a_weekend_is_no_business_day(read):
    days = [date(2021, 1, 4) + timedelta(day) for day in range(70)]
    worked = [day for day in days if day.weekday() < 5]
    assert values_of(read, worked, step="B", fill="none") == [*range(50)]
    assert refusal(read, [*worked[:10], date(2021, 1, 16), *worked[10:]], step="B").startswith(
        "a.csv, row 12, column t: 2021-01-16 is on a day of the week that has hardly any rows, but dataset.step is B"
    )


@pytest.mark.parametrize("key", ["step", "combine"])
def test_steps_need_a_column_of_times(read, key):
    given = {"step": "1D", "combine": "sum"}[key]
    assert refusal(read, [1, 2, 3], time=None, **{key: given}) == (
        f"dataset.{key} is {given}, but dataset.time is null; name the column of times there"
    )


def test_seconds_since_1970_are_times_where_the_step_has_a_unit(read):
    seconds = [1609459200 + 3600 * hour for hour in (0, 1, 3)]
    for factor in (1, 1000):
        found, _ = read([factor * one for one in seconds], step="1h")
        assert nan(found.numbers["y"]) == [0, 1, None, 2]


@pytest.mark.parametrize(
    "text",
    ["15min", "15 minutes", "1h", "H", "hour", "1D", "d", "day", "2W", "week", "1M", "months", "Q", "Y", "B", "0.5"],
)  # fmt: skip
def test_steps_have_many_names(text):
    assert step_from(str(step_from(text))) == step_from(text)


def test_a_gap_filled_by_its_season_takes_what_was_then():
    values = np.array([[NAN], [2], [3], [4], [NAN], [6], [NAN], [8], [9]], float)
    found = fill(values, "season", np.array([-1.0]), 3).closed[:, 0].tolist()
    assert found == [-1, 2, 3, 4, 2, 6, 4, 8, 9]


def test_the_season_of_a_fill_must_be_set(read):
    assert refusal(read, ["2021-01-01", "2021-01-03"], step="1D", fill="season").startswith(
        "dataset.fill is season, but dataset.season is null; set it to the rows in a period"
    )


@pytest.mark.parametrize("rule", ["forward", "linear", "season", "zero"])
def test_windows_that_end_before_or_in_a_gap_show_nothing_of_later_rows(read, rule):
    days = [date(2021, 1, 1) + timedelta(day) for day in range(100) if day not in (20, 55, 56, 61)]
    values = np.random.default_rng(0).normal(size=len(days)).cumsum()
    later = np.where(np.array(days) > date(2021, 2, 26), values + 1e6, values)  # that is day 56
    settings = {"step": "1D", "fill": rule, "season": 7, "window": 3}
    plain = replace(SPLIT, normalize="none")
    data, other = (prepare(read(days, of, **settings)[0], plain) for of in (values, later))
    kept = 57 - 2  # the first window ends at day 2, the last of these at day 56
    assert torch.equal(other.train.inputs[:kept], data.train.inputs[:kept])
    assert not torch.equal(other.train.inputs[kept], data.train.inputs[kept])


def test_new_rows_go_through_the_same_steps(read, tmp_path):
    hourly = [datetime(2021, 1, 1) + timedelta(hours=hour) for hour in range(24 * 40)]
    raw, _ = read(hourly, step="1D", combine="sum", fill="forward")
    scaling = prepare(raw, SPLIT).preprocessing
    new = hourly[:30] + hourly[72:80]
    read(new, [1] * len(new), name="n.csv")
    (found,) = read_histories(tmp_path / "n.csv", scaling)
    assert nan(found.rows_RC[:, 0]) == [24, 6, None, 8]
    assert found.ahead.last == "2021-01-04 07:00:00"
