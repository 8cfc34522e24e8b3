"""Mappings of patterns, as {features.*: 0.1}, are one value: in cases, in a recipe, and read back."""

from __future__ import annotations

import hydra
import pytest

from dlrun.cli import main
from dlrun.config.compose import register_resolvers
from dlrun.config.search_path import packaged_configs
from dlrun.errors import ConfigError
from dlrun.sweep.compose import Composer, recipe_words
from dlrun.sweep.space.parse import parse

SLOWER = "optimizer.lr_multipliers={0.*:0.1,2.weight:3.0}"
FROZEN = "model.freeze={0.*:2,2.*:null}"


def test_what_a_recipe_says_of_patterns_makes_the_same_config_again() -> None:
    register_resolvers()
    with hydra.initialize_config_dir(str(packaged_configs()), version_base="1.3"):
        config = Composer([SLOWER, FROZEN, "dataset.augment.shift=1"]).unresolved()
        words = recipe_words(config)
        assert Composer(words).unresolved().plain == config.plain
    assert sorted(words) == ["dataset.augment.shift=1", FROZEN, SLOWER]


def test_a_trial_has_its_own_patterns_in_the_place_of_those_of_the_config() -> None:
    register_resolvers()
    with hydra.initialize_config_dir(str(packaged_configs()), version_base="1.3"):
        composer = Composer([FROZEN])
        for word, value in (("[0.*]", ["0.*"]), ("{2.*:1}", {"2.*": 1}), ("null", None)):
            assert composer.trial([f"model.freeze={word}"]).plain["model"]["freeze"] == value


def test_patterns_beside_those_of_a_config_are_refused_with_the_remedy(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["show", FROZEN, "model.freeze={4.*:1}"]
    assert main(words) == 2
    said = "a config has other patterns there; take them away first, as in model.freeze=null"
    assert said in capsys.readouterr().err
    assert main([*words[:2], "model.freeze=null", words[2]]) == 0


def test_a_case_may_set_patterns() -> None:
    slower = {"optimizer.lr_multipliers": {"0.*": 0.1, "2.weight": 3.0}}
    (cases,) = parse([], {"start": {"slow": slower, "all": {"init_from": None}}}).parameters
    assert cases.words("slow") == [SLOWER]
    assert cases.words("all") == ["init_from=null"]


def test_a_mapping_of_settings_in_a_case_is_refused_as_before() -> None:
    with pytest.raises(ConfigError, match="augment is a mapping; write"):
        parse([], {"start": {"a": {"dataset.augment": {"shift": 1}}, "b": {"seed": 1}}})
