"""What is said of the order of a series, and which orders are refused."""

from datetime import date, timedelta

import pytest

from dlrun.errors import BadFile, ConfigError

DAYS = [str(date(2021, 1, 1) + timedelta(day)) for day in range(60)]


@pytest.fixture
def read(tmp_path, monkeypatch, capsys, read_series):
    """(times, settings) -> the series of the values 0, 1, 2, … at these times, and the lines that are said."""
    monkeypatch.chdir(tmp_path)

    def make(times, beside=None, name="", **settings):
        rows = [f"{time},{row}" for row, time in enumerate(times)]
        if beside:
            rows = [f"{row},{cell}" for row, cell in zip(rows, beside, strict=True)]
        head = f"t,y,{name}" if beside else "t,y"
        (tmp_path / "a.csv").write_text("\n".join([head, *rows, ""]))
        capsys.readouterr()
        found = read_series("a.csv", **({"header": True} | settings))
        return found, capsys.readouterr().err.replace("dlrun: ", "").splitlines()

    return make


def refusal(read, *arguments, **settings):
    with pytest.raises(ConfigError) as caught:
        read(*arguments, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_nothing_is_said_of_rows_in_order(read):
    assert read(DAYS, time="t")[1] == []


def test_rows_that_move_are_counted(read):
    found, said = read([*DAYS[1:20], DAYS[0]], time="t")
    assert found.numbers["y"].tolist() == [19, *range(19)]
    assert said == [
        "a.csv: 20 of 20 rows move into the order of column t; dataset.time=null takes them as they come"
    ]
    _, said = read(DAYS[::-1], time="t")
    assert said[0].startswith("a.csv: 60 of 60 rows move, which ran from newest to oldest,")


@pytest.mark.parametrize(
    "times", [DAYS[::-1], range(2020, 1980, -1), [f"{m}.2020" for m in range(12, 0, -1)]]
)
def test_time_that_runs_backwards_is_said_without_being_asked(read, times):
    _, said = read(times)
    assert said[0] == (
        "a.csv: by column t its rows run from newest to oldest: the model would forecast the past; set dataset.time=t"
    )  # fmt: skip


def test_rows_out_of_order_are_said_without_being_asked(read):
    assert read([*DAYS[10:], *DAYS[:10]])[1][0] == (
        "a.csv: by column t its rows are not in order; set dataset.time=t"
    )


def test_months_before_years_are_no_decimals(read):
    months = [f"{step % 12 + 1}.{2000 + step // 12}" for step in range(40)]
    found, said = read(months, time="t")
    assert (said, found.reading["time_format"]) == ([], "%m.%Y")
    assert found.numbers["y"].tolist() == list(range(40))
    assert (
        read([f"{number:.2f}" for number in (1.5, 1.75, 2.0, 2.25)], time="t")[0].reading[
            "time_format"
        ]
        == "number"
    )


@pytest.mark.parametrize("time", ["t", None])
def test_missing_rows_are_said(read, time):
    _, said = read([*DAYS[:10], *DAYS[15:]], time=time)
    besides = "" if time else "dataset.time=t "
    assert said[0] == (
        "a.csv, column t: 5 days are missing after 2021-01-10; rows on both sides of a gap are taken as neighbours; "
        f"{besides}dataset.step=1D with dataset.fill adds the rows"
    )


def test_several_gaps_are_one_line(read):
    _, said = read([day for place, day in enumerate(DAYS) if place % 10 != 5], time="t")
    assert len(said) == 1
    assert "1 day is missing after 2021-01-05 (6 in 6 places)" in said[0]


def test_uneven_steps_are_said(read):
    _, said = read(
        ["2021-01-01 00:00", "2021-01-01 00:07", "2021-01-02 09:00", "2021-01-05"], time="t"
    )
    assert said[0] == (
        "a.csv, column t: steps are uneven, from 7 minutes to 2.62 days, but rows are taken as equally far apart; "
        "dataset.step=1D with dataset.combine and dataset.fill brings them to one step"
    )


def test_days_and_months_that_may_change_places_are_asked_about(read):
    ambiguous = [f"{day:02}/01/2021" for day in range(1, 13)]
    assert refusal(read, ambiguous, time="t") == (
        "a.csv, column t: 01/01/2021 and all below it may be written as %d/%m/%Y or as %m/%d/%Y; "
        "say which with dataset.time_format='%d/%m/%Y'"
    )
    assert read(ambiguous, time="t", time_format="%d/%m/%Y")[1] == []


def test_days_and_months_that_only_the_steps_tell_apart_are_said(read):
    months = [f"01/{step % 12 + 1:02}/{2000 + step // 12}" for step in range(30)]
    found, said = read(months, time="t")
    assert found.reading["time_format"] == "%d/%m/%Y"
    assert said[0].endswith("and not as %m/%d/%Y; dataset.time_format='%m/%d/%Y' says otherwise")


@pytest.mark.parametrize("time", ["t", None])
@pytest.mark.parametrize(
    ("times", "names"),
    [
        ([day for day in DAYS for _ in "AB"], ["A", "B"] * 60),
        (DAYS * 2, ["A"] * 60 + ["B"] * 60),
        (DAYS * 2, ["1"] * 60 + ["2"] * 60),
    ],
)
def test_several_series_are_refused_with_the_column_that_tells_them_apart(read, times, names, time):
    message = refusal(read, times, names, "store", time=time)
    assert (
        "column store tells 2 series apart; set 'dataset.series=store' to learn from all" in message
    )
    assert "or keep one, as in 'dataset.only={store: " in message
    assert "dataset.time=null" not in message


def test_series_whose_times_never_meet_are_told_apart_by_their_steps(read):
    times = [f"2021-01-01 {hour:02}:{minute:02}" for hour in range(20) for minute in (0, 7)]
    message = refusal(read, times, ["A", "B"] * 20, "sensor", time="t")
    assert message == (
        "a.csv, column t: steps are uneven but for those of each sensor; column sensor tells 2 series apart; "
        "set 'dataset.series=sensor' to learn from all of them, or keep one, as in 'dataset.only={sensor: A}'"
    )
    assert "column sensor tells 2 series apart" in refusal(read, times, ["A", "B"] * 20, "sensor")


def test_two_columns_may_tell_series_apart(read):
    message = refusal(
        read, [day for day in DAYS for _ in range(4)], ["A,1", "A,2", "B,1", "B,2"] * 60, "store,item", time="t"
    )  # fmt: skip
    assert (
        "columns store and item tell 4 series apart; set 'dataset.series=[store,item]' to learn from all of them, "
        "or keep one, as in 'dataset.only={store: A, item: 1}'" in message
    )


def test_one_of_several_series_is_taken(read):
    times, names = [day for day in DAYS for _ in "AB"], ["A", "B"] * 60
    found, _ = read(times, names, "store", time="t", only={"store": "B"})
    assert found.numbers["y"].tolist() == list(range(1, 120, 2))
    assert found.reading["only"] == {"store": "B"}
    assert "no row of a.csv has it; choose from: A, B" in refusal(
        read, times, names, "store", only={"store": "C"}
    )
    assert "dataset.only is shop, which is no column" in refusal(
        read, times, names, "store", only={"shop": "A"}
    )
    numbered = [int(name == "B") for name in names]
    assert len(read(times, numbered, "store", time="t", only={"store": 1})[0]) == 60


def test_the_hour_in_a_column_of_its_own_is_no_name_of_a_series(read):
    times, hours = [day for day in DAYS for _ in range(24)], list(range(24)) * 60
    assert "column hour is a part of the time: write both in one, or set" in refusal(
        read, times, hours, "hour", time="t"
    )
    assert len(read(times, hours, "hour")[0]) == 1440


def test_a_time_that_recurs_is_refused_or_said(read):
    twice = [*DAYS[:5], *DAYS[4:]]
    assert refusal(read, twice, time="t").endswith(
        "one row for each time; leave one out, or set dataset.combine to mean, sum or last"
    )
    assert "2021-01-05 stands in row 6 as well; set dataset.time=t" in read(twice)[1][0]


@pytest.mark.parametrize("time", ["t", None])
@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("Total", "row 62, column t: Total is no time as the others, written as %Y-%m-%d; leave the row out"),
        ("", "row 62, column t: an empty cell is no time as the others"),
        ("t", "row 62, column t: t, the column's own name, is no time as the others"),
    ],
)  # fmt: skip
def test_a_row_that_is_none_of_the_series_is_named(read, cell, said, time):
    assert said in refusal(read, [*DAYS, cell], time=time)


