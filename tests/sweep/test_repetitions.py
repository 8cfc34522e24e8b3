"""Seeds and folds repeat a setting: its result is their mean and spread, and none of them is the best."""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from scratch import Look, Result

from dlrun.storage.sweep_directory import SweepDirectory, read_space
from dlrun.sweep.display import Standing
from dlrun.sweep.leaderboard import Results, Row, write_leaderboard
from dlrun.sweep.repetitions import Repetitions, counted, mean_and_spread, means
from dlrun.sweep.report.page import page
from dlrun.sweep.snapshot import settled, take
from dlrun.sweep.summary import Answer, answer_of

Dlrun = Callable[..., Result]
Looks = Callable[..., Look]

FOLDS = {"first": {"dataset.fold": 0, "seed": 0}, "second": {"dataset.fold": 1, "seed": 1}}
RATES = {"low": {"optimizer.lr": 0.01, "seed": 0}, "low again": {"optimizer.lr": 0.01, "seed": 1}}


@pytest.mark.parametrize(
    ("space", "seeds", "repeating", "are_all", "noun"),
    [
        ({"seed": "0,1,2"}, 1, ["seed"], True, "seeds"),
        ({"+seed": "0,1"}, 1, ["seed"], True, "seeds"),
        ({"dataset.split_seed": "0,1", "seed": "0,1"}, 1, ["dataset.split_seed", "seed"], True, "seeds"),
        ({"dataset.fold": "range(0,5)"}, 1, ["dataset.fold"], True, "folds"),
        ({"dataset.fold": "0,1", "seed": "0,1"}, 1, ["dataset.fold", "seed"], True, "repetitions"),
        ({"dataset.fold": "0,1"}, 3, ["dataset.fold"], True, "repetitions"),
        ({"seed": "int(interval(0,99))"}, 1, ["seed"], True, "seeds"),
        ({"part": FOLDS}, 1, ["part"], True, "repetitions"),
        ({"seed": "0,1", "optimizer.lr": "0.1,0.01"}, 1, ["seed"], False, "seeds"),
        ({"optimizer.lr": "0.1,0.01"}, 1, [], False, "seeds"),
        ({"case": RATES}, 1, [], False, "seeds"),
        ({}, 5, [], True, "seeds"),
        ({}, 1, [], False, "seeds"),
    ],
)  # fmt: skip
def test_what_repeats_a_setting_is_declared_by_key_alone_or_in_named_cases(
    space: dict[str, Any], seeds: int, repeating: list[str], are_all: bool, noun: str
) -> None:
    repetitions = Repetitions(space, seeds)
    assert repetitions.keys == repeating
    assert repetitions.are_all == are_all
    assert repetitions.noun == noun


def trial(number: int, value: float | None, status: str = "completed", **swept: str) -> Row:
    metrics = {} if value is None else {"val/loss": value, "test/accuracy": 1 - value}
    words = [f"{key}={text}" for key, text in swept.items()]
    each = [metrics] if status == "completed" else []
    return Row(number, status, value, None, words, swept, 1.0, metrics, each=each)


def test_trials_that_differ_in_seeds_are_one_setting_and_settings_rank_by_their_mean() -> None:
    values = [(0.1, "a"), (0.4, "b"), (0.9, "a"), (0.5, "b")]
    rows = [trial(n, value, seed=str(n), lr=lr) for n, (value, lr) in enumerate(values)]
    repetitions = Repetitions({"seed": "0,1,2,3", "lr": "a,b"})
    (best, trials), (other, _) = Results(rows, "val/loss", True, repetitions).by_setting()
    assert (best.swept, best.words) == ({"lr": "b"}, ["lr=b"])
    assert [row.number for row in trials] == [1, 3]
    assert best.value == pytest.approx(0.45)
    assert best.spread == pytest.approx(statistics.stdev([0.4, 0.5]))
    assert best.metrics["test/accuracy"] == pytest.approx(0.55)
    assert other.swept == {"lr": "a"}


def test_cases_that_differ_in_seeds_alone_are_one_setting_under_both_names() -> None:
    rows = [trial(0, 0.2, case="low"), trial(1, 0.4, case="low again")]
    ((setting, _),) = Results(rows, "val/loss", True, Repetitions({"case": RATES})).by_setting()
    assert setting.swept == {"case": "low, low again"}
    assert setting.value == pytest.approx(0.3)


def test_what_failed_is_counted_as_missing_and_a_mean_of_survivors_does_not_lead() -> None:
    rows = [
        trial(0, 0.1, seed="0", lr="a"),
        trial(1, None, "failed", seed="1", lr="a"),
        trial(2, 0.4, seed="0", lr="b"),
        trial(3, 0.5, seed="1", lr="b"),
    ]
    answer = Answer(rows, "val/loss", True, Repetitions({"seed": "0,1", "lr": "a,b"}))
    assert [row.swept["lr"] for row in answer.settings] == ["b", "a"]
    assert answer.count(answer.settings[1]) == "n = 1; 1 of 2 is missing: 1 failed"
    assert answer.headline() == "best: lr=b, val/loss 0.45 ± 0.071 over the seeds (n = 2)"


