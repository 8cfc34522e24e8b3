"""What a sweep finds: the same settings each time, means over seeds, what was pruned, a best one that trains alone."""

from __future__ import annotations

import re
import shlex
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from scratch import JOBLIB, QUICK, Look, Result

Dlrun = Callable[..., Result]
Looks = Callable[..., Look]

slow = pytest.mark.slow
SPACE = (
    "optimizer.lr=tag(log,interval(1e-3,1))",
    "model.width=int(interval(4,32))",
    "model.bias=true,false",
)
STRATEGIES = {
    "grid": ("sweep=grid", "sweep.points={optimizer.lr:2,model.width:2}"),
    "random": ("sweep=random", "sweep.trials=6"),
    "tpe": ("sweep=tpe", "sweep.trials=7", "sweep.n_startup_trials=3"),
    "coarse_to_fine": ("sweep=coarse_to_fine", "sweep.trials=6", "sweep.rounds=3"),
}


# The settings that are tried.


@pytest.mark.parametrize(
    "strategy",
    ["grid", "tpe", *(pytest.param(name, marks=slow) for name in ("random", "coarse_to_fine"))],
)
def test_a_command_tries_the_same_settings_each_time(
    strategy: str, sweep: Dlrun, look: Looks
) -> None:
    for name in ("first", "second"):
        assert sweep(*STRATEGIES[strategy], *SPACE, f"hydra.sweep.dir={name}").code == 0
    first, second = look("first"), look("second")
    assert first.swept == second.swept
    assert first.values == second.values
    assert len({tuple(swept.items()) for swept in first.swept}) == len(first.trials) >= 6


@slow
@pytest.mark.parametrize("strategy", ["random", "coarse_to_fine"])
def test_trials_side_by_side_try_what_trials_in_a_row_would(
    strategy: str, sweep: Dlrun, look: Looks
) -> None:
    assert sweep(*STRATEGIES[strategy], *SPACE, "hydra.sweep.dir=row").code == 0
    assert sweep(*STRATEGIES[strategy], *SPACE, *JOBLIB, "hydra.sweep.dir=side").code == 0
    assert look("side").swept == look("row").swept
    assert look("side").values == pytest.approx(look("row").values)


@slow
def test_another_seed_of_the_sweep_draws_other_settings_for_the_same_training(
    sweep: Dlrun, look: Looks
) -> None:
    for seed in ("0", "1"):
        words = ("sweep=random", "sweep.trials=2", f"sweep.seed={seed}", f"hydra.sweep.dir={seed}")
        assert sweep(*words, "optimizer.lr=interval(0.1,0.2)").code == 0
    assert look("0").swept[0] != look("1").swept[0]
    assert look("0").config(0)["seed"] == look("1").config(0)["seed"] == 0


def test_later_rounds_train_as_long_as_they_are_told(sweep: Dlrun, look: Looks) -> None:
    words = (*STRATEGIES["coarse_to_fine"], "sweep.epochs_per_round=[1,3]", *SPACE)
    assert sweep(*words).code == 0
    assert [look().points(number)[-1]["epoch"] for number in range(6)] == [1, 1, 3, 3, 3, 3]


def test_a_study_in_a_config_is_searched_and_a_plain_word_fixes_one_of_its_keys(
    sweep: Dlrun, look: Looks, project: Path
) -> None:
    option = {
        "defaults": [{"override /dataset": "iris"}, {"override /optimizer": "sgd"}],
        "sweep": {
            "space": {
                "optimizer.lr": "tag(log,interval(1e-2,1))",
                "model.width": [4, 8, 16],
                "model.bias": "true,false",
            }
        },
    }
    folder = project / "configs" / "experiment"
    folder.mkdir()
    text = "# @package _global_\n" + yaml.safe_dump(option, sort_keys=False)
    (folder / "net_tuning.yaml").write_text(text)
    words = ("experiment=net_tuning", "sweep=random", "sweep.trials=5", "model.bias=false")
    assert sweep(*words).code == 0
    for number, swept in enumerate(look().swept):
        assert list(swept) == ["optimizer.lr", "model.width"]
        assert 0.01 <= float(swept["optimizer.lr"]) <= 1
        assert swept["model.width"] in ("4", "8", "16")
        assert look().config(number)["model"]["bias"] is False


@pytest.mark.parametrize(
    ("sampler", "words"),
    [
        ("QMCSampler", ("+sweep.qmc_type=sobol", "+sweep.scramble=true")),
        pytest.param("TPESampler", ("+sweep.group=true", "+sweep.multivariate=true"), marks=slow),
        pytest.param("GPSampler", ("+sweep.n_startup_trials=2",), marks=slow),
    ],
)
def test_any_sampler_of_optuna_can_be_named(
    sampler: str, words: tuple[str, ...], sweep: Dlrun, look: Looks
) -> None:
    target = f"sweep._target_=optuna.samplers.{sampler}"
    assert sweep("sweep=random", "sweep.trials=4", target, *words, *SPACE[:2]).code == 0
    assert look().states == ["complete"] * 4
    assert len({swept["optimizer.lr"] for swept in look().swept}) == 4
    assert look().description["settings"]["_target_"] == f"optuna.samplers.{sampler}"


