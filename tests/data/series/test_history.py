"""A series continued by dlrun predict: from the rows of a file, a horizon at a time or further."""

import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from dlrun.commands import predict
from dlrun.config.compose import compose
from dlrun.data.base import Spec
from dlrun.data.files import SAMPLES
from dlrun.data.kinds import read_inputs
from dlrun.data.series.history import continued, read_history
from dlrun.data.series.scaling import SeriesScaling
from dlrun.errors import ConfigError
from dlrun.runner import start
from dlrun.storage.run_directory import RunDirectory

SPEC = Spec("regression", "sequence", (2, 1), 1)
READING = {
    "header": "auto",
    "delimiter": "auto",
    "encoding": "utf-8",
    "missing": ["NA"],
    "time": None,
}


def scaling(inputs=("y",), targets=("y",), **more):
    settings = {
        "mean": [0.0] * len(inputs), "std": [1.0] * len(inputs), "target_mean": [0.0], "target_std": [1.0],
        "fallback": [0.5] * 2, "input_columns": list(inputs), "target_columns": list(targets), "kinds": {},
        "window": 2, "horizon": 1, "difference": 0, "seasonal_difference": None, "difference_inputs": True,
        "fill": "none", "season": None, "reading": READING,
    }  # fmt: skip
    return SeriesScaling(**(settings | more))


@pytest.fixture
def write(tmp_path):
    def make(text):
        path = tmp_path / "rows.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return make


def refusal(path, scaling):
    with pytest.raises(ConfigError) as caught:
        read_history(path, scaling)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_columns_are_found_by_name_in_whatever_order(write):
    path = write("w,y,x\nb,1,10\na,2,20\nnew,3,30\n")
    of = scaling(["x", "w", "y"], kinds={"w": ["a", "b"]})
    assert read_history(path, of).tolist() == [[10, 1, 0, 1], [20, 2, 1, 0], [30, 3, 0, 0]]


def test_rows_come_in_the_order_of_time(write):
    of = scaling(reading=READING | {"time": "t"})
    assert read_history(write("t,y\n2,20\n1,10\n"), of).tolist() == [[10], [20]]


def test_a_target_that_is_neither_seen_nor_a_change_need_not_be_known(write):
    of = scaling(["x"], ["y"])
    assert read_history(write("x\n1\n2\n"), of)[:, 0].tolist() == [1, 2]
    changes = scaling(["x"], ["y"], difference=1)
    assert "has no column y" in refusal(write("x,z\n1,2\n2,3\n"), changes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("z,yy\n1,2\n3,4\n", "has no column y, which this run forecasts from; did you mean yy?"),
        ("y\n1\n", "rows.csv has 1 rows, but this run needs 2 to forecast from"),
        ("y\n1\nNA\n", "row 3, column y: the value is missing"),
        ("y\n1\nx\n", "row 3, column y: x is not a number"),
        ("y\na\nb\n", "row 2, column y: a is not a number"),
    ],
)
def test_rows_that_cannot_be_continued_are_refused_in_one_line(write, text, said):
    assert said in refusal(write(text), scaling())


def test_missing_values_are_filled_by_the_rule_of_the_run(write):
    of = scaling(fill="forward")
    rows = read_history(write("y\n1\nNA\n"), of)
    assert of.inputs(rows).flatten().tolist() == [1, 1]
    assert of.inputs(np.array([[np.nan], [3.0]])).flatten().tolist() == [0.5, 3]


def test_a_gap_before_the_rows_that_a_forecast_needs_is_none(write):
    text = "y\n1\nNA\n3\n4\n5\n"
    assert read_history(write(text), scaling())[:, 0].tolist()[2:] == [3, 4, 5]
    assert "row 3, column y: the value is missing" in refusal(
        write(text), scaling(difference=1, seasonal_difference=2, window=1)
    )


def test_numbers_are_read_as_the_run_read_them(write):
    of = scaling(reading=READING | {"decimal": "comma", "thousands": "point"})
    assert read_history(write("y;z\n1.500;a\n2;b\n"), of)[:, 0].tolist() == [1500, 2]


