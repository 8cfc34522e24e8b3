"""What each search draws: grids complete, draws even on every scale, rounds that close in on the best."""

import itertools
import math
import os
import random
import statistics
import subprocess
import sys
from collections import Counter

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.trial import TrialState, create_trial
from scipy import stats

from dlrun.errors import ConfigError
from dlrun.sweep.samplers.coarse_to_fine import CoarseToFineSampler
from dlrun.sweep.samplers.grid import GridSampler, generator, trial_seed

SPACE = {
    "lr": FloatDistribution(1e-5, 1.0, log=True),
    "1-momentum": FloatDistribution(1e-3, 1e-1, log=True),
    "dropout": FloatDistribution(0.0, 0.6),
    "rate": FloatDistribution(0.1, 0.9, step=0.1),
    "layers": IntDistribution(1, 8),
    "batch": IntDistribution(16, 256, step=16),
    "units": IntDistribution(8, 512, log=True),
    "activation": CategoricalDistribution(["relu", "tanh", "gelu"]),
}
X = {"x": FloatDistribution(0.0, 1.0)}


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def coarse_to_fine(space=SPACE, **settings):
    defaults = {"trials_per_round": 10, "first_round": "random", "shrink": 0.5, "top_k": 3}
    defaults |= {"seed": 0, "compare": "all"}
    return CoarseToFineSampler(distributions=space, **(defaults | settings))


def a_study(space, values, direction="minimize"):
    """A study of ended trials: (params, value), the value a state where there is none."""
    study = optuna.create_study(direction=direction)
    for params, value in values:
        kept = {name: space[name] for name in params}
        end = {"state": value} if isinstance(value, TrialState) else {"value": value}
        study.add_trial(create_trial(params=params, distributions=kept, **end))
    return study


def ranges(sampler, study):
    minimize = study.direction == optuna.study.StudyDirection.MINIMIZE
    return sampler.ranges(study.get_trials(), minimize=minimize)


def next_range(positions, **settings):
    """Of x in the round after one with the best trials at `positions`, best first."""
    values = [({"x": x}, float(rank)) for rank, x in enumerate(positions)]
    study = a_study(X, [*values, ({"x": 0.5}, 1e9)])
    sampler = coarse_to_fine(X, trials_per_round=len(positions), **settings)
    return ranges(sampler, study)[-1]["x"]


def play(sampler_of, loss, *, space=SPACE, trials=30, size=10, order=None):
    """A study whose rounds are asked for at once and end in the order of `order`, a random.Random."""
    study = optuna.create_study()
    for begin in range(0, trials, size):
        asked = []
        for number in range(begin, min(begin + size, trials)):
            study.sampler = sampler_of(number)
            asked.append(study.ask(space))
        if order:
            order.shuffle(asked)
        for trial in asked:
            study.tell(trial, loss(trial.params))
    return study


def params_of(study):
    return [trial.params for trial in study.get_trials()]


def bowl(best_lr=1e-3, best_layers=3):
    """A loss like a validation loss: quadratic in log lr and log (1 - momentum), weaker in the rest."""

    def loss(params):
        far = 0.25 * math.log10(params["lr"] / best_lr) ** 2
        far += 0.1 * math.log10(params["1-momentum"] / 1e-2) ** 2
        far += 0.01 * (params["layers"] - best_layers) ** 2
        return 0.1 + far + {"relu": 0, "gelu": 0.05, "tanh": 0.2}[params["activation"]]

    return loss


# Grid


GRID = {"model": ["mlp", "cnn"], "lr": [0.1, 0.01, 0.001], "layers": [1, 2]}
GRID_SPACE = {
    "model": CategoricalDistribution(["mlp", "cnn"]),
    "lr": FloatDistribution(0.001, 0.1, log=True),
    "layers": IntDistribution(1, 2),
}


