"""Columns that are known of the rows to be forecast: they alone are seen there, in training and by `predict`."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dlrun.cli import main
from dlrun.config.settings import DataSettings
from dlrun.data.prepare import prepare
from dlrun.data.series.series import Series
from dlrun.data.series.windows import Cutting
from dlrun.errors import ConfigError

ROWS, WINDOW, HORIZON = 60, 5, 3
SETTINGS = DataSettings(0.2, 0.25, 0, "standard", None)


def series_of(known=("holiday", "sale"), members=(), **numbers):
    drawn = np.random.default_rng(0)
    values = {"y": drawn.standard_normal(ROWS), "temp": drawn.standard_normal(ROWS)}
    values |= {"holiday": (drawn.random(ROWS) < 0.3) * 1.0} | numbers
    words = {"sale": tuple(drawn.choice(["no", "half", "full"], ROWS).tolist())}
    cutting = Cutting(WINDOW, HORIZON, 0, None, True)
    inputs = ("y", "temp", "holiday", "sale")
    return Series(
        values,
        words,
        inputs,
        ("y",),
        cutting,
        "none",
        None,
        {},
        members=members,
        known_future=known,
    )


def test_a_sequence_is_the_window_and_then_what_is_known_of_the_horizon():
    series = series_of()
    data = prepare(series, SETTINGS)
    features = ("y", "temp", "holiday", "sale=full", "sale=half", "sale=no", "in the future")
    assert data.spec.feature_names == features and data.spec.future == HORIZON
    assert data.spec.input_shape == data.test.inputs.shape[1:] == (WINDOW + HORIZON, 7)
    mean, std = data.preprocessing.mean, data.preprocessing.std
    origin = 44  # the last row before the test part
    for step in range(1, HORIZON + 1):
        row = origin + step
        holiday = (series.numbers["holiday"][row] - mean[2]) / std[2]
        sale = [((series.words["sale"][row] == kind) - mean[3 + n]) / std[3 + n]
                for n, kind in enumerate(("full", "half", "no"))]  # fmt: skip
        expected = torch.tensor([0, 0, holiday, *sale, 1])
        torch.testing.assert_close(data.test.inputs[0, WINDOW + step - 1], expected.float())
    alone = prepare(series_of(known=()), SETTINGS)
    torch.testing.assert_close(data.test.inputs[:, :WINDOW, :6], alone.test.inputs)
    assert not data.test.inputs[:, :WINDOW, 6].any() and alone.spec.future == 0
    torch.testing.assert_close(data.test.targets, alone.test.targets)


@pytest.mark.parametrize("members", [(), (("a", 36), ("b", 24))])
@pytest.mark.parametrize("column", ["y", "temp", "holiday"])
def test_no_sequence_sees_more_of_the_future_than_what_is_known(column, members):
    """Of the sequences whose horizon a row is in, a change to it changes those alone where it is known."""
    series = series_of(members=members)
    row = ROWS - 1
    changed = series.numbers[column].copy()
    changed[row] = 9.0
    numbers = {**series.numbers, column: changed}
    before, after = (prepare(one, SETTINGS) for one in (series, replace(series, numbers=numbers)))
    assert after.preprocessing == before.preprocessing
    last = slice(-1, None)  # the only one with that row in its horizon
    same = torch.equal(before.test.inputs[last], after.test.inputs[last])
    assert same == (column != "holiday")
    assert torch.equal(before.test.inputs[:-1], after.test.inputs[:-1])
    for part in ("train", "val"):
        assert torch.equal(getattr(before, part).inputs, getattr(after, part).inputs)


def write(path, rows, head="day,holiday,temp,y"):
    Path(path).write_text(head + "\n" + "".join(f"{row}\n" for row in rows))


def days(count, *, holiday=0, temp=""):
    """Rows to come."""
    return [f"2024-03-{day:02},{holiday},{temp}," for day in range(1, count + 1)]


@pytest.fixture
def past():
    holidays, temps, values = np.random.default_rng(1).random((3, ROWS))
    return [
        f"{np.datetime64('2024-03-01') - ROWS + n},{int(holidays[n] < 0.3)},{temps[n]:.3f},{values[n]:.3f}"
        for n in range(ROWS)
    ]


@pytest.fixture
def train(tmp_path, monkeypatch, past):
    monkeypatch.chdir(tmp_path)
    write("s.csv", past)

    def run(*words):
        common = ["dataset=series", "dataset.path=s.csv", "dataset.target=y", "dataset.time=day",
                  "dataset.horizon=3", "dataset.window=5", "dataset.known_future=[holiday]",
                  "trainer.max_epochs=1", "trainer.accelerator=cpu", "trainer.num_threads=1",
                  "tracking.tensorboard=false"]  # fmt: skip
        return main(["train", *common, *words])

    return run


def forecast(rows, *words):
    write("n.csv", rows)
    assert main(["predict", "last", "n.csv", *words, "--output", "p.json"]) == 0
    found = json.loads(Path("p.json").read_text())
    return [record["prediction"] for record in found], found


@pytest.mark.parametrize("model", ["mlp", "lstm", "linear"])
def test_every_model_forecasts_by_what_is_known_of_the_rows_to_come_alone(model, train, past):
    small = {"mlp": ["model.hidden=[4]"], "linear": []}.get(model, ["model.hidden_size=4"])
    assert train(f"model={model}", *small, "optimizer.lr=0.1") == 0
    first, records = forecast([*past, *days(3)])
    assert [record["row"] for record in records] == [60, 61, 62]
    assert records[0]["time"] == "2024-03-01"
    assert forecast([*past, *days(3, temp="77")])[0] == first
    assert forecast([*past, *days(3, temp="no number")])[0] == first
    assert forecast([*past, *days(9)])[0] == first  # more than one horizon
    assert forecast([*past, *days(3, holiday=1)])[0] != first


def measured(said):
    return said[said.index("test/loss") : said.index("best epoch")]


def test_rows_to_come_at_the_end_of_the_training_file_are_left_out(train, past, capsys):
    quick = ["model=linear", "trainer.max_steps=1"]
    assert train(*quick) == 0
    alone = measured(capsys.readouterr().out)
    write("s.csv", [*past, *days(3)])
    assert train(*quick) == 0
    said = capsys.readouterr()
    assert measured(said.out) == alone
    assert "s.csv: 3 rows at the end without a target are taken as still to come" in said.err


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], "ends with 0 rows without y, but this run needs 3: add a row for each step to be forecast"),
        (days(2), "ends with 2 rows without y, but this run needs 3"),
        (days(3, holiday=""), "column holiday: no value 1 step after 2024-02-29 (3 such values), but this run was"),
    ],
)  # fmt: skip
def test_rows_to_come_that_are_missing_are_asked_for(rows, expected, train, past, capsys):
    assert train("model=linear", "dataset.fill=forward", "trainer.max_steps=1") == 0
    write("n.csv", [*past, *rows])
    assert main(["predict", "last", "n.csv"]) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("dataset.known_future=[y]", "dataset.known_future and dataset.target both name y"),
        ("dataset.known_future=[holday]", "did you mean holiday?"),
        ("dataset.drop=[holiday]", "dataset.known_future and dataset.drop both name holiday"),
    ],
)
def test_a_column_known_of_the_future_is_an_input_and_nothing_else(words, expected, train, capsys):
    assert train("model=linear", words) == 2
    assert expected in capsys.readouterr().err


def test_several_series_have_their_own_rows_to_come(train, past, capsys):
    rows = [f"{store},{row}" for store in "ab" for row in past]
    head = "store,day,holiday,temp,y"
    write("s.csv", rows, head)
    assert (
        train("model=linear", "dataset.series=store", "trainer.max_steps=1", "optimizer.lr=0.1")
        == 0
    )
    both = [*rows, *(f"{store},{row}" for store in "ab" for row in days(3))]
    write("n.csv", both, head)
    assert main(["predict", "last", "n.csv", "--output", "p.json"]) == 0
    first = json.loads(Path("p.json").read_text())
    write("n.csv", [row.replace("b,2024-03-01,0", "b,2024-03-01,1") for row in both], head)
    assert main(["predict", "last", "n.csv", "--output", "p.json"]) == 0
    other = json.loads(Path("p.json").read_text())
    assert [record["series"] for record in first] == ["a"] * 3 + ["b"] * 3
    assert first[:3] == other[:3] and first[3:] != other[3:]
    write("n.csv", both[:-1], head)  # b has two rows to come
    capsys.readouterr()
    assert main(["predict", "last", "n.csv", "--output", "p.json"]) == 0
    assert json.loads(Path("p.json").read_text()) == first[:3]
    assert "needs (1 of 2): b (2)\n" in capsys.readouterr().err
    write("n.csv", rows, head)
    assert main(["predict", "last", "n.csv"]) == 2
    assert "ends with at most 0 rows of each series without y" in capsys.readouterr().err


def calendar_of(read_series, path, **settings):
    found = read_series(path, time="t", known_future=["t"], **settings)
    return {name: found.numbers[name] for name in found.known_future}, found


def test_the_column_of_time_stands_for_its_calendar(tmp_path, read_series):
    hours = np.datetime64("2024-01-01T00") + np.arange(24 * 60)  # a leap year, from a Monday on
    write(tmp_path / "h.csv", [f"{hour}:00,1" for hour in hours[::-1]], head="t,y")
    found, series = calendar_of(read_series, tmp_path / "h.csv")
    cycles = {"year": 366 * 24, "week": 7 * 24, "day": 24}
    waves = [(cycle, wave) for cycle in cycles for wave in ("sin", "cos")]
    assert [*found] == [f"t in the {cycle} ({wave})" for cycle, wave in waves]
    assert series.inputs == ("y", *found)
    for cycle, wave in waves:
        expected = getattr(np, wave)(2 * np.pi * np.arange(24 * 60) / cycles[cycle])
        np.testing.assert_allclose(found[f"t in the {cycle} ({wave})"], expected, atol=1e-9)


@pytest.mark.parametrize(("unit", "cycles"), [("D", ["year", "week"]), ("M", ["year"])])
def test_a_calendar_has_the_cycles_that_steps_go_round_in(unit, cycles, tmp_path, read_series):
    times = (
        np.datetime64("2020-01") + np.arange(40)
        if unit == "M"
        else np.datetime64("2020-01-01") + np.arange(40)
    )
    write(tmp_path / "s.csv", [f"{time},1" for time in times], head="t,y")
    found, _ = calendar_of(read_series, tmp_path / "s.csv")
    assert [*found] == [f"t in the {cycle} ({wave})" for cycle in cycles for wave in ("sin", "cos")]


def test_steps_without_a_row_have_their_place_in_the_calendar(tmp_path, read_series):
    days = np.datetime64("2024-01-01") + np.array([0, 1, 2, 5, 6, 7])
    write(tmp_path / "s.csv", [f"{day},1" for day in days], head="t,y")
    found, _ = calendar_of(read_series, tmp_path / "s.csv", step="1D", fill="forward")
    expected = np.sin(2 * np.pi * np.arange(8) / 7)
    np.testing.assert_allclose(found["t in the week (sin)"], expected, atol=1e-9)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (range(9), "whose plain numbers have no calendar"),
        ([f"{year}-01-01" for year in range(2000, 2009)], "steps of 365 days do not go round in a year"),
    ],
)  # fmt: skip
def test_times_without_a_calendar_are_refused(times, expected, tmp_path, read_series):
    write(tmp_path / "s.csv", [f"{time},1" for time in times], head="t,y")
    with pytest.raises(ConfigError, match=expected):
        calendar_of(read_series, tmp_path / "s.csv")


def test_the_calendar_of_rows_to_come_is_seen(train, past):
    assert train("model=linear", "optimizer.lr=0.1", "dataset.known_future=[day]") == 0
    first, _ = forecast([*past, *days(3)])
    later = [row.replace("2024-03", "2024-05") for row in days(3)]
    assert forecast([*past, *days(3, holiday=1)])[0] == first
    assert forecast([*past, *later])[0] != first