def test_what_predict_cannot_set_is_not_advised(write):
    for text in ("y\n1\nNA\n", "y\n1\n2,3\n", "y\n1\n1,5\n", "y\n1\nx\n"):
        with pytest.raises(ConfigError) as caught:
            read_inputs(write(text), SPEC, scaling())
        assert "set dataset" not in str(caught.value)
        assert str(caught.value).endswith(
            ("; fill it in", "; mend it", "; mend the row", "with a decimal point")
        )


def test_rows_that_run_backwards_are_said_where_nothing_orders_them(write, capsys):
    read_history(write("day,y\n2020-01-03,3\n2020-01-02,2\n2020-01-01,1\n"), scaling())
    said = capsys.readouterr().err
    assert "by column day its rows run from newest to oldest" in said
    assert "a run may be trained with dataset.time=day" in said


def test_one_of_several_series_is_continued_in_the_form_of_times_of_the_run(write, capsys):
    of = scaling(reading=READING | {"time": "t", "time_format": "%d/%m/%Y", "only": {"store": "B"}})
    rows = read_history(
        write("t,store,y\n1/3/2020,B,3\n2/1/2020,A,9\n1/2/2020,B,2\n1/1/2020,B,1\n"), of
    )
    assert rows.flatten().tolist() == [1, 2, 3]
    with pytest.raises(ConfigError, match="2020-01-01 is no time written as %d/%m/%Y; mend it"):
        read_inputs(write("t,y\n2020-01-01,1\n2020-01-02,1\n"), SPEC, of)


def next_two(rows):
    """The next two values if each is the last one and one more."""
    return np.array([[rows[-1, 0] + 1, rows[-1, 0] + 2]]), None


def test_a_horizon_is_told_at_a_time_and_more_is_told_from_forecasts():
    of, rows = scaling(horizon=2), np.array([[1.0], [2.0]])
    assert continued(rows, of, steps=None, predict=next_two)[0].tolist() == [[3], [4]]
    assert continued(rows, of, steps=1, predict=next_two)[0].tolist() == [[3]]
    assert continued(rows, of, steps=5, predict=next_two)[0].tolist() == [[3], [4], [5], [6], [7]]


def test_forecasts_of_several_targets_are_fed_back_to_their_own_columns():
    of = scaling(["a", "b"], ["b", "a"])
    told, _ = continued(
        np.array([[1.0, 10.0]]), of, steps=3,
        predict=lambda rows: (np.array([[rows[-1, 1] + 10, rows[-1, 0] + 1]]), None),
    )  # fmt: skip
    assert told.tolist() == [[20, 2], [30, 3], [40, 4]]


def test_what_is_not_forecast_itself_cannot_be_fed_back():
    of = scaling(["y", "x"])
    with pytest.raises(
        ConfigError, match=r"--steps is 2, but this run forecasts 1 at a time.* x, which"
    ):
        continued(np.zeros((3, 2)), of, steps=2, predict=next_two)


def test_quantiles_are_of_one_horizon_and_not_made_from_forecasts():
    of, rows = scaling(horizon=2), np.array([[1.0]])
    quantiles = np.array([[[0.0, 2.0, 3.0], [1.0, 3.0, 5.0]]])
    forecast = {"predict": lambda rows: (quantiles[..., 1], quantiles)}
    values, found = continued(rows, of, steps=1, **forecast)
    assert (values.tolist(), found.tolist()) == ([[2.0]], [[[0.0, 2.0, 3.0]]])
    with pytest.raises(ConfigError, match="made from forecasts has none; ask for at most 2, or"):
        continued(rows, of, steps=3, **forecast)


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """(words) -> the folder of a run of one step that hardly moves from weights of zero."""
    monkeypatch.chdir(tmp_path)

    def make(*words):
        plain = OmegaConf.to_container(
            compose(["name=a", "model=logistic", "model.init=zeros", "optimizer=sgd", "optimizer.lr=1e-30",
                     "trainer.max_steps=1", "tracking.tensorboard=false", *words]), resolve=True
        )  # fmt: skip
        del plain["sweep"]
        run = RunDirectory(tmp_path / "run")
        assert start.train(plain, run, overrides=[], choices={}) == 0
        return str(run.path)

    return make