def test_repeated_settings_that_cannot_be_compared_have_means_and_no_best(tmp_path: Path) -> None:
    values = [("a", 0.9), ("a", 0.7), ("=b", 0.1), ("=b", 0.3)]
    rows = [trial(n, value, seed=str(n), dataset=d) for n, (d, value) in enumerate(values)]
    judged, repetitions = rows[::-1], Repetitions({"seed": "0,1,2,3", "dataset": "a,=b"})
    answer = Answer(judged, "val/loss", True, repetitions, comparable=False)
    assert answer.winner is None
    assert [(row.swept["dataset"], row.value) for row in answer.settings] == [
        ("a", pytest.approx(0.8)),
        ("=b", pytest.approx(0.2)),
    ]
    standing = Standing(answer, Counter(completed=4), 4)
    assert standing.leader == ""
    assert [row.swept["dataset"] for row in standing.shown] == ["a", "=b"]
    place = SweepDirectory(tmp_path)
    for raw, mark in ((True, ""), (False, "'")):
        write_leaderboard(place, answer, raw=raw)
        assert f",{mark}=b," in place.leaderboard_file.read_text()
    board = [line.split(",") for line in place.leaderboard_file.read_text().splitlines()[1:]]
    assert [(line[0], line[1], line[6]) for line in board] == [("", str(n), "2") for n in range(4)]


def test_a_winner_that_was_trained_once_says_so() -> None:
    rows = [trial(0, 0.1, seed="7", lr="0.1"), trial(1, 0.2, seed="9", lr="0.2")]
    space = {"seed": "int(interval(0,99))", "lr": "interval(0.1,0.2)"}
    answer = Answer(rows, "val/loss", True, Repetitions(space))
    assert list(answer.lead())[-1] == "It was trained once: how much the seeds differ is not known."


def test_a_repetition_that_a_sampler_drew_twice_counts_once() -> None:
    rows = [trial(0, 0.1, seed="0"), trial(1, 0.1, seed="0"), trial(2, 0.3, seed="1")]
    ((setting, _),) = Results(rows, "val/loss", True, Repetitions({"seed": "0,1"})).by_setting()
    assert (len(setting.each), setting.value) == (2, pytest.approx(0.2))


def test_mean_and_spread_are_those_of_the_sample() -> None:
    values = [0.1, 0.7, 0.35]
    assert mean_and_spread(values) == pytest.approx(
        (statistics.mean(values), statistics.stdev(values))
    )
    assert mean_and_spread([0.5]) == (0.5, None)
    assert mean_and_spread([math.inf, 1.0])[0] == math.inf
    assert math.isnan(mean_and_spread([math.inf, -math.inf])[0])
    assert mean_and_spread([1e200, -1e200]) == (0, math.inf)


def test_the_objective_comes_first_and_a_metric_that_some_lack_says_so() -> None:
    each = [
        {"train/loss": 1.0, "test/loss": 2.0, "val/loss": 3.0},
        {"train/loss": 2.0, "val/loss": 3},
    ]
    shown = means(each, "train/loss")
    assert list(shown) == ["train/loss", "test/loss", "val/loss"]
    assert shown == {"train/loss": "1.5 ± 0.71", "test/loss": "2 (n = 1)", "val/loss": "3 ± 0"}
    assert counted(2, {"failed": 1, "pruned": 2}) == "n = 2; 3 of 5 are missing: 1 failed, 2 pruned"


def test_seeds_that_trials_would_share_are_refused(sweep: Dlrun, look: Looks) -> None:
    result = sweep("seed=0,1,5", "sweep.seeds=2")
    assert result.code == 2
    assert "the same seeds would count twice; set sweep.seeds=1" in result.err
    assert not look().path.exists()
    assert sweep("seed=0,2", "sweep.seeds=2", "trainer.max_epochs=1").out.count("(n = 4)") == 2


def measured(look: Look, name: str) -> list[float]:
    """The metric of each run of the sweep, as its own summary has it."""
    summaries = [look.summary(run) for run in look.runs]
    return [{**run["final"], **run["best"]["metrics"]}[name] for run in summaries]


def mean_text(values: list[float]) -> str:
    return f"{statistics.mean(values):.4g} ± {statistics.stdev(values):.2g}"


@pytest.mark.parametrize(
    ("words", "noun"),
    [
        (("seed=0,1,2",), "seeds"),
        (("sweep.seeds=3",), "seeds"),
        (("sweep=random", "sweep.trials=3", "seed=int(interval(0,1000))"), "seeds"),
    ],
)
def test_a_sweep_of_repetitions_alone_answers_with_the_mean_of_every_metric_and_no_best(
    words: tuple[str, ...], noun: str, sweep: Dlrun, dlrun: Dlrun, look: Looks
) -> None:
    result = sweep(*words, "trainer.max_epochs=1")
    answer = result.out.split("3 of 3 done\n" if "seed=" in words[-1] else "1 of 1 done\n")[-1]
    assert f"mean ± standard deviation over the {noun} (n = 3)" in answer
    shown = dict(re.findall(r"^  (\S+/\S+) +(.*)$", answer, re.MULTILINE))
    assert len(shown) >= 9  # loss and metrics of train, val and test
    for name, text in shown.items():
        assert text == mean_text(measured(look(), name))
    assert "best" not in result.out
    assert not (look().path / "best.yaml").exists()
    for command in ("show", "runs"):
        said = dlrun(command, "sweep").out
        assert f"(n = 3)\n  val/loss        {shown['val/loss']}" in said
        assert "best: " not in said
    snapshot = take(SweepDirectory(look().path))
    card = page(snapshot, [])
    assert f'<div class="value">{shown["val/loss"]} ' in card
    assert "★" not in card