def test_a_grid_is_every_combination_once_in_the_order_of_the_product():
    study = play(lambda _: GridSampler(grid=GRID), lambda _: 0.0, space=GRID_SPACE, trials=12)
    assert [tuple(params.values()) for params in params_of(study)] == [
        *itertools.product(*GRID.values())
    ]
    assert GridSampler(grid=GRID).total == 12


@pytest.mark.parametrize("seed", range(5))
def test_a_grid_is_complete_whatever_order_its_trials_end_in_and_whether_they_fail(seed):
    order, study = random.Random(seed), optuna.create_study()
    running = []
    for _ in range(12):
        study.sampler = GridSampler(grid=GRID)
        running.append(study.ask(GRID_SPACE))
        while running and order.random() < 0.4:
            trial = running.pop(order.randrange(len(running)))
            study.tell(trial, *([None, TrialState.FAIL] if order.random() < 0.3 else [1.0]))
    drawn = [tuple(params[name] for name in GRID) for params in params_of(study)]
    assert drawn == [*itertools.product(*GRID.values())]


def test_a_grid_asked_beyond_its_end_says_how_many_combinations_there_are():
    study = optuna.create_study(sampler=GridSampler(grid={"x": [0.0, 1.0]}))
    [study.ask(X) for _ in range(2)]
    with pytest.raises(ConfigError, match=r"the grid has 2 combinations, but trial 2 .* at most 2"):
        study.ask(X)


def test_a_grid_refuses_a_parameter_without_values_and_values_outside_the_distribution():
    with pytest.raises(ConfigError, match="x has no values to try"):
        GridSampler(grid={"x": []})
    with pytest.raises(ConfigError, match="x has no values in the grid"):
        optuna.create_study(sampler=GridSampler(grid={"y": [1]})).ask(X)
    with pytest.raises(ConfigError, match=r"x is 2 in the grid, which is not within Float"):
        optuna.create_study(sampler=GridSampler(grid={"x": [2]})).ask(X)


def test_a_grid_serves_an_objective_that_names_its_parameters_as_it_runs():
    def objective(trial):
        lr = trial.suggest_float("lr", 0.001, 0.1, log=True)
        return lr if trial.suggest_categorical("model", ["mlp", "cnn"]) == "cnn" else 1.0

    grid = {"model": GRID["model"], "lr": GRID["lr"]}
    study = optuna.create_study(sampler=GridSampler(grid=grid))
    study.optimize(objective, n_trials=6)
    assert study.best_params == {"lr": 0.001, "model": "cnn"}


# Draws on their own scale


def random_draws(count, seed=0):
    study = play(
        lambda number: RandomSampler(seed=trial_seed(seed, number)), lambda _: 0.0, trials=count
    )
    return params_of(study)