# Several seeds.


def best_loss(look: Look, run: str) -> float:
    return min(point["val/loss"] for point in look.points(run) if "val/loss" in point)


def test_each_setting_is_judged_by_its_mean_over_the_seeds(sweep: Dlrun, look: Looks) -> None:
    result = sweep("sweep.seeds=3", "seed=5", "model.width=4,16")
    assert result.code == 0
    by_trial = {int(row["trial"]): row for row in look().rows}
    for trial in (0, 1):
        seeds = [f"{trial}/seed{index}" for index in range(3)]
        assert [look().config(run)["seed"] for run in seeds] == [5, 6, 7]
        losses = [best_loss(look(), run) for run in seeds]
        assert len(set(losses)) == 3
        assert float(by_trial[trial]["val/loss"]) == pytest.approx(statistics.mean(losses))
        assert float(by_trial[trial]["spread"]) == pytest.approx(statistics.stdev(losses))
        tested = [look().summary(run)["final"]["test/accuracy"] for run in seeds]
        assert float(by_trial[trial]["test/accuracy"]) == pytest.approx(statistics.mean(tested))
        assert look().trials[trial].user_attrs["values"] == pytest.approx(losses)
    winner = look().rows[0]
    assert f"± {float(winner['spread']):.2g} over the seeds" in result.out


def test_the_best_of_several_seeds_comes_without_a_seed_of_its_own(
    sweep: Dlrun, look: Looks
) -> None:
    result = sweep("sweep.seeds=2", "model.width=4,16")
    assert "seed=" not in best_command(result)[-1]
    assert "seed" not in yaml.safe_load((look().path / "best.yaml").read_text())


# Pruning.

LONG = ("trainer.max_epochs=10", "optimizer.lr=0.5,0.4,0.3,0.2,0.25,1e-6,0.45,1e-5,0.6")
HOPELESS, BEST = (5, 7), 8


@pytest.mark.parametrize("pruner", ["median", pytest.param("hyperband", marks=slow)])
def test_trials_without_hope_are_ended_early_and_listed(
    pruner: str, sweep: Dlrun, look: Looks
) -> None:
    result = sweep(f"sweep.pruner={pruner}", *LONG)
    assert result.code == 0
    assert [look().states[number] for number in HOPELESS] == ["pruned"] * 2
    assert look().states[BEST] == "complete"
    for number in HOPELESS:
        assert look().summary(number)["status"] == "pruned"
        assert look().points(number)[-1]["epoch"] < 10
        assert "pruned: val/loss" in look().log(number)
    pruned = [row for row in look().rows if row["status"] == "pruned"]
    assert set(HOPELESS) <= {int(row["trial"]) for row in pruned}
    assert {row["rank"] for row in pruned} == {""}
    assert {row["val/loss"] for row in pruned} == {""}
    assert f"9 of 9 done, {len(pruned)} pruned" in result.out
    assert int(look().rows[0]["trial"]) == BEST
    # What goes on to the end does so as without a pruner.
    assert [point["epoch"] for point in look().points(BEST)][-1] == 10


@slow
def test_pruning_goes_by_trials_of_other_processes_too(sweep: Dlrun, look: Looks) -> None:
    assert sweep("sweep.pruner=median", *LONG, *JOBLIB).code == 0
    assert look().states[7] == "pruned"
    assert look().states[BEST] == "complete"


def test_a_pruned_trial_trains_no_further_seeds(sweep: Dlrun, look: Looks) -> None:
    assert sweep("sweep.pruner=median", "sweep.seeds=2", *LONG).code == 0
    for number in HOPELESS:
        assert look().summary(f"{number}/seed0")["status"] == "pruned"
        assert not (look().path / str(number) / "seed1").exists()
    assert look().summary(f"{BEST}/seed1")["status"] == "completed"


# The best setting.


def best_command(result: Result) -> list[str]:
    """The arguments of the command line that is printed under `best:`."""
    lines = result.out.splitlines()
    place = next(index for index, line in enumerate(lines) if line.startswith("best: "))
    program, *words = next(
        shlex.split(line) for line in lines[place + 1 :] if line.startswith("  dlrun ")
    )
    assert program == "dlrun"
    return words


