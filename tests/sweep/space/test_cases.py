"""Named cases: settings that change together, as one parameter of a sweep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from scratch import Look, Result

from dlrun.errors import ConfigError
from dlrun.sweep.space.parse import parse

TWO = {"plain": {}, "large": {"model.hidden": [32, 8], "optimizer.lr": 0.5}}


def test_a_case_stands_for_all_of_its_overrides() -> None:
    space = parse((), {"size": TWO, "seed": "1,2"})
    assert space.grid() == {"size": ["plain", "large"], "seed": [1, 2]}
    assert space.words({"size": "plain", "seed": 2}) == ["seed=2"]
    words = ["model.hidden=[32,8]", "optimizer.lr=0.5", "seed=1"]
    assert space.words({"size": "large", "seed": 1}) == words
    assert space.labels({"size": "large", "seed": 1}) == {"size": "large", "seed": "1"}


def test_cases_are_read_back_from_what_is_kept_of_them() -> None:
    space = parse((), {"size": TWO, "seed": "1,2"})
    kept = yaml.safe_load(yaml.safe_dump(space.texts(), sort_keys=False))
    assert parse((), kept) == space


@pytest.mark.parametrize(
    ("cases", "words"),
    [
        ({"one": {"optimizer.lr": 1}}, ["sweep.space.size", "1 case", "two"]),
        ({"one": {}, "two": 3}, ["sweep.space.size.two", "3", "the settings it changes"]),
        ({"one": {}, "two": {"optimizer": {"lr": 1}}}, ["size.two.optimizer", "optimizer.NAME"]),
        ({"one": {}, "two": {"optimizer.lr": {1, 2}}}, ["size.two.optimizer.lr", "option"]),
    ],
)
def test_cases_that_are_none_are_refused_with_their_key(cases: Any, words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        parse((), {"size": cases})
    assert [word for word in words if word not in str(error.value)] == []


@pytest.mark.parametrize(
    "other", [{"optimizer.lr": "1,2"}, {"rate": {"a": {}, "b": {"optimizer.lr": 1}}}]
)
def test_a_setting_of_cases_is_swept_nowhere_else(other: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.lr is swept in sweep\.space\.size and as"):
        parse((), {"size": TWO, **other})


def test_a_sweep_over_cases_names_them_and_trains_their_settings(
    sweep: Callable[..., Result], look: Callable[..., Look], project: Any
) -> None:
    option = project / "configs" / "sweep" / "sizes.yaml"
    option.parent.mkdir()
    cases = {"small": {}, "wide": {"model.width": 16}, "slow": {"optimizer": "adam"}}
    space = {"space": {"size": cases}}
    option.write_text(yaml.safe_dump({"defaults": ["grid", "_self_"], **space}, sort_keys=False))
    result = sweep("sweep=sizes")
    assert result.code == 0, result.err
    made = look()
    assert made.swept == [{"size": "small"}, {"size": "wide"}, {"size": "slow"}]
    assert [made.config(n)["model"]["width"] for n in (0, 1, 2)] == [8, 16, 8]
    assert [made.config(n)["optimizer"]["_target_"][-4:] for n in (0, 1, 2)] == [
        ".sgd",
        ".sgd",
        "adam",
    ]
    assert "trial 1: size=wide " in result.out
    assert {row["size"] for row in made.rows} == set(cases)


def test_an_experiment_may_sweep_a_key_that_it_gives_a_value_as_well(
    dlrun: Callable[..., Result], look: Callable[..., Look], project: Any
) -> None:
    option = project / "configs" / "experiment" / "rates.yaml"
    option.parent.mkdir()
    option.write_text(
        "# @package _global_\n"
        "defaults:\n  - override /sweep: grid\n  - override /optimizer: momentum\n"
        "optimizer:\n  lr: 0.3\n"
        "sweep:\n  space:\n    optimizer.lr: [0.1, 0.2]\n    optimizer: [sgd, momentum]\n"
    )
    words = ("dataset=iris", "model=net", "trainer.max_epochs=1", "tracking.tensorboard=false")
    result = dlrun("train", "experiment=rates", "hydra.sweep.dir=sweep", *words)
    assert result.code == 0, result.err
    rates = [look().config(number)["optimizer"]["lr"] for number in range(4)]
    assert rates == [0.1, 0.1, 0.2, 0.2]
    assert ["momentum" in look().config(n)["optimizer"] for n in range(4)] == [False, True] * 2