def first_rounds(count):
    draws = []
    for seed in range(count // 10):
        study = play(lambda _, seed=seed: coarse_to_fine(seed=seed), lambda _: 0.0, trials=10)
        draws += params_of(study)
    return draws


def shares(draws, name):
    """Where between low and high each draw lies on its own scale; even if uniform there."""
    low, high = SPACE[name].low, SPACE[name].high
    values = np.array([params[name] for params in draws])
    if SPACE[name].log:
        return np.log(values / low) / math.log(high / low)
    return (values - low) / (high - low)


@pytest.mark.parametrize("draw", [random_draws, first_rounds])
def test_draws_are_uniform_on_each_parameters_own_scale(draw):
    draws = draw(600)
    for name in ("lr", "1-momentum", "dropout"):
        assert stats.kstest(shares(draws, name), "uniform").pvalue > 0.05, name
    for name in ("layers", "rate", "batch", "activation"):
        counts = Counter(params[name] for params in draws)
        options = {"layers": 8, "rate": 9, "batch": 16, "activation": 3}[name]
        assert len(counts) == options
        assert stats.chisquare([*counts.values()]).pvalue > 0.05, name
    # Whole numbers on a log scale: as many in each doubling. 8 itself has but half its cell, below 8.5.
    doublings = Counter(int(math.log2(params["units"] / 8)) for params in draws)
    assert stats.chisquare([doublings[i] for i in range(6)]).pvalue > 0.05


def test_the_test_of_uniformity_would_notice_the_wrong_scale():
    linear = np.random.default_rng(0).uniform(1e-5, 1, 600)
    draws = [{"lr": value} for value in linear]
    assert stats.kstest(shares(draws, "lr"), "uniform").pvalue < 1e-9


def test_one_minus_momentum_on_a_log_scale_is_momentum_close_to_one():
    momentum = np.sort([1 - params["1-momentum"] for params in random_draws(600)])
    assert momentum[300] == pytest.approx(0.99, abs=0.002)  # half of them above 0.99


def test_random_trials_are_unrelated_to_their_neighbours_and_to_other_seeds():
    first, other = shares(random_draws(600), "lr"), shares(random_draws(600, seed=1), "lr")
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.1
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.1
    assert abs(np.corrcoef(first[1:], other[:-1])[0, 1]) < 0.1


def test_trial_seeds_differ_and_fit_into_32_bits():
    seeds = {trial_seed(seed, number) for seed in range(20) for number in range(200)}
    assert len(seeds) == 4000
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert trial_seed(2**32 - 1, 0) != trial_seed(0, 2**32 - 1)


def test_generators_differ_by_purpose_alone():
    purposes = [(0, "lr"), (1, "lr"), (0, "wd"), ("lr", 0)]
    assert len({generator(0, *purpose).random() for purpose in purposes}) == 4
    assert generator(0, 1, "lr").random() == generator(0, 1, "lr").random()


# Coarse to fine: what a round draws


def test_a_round_draws_once_from_each_equal_part_of_each_range():
    draws = params_of(play(lambda _: coarse_to_fine(), bowl(), trials=10))
    for name in ("lr", "1-momentum", "dropout"):
        assert sorted(int(10 * share) for share in shares(draws, name)) == [*range(10)], name
    counts = Counter(params["activation"] for params in draws)  # of ten parts, 3.3 an option
    assert len(counts) == 3 and set(counts.values()) <= {2, 3, 4}


def test_a_first_round_on_a_grid_has_the_middles_of_equal_parts_in_every_combination():
    space = {name: SPACE[name] for name in ("dropout", "layers", "activation")}
    sampler = coarse_to_fine(space, trials_per_round=14, first_round="grid")
    draws = params_of(play(lambda _: sampler, lambda _: 0.0, space=space, trials=14, size=14))
    dropout = [pytest.approx(0.15), pytest.approx(0.45)]
    layers = [3, 7]  # of 1 to 8, in the middles of the lower and the upper half, rounded
    grid = itertools.product(["relu", "tanh", "gelu"], dropout, layers)
    assert [(p["activation"], p["dropout"], p["layers"]) for p in draws[:12]] == [*grid]
    assert all(p["dropout"] not in dropout for p in draws[12:])


def test_choices_too_many_for_a_grid_are_drawn_evenly_instead():
    space = {
        "a": CategoricalDistribution([*range(20)]),
        "b": CategoricalDistribution([True, False]),
        "x": FloatDistribution(0, 1),
    }
    sampler = coarse_to_fine(space, first_round="grid")
    draws = params_of(play(lambda _: sampler, lambda _: 0.0, space=space, trials=10))
    assert len({params["a"] for params in draws}) == 10
    # Two choices by five values of x.
    assert [params["x"] for params in draws[:5]] == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])
    assert [params["b"] for params in draws] == [True] * 5 + [False] * 5


def test_a_grid_of_whole_numbers_has_none_twice():
    space = {"layers": IntDistribution(1, 3)}
    sampler = coarse_to_fine(space, first_round="grid")
    draws = params_of(play(lambda _: sampler, lambda _: 0.0, space=space, trials=3, size=3))
    assert [params["layers"] for params in draws] == [1, 2, 3]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("first_round", ["random", "grid"])
