"""Many series in one file: each is cut and scaled as if it were alone, and no window holds rows of two."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dlrun.cli import main
from dlrun.config.settings import DataSettings
from dlrun.data.prepare import prepare, preprocessing_from
from dlrun.data.series.history import read_histories
from dlrun.data.series.series import Series
from dlrun.data.series.windows import Cutting
from dlrun.errors import ConfigError
from dlrun.training.tasks import make_task
from losses import loss

SPLIT = DataSettings(
    val_fraction=0.25, test_fraction=0.2, split_seed=0, normalize="standard", augment=None
)
CUTTING = Cutting(
    window=4, horizon=2, difference=0, seasonal_difference=None, difference_inputs=True
)
LENGTHS = {"A": 60, "B": 100, "C": 45}
TRAIN = [
    "dataset=series", "dataset.path=s.csv", "dataset.series=store", "dataset.time=t", "dataset.target=y",
    "dataset.window=3", "dataset.horizon=2", "model=logistic", "trainer.max_steps=6", "trainer.num_threads=1",
    "tracking.tensorboard=false", "hydra.run.dir=run",
]  # fmt: skip


def walks(lengths=LENGTHS, **more):
    """Random walks of very different size, one after the other, each from a seed of its own."""
    parts = {
        name: {
            column: 10.0**number
            * np.random.default_rng([number, at]).standard_normal(count).cumsum()
            for at, column in enumerate(("y", "z"))
        }
        for number, (name, count) in enumerate(lengths.items())
    }
    joined = {
        column: np.concatenate([part[column] for part in parts.values()]) for column in ("y", "z")
    }
    whole = Series(
        joined, {}, ("y", "z"), ("y",), CUTTING, "none", None, {}, members=tuple(lengths.items())
    )
    whole = replace(whole, **more)
    return whole, {name: replace(whole, numbers=part, members=()) for name, part in parts.items()}


def rows_of(part, number):
    return part.series == number


@pytest.mark.parametrize(
    "cut",
    [
        {},
        {"difference": 1},
        {"difference": 1, "seasonal_difference": 5},
        {"seasonal_difference": 5, "difference_inputs": False},
    ],
)
def test_each_series_is_cut_and_scaled_as_if_it_were_alone(cut):
    whole, alone = walks(cutting=replace(CUTTING, **cut))
    data = prepare(whole, SPLIT)
    for number, (name, one) in enumerate(alone.items()):
        by_itself = prepare(one, SPLIT)
        assert data.preprocessing.of(name) == by_itself.preprocessing
        for part in ("train", "val", "test"):
            of_all, of_one = data.split(part), by_itself.split(part)
            kept = rows_of(of_all, number)
            assert torch.equal(of_all.inputs[kept], of_one.inputs)
            scaled, std = of_all.targets[kept].chunk(2, 1)
            assert torch.equal(scaled, of_one.targets)
            values = scaled.double() * std + of_all.bases[kept]
            own = by_itself.preprocessing
            wanted = of_one.targets.double() * torch.tensor(own.target_std) + of_one.bases
            wanted += torch.tensor(own.target_mean, dtype=torch.float64)
            torch.testing.assert_close(values, wanted, rtol=1e-5, atol=1e-5)


def test_metrics_and_baselines_are_over_the_forecasts_of_all_series_in_their_own_units():
    whole, alone = walks()
    data = prepare(whole, SPLIT)
    apart = {name: prepare(one, SPLIT) for name, one in alone.items()}
    task = make_task(
        data.spec,
        loss("mae"),
        data.preprocessing,
    )
    outputs = torch.zeros(len(data.test), 2)
    found = task.metrics(outputs, data.test.targets, variance=task.variance(data.test))
    true, mean = [], []
    for one in apart.values():
        part, own = one.test, one.preprocessing
        values = part.targets.double() * torch.tensor(own.target_std)
        true.append((values + torch.tensor(own.target_mean)).numpy())
        mean.append(np.broadcast_to(own.target_mean, true[-1].shape))
    true, errors = np.concatenate(true), np.concatenate(true) - np.concatenate(mean)
    assert found["mae"] == pytest.approx(np.abs(errors).mean(), rel=1e-5)
    assert found["rmse"] == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-5)
    spread = ((true - true.mean(0)) ** 2).mean()
    assert found["r2"] == pytest.approx(1 - (errors**2).mean() / spread, rel=1e-5)
    scaled = torch.cat([one.test.targets for one in apart.values()])
    assert found["loss"] == pytest.approx(scaled.abs().mean().item())
    for rule in ("persistence", "training mean"):
        squares = [one.baselines[rule]["rmse"] ** 2 for one in apart.values()]
        together = np.average(squares, weights=[len(one.test) for one in apart.values()])
        assert data.baselines[rule]["rmse"] == pytest.approx(np.sqrt(together))


def test_neither_the_future_nor_another_series_changes_what_a_series_is_trained_on():
    whole, _ = walks()
    data, first = prepare(whole, SPLIT), whole.bounds["B"][0]
    trained = first + 60  # B has 100 rows, of which 60 train
    for rows in (slice(trained, whole.bounds["B"][1]), slice(0, first)):
        other = dict(whole.numbers)
        other["y"] = other["y"].copy()
        other["y"][rows] = 1e6 + np.arange(len(other["y"][rows])) ** 2
        then = prepare(replace(whole, numbers=other), SPLIT)
        kept = rows_of(data.train, 1)
        assert then.preprocessing.of("B") == data.preprocessing.of("B")
        assert torch.equal(then.train.inputs[kept], data.train.inputs[kept])
        assert torch.equal(then.train.targets[kept], data.train.targets[kept])


def test_a_series_that_is_too_short_or_constant_is_left_out_by_name(capsys):
    whole, _ = walks({"A": 60, "few": 8, "B": 60, "flat": 60})
    flat = whole.numbers["y"].copy()
    flat[slice(*whole.bounds["flat"])] = 5.0
    whole = replace(whole, numbers={**whole.numbers, "y": flat}, source="s.csv")
    data = prepare(whole, SPLIT)
    assert [*data.preprocessing.members] == ["A", "B"]
    said = capsys.readouterr().err
    assert "1 of 4 series left out, too short for dataset.window, dataset.horizon and these" in said
    assert "few (8 rows)" in said
    assert "1 of 4 series left out, a column has no value or a target is constant" in said
    alone, _ = walks({"A": 60, "B": 60})
    assert torch.equal(prepare(alone, SPLIT).train.inputs[:30], data.train.inputs[:30])


def test_a_series_without_a_season_before_its_test_part_is_left_out_unless_all_are(capsys):
    whole, _ = walks({"A": 60, "B": 100}, season=70, source="s.csv")
    assert [*prepare(whole, SPLIT).preprocessing.members] == ["B"]
    assert (
        "s.csv: 1 of 2 series left out, fewer than dataset.season=70 rows before the test part: A"
        in (capsys.readouterr().err)
    )
    with pytest.raises(
        ConfigError, match=r"dataset\.season is 90, but only 48 rows of the series A"
    ):
        prepare(replace(whole, season=90), SPLIT)


def test_a_file_without_a_series_that_is_long_enough_is_refused():
    whole, _ = walks({"A": 8, "B": 9})
    with pytest.raises(ConfigError, match="of the 9 rows of the longest series, but needs"):
        prepare(whole, SPLIT)


def test_what_changes_in_no_series_is_scaled_over_all_of_them_and_tells_them_apart():
    whole, alone = walks({"A": 60, "B": 60, "C": 60})
    size = np.repeat([10.0, 20.0, 60.0], 60)
    store = tuple(np.repeat(["A", "B", "C"], 60).tolist())
    whole = replace(
        whole,
        numbers={**whole.numbers, "size": size},
        words={"store": store},
        inputs=("y", "size", "store"),
    )
    data = prepare(whole, SPLIT)
    assert data.spec.feature_names == ("y", "size", "store=A", "store=B", "store=C")
    apart = [data.train.inputs[rows_of(data.train, number)] for number in range(3)]
    scaled = (np.array([10, 20, 60]) - 30) / np.std([10, 20, 60])
    for number, inputs in enumerate(apart):
        assert inputs[:, :, 1].numpy() == pytest.approx(scaled[number])
        assert (inputs[:, :, 2 + number] > 1).all() and (
            inputs[:, :, 2 + (number + 1) % 3] < 0
        ).all()
        own = prepare(alone["ABC"[number]], SPLIT)
        assert torch.equal(inputs[:, :, 0], own.train.inputs[:, :, 0])


def test_the_scaling_of_each_series_is_read_back_from_plain_values():
    scaling = prepare(walks()[0], SPLIT).preprocessing
    assert preprocessing_from(json.loads(json.dumps(scaling.to_dict()))) == scaling


def long_table(lengths, *, columns="t,store,y"):
    """A file sorted by time in which the series take turns, and the values of each."""
    rows, values = [], {}
    for number, (name, count) in enumerate(lengths.items()):
        steps = np.random.default_rng(number).integers(-3, 4, count)
        values[name] = (100 * (number + 1) + steps.cumsum()).tolist()
        days = np.arange("2021-01-01", count, dtype="datetime64[D]")[:count]
        rows += [f"{day},{name},{y}" for day, y in zip(days, values[name], strict=True)]
    return "\n".join([columns, *sorted(rows), ""]), values


@pytest.fixture
def read(read_series):
    return lambda path, **settings: read_series(path, **{"series": "store", "time": "t"} | settings)


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(lengths, name="s.csv"):
        text, values = long_table(lengths)
        Path(name).write_text(text)
        return values

    return write


def test_series_are_told_apart_by_a_column_and_each_is_in_the_order_of_its_times(
    read, table, capsys
):
    values = table({"b": 20, "a": 15})
    text = Path("s.csv").read_text().splitlines()
    Path("s.csv").write_text("\n".join([text[0], *text[:0:-1], ""]))
    found = read("s.csv")
    assert found.members == (("a", 15), ("b", 20))
    assert found.inputs == ("y",)
    assert "s.csv: 2 series by store, of 15 to 20 rows\n" in capsys.readouterr().err
    assert found.numbers["y"].tolist() == values["a"] + values["b"]
    skipped = read("s.csv", **{"skip": 5})
    assert skipped.numbers["y"].tolist() == values["a"][5:] + values["b"][5:]
    for step in (None, "1D"):
        assert read("s.csv", skip=16, step=step, fill="zero").members == (("a", 0), ("b", 4))


def test_two_columns_name_a_series_together_and_without_times_rows_stay_as_they_come(read, table):
    Path("s.csv").write_text("store,item,y\nA,1,1\nB,1,5\nA,2,3\nA,1,2\nA,2,4\nB,1,6\n")
    found = read("s.csv", **{"time": None, "series": ["store", "item"]})
    assert found.members == (("A, 1", 2), ("A, 2", 2), ("B, 1", 2))
    assert found.numbers["y"].tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("2021-01-01,A,1\n2021-01-01,B,1\n2021-01-01,A,2\n", "row 4, column t: 2021-01-01 stands in row 2"),
        ("2021-01-01,A,1\n2021-01-01,,1\n", "row 3, column store: the name of the series is missing; fill it in"),
    ],
)  # fmt: skip
def test_a_row_that_is_twice_in_a_series_or_in_none_is_refused(read, table, rows, said):
    Path("s.csv").write_text("t,store,y\n" + rows)
    with pytest.raises(ConfigError, match=said):
        read("s.csv")


def test_series_that_hold_several_are_refused_with_all_columns_that_tell_them_apart(read, table):
    days = [str(day) for day in np.arange("2021-01-01", 20, dtype="datetime64[D]")]
    rows = [f"{day},{store},{item},1" for day in days for store in "AB" for item in "xyz"]
    Path("s.csv").write_text("\n".join(["t,store,item,y", *rows, ""]))
    with pytest.raises(
        ConfigError, match=r"set 'dataset\.series=\[store,item\]' to learn from all"
    ):
        read("s.csv")


def test_new_rows_of_series_are_read_by_the_scaling_of_each_and_others_named(read, table, capsys):
    values = table({"A": 40, "B": 50})
    raw = read("s.csv")
    scaling = prepare(raw, SPLIT).preprocessing
    table({"A": 1, "B": 50, "new": 20}, "n.csv")
    capsys.readouterr()
    (found,) = read_histories(Path("n.csv"), scaling)
    assert (found.series, found.rows_RC[:, 0].tolist()) == ("B", values["B"])
    assert found.ahead.last == "2021-02-19" and found.scaling == scaling.of("B")
    assert capsys.readouterr().err == (
        "dlrun: n.csv: series left out that this run was not trained on (1 of 3): new\n"
        "dlrun: n.csv: series left out with fewer than the 2 rows that this run needs (1 of 2): A (1)\n"
    )
    table({"new": 20}, "n.csv")
    with pytest.raises(
        ConfigError,
        match=r"n\.csv has series that this run was not trained on \(1 of 1\): new; this run knows A, B",
    ):
        read_histories(Path("n.csv"), scaling)


def test_a_run_on_series_is_resumed_evaluated_exported_and_continues_each(table, capsys):
    values = table({"A": 60, "B": 80})
    every = "trainer.eval_every_steps=2"
    assert main(["train", *TRAIN, every]) == 0
    assert main(["train", *TRAIN[:-1], every, "trainer.max_steps=4", "hydra.run.dir=half"]) == 0
    assert main(["resume", "half", "trainer.max_steps=6"]) == 0
    once, twice = (json.loads(Path(run, "summary.json").read_text()) for run in ("run", "half"))
    assert once["best"]["metrics"] == twice["best"]["metrics"]
    capsys.readouterr()
    assert main(["eval", "run", "--json"]) == 0
    own = json.loads(capsys.readouterr().out)
    text = Path("s.csv").read_text()
    Path("s.csv").write_text(text.replace(",B,", ",C,"))
    assert main(["eval", "run"]) == 2  # other series than those of the run
    Path("s.csv").write_text(text)
    assert main(["eval", "run", "--json", "dataset.test_path=s.csv"]) == 0
    all_rows = json.loads(capsys.readouterr().out)
    assert own["rows"] < all_rows["rows"] == 60 - 4 + 80 - 4
    assert main(["export", "run", "--format", "torch_export"]) == 0
    capsys.readouterr()
    assert main(["predict", "run", "s.csv", "--output", "p.csv"]) == 0
    rows = [line.split(",") for line in Path("p.csv").read_text().splitlines()]
    assert rows[0] == ["input", "series", "row", "time", "y"]
    assert [row[1:4] for row in rows[1:]] == [
        ["A", "60", "2021-03-02"], ["A", "61", "2021-03-03"],
        ["B", "80", "2021-03-22"], ["B", "81", "2021-03-23"],
    ]  # fmt: skip
    for row, name in zip(rows[1:], "AABB", strict=True):  # each at the level of its own series
        assert abs(float(row[4]) - np.mean(values[name])) < 60