EXPERIMENT = """# @package _global_
defaults:
  - override /dataset: iris
  - override /model: net
  - override /optimizer: momentum
  - override /schedule: cosine
name: my_recipe
trainer:
  max_epochs: 2
  early_stopping:
    patience: 4
model:
  width: 6
"""
STUDY = """# @package _global_
defaults:
  - random@sweep
  - override /dataset: iris
  - override /model: net
  - override /optimizer: sgd
name: all mine, (really)
trainer:
  max_epochs: 2
model:
  bias: false
sweep:
  trials: 3
  space:
    optimizer.lr: tag(log,interval(1e-2,1))
    model.width: 4,8
"""
TUNING = """# @package _global_
defaults:
  - override /dataset: iris
  - override /model: net
trainer:
  max_epochs: 2
sweep:
  trials: 2
  space:
    optimizer.lr: tag(log,interval(1e-2,1))
"""


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(
            (*QUICK, "-m", "model.width=4,8", "optimizer.lr=0.1,0.00001"), id="values", marks=slow
        ),
        pytest.param(
            ("dataset=iris", "-m", "model=mlp,logistic", "++optimizer.l1=0.001", "dataset.split_seed=3",
             "trainer.max_epochs=2", "tracking.tensorboard=false"),
            id="models",
        ),
        pytest.param(
            (*QUICK, "-m", "schedule=cosine,constant", "seed=7", "name='my own, ${seed}'"),
            id="named", marks=slow,
        ),
        pytest.param(
            ("experiment=my_recipe", "-m", "optimizer.lr=0.1,0.2", "tracking.tensorboard=false"),
            id="experiment",
        ),
        pytest.param(
            ("experiment=my_tuning", "sweep=random", "tracking.tensorboard=false"),
            id="tuning", marks=slow,
        ),
        pytest.param(("sweep=my_study", "tracking.tensorboard=false"), id="study"),
        pytest.param(
            (*QUICK, "sweep=coarse_to_fine", "sweep.trials=2", "sweep.rounds=2",
             "sweep.epochs_per_round=[1,2]", "model.width=int(interval(4,8))"),
            id="rounds", marks=slow,
        ),
    ],
)  # fmt: skip
def test_best_yaml_and_the_best_command_train_the_setting_that_won(
    words: tuple[str, ...], dlrun: Dlrun, look: Looks, project: Path
) -> None:
    for group, name, text in (
        ("experiment", "my_recipe", EXPERIMENT),
        ("experiment", "my_tuning", TUNING),
        ("sweep", "my_study", STUDY),
    ):
        folder = project / "configs" / group
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.yaml").write_text(text)
    result = dlrun("train", *words, "hydra.sweep.dir=sweep")
    assert result.code == 0, result.err
    winner = look().rows[0]["trial"]
    (look().path / "best.yaml").rename(project / "configs" / "experiment" / "found.yaml")

    assert dlrun(*best_command(result), "hydra.run.dir=typed").code == 0
    assert dlrun("train", "experiment=found", "hydra.run.dir=found").code == 0
    trial, typed, found = (config(place) for place in (f"sweep/{winner}", "typed", "found"))
    assert typed == trial
    assert found == trial
    assert Look(project).points("typed") == look().points(winner)


def config(place: str) -> dict[str, Any]:
    return dict(yaml.safe_load(Path(place, "config.yaml").read_text()))


def test_the_winner_is_told_with_its_lead(sweep: Dlrun, look: Looks) -> None:
    result = sweep("optimizer.lr=0.5,0.1,0.01,0.001")
    values = [value for value in look().values if value is not None]
    first, second, *_ = sorted(values)
    assert values == sorted(values)
    median = statistics.median(values)
    expected = (
        f"best: trial 0, val/loss {first:.4g}\n"
        f"  {second - first:.3g} lower than the runner-up, trial 1 ({second:.4g}).\n"
        f"  {median - first:.3g} lower than the median of the 4 completed trials ({median:.4g}).\n"
    )
    assert expected in result.out
    head = (look().path / "best.yaml").read_text().splitlines()[:3]
    assert head[0] == "# @package _global_"
    assert re.fullmatch(r"# the best of 4 completed trials: trial 0, val/loss .*", head[1])
    assert shlex.split(head[2])[2:] == ["dlrun", *best_command(result)]


def test_the_objective_may_be_any_metric_in_its_own_direction(sweep: Dlrun, look: Looks) -> None:
    assert sweep("sweep.objective=test/accuracy", "optimizer.lr=0.001,0.5").code == 0
    assert look().description["direction"] == "maximize"
    tested = [look().summary(number)["final"]["test/accuracy"] for number in (0, 1)]
    assert look().values == tested
    assert int(look().rows[0]["trial"]) == tested.index(max(tested)) == 1


def test_a_sweep_needs_no_validation_part(sweep: Dlrun, look: Looks) -> None:
    words = ("dataset.val_fraction=0", "trainer.monitor=train/loss", "optimizer.lr=0.1,0.5")
    assert sweep(*words).code == 0
    assert look().description["objective"] == "train/loss"
    assert look().description["direction"] == "minimize"
    assert look().states == ["complete"] * 2