def test_draws_never_leave_the_ranges_of_their_round_nor_these_the_bounds(seed, first_round):
    noise = random.Random(seed)
    sampler = coarse_to_fine(
        seed=seed, first_round=first_round, shrink=noise.choice([0.3, 0.5, 0.8])
    )
    study = play(lambda _: sampler, lambda _: noise.random(), trials=60)
    found = ranges(sampler, study)
    assert len(found) == 6
    for trial in study.get_trials():
        for name, value in trial.params.items():
            drawn_from = found[trial.number // 10][name]
            assert SPACE[name]._contains(SPACE[name].to_internal_repr(value))
            if isinstance(SPACE[name], CategoricalDistribution):
                assert value in drawn_from
            else:
                assert SPACE[name].low <= drawn_from[0] <= value <= drawn_from[1]
                assert drawn_from[1] <= SPACE[name].high


def test_parameters_of_a_single_value_and_of_many_kinds_pass_through_all_rounds():
    space = {
        "one": FloatDistribution(0.5, 0.5),
        "log": IntDistribution(3, 3, log=True),
        "only": CategoricalDistribution(["a"]),
        "flag": CategoricalDistribution([True, None, "text", 1.5]),
    }
    sampler = coarse_to_fine(space)
    study = play(lambda _: sampler, lambda _: 0.0, space=space)
    assert {(p["one"], p["log"], p["only"]) for p in params_of(study)} == {(0.5, 3, "a")}
    assert ranges(sampler, study)[2]["log"] == (3, 3)


# Coarse to fine: how ranges narrow


def test_the_first_round_covers_the_whole_space():
    assert ranges(coarse_to_fine(), optuna.create_study()) == [
        {
            "lr": (1e-5, 1.0),
            "1-momentum": (1e-3, 1e-1),
            "dropout": (0.0, 0.6),
            "rate": (0.1, 0.9),
            "layers": (1, 8),
            "batch": (16, 256),
            "units": (8, 512),
            "activation": ("relu", "tanh", "gelu"),
        }
    ]


def test_a_range_narrows_by_shrink_around_the_best():
    assert next_range([0.5, 0.5, 0.5]) == pytest.approx((0.25, 0.75))
    assert next_range([0.4, 0.4], shrink=0.2) == pytest.approx((0.3, 0.5))


def test_better_settings_weigh_more_and_only_top_k_count():
    low, high = next_range([0.4, 0.6, 0.5, 0.9], top_k=2, shrink=0.4)
    weights = math.log(2.5 / 1), math.log(2.5 / 2)
    centre = (weights[0] * 0.4 + weights[1] * 0.6) / sum(weights)
    assert (low, high) == pytest.approx((centre - 0.2, centre + 0.2))
    assert next_range([0.4, 0.9, 0.9], top_k=1, shrink=0.4) == pytest.approx((0.2, 0.6))


def test_the_best_setting_stays_inside_wherever_the_others_are():
    low, high = next_range([0.5, 0.9, 0.9, 0.9, 0.9], top_k=5, shrink=0.2)
    assert (low, high) == pytest.approx((0.48, 0.68))


def test_a_log_range_narrows_by_factors_and_steps_stay_steps():
    space = {name: SPACE[name] for name in ("lr", "layers", "batch", "rate", "units")}
    best = {"lr": 1e-3, "layers": 4, "batch": 64, "rate": 0.5, "units": 64}
    sampler = coarse_to_fine(space, trials_per_round=2)
    (_, second) = ranges(sampler, a_study(space, [(best, 1.0), (best, 1.0), (best, 9.0)]))
    assert second["lr"] == pytest.approx((10**-4.25, 10**-1.75))  # 5 decades, now 2.5
    assert second["layers"] == (2, 6)  # 4 wide: 3 to 5, and of 2 and 6 the nearer half
    assert second["batch"] == (16, 128)  # 128 wide, and not below 8, half a step under 16
    assert second["rate"] == pytest.approx((0.3, 0.7))
    assert second["units"] == (22, 184)  # 64 / 2.875 to 64 * 2.875, as 2.875**4 = 512.5 / 7.5


def test_whole_numbers_at_the_end_of_a_span_are_drawn_more_rarely():
    space = {"layers": IntDistribution(1, 8)}
    counts = Counter()
    for seed in range(40):
        study = a_study(space, [({"layers": 4}, 1.0)] * 10)
        for _ in range(10):
            study.sampler = coarse_to_fine(space, seed=seed)
            counts[study.ask(space).params["layers"]] += 1
    assert {n: pytest.approx(count, abs=12) for n, count in counts.items()} == {
        2: 50, 3: 100, 4: 100, 5: 100, 6: 50
    }  # fmt: skip


def rounds_of(*rounds, **settings):
    """Ranges of x after rounds given as the positions of their trials, the best first."""
    values = [({"x": x}, rank + 0.1) for xs in rounds for rank, x in enumerate(xs)]
    study = a_study(X, [*values, ({"x": 0.5}, 1e9)])
    settings = {"compare": "last_round", "trials_per_round": len(rounds[0]), **settings}
    return [entry["x"] for entry in ranges(coarse_to_fine(X, **settings), study)]


def test_a_range_widens_again_when_the_best_sits_on_its_edge():
    _, second, third = rounds_of([0.5, 0.5], [0.74, 0.7])
    assert second == pytest.approx((0.25, 0.75))
    assert third[1] - third[0] == pytest.approx(1.0)
    _, second, third = rounds_of([0.2, 0.2], [0.38, 0.38], shrink=0.4)
    assert second == pytest.approx((0.0, 0.4))
    assert third == pytest.approx((0.0, 1.0))
    *_, third, fourth = rounds_of([0.5, 0.5], [0.5, 0.5], [0.62, 0.62])
    assert third == pytest.approx((0.375, 0.625))
    assert fourth == pytest.approx((0.37, 0.87))


def test_a_bound_of_the_space_is_no_edge():
    _, second, third, fourth = rounds_of([1.0, 1.0], [1.0, 1.0], [1.0, 1.0])
    assert (second, third, fourth) == (
        pytest.approx((0.5, 1.0)), pytest.approx((0.75, 1.0)), pytest.approx((0.875, 1.0))
    )  # fmt: skip


def whole_numbers(*best, most):
    """Ranges of a whole number from 1 to `most` after rounds with these best ones."""
    space = {"n": IntDistribution(1, most)}
    trials = [({"n": n}, 1.0) for n in best for _ in range(2)]
    study = a_study(space, [*trials, ({"n": 1}, 9.0)])
    sampler = coarse_to_fine(space, trials_per_round=2, compare="last_round")
    return [entry["n"] for entry in ranges(sampler, study)]


def test_a_whole_number_at_the_end_of_four_or_more_sits_on_an_edge():
    assert whole_numbers(8, 8, most=16) == [(1, 16), (4, 12), (6, 10)]
    assert whole_numbers(8, 12, most=16) == [(1, 16), (4, 12), (1, 16)]
    assert whole_numbers(3, 2, most=6) == [(1, 6), (2, 4), (1, 3)]


def test_options_out_of_the_top_are_dropped_and_untried_ones_stay():
    space = {"a": CategoricalDistribution(["p", "q", "r", "s"])}
    study = a_study(
        space,
        [({"a": "q"}, 1.0), ({"a": "p"}, 2.0), ({"a": "r"}, 3.0), ({"a": "q"}, 9.0)],
    )
    study.add_trial(create_trial(params={"a": "q"}, distributions=space, value=9.0))
    assert ranges(coarse_to_fine(space, trials_per_round=4, top_k=2), study)[1]["a"] == (
        "p", "q", "s"
    )  # fmt: skip


def test_an_option_that_only_failed_or_was_pruned_is_dropped_once_others_are_known():
    space = {"a": CategoricalDistribution(["p", "q", "r"])}
    ends = [("p", 1.0), ("q", TrialState.FAIL), ("r", TrialState.PRUNED), ("p", 2.0), ("p", 3.0)]
    study = a_study(space, [({"a": option}, end) for option, end in ends])
    assert ranges(coarse_to_fine(space, trials_per_round=4), study)[1]["a"] == ("p",)


def test_a_dropped_option_does_not_come_back():
    space = {"a": CategoricalDistribution(["p", "q", "r"])}
    ends = [("p", 1.0), ("q", 2.0), ("p", TrialState.FAIL), ("p", TrialState.FAIL), ("p", 1.0)]
    study = a_study(space, [({"a": option}, end) for option, end in ends])
    found = ranges(coarse_to_fine(space, trials_per_round=2, top_k=1), study)
    assert [entry["a"] for entry in found] == [("p", "q", "r"), ("p", "r"), ("p", "r")]


def test_a_round_that_failed_throughout_changes_nothing():
    failed = [({"x": 0.9}, TrialState.FAIL), ({"x": 0.9}, TrialState.PRUNED)]
    good = [({"x": 0.4}, 1.0), ({"x": 0.4}, 1.0)]
    sampler = coarse_to_fine(X, trials_per_round=2)
    first, second = ranges(sampler, a_study(X, [*failed, ({"x": 0.5}, 1.0)]))
    assert first == second == {"x": (0.0, 1.0)}
    for compare in ("all", "last_round"):
        sampler = coarse_to_fine(X, trials_per_round=2, compare=compare)
        _, second, third = ranges(sampler, a_study(X, [*good, *failed, ({"x": 0.5}, 1.0)]))
        assert second == third == {"x": pytest.approx((0.15, 0.65))}


@pytest.mark.parametrize("bad", [math.inf, -math.inf, TrialState.FAIL, TrialState.PRUNED])
def test_values_that_are_no_result_are_never_the_best(bad):
    study = a_study(X, [({"x": 0.0}, bad), ({"x": 0.6}, 1.0), ({"x": 0.5}, 1.0)])
    sampler = coarse_to_fine(X, trials_per_round=2)
    assert ranges(sampler, study)[1]["x"] == pytest.approx((0.35, 0.85))


def test_trials_without_a_parameter_say_nothing_about_it():
    space = X | {"y": FloatDistribution(0.0, 1.0)}
    study = a_study(space, [({"x": 0.5}, 1.0), ({}, TrialState.FAIL), ({"x": 0.5}, 1.0)])
    second = ranges(coarse_to_fine(space, trials_per_round=2), study)[1]
    assert second == {"x": pytest.approx((0.25, 0.75)), "y": (0.0, 1.0)}


def test_the_best_is_the_largest_where_the_study_maximizes():
    values = [({"x": 0.3}, 1.0), ({"x": 0.7}, 2.0), ({"x": 0.5}, 0.0)]
    sampler = coarse_to_fine(X, trials_per_round=2, top_k=1)
    up, down = a_study(X, values, "maximize"), a_study(X, values)
    assert ranges(sampler, up)[1]["x"] == pytest.approx((0.45, 0.95))
    assert ranges(sampler, down)[1]["x"] == pytest.approx((0.05, 0.55))
    for study in (up, down):
        study.sampler = sampler
    assert up.ask(X).params["x"] == pytest.approx(down.ask(X).params["x"] + 0.4)


def test_the_best_are_those_of_all_rounds_or_of_the_last_one():
    values = [({"x": 0.4}, 1.0)] * 2 + [({"x": 0.55}, 2.0)] * 2 + [({"x": 0.5}, 9.0)]
    study, sampler = a_study(X, values), {"trials_per_round": 2, "top_k": 2}
    assert ranges(coarse_to_fine(X, **sampler), study)[2]["x"] == pytest.approx((0.275, 0.525))
    last = ranges(coarse_to_fine(X, compare="last_round", **sampler), study)[2]["x"]
    assert last == pytest.approx((0.425, 0.675))


# Coarse to fine: the same whatever happens around it


def test_the_seed_alone_decides():
    draws = [params_of(play(lambda _, s=s: coarse_to_fine(seed=s), bowl())) for s in (0, 0, 1)]
    assert draws[0] == draws[1]
    shared = [a["lr"] == b["lr"] for a, b in zip(draws[0], draws[2], strict=True)]
    assert not any(shared)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("first_round", ["random", "grid"])
def test_new_samplers_and_any_order_of_ending_draw_the_same(seed, first_round):
    def new(_):
        return coarse_to_fine(seed=seed, first_round=first_round)

    sampler = coarse_to_fine(seed=seed, first_round=first_round)
    in_order = play(lambda _: sampler, bowl())
    shuffled = play(new, bowl(), order=random.Random(seed))
    assert params_of(in_order) == params_of(shuffled)


def test_a_copy_of_the_study_goes_on_as_the_original_would():
    whole = play(lambda _: coarse_to_fine(), bowl(), trials=30)
    copy = optuna.create_study()
    copy.add_trials(whole.get_trials()[:17])
    for number in range(17, 30):
        copy.sampler = coarse_to_fine()
        trial = copy.ask(SPACE)
        assert trial.params == whole.get_trials()[number].params
        copy.tell(trial, bowl()(trial.params))


def test_another_process_draws_the_same():
    code = """
import optuna
from dlrun.sweep.samplers.coarse_to_fine import CoarseToFineSampler
from optuna.distributions import FloatDistribution
optuna.logging.set_verbosity(optuna.logging.WARNING)
space = {"x": FloatDistribution(0.0, 1.0)}
sampler = CoarseToFineSampler(trials_per_round=10, first_round="random", shrink=0.5, top_k=3, seed=0,
                              compare="all", distributions=space)
study = optuna.create_study(sampler=sampler)
print(*[study.ask(space).params["x"] for _ in range(3)])
"""
    here = play(lambda _: coarse_to_fine(X), lambda _: 0.0, space=X, trials=3)
    env = os.environ | {"PYTHONHASHSEED": "7"}
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=env)
    assert [float(word) for word in answer.stdout.split()] == [p["x"] for p in params_of(here)]