def test_dates_beside_a_series_may_be_missing(read):
    beside = [*DAYS[:57], "", "", ""]
    found, _ = read(range(60), beside, "delivered")
    assert found.inputs == ("t", "y")
    message = refusal(read, range(60), [*DAYS[:59], "Total"], "delivered")
    assert message.endswith("mend it, or set 'dataset.drop=[delivered]' if it is not the time")
    assert len(read(range(60), [*DAYS[:59], "Total"], "delivered", drop=["delivered"])[0]) == 60


def test_times_of_two_forms_are_refused_where_the_second_begins(read):
    assert "row 12, column t: 11.01.2021 is no time as the others, written as %Y-%m-%d" in refusal(
        read, [*DAYS[:10], "11.01.2021"], time="t"
    )


def test_zones_here_and_there_are_refused(read):
    message = refusal(read, [f"{DAYS[0]}T00:00", f"{DAYS[1]}T00:00Z"], time="t")
    assert "2021-01-02T00:00Z has a zone, but 2021-01-01T00:00 in row 2 has none" in message


def test_a_form_of_times_is_checked(read):
    assert "dataset.time_format is dd.mm, but must be auto, number" in refusal(
        read, DAYS, time="t", time_format="dd.mm"
    )
    assert "dataset.time_format is %Y, but dataset.time is null" in refusal(
        read, DAYS, time_format="%Y"
    )
    with pytest.raises(
        BadFile, match=r"row 2, column t: 2021-01-01 is no time written as %d\.%m\.%Y"
    ):
        read(DAYS, time="t", time_format="%d.%m.%Y")