def test_a_run_continues_the_passengers_of_its_file(trained, tmp_path):
    run = trained("dataset=airline", "dataset.horizon=2")
    file = SAMPLES / "airline-passengers.csv"
    assert predict.main([run, str(file), "--steps", "3", "--output", "p.json"]) == 0
    found = json.loads((tmp_path / "p.json").read_text())
    assert [record["row"] for record in found] == [144, 145, 146]

    # A model of zeros tells the mean change of the training rows, from the same month of last year.
    y = np.loadtxt(file, delimiter=",", skiprows=1, usecols=1, converters={0: str})
    origins = np.arange(24, 75)  # of windows of 12 changes, 13 rows back, in the first 77 rows
    change = [
        np.mean(y[origins + step] - y[origins + step - 12] - y[origins] + y[origins - 12])
        for step in (1, 2)
    ]
    told = list(y)
    for base in (144, 144, 146):
        step = len(told) - base
        told.append(told[-12] + told[base - 1] - told[base - 13] + change[step])
    np.testing.assert_allclose([record["prediction"][0] for record in found], told[144:], rtol=1e-5)


def test_each_forecast_is_shown_under_the_name_of_its_target(trained, capsys):
    Path("s.csv").write_text("a,b\n" + "".join(f"{t},{-t}\n" for t in range(40)))
    run = trained("dataset=series", "dataset.path=s.csv", "dataset.target=[b,a]")
    capsys.readouterr()
    assert predict.main([run, "s.csv"]) == 0
    # The model tells the mean of the rows that it was trained on, 12 to 25.
    assert capsys.readouterr().out == "s.csv[40]  b -18.5  a 18.5\n"
    assert predict.main([run, "s.csv", "--output", "p.csv"]) == 0
    assert Path("p.csv").read_text().splitlines()[0] == "input,row,b,a"


def test_forecasts_are_shown_at_the_times_that_come(trained, capsys):
    rows = [f"{1990 + t // 12}-{t % 12 + 1:02},{t}\n" for t in range(40)]
    Path("s.csv").write_text("month,a\n" + "".join(rows[::-1]))
    run = trained("dataset=series", "dataset.path=s.csv", "dataset.target=a", "dataset.time=month",
                  "dataset.horizon=2")  # fmt: skip
    capsys.readouterr()
    assert predict.main([run, "s.csv"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("s.csv[40]  1993-05  a 1")
    assert second.startswith("s.csv[41]  1993-06  a 1")
    assert predict.main([run, "s.csv", "--output", "p.csv"]) == 0
    assert Path("p.csv").read_text().splitlines()[0] == "input,row,time,a"


def test_months_before_years_are_continued_from_the_last_month(trained, capsys):
    months = [f"{t % 12 + 1}.{2000 + t // 12},{t}\n" for t in range(40)]
    Path("s.csv").write_text("month,a\n" + "".join(months))
    run = trained("dataset=series", "dataset.path=s.csv", "dataset.target=a", "dataset.time=month")
    capsys.readouterr()
    assert predict.main([run, "s.csv"]) == 0
    assert capsys.readouterr().out.startswith("s.csv[40]  5.2003  a ")


def test_steps_are_for_series_and_at_least_one(trained):
    run = trained("dataset=iris")
    (rows := Path("rows.csv")).write_text("5,3,1,0\n")
    with pytest.raises(ConfigError, match="--steps continues a series, but this run was trained"):
        predict.main([run, str(rows), "--steps", "2"])
    with pytest.raises(ConfigError, match="--steps is 0, but must be a whole number from 1"):
        predict.main([run, str(rows), "--steps", "0"])


@pytest.mark.parametrize(
    ("left_out", "twice", "expected"),
    [([], [39], "2024-02-26"), ([20, 21, 22], [], "2024-02-23 +1")],  # regular, or not
)
def test_the_step_that_training_found_is_that_of_the_forecasts(
    left_out, twice, expected, trained, capsys
):
    days = [date(2024, 1, 1) + timedelta(n) for n in range(56)]
    worked = [day for day in days if day.weekday() < 5]
    rows = [(day, n) for n, day in enumerate(worked) if n not in left_out]
    rows += [(worked[n], n) for n in twice]
    Path("s.csv").write_text("t,a\n" + "".join(f"{day},{n}\n" for day, n in rows))
    run = trained("dataset=series", "dataset.path=s.csv", "dataset.target=a", "dataset.time=t",
                  "dataset.combine=mean")  # fmt: skip
    capsys.readouterr()
    assert predict.main([run, "s.csv"]) == 0
    assert f"  {expected}  a " in capsys.readouterr().out