def test_an_objective_that_names_its_parameters_as_it_runs_draws_the_same():
    def objective(trial):
        params = {
            "lr": trial.suggest_float("lr", 1e-5, 1.0, log=True),
            "1-momentum": trial.suggest_float("1-momentum", 1e-3, 1e-1, log=True),
            "layers": trial.suggest_int("layers", 1, 8),
            "activation": trial.suggest_categorical("activation", ["relu", "tanh", "gelu"]),
        }
        return bowl()(params)

    space = {name: SPACE[name] for name in ("lr", "1-momentum", "layers", "activation")}
    study = optuna.create_study(sampler=coarse_to_fine(space))
    study.optimize(objective, n_trials=25)
    asked = play(lambda _: coarse_to_fine(space), bowl(), space=space, trials=25)
    assert params_of(study) == params_of(asked)


def test_a_parameter_outside_the_space_is_refused():
    study = optuna.create_study(sampler=coarse_to_fine(X))
    with pytest.raises(ValueError, match=r"y is to be drawn from Float.* no such parameter"):
        study.ask({"y": FloatDistribution(0, 1)})
    with pytest.raises(ValueError, match=r"x is to be drawn from .*5\.0.* was given .*1\.0"):
        study.ask({"x": FloatDistribution(4.0, 5.0)})