def test_columns_that_are_no_inputs_are_said(read):
    found, said = read(DAYS, [f"{'ab'[row % 2]},7,{row}" for row in range(60)], "w,c,x")
    assert found.inputs == ("y", "x")
    assert said == [
        "a.csv: left out of dataset.inputs: t (times), w (words), c (always 7); name columns there to take others"
    ]


def test_what_is_missing_or_infinite_in_the_target_is_said(read, tmp_path, read_series):
    (tmp_path / "b.csv").write_text("y\n1\nNA\n3\n")
    found = read_series("b.csv", fill="linear")
    assert len(found) == 3
    (tmp_path / "b.csv").write_text("y\n1\n-inf\n3\n")
    with pytest.raises(
        ConfigError, match=r"row 3, column y: -inf is not a finite number; mend it, or take it for"
    ):
        read_series("b.csv")


def test_missing_values_of_the_target_are_said_to_be_filled(tmp_path, capsys, read_series):
    (tmp_path / "b.csv").write_text("y\n1\nNA\n3\n")
    read_series(tmp_path / "b.csv", fill="linear")
    assert "column y: 1 of 3 values of the target are missing: dataset.fill=linear fills them" in (
        capsys.readouterr().err
    )


def test_months_are_read_in_other_languages(read):
    for months in (
        "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
        "janv. févr. mars avr. mai juin juil. août sept. oct. nov. déc.",
        "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    ):
        times = [f"{month} {year}" for year in (2019, 2020) for month in months.split()]
        assert read(times, time="t")[1] == []


def test_years_of_two_digits_are_of_the_century_in_which_they_lie_close_together(read):
    months = [
        f"01.{month:02d}.{year % 100:02d}" for year in range(1960, 1975) for month in range(1, 13)
    ]
    assert read(months, time="t")[1] == []
    months = [
        f"01.{month:02d}.{year % 100:02d}" for year in range(1990, 2010) for month in range(1, 13)
    ]
    assert read(months, time="t")[1] == []


def test_an_hour_comes_twice_from_the_newest_to_the_oldest_as_well(read):
    hours = [f"2021-10-30 {hour:02d}:00" for hour in range(24)]
    hours += [f"2021-10-31 {hour:02d}:00" for hour in (0, 1, 2, 2, 3, 4, 5)]
    assert read(hours, time="t")[1] == []
    found, said = read(hours[::-1], time="t")
    assert found.numbers["y"].tolist() == [*range(30, -1, -1)] and len(said) == 1


def test_times_of_a_day_are_in_order_until_midnight(read):
    quarters = [f"{hour:02d}:{minute:02d}" for hour in range(24) for minute in (0, 15, 30, 45)]
    assert read(quarters, time="t")[1] == []
    assert "00:00 comes after 23:45, and no dates say" in refusal(read, quarters * 2, time="t")


def test_weeks_of_six_days_are_regular(read):
    worked = [day for day in DAYS if date.fromisoformat(day).weekday() < 6]
    assert read(worked, time="t")[1] == []


def test_columns_that_are_parts_of_the_time_are_called_so(read):
    beside = [month for _ in range(3) for month in range(1, 13)]
    years = [year for year in (2000, 2001, 2002) for _ in range(12)]
    said = refusal(read, years, beside, "month", time="t")
    assert "column month is a part of the time: write both in one" in said
