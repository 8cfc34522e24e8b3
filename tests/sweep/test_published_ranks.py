"""Ranks of one swept key within another, beside published ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from scipy.stats import kendalltau
from scratch import Result

from dlrun.errors import ConfigError
from dlrun.sweep.leaderboard import Row
from dlrun.sweep.published_ranks import (
    RankingSettings,
    agreement,
    check_ranking,
    kendall_tau,
    ranking_table,
)

VALUES = {"optimizer": ["sgd", "adam", "adagrad"], "net": ["a", "b"], "seed": ["0"]}
PUBLISHED = {"a": [1, 2, 3], "b": [3, 2, 1]}


def row(optimizer: str, net: str, status: str = "completed") -> Row:
    return Row(0, status, 0.5, None, [], {"optimizer": optimizer, "net": net}, 1.0)


# Best first: on a adam, sgd, adagrad; on b adagrad, adam, sgd.
ROWS = [row(*pair.split()) for pair in ("adam a", "adagrad b", "adam b", "sgd a", "adagrad a", "sgd b")]  # fmt: skip
SETTINGS = RankingSettings("optimizer", "net", PUBLISHED)


def test_ranks_follow_the_order_of_the_rows_and_stand_before_the_published_ones() -> None:
    assert list(ranking_table(SETTINGS, ROWS, VALUES)) == [
        ["net", "sgd", "adam", "adagrad"],
        ["a", "2 (1)", "1 (2)", "3 (3)"],
        ["b", "3 (3)", "2 (2)", "1 (1)"],
    ]


def test_without_published_ranks_there_are_ours_alone() -> None:
    settings = RankingSettings("optimizer", "net", {})
    assert list(ranking_table(settings, ROWS, VALUES))[1] == ["a", "2", "1", "3"]
    assert list(agreement(settings, ROWS, VALUES)) == []


def test_a_trial_without_a_result_has_no_rank_and_its_line_no_say() -> None:
    rows = [*ROWS[:5], row("sgd", "b", "failed")]
    assert list(ranking_table(SETTINGS, rows, VALUES))[2] == ["b", "– (3)", "2 (2)", "1 (1)"]
    assert next(agreement(SETTINGS, rows, VALUES)).startswith("1 of 3 ranks")


def test_of_other_keys_swept_as_well_the_best_row_counts() -> None:
    assert list(ranking_table(SETTINGS, [ROWS[0], *ROWS], VALUES))[1][1:] == ["2 (1)", "1 (2)", "3 (3)"]  # fmt: skip


def test_the_agreement_counts_equal_ranks_and_gives_the_mean_tau() -> None:
    same, tau = agreement(SETTINGS, ROWS, VALUES)
    assert same == "4 of 6 ranks are the published ones"
    assert tau.startswith("Kendall's tau +0.67 in the mean (+0.33 a, +1.00 b)")


@pytest.mark.parametrize("order", [[1, 2, 3, 4], [4, 3, 2, 1], [3, 1, 4, 2], [2, 1, 4, 3]])
def test_tau_is_scipys(order: list[int]) -> None:
    published = [1, 4, 2, 3]
    assert kendall_tau(order, published) == pytest.approx(kendalltau(order, published).statistic)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (RankingSettings("optimiser", "net", {}), ["ranking.of is optimiser", "optimizer"]),
        (RankingSettings("optimizer", "ent", {}), ["ranking.within is ent", "net"]),
        (RankingSettings("optimizer", "net", {"c": [1, 2, 3]}), ["published.c", "no value of net"]),
        (RankingSettings("optimizer", "net", {"a": [1, 2]}), ["[1, 2]", "from 1 to 3", "adagrad"]),
        (RankingSettings("optimizer", "net", {"a": [1, 1, 2]}), ["[1, 1, 2]", "once"]),
    ],
)
def test_a_ranking_of_what_is_not_there_is_refused(
    settings: RankingSettings, words: list[str]
) -> None:
    with pytest.raises(ConfigError) as error:
        check_ranking(settings, VALUES)
    assert [word for word in words if word not in str(error.value)] == []


def test_a_sweep_ends_with_its_columns_and_its_ranking(
    sweep: Callable[..., Result],
) -> None:
    ranking = "sweep.ranking={of:loss.reduction,within:model.width,published:{4:[2,1]}}"
    result = sweep(
        "loss.reduction=mean,sum", "model.width=4,13", "trainer.max_epochs=2", "sweep.objective=test/loss",
        "sweep.columns=[train/loss,test/accuracy]", ranking,
    )  # fmt: skip
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    heads = next(line.split() for line in lines if line.split()[:2] == ["trial", "test/loss"])
    assert heads[2:] == ["train/loss", "test/accuracy", "loss.reduction", "model.width"]
    assert any(line.startswith("rank of each loss.reduction by test/loss") for line in lines)
    assert any(line.split()[:1] == ["4"] and line.count("(") == 2 for line in lines)
    assert any("2 ranks are the published ones" in line for line in lines)
    assert lines[-1] == "report    dlrun report sweep"


@pytest.mark.slow
def test_a_sweep_that_asks_for_it_ends_with_its_report_and_says_where_the_curves_are(
    sweep: Callable[..., Result],
) -> None:
    words = ("loss.reduction=mean,sum", "sweep.objective=test/loss", "sweep.report=true")
    lines = sweep(*words).out.splitlines()
    assert lines[-2:] == ["report    sweep/report.html", "curves    sweep/report/curves.png"]
    assert all(Path(line.split()[1]).is_file() for line in lines[-2:])


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("sweep.columns=[train/los]", "sweep.columns[0] is train/los"),
        ("sweep.ranking={of:optimizer.lr,within:model.width,published:{}}", "sweep.ranking.within"),
    ],
)
def test_what_the_end_could_not_show_is_refused_before_the_first_trial(
    word: str, said: str, sweep: Callable[..., Result]
) -> None:
    result = sweep("optimizer.lr=0.1,0.2", word)
    assert result.code == 2
    assert said in result.err