def test_a_pruner_that_sorts_trials_into_brackets_changes_nothing():
    def play_with(pruner):
        study = optuna.create_study(pruner=pruner, study_name="sweep")
        for _ in range(20):
            study.sampler = coarse_to_fine(X, trials_per_round=5)
            trial = study.ask(X)
            trial.report(0.0, 1)
            trial.should_prune()
            study.tell(trial, abs(trial.params["x"] - 0.3))
        return params_of(study)

    hyperband = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=9)
    assert play_with(hyperband) == play_with(optuna.pruners.NopPruner())


@pytest.mark.parametrize("state", [TrialState.RUNNING, TrialState.WAITING])
def test_a_round_does_not_begin_before_the_last_has_ended(state):
    study = optuna.create_study(sampler=coarse_to_fine(X, trials_per_round=2))
    study.add_trial(create_trial(params={"x": 0.5}, distributions=X, value=1.0))
    study.add_trial(create_trial(state=state))
    study.add_trial(create_trial(params={"x": 0.5}, distributions=X, value=1.0))
    study._pop_waiting_trial_id = lambda: None  # ask for a new one
    with pytest.raises(
        RuntimeError, match=f"round 2 .* trial 1 of round 1 is {state.name.lower()}"
    ):
        study.ask(X)


def test_ranges_are_known_for_rounds_that_have_trials_and_whose_forerunners_have_ended():
    sampler, study = coarse_to_fine(X, trials_per_round=2), optuna.create_study()
    known = []
    for _ in range(4):
        study.enqueue_trial({})
    for _ in range(4):
        known.append(len(ranges(sampler, study)))
        study.tell(study.ask(), 1.0)
    assert known == [1, 1, 2, 2]
    assert len(ranges(sampler, study)) == 2  # a third round has no trials