def test_swept_seeds_and_seeds_of_each_trial_give_one_answer(
    dlrun: Dlrun, look: Looks, project: Path
) -> None:
    common = ("train", "-m", "dataset=iris", "model=logistic", "trainer.max_epochs=1",
              "tracking.tensorboard=false", "sweep.columns=[test/accuracy]", "sweep.stack=off")  # fmt: skip
    swept = dlrun(*common, "optimizer.lr=0.001,0.1", "seed=0,1", "hydra.sweep.dir=swept").out
    inside = dlrun(*common, "optimizer.lr=0.001,0.1", "sweep.seeds=2", "hydra.sweep.dir=inside").out
    found = []
    for out, name in ((swept, "best: optimizer.lr=0.1, "), (inside, "best: trial 1, ")):
        best = out.partition(name)[2].splitlines()
        found.append((best[0], *best[-5:-4]))
        command = next(line for line in best if line.startswith("  dlrun train"))
        assert "seed" not in command
        assert command.endswith("optimizer.lr=0.1")
    assert found[0] == found[1]
    assert re.fullmatch(r"val/loss \S+ ± \S+ over the seeds \(n = 2\)", found[0][0])
    table = r"^ *\S+ +(\S+ ± \S+) +(\S+ ± \S+) +0\.1$"
    assert re.findall(table, swept, re.MULTILINE) == re.findall(table, inside, re.MULTILINE) != []
    assert "seed" not in yaml.safe_load((project / "swept" / "best.yaml").read_text())
    ranks = [(row["rank"], row["optimizer.lr"], row["n"]) for row in look("swept").rows]
    assert ranks == [("1", "0.1", "2")] * 2 + [("2", "0.001", "2")] * 2
    snapshot = take(SweepDirectory(project / "swept"))
    answer = answer_of(snapshot)
    report = page(snapshot, [])
    assert "optimizer.lr=0.1 is the best" in report
    assert "All 2 completed settings" in report
    as_trials = settled(snapshot)  # for figures: two dots and not four
    assert [trial.value for trial in as_trials.trials] == [row.value for row in answer.settings][
        ::-1
    ]
    assert as_trials.varied == ["optimizer.lr"]


def test_folds_that_fail_are_missing_from_the_mean_and_a_resume_says_the_same(
    dlrun: Dlrun, project: Path, look: Looks
) -> None:
    (project / "moody.py").write_text(
        "from torch import initial_seed\nfrom faulty import Net\n\n\n"
        "class Moody(Net):\n    def misbehave(self):\n"
        "        if initial_seed() % 3 == 1:\n            raise IndexError('not this one')\n"
    )
    (project / "configs/model/moody.yaml").write_text(
        "_target_: moody.Moody\nwidth: 4\nbias: true\n"
    )
    words = ("train", "-m", "experiment=tips", "model=moody", "dataset.folds=3", "seed=${dataset.fold}",
             "dataset.split_seed=0", "dataset.test_fraction=null", "dataset.fold=0,1,2", "sweep.stack=off",
             "trainer.max_epochs=1", "tracking.tensorboard=false", "hydra.sweep.dir=sweep")  # fmt: skip
    result = dlrun(*words)
    assert result.code == 1
    assert "over the folds (n = 2; 1 of 3 is missing: 1 failed)" in result.out
    errors = [look().summary(number)["final"]["test/mae"] for number in (0, 2)]
    line = f"  test/mae    {mean_text(errors)}\n"
    assert line in result.out
    (look().path / "best.yaml").write_text("# of an earlier version\n")
    again = dlrun(*words)
    assert line in again.out
    assert not (look().path / "best.yaml").exists()


@pytest.mark.parametrize(
    ("text", "space"),
    [
        ("objective: val/loss\nspace:\n  seed: 0,1\n  optimizer.lr: 0.1\nfixed:\n- a\n", ["seed", "optimizer.lr"]),
        ("space:\n  part:\n    a:\n      seed: 0\n    b:\n      seed: 1\nsettings: {}\n", ["part"]),
        ("space: {}\nsettings:\n  seeds: 3\n", []),
        ("space: [1\n", []),
        ("no: space\n", []),
    ],
)  # fmt: skip
def test_the_space_is_read_from_a_sweep_without_the_rest(
    text: str, space: list[str], tmp_path: Path
) -> None:
    (tmp_path / "sweep.yaml").write_text(text)
    assert list(read_space(tmp_path)) == space
    assert list(read_space(tmp_path / "elsewhere")) == []
