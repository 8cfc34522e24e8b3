"""Mappings of patterns, as {features.*: 0.1}, are one value: in cases, in a recipe, and read back."""

from __future__ import annotations

import hydra
import pytest

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


def test_a_case_may_set_patterns() -> None:
    slower = {"optimizer.lr_multipliers": {"0.*": 0.1, "2.weight": 3.0}}
    (cases,) = parse([], {"start": {"slow": slower, "all": {"init_from": None}}}).parameters
    assert cases.words("slow") == [SLOWER]
    assert cases.words("all") == ["init_from=null"]


def test_a_mapping_of_settings_in_a_case_is_refused_as_before() -> None:
    with pytest.raises(ConfigError, match="augment is a mapping; write"):
        parse([], {"start": {"a": {"dataset.augment": {"shift": 1}}, "b": {"seed": 1}}})