# Coarse to fine against random search


def trials_until_near(sampler_of, loss, near, noise):
    """Trials, of 30, until the setting of the best value seen is near the optimum; 31 if never."""
    lowest, pick = math.inf, None
    study = optuna.create_study()
    for number in range(30):
        study.sampler = sampler_of(number)
        trial = study.ask(SPACE)
        value = loss(trial.params) + 0.03 * noise.normal()
        study.tell(trial, value)
        if value < lowest:
            lowest, pick = value, trial.params
        if loss(pick) < near:
            return number + 1
    return 31


def test_coarse_to_fine_is_near_the_optimum_in_fewer_trials_than_random_over_50_seeds():
    counts = {"random": [], "coarse_to_fine": []}
    for seed in range(50):
        place = generator(seed, "optimum")
        loss = bowl(10 ** place.uniform(-4, -1), place.integers(1, 9))
        whole = [loss(params) for params in random_settings(place, 500)]
        near = float(np.quantile(whole, 0.03))
        searches = {
            "random": lambda number, s=seed: RandomSampler(seed=trial_seed(s, number)),
            "coarse_to_fine": lambda _, s=seed: coarse_to_fine(seed=s, top_k=4),
        }
        for name, sampler_of in searches.items():
            noise = generator(seed, "noise")
            counts[name].append(trials_until_near(sampler_of, loss, near, noise))
    pairs = [*zip(counts["coarse_to_fine"], counts["random"], strict=True)]
    fewer, more = sum(a < b for a, b in pairs), sum(a > b for a, b in pairs)
    assert stats.binomtest(fewer, fewer + more, alternative="greater").pvalue < 0.01
    medians = {name: statistics.median(values) for name, values in counts.items()}
    assert medians["coarse_to_fine"] < 0.8 * medians["random"]


def random_settings(draw, count):
    for _ in range(count):
        yield {
            "lr": 10 ** draw.uniform(-5, 0),
            "1-momentum": 10 ** draw.uniform(-3, -1),
            "layers": draw.integers(1, 9),
            "activation": draw.choice(["relu", "tanh", "gelu"]),
        }
