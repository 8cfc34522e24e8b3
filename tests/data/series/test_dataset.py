"""Series as data sets: parts in the order of time, nothing of the future in them, baselines as computed elsewhere."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from dlrun.config.compose import compose
from dlrun.config.instantiate import split_component
from dlrun.config.settings import DataSettings
from dlrun.data.prepare import prepare as prepare_series
from dlrun.data.prepare import preprocessing_from
from dlrun.data.series.series import Series
from dlrun.data.series.windows import Cutting
from dlrun.errors import ConfigError

SPLIT = DataSettings(
    val_fraction=0.25, test_fraction=0.2, split_seed=0, normalize="standard", augment=None
)
ROWS, TRAINED, VALIDATED = 100, 60, 80


def walk(*columns, seed=0, **settings):
    """A series of random walks, the first of which is the target."""
    names = columns or ("y", "z")
    rng = np.random.default_rng(seed)
    values = {name: rng.standard_normal(ROWS).cumsum() for name in names}
    cutting = Cutting(**({"window": 4, "horizon": 1, "difference": 0, "seasonal_difference": None,
                          "difference_inputs": True} | settings))  # fmt: skip
    return Series(values, {}, tuple(names), (names[0],), cutting, "none", None, {})


def changed(before, rows, value=1e6):
    """The same series with other values in these rows."""
    numbers = {name: column.copy() for name, column in before.numbers.items()}
    for column in numbers.values():
        column[rows] = value
    return replace(before, numbers=numbers)


def in_own_units(data, part, scores):
    scaling = data.preprocessing
    values = scores.double() * torch.tensor(scaling.target_std) + torch.tensor(scaling.target_mean)
    return (values + part.bases).numpy()


CUTS = pytest.mark.parametrize(
    "cut",
    [
        {},
        {"horizon": 3},
        {"difference": 1},
        {"difference": 1, "seasonal_difference": 5, "horizon": 7},
        {"seasonal_difference": 5, "difference_inputs": False},
    ],
)


@CUTS
def test_the_targets_of_each_part_are_the_rows_of_its_time(cut):
    raw = walk(**cut)
    data, horizon = prepare_series(raw, SPLIT), cut.get("horizon", 1)
    bounds = {"train": (raw.cutting.reach, TRAINED), "val": (TRAINED, VALIDATED)}
    bounds["test"] = (VALIDATED, ROWS)
    for name, (first, end) in bounds.items():
        part = data.split(name)
        told = in_own_units(data, part, part.targets)
        starts = range(first, end - horizon + 1)
        wanted = [raw.numbers["y"][start : start + horizon] for start in starts]
        np.testing.assert_allclose(told, wanted, atol=1e-4)


@CUTS
def test_the_future_changes_nothing_that_the_past_is_trained_on(cut):
    raw = walk(**cut)
    data = prepare_series(raw, SPLIT)
    other = prepare_series(changed(raw, slice(TRAINED, None)), SPLIT)
    assert other.preprocessing == data.preprocessing
    assert torch.equal(other.train.inputs, data.train.inputs)
    assert torch.equal(other.train.targets, data.train.targets)
    assert not torch.equal(other.val.targets, data.val.targets)


@CUTS
def test_a_window_sees_nothing_of_what_it_is_to_tell_or_later(cut):
    raw = walk(**cut)
    data = prepare_series(raw, SPLIT)
    other = prepare_series(changed(raw, slice(VALIDATED + 5, None)), SPLIT)
    # The first six forecasts of the test part start before row VALIDATED + 5.
    assert torch.equal(other.test.bases[:6], data.test.bases[:6])
    assert torch.equal(other.test.inputs[:6], data.test.inputs[:6])
    assert not torch.equal(other.test.inputs[6], data.test.inputs[6])


def test_a_window_of_the_test_part_may_look_back_at_rows_of_the_part_before():
    raw = walk()
    first = prepare_series(raw, SPLIT).test.inputs[0].double().numpy()
    rows = np.stack([raw.numbers[name][VALIDATED - 4 : VALIDATED] for name in ("y", "z")], axis=1)
    train = np.stack([raw.numbers[name][:TRAINED] for name in ("y", "z")], axis=1)
    np.testing.assert_allclose(first, (rows - train.mean(0)) / train.std(0), rtol=1e-5)


def test_the_rows_of_the_training_part_are_standardised_by_themselves():
    raw = walk(window=1)
    scaling = prepare_series(raw, SPLIT).preprocessing
    seen = scaling.windows(scaling.known(np.stack([*raw.numbers.values()], 1)), np.arange(TRAINED))
    assert seen.mean(0).abs().max() < 1e-5
    assert (seen.std(0, correction=0) - 1).abs().max() < 1e-5
    plain = prepare_series(raw, replace(SPLIT, normalize="none"))
    np.testing.assert_allclose(plain.train.inputs[0, 0, 0], raw.numbers["y"][0], rtol=1e-6)


@pytest.mark.parametrize(("fill", "value"), [("zero", 0.0), ("mean", None)])
def test_what_is_filled_in_counts_in_the_scaling(fill, value):
    raw = replace(changed(walk(), slice(10, 30), np.nan), fill=fill)
    y = raw.numbers["y"][:TRAINED].copy()
    y[10:30] = np.nanmean(y) if value is None else value
    scaling = prepare_series(raw, SPLIT).preprocessing
    assert scaling.mean[0] == pytest.approx(y.mean())
    assert scaling.std[0] == pytest.approx(y.std())


def test_the_target_is_shown_as_changes_wherever_it_stands_among_the_inputs():
    raw = replace(walk(difference=1), targets=("z",))
    data = prepare_series(raw, replace(SPLIT, normalize="none"))
    y, z = raw.numbers["y"], raw.numbers["z"]
    wanted = np.stack([y[1:5], z[1:5] - z[:4]], axis=1)
    np.testing.assert_allclose(data.train.inputs[0], wanted, atol=1e-6)


def test_the_spec_is_that_of_sequences_with_one_output_a_step_and_target():
    raw = replace(walk("y", "z", horizon=3), targets=("z", "y"))
    data = prepare_series(raw, SPLIT)
    assert (data.spec.task, data.spec.kind) == ("regression", "sequence")
    assert (data.spec.input_shape, data.spec.num_outputs) == ((4, 2), 6)
    assert data.spec.feature_names == ("y", "z")
    told = in_own_units(data, data.train, data.train.targets)[0]
    wanted = [raw.numbers[name][4 + step] for step in range(3) for name in ("z", "y")]
    np.testing.assert_allclose(told, wanted, atol=1e-4)


def test_a_new_kind_of_word_in_the_test_part_is_none_of_those_known():
    raw = walk("y")
    words = ["a"] * 50 + ["b"] * 30 + ["new"] * 20
    raw = replace(raw, words={"w": tuple(words)}, inputs=("y", "w"))
    data = prepare_series(raw, replace(SPLIT, normalize="none"))
    assert data.spec.feature_names == ("y", "w=a", "w=b")
    assert data.test.inputs[-1, -1, 1:].tolist() == [0, 0]
    assert data.test.inputs[0, -1, 1:].tolist() == [0, 1]


@pytest.mark.parametrize("fill", ["forward", "linear", "mean", "zero"])
def test_missing_values_are_filled_without_a_look_ahead(fill):
    raw = replace(changed(walk(), slice(55, 65), np.nan), fill=fill)
    data = prepare_series(raw, SPLIT)
    other = prepare_series(changed(raw, slice(65, None)), SPLIT)
    assert torch.isfinite(data.train.inputs).all()
    assert torch.equal(other.train.inputs, data.train.inputs)
    assert torch.equal(other.train.targets, data.train.targets)
    assert other.preprocessing == data.preprocessing


def test_baselines_are_those_of_a_loop_over_the_test_rows():
    raw = replace(walk(horizon=3, seasonal_difference=4, difference=1), season=4)
    y, found = raw.numbers["y"], prepare_series(raw, SPLIT).baselines
    errors = {
        name: [] for name in ("persistence", "seasonal", "training mean", "differencing alone")
    }
    for origin in range(VALIDATED - 1, ROWS - 3):
        for step in (1, 2, 3):
            row = origin + step
            errors["persistence"].append(y[row] - y[origin])
            errors["seasonal"].append(y[row] - y[row - 4])
            errors["training mean"].append(y[row] - y[:TRAINED].mean())
            errors["differencing alone"].append(y[row] - y[row - 4] - y[origin] + y[origin - 4])
    assert found.keys() == errors.keys()
    for name, values in errors.items():
        assert found[name]["rmse"] == pytest.approx(np.sqrt(np.mean(np.square(values))))
        assert found[name]["mae"] == pytest.approx(np.mean(np.abs(values)))
    truths = np.array([y[o + 1 : o + 4] for o in range(VALIDATED - 1, ROWS - 3)])
    last = np.array([[y[o]] * 3 for o in range(VALIDATED - 1, ROWS - 3)])
    spread = ((truths - truths.mean(0)) ** 2).sum()
    assert found["persistence"]["r2"] == pytest.approx(1 - ((truths - last) ** 2).sum() / spread)


def test_airline_passengers_have_their_known_baselines():
    node = OmegaConf.to_container(compose(["dataset=airline"])["dataset"], resolve=True)
    source, settings = split_component("dataset", node, DataSettings)
    raw = source()
    assert len(raw) == 144
    data = prepare_series(raw, settings)
    assert len(data.test) == 48
    assert data.baselines["persistence"]["rmse"] == pytest.approx(48.04, abs=0.005)
    assert data.baselines["seasonal"]["rmse"] == pytest.approx(41.85, abs=0.005)


def test_the_scaling_of_a_run_is_read_back_from_plain_values():
    scaling = prepare_series(walk(difference=1), SPLIT).preprocessing
    assert preprocessing_from(scaling.to_dict()) == scaling
    former = {"input_columns": "inputs_taken", "target_columns": "targets_told"}
    older = {former.get(name, name): value for name, value in scaling.to_dict().items()}
    assert preprocessing_from(older) == scaling


def test_forecasts_return_in_their_own_units():
    raw = walk(difference=1, seasonal_difference=5, horizon=2)
    scaling = prepare_series(raw, SPLIT).preprocessing
    rows = np.stack([*raw.numbers.values()], 1)[:50]
    change = torch.zeros(1, 2, dtype=torch.float64)
    y = raw.numbers["y"]
    wanted = [y[45 + step] + y[49] - y[44] + scaling.target_mean[step] for step in range(2)]
    np.testing.assert_allclose(scaling.values(change, rows)[0], wanted)
    assert scaling.inputs(rows).shape == (1, 4, 2)


@pytest.mark.parametrize(
    ("raw", "settings", "said"),
    [
        (walk(), {"test_fraction": None}, "dataset.test_fraction is null"),
        (walk(window=70), {}, "dataset.window is 70 and dataset.horizon is 1: the train part has 60 of the 100 rows, "
                              "but needs 72; lower them"),
        (walk(window=50, seasonal_difference=12), {}, "but needs 64 with these differences"),
        (walk(horizon=21), {}, "the test part has 20 of the 100 rows, but needs 21"),
        (walk(horizon=9), {"val_fraction": 0.05}, "the val part has 4 of the 100 rows, but needs 9"),
        (changed(walk(), slice(0, 70), 5.0), {}, "the series, column y: it is the same everywhere in the"),
        (changed(walk(difference=1), slice(0, 70), 5.0), {}, "the series, column y: it changes by the same everywhere"),
        (replace(walk(), season=90), {}, "dataset.season is 90, but only 80 rows come before the test part"),
        (replace(changed(walk(), slice(0, 60), np.nan), fill="zero"), {}, "the series, column y: no value in"),
    ],
)  # fmt: skip
def test_a_series_that_cannot_be_split_or_learned_is_refused_in_one_line(raw, settings, said):
    with pytest.raises(ConfigError) as caught:
        prepare_series(raw, replace(SPLIT, **settings))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_series_may_go_without_validation():
    data = prepare_series(walk(), replace(SPLIT, val_fraction=0.0))
    assert (len(data.val), len(data.train), len(data.test)) == (0, 76, 20)
